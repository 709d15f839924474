/**
 * Goal: each reason is given for its cause, and of several causes the first in the order of spec/verdict.md is named.
 * Method: one defect for each reason, laid over a good token; each alone, then every two of them that can stand
 * together. The defects are also what spec/vectors/verdict.json is made of, so that other implementations can try them:
 *
 *     COUNTERSIGN_WRITE_VECTORS=1 node --test validator/src/verdict.test.ts
 */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'node:test'
import { encode } from './base64url.ts'
import { type TrustAnchor, verifyCharter } from './charter.ts'
import type { Confirmation } from './confirmation.ts'
import { type TrustState, verifyManifest } from './manifest.ts'
import { type Reason, refusals } from './refusal.ts'
import {
  createTestKey,
  createTestWorld,
  mailAudience,
  type TestOrder,
  tenants,
  verdictOf,
} from './testing.ts'
import { createValidator } from './validator.ts'

const reasons = Object.keys(refusals) as Reason[]
const world = createTestWorld()
const { now } = world

/** Keys of the enterprise realm in each state, and one whose time to sign is over. */
const stateKeys = {
  published: createTestKey('ES256'),
  retired: createTestKey('ES256'),
  blocked: createTestKey('ES256'),
  revoked: createTestKey('ES256'),
  retiring: createTestKey('ES256'),
} as const
const records = {
  blocked: { blocked: { at: now, reason: 'suspected', by: 'olga' } },
  revoked: { revoked: { at: now, reason: 'stolen' } },
  retiring: { signUntil: now - 60, verifyUntil: now + 3600 },
} as const
world.publish((draft) => ({
  keys: [
    ...draft.keys,
    ...Object.entries(stateKeys).map(([state, key]) =>
      world.draftKey(key, 'enterprise', {
        state: state as keyof typeof stateKeys,
        ...(records as Record<string, object>)[state],
      }),
    ),
  ],
  cutoffs: [{ realm: 'enterprise', subject: 'cut-off', before: now + 1 }],
}))

/** What is asked, besides the token. As it stands in the vectors. */
interface Question {
  readonly realm: string
  readonly audience: string
  readonly now: number
  readonly manifest_age_seconds: number
  readonly confirmation?: Confirmation
}

const usual: Question = { realm: 'enterprise', audience: mailAudience, now, manifest_age_seconds: 0 }
const fabrikamIssuer = `https://login.enterprise.example/${tenants.fabrikam}/v2.0`

interface Defect {
  /** Two defects of one place cannot stand together. */
  readonly place: string
  readonly order?: TestOrder
  readonly token?: (token: string) => string
  readonly question?: Partial<Question>
}

const defects: Readonly<Record<Reason, Defect>> = {
  malformed: { place: 'jti', order: { claims: { jti: undefined } } },
  oversized: { place: 'padding', order: { claims: { padding: 'x'.repeat(16_384) } } },
  alg_not_allowed: { place: 'alg', order: { header: { alg: 'none' } } },
  header_not_allowed: { place: 'jku', order: { header: { jku: 'https://attacker.example/jwks' } } },
  type_mismatch: { place: 'typ', order: { header: { typ: 'JWT' } } },
  unknown_key: { place: 'key', order: { key: createTestKey('ES256') } },
  key_out_of_scope: { place: 'realm', question: { realm: 'consumer' } },
  key_not_active: { place: 'key', order: { key: stateKeys.published } },
  key_retired: { place: 'key', order: { key: stateKeys.retired } },
  key_blocked: { place: 'key', order: { key: stateKeys.blocked } },
  key_revoked: { place: 'key', order: { key: stateKeys.revoked } },
  issuer_mismatch: { place: 'iss', order: { claims: { iss: 'https://login.consumer.example' } } },
  tenant_mismatch: { place: 'iss', order: { claims: { iss: fabrikamIssuer, tid: tenants.northwind } } },
  audience_mismatch: { place: 'aud', order: { claims: { aud: 'https://calendar.countersign.example' } } },
  signature_invalid: { place: 'signature', token: withoutSignature },
  receipt_missing: { place: 'receipt', order: { receipt: null } },
  receipt_invalid: { place: 'receipt', order: { receipt: new Uint8Array(80) } },
  expired: { place: 'time', order: { claims: { iat: now - 600, exp: now - 300 } } },
  not_yet_valid: { place: 'nbf', order: { claims: { nbf: now + 60 } } },
  lifetime_too_long: { place: 'time', order: { claims: { exp: now + 3601 } } },
  issued_outside_key_window: { place: 'key', order: { key: stateKeys.retiring } },
  issued_before_cutoff: { place: 'sub', order: { claims: { sub: 'cut-off' } } },
  sender_mismatch: { place: 'sender', question: { confirmation: { jkt: 'A'.repeat(43) } } },
  manifest_stale: { place: 'age', question: { manifest_age_seconds: 61 } },
}

