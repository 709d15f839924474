/**
 * Goal: no receipt, no signature; and no signature that does not verify. Method: what was prepared is brought back with
 * every receipt but its own, under a manifest that has changed, and with a key that is not the manifest's.
 */

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { decode, encode } from '@countersign/validator/base64url'
import { encodeEntry, entryOf, leafHash } from '@countersign/validator/entry'
import { signInput } from '@countersign/validator/jws'
import type { ManifestKey } from '@countersign/validator/manifest'
import { decodeReceipt, encodeReceipt, VerifiedRoots } from '@countersign/validator/receipt'
import { createTestKey, createTestWitness, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { signPrepared } from './sign.ts'
import { openTestSigner } from './testing.ts'

const signer = await openTestSigner()
const { world } = signer
after(() => signer.remove())
const validator = createValidator({
  realm: 'consumer',
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
})

async function codeOf(rcpt: unknown): Promise<string> {
  const answer = await signer.sign(await signer.prepare(), rcpt as string)
  return 'error' in answer ? answer.error.code : 'signed'
}

test('what was prepared and countersigned becomes a token that a validator accepts', async () => {
  const token = await signer.issue()
  assert.equal(validator.decide(token).accepted, true)
  const [header = ''] = token.split('.')
  const { rcpt, ...others } = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<
    string,
    string
  >
  assert.deepEqual(others, { alg: 'ES256', typ: 'at+jwt', kid: signer.kid })
  assert.ok(rcpt)
})

test('K10: keys of the other algorithms sign what asks for them, and a validator accepts it', async () => {
  for (const alg of ['EdDSA', 'PS256', 'ML-DSA-44'] as const) {
    await signer.addKey(alg)
    assert.equal(validator.decide(await signer.issue({ alg })).accepted, true, alg)
  }
})

test('a batch that shares one countersignature becomes tokens that a validator accepts', async () => {
  const requests = Array.from({ length: 40 }, () => ({ type: 'access', claims: signer.claims() }))
  const { prepared } = await signer.signer.prepare({ requests })
  const ids = prepared.map((each) => ('id' in each ? each.id : -1))
  const entries = prepared.map((each) => decode('entry' in each ? each.entry : ''))
  const serials = entries.map((bytes) => Number(Buffer.from(bytes).readBigUInt64BE(50)))
  const receipts = world.witness.append(entries, ...serials)
  const { signed } = await signer.signer.sign({
    requests: ids.map((id, at) => ({ id, receipt: encode(receipts[at] as Uint8Array) })),
  })
  for (const each of signed) assert.equal('token' in each && validator.decide(each.token).accepted, true)
})

test('T125: no receipt, no signature', async () => {
  for (const rcpt of [undefined, null, 7, {}]) assert.equal(await codeOf(rcpt), 'receipt_missing')
  assert.equal(await codeOf(''), 'receipt_invalid')
})

test('T126: the receipt of another entry signs nothing', async () => {
  const other = await signer.prepare()
  assert.equal(await codeOf(signer.receipt(other)), 'receipt_invalid')
})

test('T127 T128: a receipt by a witness that the charter does not name signs nothing', async () => {
  const prepared = await signer.prepare()
  const serial = Number(Buffer.from(decode(prepared.entry)).readBigUInt64BE(50))
  for (const name of ['witness.example', 'other.example']) {
    const again = await signer.prepare()
    const [receipt] = createTestWitness(name).append([decode(again.entry)], serial + 1)
    const answer = await signer.sign(again, encode(receipt as Uint8Array))
    assert.equal('error' in answer && answer.error.code, 'receipt_invalid')
  }
})

test('T130: a receipt with any byte changed, cut or added signs nothing', async () => {
  const length = decode(signer.receipt(await signer.prepare())).length
  for (let at = 0; at < length; at += 3) {
    const prepared = await signer.prepare()
    const bytes = Buffer.from(decode(signer.receipt(prepared)))
    bytes.writeUInt8((bytes[at] as number) ^ 0x01, at)
    const answer = await signer.sign(prepared, encode(bytes))
    assert.equal('error' in answer, true, `byte ${at}`)
  }
  for (const spoil of [
    (text: string) => text.slice(0, -4),
    (text: string) => `${text}AAAA`,
    (text: string) => `${text}=`,
  ]) {
    const prepared = await signer.prepare()
    assert.equal('error' in (await signer.sign(prepared, spoil(signer.receipt(prepared)))), true)
  }
})

test('a receipt that names another serial signs nothing, since a validator would look for another entry', async () => {
  const prepared = await signer.prepare()
  const receipt = decodeReceipt(decode(signer.receipt(prepared)))
  const answer = await signer.sign(
    prepared,
    encode(encodeReceipt({ ...receipt, serial: receipt.serial + 1 })),
  )
  assert.equal('error' in answer && answer.error.code, 'receipt_invalid')
})

test('T222: what is prepared is answered once, and ids that nobody gave are worth nothing', async () => {
  const prepared = await signer.prepare()
  const receipt = signer.receipt(prepared)
  assert.equal('token' in (await signer.sign(prepared, receipt)), true)
  for (const id of [prepared.id, prepared.id + 1, -1, 0, 1.5]) {
    const answer = await signer.sign({ ...prepared, id }, receipt)
    assert.equal('error' in answer && answer.error.code, 'unknown_request')
  }
  const { signed } = await signer.signer.sign({ requests: [{ id: String(prepared.id), receipt }, null, 'x'] })
  assert.deepEqual(
    signed.map((each) => 'error' in each && each.error.code),
    ['malformed', 'malformed', 'malformed'],
  )
})

test('what is not signed within 30 s is forgotten', async () => {
  const early = await signer.prepare()
  signer.milliseconds += 1000
  const late = await signer.prepare()
  signer.milliseconds += 29_500
  const [ofEarly, ofLate] = [
    await signer.sign(early, signer.receipt(early)),
    await signer.sign(late, signer.receipt(late)),
  ]
  assert.equal('error' in ofEarly && ofEarly.error.code, 'unknown_request')
  assert.equal('token' in ofLate, true)
})

test('a key that is blocked between the phases signs no more, and one that retires signs what was logged', async () => {
  const blocked = await signer.prepare()
  world.setState(signer.kid, 'blocked')
  await signer.bringTrust()
  const answer = await signer.sign(blocked, signer.receipt(blocked))
  assert.equal('error' in answer && answer.error.code, 'key_blocked')
  assert.equal(await signer.refusal({}), 'no_active_key')

  world.setState(signer.kid, 'active')
  await signer.bringTrust()
  const retiring = await signer.prepare()
  world.setState(signer.kid, 'retiring')
  await signer.bringTrust()
  assert.equal('token' in (await signer.sign(retiring, signer.receipt(retiring))), true)
  assert.equal(await signer.refusal({}), 'no_active_key')
  await signer.addKey('ES256')
})

test('T225 T226: a signature that the manifest’s key does not verify never leaves', async () => {
  const { manifest } = world.state
  const key = manifest.keys.get(signer.kid) as ManifestKey
  const payloadSegment = encode(Buffer.from('{}'))
  const parts = {
    tokenType: 'access',
    kid: key.kid,
    issuedAt: 1,
    expiresAt: 2,
    serial: 9,
    payloadSegment,
  } as const
  const entry = encodeEntry(entryOf(parts))
  const [receipt] = world.witness.append([entry], 9)
  const prepared = {
    type: 'access',
    key,
    issuedAt: 1,
    expiresAt: 2,
    payloadSegment,
    serial: 9,
    entry,
  } as const
  const another = createTestKey('ES256').privateKey
  await assert.rejects(
    () =>
      signPrepared(
        { ...prepared, leafHash: leafHash(entry) },
        encode(receipt as Uint8Array),
        (input) => signInput('ES256', another, input),
        manifest,
        new VerifiedRoots(),
      ),
    { name: 'SignerFault', message: /was not released/ },
  )
})

test('T227: no two ECDSA signatures share their nonce', async () => {
  const seen = new Set<string>()
  for (let n = 0; n < 200; n++) {
    const [, , signature = ''] = (await signer.issue()).split('.')
    seen.add(Buffer.from(signature, 'base64url').subarray(0, 32).toString('hex'))
  }
  assert.equal(seen.size, 200)
})
