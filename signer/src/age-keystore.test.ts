/**
 * Goal: keys come out of a keystore only with its passphrase, and nothing that goes wrong says what is inside.
 * Method: real files, opened with the wrong thing in every way that we could think of.
 */

import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { importPublicJwk, verifySignature } from '@countersign/validator/jws'
import { Decrypter, Encrypter } from 'age-encryption'
import { createAgeKeystore, openAgeKeystore } from './age-keystore.ts'
import { makeKey } from './generate.ts'
import type { HeldKey } from './keystore.ts'
import { readPassphrase, readPin } from './passphrase.ts'
import { scopeRequest } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-keystore-'))
after(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'keystore.age')
const passphrase = 'correct horse battery staple'
const place = { realm: 'consumer', file, passphrase }
const keystore = await createAgeKeystore(place)

function make(alg: string): Promise<HeldKey> {
  const making = { realm: 'consumer', keystore, charter: undefined, now: 1000, prepare: async () => {} }
  return makeKey({ ...scopeRequest, alg }, making)
}

test('K1 K10: each algorithm comes back from the file as it went in, and signs', async () => {
  const made: HeldKey[] = []
  for (const alg of ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44']) made.push(await make(alg))
  const opened = await openAgeKeystore(place)
  assert.equal(opened.protection, 'low')
  assert.deepEqual(
    opened.keys.map(({ kid, attested }) => [kid, attested.algorithm]),
    made.map(({ kid, attested }) => [kid, attested.algorithm]),
  )
  for (const { algorithm, jwk, sign } of opened.keys)
    assert.ok(verifySignature(algorithm, importPublicJwk(jwk).key, 'input', await sign('input')))
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('the file is age as anybody reads it, and holds no key in the clear', async () => {
  const bytes = readFileSync(file)
  assert.match(bytes.toString('latin1'), /^age-encryption\.org\/v1\n-> scrypt \S+ 14\n/)
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  const { identity } = JSON.parse(await decrypter.decrypt(bytes, 'text')) as { identity: { d: string } }
  assert.equal(bytes.includes(Buffer.from(identity.d, 'base64url')), false)
})

test('T237 K12: a wrong passphrase, a damaged file, another realm and no file each say so and no more', async () => {
  const wrong = 'wrong horse battery staple'
  const say = (message: RegExp) => (error: Error) => {
    assert.equal(error.name, 'SignerFault')
    assert.match(error.message, message)
    assert.doesNotMatch(error.message, /horse|"d"/)
    return true
  }
  await assert.rejects(openAgeKeystore({ ...place, passphrase: wrong }), say(/passphrase does not open/))
  await assert.rejects(openAgeKeystore({ ...place, realm: 'enterprise' }), say(/another realm/))
  await assert.rejects(openAgeKeystore({ ...place, file: `${file}.none` }), say(/cannot be read \(ENOENT\)/))
  const damaged = join(folder, 'damaged.age')
  for (const at of [0, 60, 200, -1]) {
    const bytes = readFileSync(file)
    bytes.writeUInt8((bytes.at(at) as number) ^ 1, at < 0 ? bytes.length + at : at)
    writeFileSync(damaged, bytes)
    await assert.rejects(openAgeKeystore({ ...place, file: damaged }), say(/is damaged/))
  }
})

test('a keystore is never overwritten by a new one', async () => {
  const before = readFileSync(file)
  await assert.rejects(createAgeKeystore(place), {
    name: 'SignerFault',
    message: /exists/,
  })
  assert.deepEqual(readFileSync(file), before)
})

test('a key whose attestation is of another key is not taken from a keystore', async () => {
  const [one, other] = [await make('ES256'), await make('ES256')]
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  const content = JSON.parse(await decrypter.decrypt(readFileSync(file), 'text')) as {
    keys: { jwk: { kid: string }; attestation: string }[]
  }
  for (const key of content.keys) if (key.jwk.kid === one.kid) key.attestation = other.attestation
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(14)
  const swapped = join(folder, 'swapped.age')
  writeFileSync(swapped, await encrypter.encrypt(JSON.stringify(content)))
  await assert.rejects(openAgeKeystore({ ...place, file: swapped }), {
    name: 'SignerFault',
    message: /attestation does not describe/,
  })
})

test('a key that its making could not be finished for is not kept', async () => {
  const before = readFileSync(file)
  const making = {
    realm: 'consumer',
    keystore,
    charter: undefined,
    now: 1000,
    prepare: () => Promise.reject(new Error('the disk is full')),
  }
  await assert.rejects(makeKey(scopeRequest, making), /disk is full/)
  assert.deepEqual(readFileSync(file), before)
})

test('F6: a key that was destroyed is in the file no more, and with all of them the file is gone', async () => {
  const { kid } = await make('ES256')
  await keystore.destroy(new Set([kid]))
  const opened = await openAgeKeystore(place)
  assert.equal(
    opened.keys.some((key) => key.kid === kid),
    false,
  )
  const gone = { ...place, file: join(folder, 'gone.age') }
  const other = await createAgeKeystore(gone)
  assert.equal(await other.destroyAll(), 0)
  await assert.rejects(openAgeKeystore(gone), { name: 'SignerFault', message: /ENOENT/ })
})

test('T223: a passphrase comes from a file of its user alone, or from a descriptor', () => {
  const secret = join(folder, 'passphrase')
  writeFileSync(secret, `${passphrase}\n`, { mode: 0o600 })
  assert.equal(readPassphrase(secret).value, passphrase)
  assert.equal(readPassphrase(openSync(secret, 'r')).value, passphrase)
  for (const mode of [0o640, 0o604, 0o620, 0o660]) {
    chmodSync(secret, mode)
    assert.throws(() => readPassphrase(secret), /its mode must be 0600/, mode.toString(8))
  }
  chmodSync(secret, 0o600)
  symlinkSync(secret, `${secret}.link`)
  assert.throws(() => readPassphrase(`${secret}.link`), /cannot be opened \(ELOOP\)/)
  assert.throws(() => readPassphrase(`${secret}.none`), /cannot be opened \(ENOENT\)/)
  assert.throws(() => readPassphrase(999), /gives no passphrase/)
  writeFileSync(secret, 'short\n')
  assert.throws(
    () => readPassphrase(secret),
    (error: Error) => !error.message.includes('short\n'),
  )
  assert.equal(readPin(secret).value, 'short')
})