function withoutSignature(token: string): string {
  return `${token.slice(0, token.lastIndexOf('.'))}.${encode(new Uint8Array(64).fill(1))}`
}

interface Case {
  readonly token: string
  readonly question: Question
}

function makeCase(...laid: readonly Defect[]): Case {
  const order = {
    realm: 'enterprise' as const,
    ...Object.assign({}, ...laid.map((defect) => defect.order)),
    claims: Object.assign({}, ...laid.map((defect) => defect.order?.claims)),
    header: Object.assign({}, ...laid.map((defect) => defect.order?.header)),
  }
  return {
    token: laid.reduce((token, defect) => defect.token?.(token) ?? token, world.issue(order)),
    question: Object.assign({}, usual, ...laid.map((defect) => defect.question)),
  }
}

function decide({ token, question }: Case, state: TrustState = world.state): 'accepted' | Reason {
  const { realm, audience, manifest_age_seconds, confirmation } = question
  const validator = createValidator({
    realm,
    audience,
    trust: { state, ageSeconds: () => manifest_age_seconds },
    now: () => question.now,
  })
  return verdictOf(validator.decide(token, { confirmation }))
}

test('a token without defect is accepted', () => {
  assert.equal(decide(makeCase()), 'accepted')
})

for (const reason of reasons) {
  test(`${reason} is given for its defect`, () => {
    assert.equal(decide(makeCase(defects[reason])), reason)
  })
}

// What is oversized is not read, so that nothing can be known of its form.
const order = ['oversized', ...reasons.filter((reason) => reason !== 'oversized')] as Reason[]
for (const [at, first] of order.entries()) {
  test(`${first} is named before whatever comes later in the order`, () => {
    for (const second of order.slice(at + 1)) {
      if (defects[first].place === defects[second].place) continue
      assert.equal(decide(makeCase(defects[second], defects[first])), first, `beside ${second}`)
    }
  })
}

test('no defect is healed by another: with any two of them, no token is accepted', () => {
  for (const first of reasons) {
    for (const second of reasons)
      assert.notEqual(decide(makeCase(defects[first], defects[second])), 'accepted')
  }
})

interface Vectors {
  readonly about: string
  readonly trust_anchor: TrustAnchor
  readonly charter: unknown
  readonly manifest: unknown
  readonly vectors: readonly (Case & { readonly expected: 'accepted' | Reason })[]
}

const vectorsFile = new URL('../../spec/vectors/verdict.json', import.meta.url)

if (process.env['COUNTERSIGN_WRITE_VECTORS'] !== undefined) {
  const content: Vectors = {
    about:
      'Verdicts over tokens, at least one for each reason of spec/verdict.md. Times are seconds since the epoch.',
    trust_anchor: world.trustAnchor,
    charter: world.charterDocuments.at(-1),
    manifest: world.manifestDocument,
    vectors: [
      { expected: 'accepted', ...makeCase() },
      ...reasons.map((expected) => ({ expected, ...makeCase(defects[expected]) })),
    ],
  }
  writeFileSync(vectorsFile, `${JSON.stringify(content, undefined, 2)}\n`)
}

const published: Vectors = JSON.parse(readFileSync(vectorsFile, 'utf8'))

test('the published vectors have one for each reason, and come out as they say', () => {
  const charter = verifyCharter(published.charter, published.trust_anchor)
  const state = { charter, manifest: verifyManifest(published.manifest, charter) }
  for (const vector of published.vectors) assert.equal(decide(vector, state), vector.expected)
  const expected = new Set(published.vectors.map((vector) => vector.expected))
  assert.deepEqual([...reasons.filter((reason) => !expected.has(reason))], [])
})

test('the reference page lists the reasons as the table has them, in its order', () => {
  const page = readFileSync(new URL('../../spec/verdict.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| \d+ +\| `(\w+)` +\| (\d+) +\|/gm)].map(([, reason, status]) => [
    reason,
    Number(status),
  ])
  assert.deepEqual(
    rows,
    Object.entries(refusals).map(([reason, { status }]) => [reason, status]),
  )
})
