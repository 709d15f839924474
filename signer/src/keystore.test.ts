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
import { Decrypter } from 'age-encryption'
import { makeKey } from './generate.ts'
import { createKeystore, openKeystore, replaceKeystore } from './keystore.ts'
import { readPassphrase } from './passphrase.ts'
import { scopeRequest } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-keystore-'))
after(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'keystore.age')
const passphrase = 'correct horse battery staple'
const made = await createKeystore(file, passphrase, 'consumer')

test('K1: each algorithm comes back from the file as it went in', async () => {
  const algorithms = ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44']
  const keys = await Promise.all(
    algorithms.map((alg) => makeKey({ ...scopeRequest, alg }, made, undefined, 1000)),
  )
  await replaceKeystore(file, passphrase, { ...made, keys })
  const opened = await openKeystore(file, passphrase, 'consumer')
  assert.deepEqual(
    opened.keys.map(({ kid, attested }) => [kid, attested.algorithm]),
    keys.map(({ kid, attested }) => [kid, attested.algorithm]),
  )
  for (const [at, { privateKey }] of opened.keys.entries())
    assert.ok(privateKey.equals((keys[at] as (typeof keys)[number]).privateKey))
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
  await assert.rejects(openKeystore(file, wrong, 'consumer'), say(/passphrase does not open/))
  await assert.rejects(openKeystore(file, passphrase, 'enterprise'), say(/another realm/))
  await assert.rejects(openKeystore(`${file}.none`, passphrase, 'consumer'), say(/cannot be read \(ENOENT\)/))
  const damaged = join(folder, 'damaged.age')
  for (const at of [0, 60, 200, -1]) {
    const bytes = readFileSync(file)
    bytes.writeUInt8((bytes.at(at) as number) ^ 1, at < 0 ? bytes.length + at : at)
    writeFileSync(damaged, bytes)
    await assert.rejects(openKeystore(damaged, passphrase, 'consumer'), say(/is damaged/))
  }
})

test('a keystore is never overwritten by a new one', async () => {
  const before = readFileSync(file)
  await assert.rejects(createKeystore(file, passphrase, 'consumer'), {
    name: 'SignerFault',
    message: /exists/,
  })
  assert.deepEqual(readFileSync(file), before)
})

test('a key whose attestation is of another key is not taken from a keystore', async () => {
  const [one, other] = await Promise.all([1, 2].map(() => makeKey(scopeRequest, made, undefined, 1000)))
  const swapped = { ...one, attestation: other?.attestation } as NonNullable<typeof one>
  const path = join(folder, 'swapped.age')
  await replaceKeystore(path, passphrase, { ...made, keys: [swapped] })
  await assert.rejects(openKeystore(path, passphrase, 'consumer'), { name: 'SignerFault' })
})

test('T223: a passphrase comes from a file of its user alone, or from a descriptor', () => {
  const secret = join(folder, 'passphrase')
  writeFileSync(secret, `${passphrase}\n`, { mode: 0o600 })
  assert.equal(readPassphrase(secret), passphrase)
  assert.equal(readPassphrase(openSync(secret, 'r')), passphrase)
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
})
