/**
 * Goal: a report says what was seen and by whom, and nothing else passes for one. Method: round trips over all that a
 * sighting can hold, the vectors of spec/vectors, and every member made wrong in turn.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { DocumentRefusal } from './document.ts'
import { type JsonObject, parseObject } from './json.ts'
import { type Reason, refusals } from './refusal.ts'
import { REPORT_SIGHTINGS_MAX, type Report, type Sighting, signReport, verifyReport } from './sighting.ts'
import { readStatement, signStatement } from './statement.ts'
import { createTestKey } from './testing.ts'

const key = createTestKey('EdDSA')
const enrolment = { name: 'gateway', privateKey: key.privateKey }
const enrolledKey = async (name: string) => (name === 'gateway' ? key.jwk : undefined)
const sighting: Sighting = {
  verdict: 'receipt_missing',
  at: 1_800_000_000_123,
  manifestVersion: 7,
  realm: 'consumer',
  kid: key.kid,
  issuer: 'https://login.consumer.example',
  tenant: '11111111-1111-4111-8111-111111111111',
  tokenType: 'access',
  signatureValid: true,
  receiptValid: false,
  origin: 'witness.example/2026',
  index: 41,
  leafHash: key.kid,
  serial: 12,
  network: '203.0.113.7',
  agent: 'A'.repeat(22),
  fingerprint: 't13d1516h2_8daaf6152771_02713d6af862',
}
const report: Omit<Report, 'validator'> = {
  id: 'A'.repeat(22),
  issuedAt: 1_800_000_000,
  dropped: 3,
  sightings: [sighting],
}

test('what was reported is what is read, whatever a validator learnt', async () => {
  const optional = <T>(value: T) => fc.constantFrom(value, undefined)
  const sightings = fc.record({
    verdict: fc.constantFrom('accepted' as const, ...(Object.keys(refusals) as Reason[])),
    at: fc.nat(2 ** 43),
    ...Object.fromEntries(
      Object.entries(sighting)
        .filter(([name]) => name !== 'verdict' && name !== 'at')
        .map(([name, value]) => [name, optional(value)]),
    ),
  }) as fc.Arbitrary<Sighting>
  await fc.assert(
    fc.asyncProperty(fc.array(sightings, { maxLength: 5 }), async (all) => {
      const read = await verifyReport(signReport({ ...report, sightings: all }, enrolment), enrolledKey)
      assert.deepEqual(
        withoutUndefined(read),
        withoutUndefined({ ...report, validator: 'gateway', sightings: all }),
      )
    }),
    { seed: 4, numRuns: 50 },
  )
})

test('T119: a report counts under a name only with the key that was enrolled under it', async () => {
  const other = createTestKey('EdDSA')
  for (const forged of [
    signReport(report, { name: 'gateway', privateKey: other.privateKey }),
    signReport(report, { name: 'nobody', privateKey: key.privateKey }),
    signReport(report, { name: '__proto__', privateKey: key.privateKey }),
    `${signReport(report, enrolment).split('.').slice(0, 2).join('.')}.`,
  ])
    await assert.rejects(verifyReport(forged, enrolledKey), DocumentRefusal)
})

test('T092: no other statement of a validator passes for a report', async () => {
  const payload = readStatement(signReport(report, enrolment), 'sightings+jwt')
  for (const type of ['manifest-ack+jwt', 'JWT', 'at+jwt', 'Sightings+jwt'])
    await refusedAs('type_mismatch', signStatement(type, payload, key.privateKey))
})

test('T239: every member that is wrong, missing or unknown refuses the report', async () => {
  const payload = () =>
    readStatement(signReport(report, enrolment), 'sightings+jwt') as Record<string, unknown>
  const seen = (): Record<string, unknown> => (payload()['sightings'] as Record<string, unknown>[])[0] ?? {}
  const wrong: Record<string, unknown>[] = [
    ...['validator', 'jti', 'iat', 'dropped', 'sightings'].map((name) => ({
      ...payload(),
      [name]: undefined,
    })),
    { ...payload(), jti: 'short' },
    { ...payload(), iat: 1.5 },
    { ...payload(), iat: 1_800_000_000_000 },
    { ...payload(), dropped: -1 },
    { ...payload(), sightings: {} },
    { ...payload(), sightings: Array.from({ length: REPORT_SIGHTINGS_MAX + 1 }, seen) },
    { ...payload(), extra: true },
    ...['verdict', 'at'].map((name) => ({ ...payload(), sightings: [{ ...seen(), [name]: undefined }] })),
    ...[
      { verdict: 'fine' },
      { verdict: 'toString' },
      { at: -1 },
      { at: '1' },
      { kid: 'a' },
      { kid: `${key.kid}=` },
      { leaf_hash: 'a' },
      { index: -1 },
      { index: 2 ** 53 },
      { serial: 0.5 },
      { signature_valid: 'true' },
      { receipt_valid: 1 },
      { token_type: 'refresh' },
      { realm: '' },
      { network: 'a\nb' },
      { network: 'a'.repeat(129) },
      { agent: 'Mozilla/5.0' },
      { fingerprint: 'a b' },
      { token: 'eyJ' },
    ].map((change) => ({ ...payload(), sightings: [{ ...seen(), ...change }] })),
  ]
  for (const changed of wrong)
    await refusedAs(
      'malformed',
      signStatement('sightings+jwt', changed, key.privateKey),
      JSON.stringify(changed),
    )
})

test('the vectors of spec/vectors/sighting.json are read and refused as they say', async () => {
  const file = new URL('../../spec/vectors/sighting.json', import.meta.url)
  const { validator, jwk, valid, invalid } = parseObject(readFileSync(file)) as unknown as Vectors
  const keyOf = async (name: string) => (name === validator ? jwk : undefined)
  for (const { statement, report: expected } of valid)
    assert.deepEqual(withoutUndefined(await verifyReport(statement, keyOf)), expected)
  for (const { statement, flaw, comment } of invalid)
    await assert.rejects(
      verifyReport(statement, keyOf),
      (error: DocumentRefusal) => error.flaw === flaw,
      comment,
    )
})

interface Vectors {
  readonly validator: string
  readonly jwk: { readonly kty: string }
  readonly valid: readonly { readonly statement: string; readonly report: JsonObject }[]
  readonly invalid: readonly { readonly statement: string; readonly flaw: string; readonly comment: string }[]
}

async function refusedAs(flaw: string, statement: string, message?: string): Promise<void> {
  await assert.rejects(
    verifyReport(statement, enrolledKey),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
    message,
  )
}

function withoutUndefined(value: object): unknown {
  return JSON.parse(JSON.stringify(value))
}
