/**
 * Goal: a statement counts only as what it says it is, and only from whom it should come. Method: every statement is
 * offered to every reader, and each part of a good one is bent; jose is the second implementation.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { compactVerify, importJWK, SignJWT } from 'jose'
import { signAcknowledgement, verifyAcknowledgement } from './acknowledgement.ts'
import { attestKey, verifyAttestation } from './attestation.ts'
import { type DocumentFlaw, DocumentRefusal } from './document.ts'
import { signFreshness, verifyFreshness } from './freshness.ts'
import { signStatement, verifyStatement } from './statement.ts'
import { createTestKey, createTestWorld } from './testing.ts'

const world = createTestWorld()
const key = createTestKey('EdDSA')
const enrolment = { name: 'gateway-1', privateKey: key.privateKey }
const enrolled = (name: string) => (name === enrolment.name ? key.jwk : undefined)
const sha256 = 'A'.repeat(43)
const content = { version: 3, manifestSha256: sha256, issuedAt: 1_800_000_000 }

function refuses(act: () => unknown, flaw: DocumentFlaw): void {
  assert.throws(act, (error) => error instanceof DocumentRefusal && error.flaw === flaw)
}

test('an acknowledgement says who has applied what', () => {
  const acknowledgement = verifyAcknowledgement(signAcknowledgement(content, enrolment), enrolled)
  assert.deepEqual(acknowledgement, { validator: 'gateway-1', ...content })
})

test('T119: an acknowledgement counts only with the key that its validator enrolled', () => {
  const stranger = createTestKey('EdDSA')
  const forged = signAcknowledgement(content, { name: 'gateway-1', privateKey: stranger.privateKey })
  refuses(() => verifyAcknowledgement(forged, enrolled), 'signature_invalid')
  const unenrolled = signAcknowledgement(content, { ...enrolment, name: 'gateway-2' })
  refuses(() => verifyAcknowledgement(unenrolled, enrolled), 'signature_invalid')
  // The key of one validator does not speak for another.
  refuses(
    () => verifyAcknowledgement(unenrolled, (name) => (name === 'gateway-2' ? stranger.jwk : key.jwk)),
    'signature_invalid',
  )
})

test('T239: a statement with a member too many or too few, or out of range, is refused', () => {
  const payload = { validator: 'gateway-1', version: 3, manifest_sha256: sha256, iat: 7 }
  for (const bent of [
    { ...payload, note: 1 },
    { ...payload, validator: undefined },
    { ...payload, validator: 'line\nbreak' },
    { ...payload, validator: '' },
    { ...payload, version: 0 },
    { ...payload, version: '3' },
    { ...payload, manifest_sha256: 'short' },
    { ...payload, iat: 1.5 },
  ]) {
    const statement = signStatement('manifest-ack+jwt', bent, key.privateKey)
    refuses(() => verifyAcknowledgement(statement, () => key.jwk), 'malformed')
  }
})

test('T092: no statement passes for another, nor for a token or a document', () => {
  const everybody = world.manifestKey
  const scope = world.draftKey(world.keys.consumer, 'consumer')
  const statements = {
    'manifest-ack+jwt': signAcknowledgement(content, { name: 'gateway-1', privateKey: everybody.privateKey }),
    'manifest-freshness+jwt': signFreshness(content, everybody.privateKey),
    'key-attestation+jwt': attestKey({ ...scope, issuedAt: 7 }, everybody.privateKey),
    'at+jwt': world.issue({ key: everybody }),
    'key-manifest+jwt': `${world.manifestDocument.signatures[0]?.protected}.${world.manifestDocument.payload}.${world.manifestDocument.signatures[0]?.signature}`,
  }
  const readers = {
    'manifest-ack+jwt': (text: string) => verifyAcknowledgement(text, () => everybody.jwk),
    'manifest-freshness+jwt': (text: string) => verifyFreshness(text, world.charter),
    'key-attestation+jwt': (text: string) => verifyAttestation(text, [everybody.jwk]),
  }
  for (const [type, read] of Object.entries(readers)) {
    for (const [given, statement] of Object.entries(statements)) {
      if (given === type) assert.doesNotThrow(() => read(statement))
      else refuses(() => read(statement), 'type_mismatch')
    }
  }
})

test('T001 T009: a statement without a signature, or with the wrong algorithm, is refused', () => {
  const good = signStatement('x+jwt', { a: 1 }, key.privateKey)
  const [header, payload] = good.split('.')
  refuses(() => verifyStatement(`${header}.${payload}.`, 'x+jwt', [key.jwk]), 'signature_invalid')
  const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'x+jwt', kid: key.kid })).toString('base64url')
  refuses(() => verifyStatement(`${none}.${payload}.`, 'x+jwt', [key.jwk]), 'malformed')
  refuses(() => verifyStatement(good, 'x+jwt', []), 'signature_invalid')
})

test('a statement carries no receipt', async () => {
  const statement = await new SignJWT({ a: 1 })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'x+jwt', kid: key.kid, rcpt: 'AA' })
    .sign(key.privateKey)
  refuses(() => verifyStatement(statement, 'x+jwt', [key.jwk]), 'malformed')
})

test('jose and we read each other', async () => {
  const ours = signStatement('x+jwt', { a: 1 }, key.privateKey)
  const { payload, protectedHeader } = await compactVerify(ours, await importJWK({ ...key.jwk }))
  assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), { a: 1 })
  assert.deepEqual(protectedHeader, { alg: 'EdDSA', typ: 'x+jwt', kid: key.kid })
  const theirs = await new SignJWT({ a: 1 })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'x+jwt', kid: key.kid })
    .sign(key.privateKey)
  assert.deepEqual(verifyStatement(theirs, 'x+jwt', [world.manifestKey.jwk, key.jwk]), { a: 1 })
})
