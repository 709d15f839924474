/**
 * Goal: an approval counts only as what enough operators of its charter signed, word by word. Method: good approvals of
 * each kind are bent member by member, signed by everybody but the right people, and judged with the vectors of
 * spec/vectors, which are made by
 *
 *     COUNTERSIGN_WRITE_VECTORS=1 node --test validator/src/approval.test.ts
 * @module
 */

import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'node:test'
import {
  APPROVAL_TYPE,
  type ApprovalTarget,
  approve,
  parseApproval,
  readApproval,
  verifyApproval,
  writeApproval,
} from './approval.ts'
import { approversOf, type Charter, type TrustAnchor, verifyCharter } from './charter.ts'
import {
  addSignature,
  type DocumentFlaw,
  DocumentRefusal,
  encodePayload,
  readPayload,
  type SignedDocument,
  signDocument,
} from './document.ts'
import type { JsonObject } from './json.ts'
import { createTestKey, createTestWorld, passkeyLine, testPasskey } from './testing.ts'

const world = createTestWorld()
const { charter, now } = world
const { kid } = world.keys.consumer
const [olga, omar, opal] = world.operators.map(({ privateKey }) => privateKey) as [
  KeyObject,
  KeyObject,
  KeyObject,
]

const targets: readonly ApprovalTarget[] = [
  { op: 'lift', kid, blockedAt: now - 60 },
  { op: 'activate', kid },
  { op: 'break-glass', realm: 'consumer', until: now + 3600 },
  { op: 'prune', kids: [kid, world.keys.enterprise.kid] },
  { op: 'remove-validator', name: 'gateway-1' },
]

function payloadOf(target: ApprovalTarget): JsonObject {
  return readPayload(world.approve(target).payload)
}

const lift = payloadOf(targets[0] as ApprovalTarget)
const glass = payloadOf(targets[2] as ApprovalTarget)

/** Signed whether or not `approve` would. */
function seal(
  payload: object,
  keys: readonly KeyObject[] = [olga, omar],
  type = APPROVAL_TYPE,
): SignedDocument {
  return signDocument(encodePayload(payload), type, keys)
}

function refuses(document: unknown, flaw: DocumentFlaw, under: Charter = charter): void {
  assert.throws(
    () => verifyApproval(document, under),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
  )
}

function refusesPayload(payload: object): void {
  refuses(seal(payload), 'malformed')
  // Nor does an operator get to sign it by mistake.
  assert.throws(() => approve(payload, olga), DocumentRefusal)
}

test('K11: each kind of approval says what it approves, and counts once enough operators signed it', () => {
  for (const target of targets) {
    const approval = verifyApproval(JSON.parse(JSON.stringify(world.approve(target))), charter)
    assert.deepEqual(approval.target, target)
    assert.equal(approval.proposer, 'olga')
    assert.deepEqual(parseApproval(readPayload(encodePayload(writeApproval(approval)))), approval)
  }
})

test('T228: one operator, or one operator twice, approves nothing', () => {
  refuses(seal(lift, [olga]), 'not_approved')
  refuses(approve(approve(lift, olga), olga), 'not_approved')
  refuses(seal(lift, []), 'not_approved')
  assert.deepEqual(approversOf(seal(lift, [olga]), APPROVAL_TYPE, charter), ['olga'])
})

test('T228: the proposer is one of those who approve', () => {
  refuses(seal(lift, [omar, opal]), 'not_approved')
  refuses(seal({ ...lift, proposer: 'mallory' }), 'not_approved')
  verifyApproval(seal({ ...lift, proposer: 'opal' }, [omar, opal]), charter)
})

test('nobody but operators approves: neither the authority, nor the sentinel, nor a signer, nor a stranger', () => {
  const { manifestKey, blockKey, signers } = world
  for (const { privateKey } of [manifestKey, blockKey, signers.consumer, createTestKey('EdDSA')]) {
    refuses(seal(lift, [olga, privateKey]), 'signature_invalid')
    refuses(seal(lift, [olga, omar, privateKey]), 'signature_invalid')
  }
})

test('an approval is no charter and no manifest, and neither is one', () => {
  for (const type of ['charter+jwt', 'key-manifest+jwt', 'jwt'])
    refuses(seal(lift, [olga, omar], type), 'type_mismatch')
  assert.throws(() => verifyCharter(seal(lift), charter), DocumentRefusal)
})

test('T228: an approval does not carry over to other words', () => {
  const { signatures } = seal(lift)
  for (const change of [
    { kid: world.keys.enterprise.kid },
    { blocked_at: now },
    { op: 'activate', blocked_at: undefined },
  ]) {
    refuses({ payload: encodePayload({ ...lift, ...change }), signatures }, 'signature_invalid')
  }
})

test('operators and threshold are those of the charter that it names', () => {
  const other = createTestWorld()
  const people = other.operators.slice(1).map(({ id, jwk }) => ({ id, jwk }))
  const before = other.charter
  const approval = other.approve({ op: 'activate', kid })
  other.amend(() => ({ operators: people, threshold: 1 }))
  verifyApproval(approval, before)
  refuses(approval, 'not_approved', other.charter)
  // One is enough now, and Olga is nobody any more.
  const payload = { ...readPayload(approval.payload), charter_version: 2, proposer: 'omar' }
  const [first, second] = other.operators
  refuses(seal(payload, [first?.privateKey as KeyObject]), 'signature_invalid', other.charter)
  verifyApproval(seal(payload, [second?.privateKey as KeyObject]), other.charter)
})

test('A1: passkeys approve too', () => {
  const person = createTestKey('ES256')
  const other = createTestWorld()
  const pat = {
    id: 'pat',
    jwk: person.jwk,
    webauthn: { rp_id: testPasskey.rpId, origins: testPasskey.origins },
  }
  other.amend(({ operators }) => ({ operators: [...(operators as object[]), pat] }))
  const payload = { ...lift, charter_version: 2, proposer: 'pat' }
  const byPat: SignedDocument = {
    payload: encodePayload(payload),
    signatures: [passkeyLine(person, APPROVAL_TYPE, encodePayload(payload))],
  }
  refuses(byPat, 'not_approved', other.charter)
  const [first] = other.operators
  const byBoth = approve(byPat, first?.privateKey as KeyObject)
  assert.equal(verifyApproval(byBoth, other.charter).proposer, 'pat')
  const line = passkeyLine(person, APPROVAL_TYPE, encodePayload({ ...payload, reason: 'another' }))
  refuses(addSignature(byBoth, line), 'signature_invalid', other.charter)
})

test('T239: a member that is unknown, missing or of another kind refuses an approval', () => {
  for (const target of targets) {
    const payload = payloadOf(target)
    refusesPayload({ ...payload, note: 'harmless' })
    for (const name of Object.keys(payload)) refusesPayload({ ...payload, [name]: undefined })
  }
  for (const change of [
    { op: 'export' },
    { op: 'block' },
    { op: 'activate' },
    { kid: 'short' },
    { kid: [kid] },
    { blocked_at: -1 },
    { blocked_at: '7' },
    { reason: '' },
    { reason: 'two\nlines' },
    { reason: 'hidden \u202e order' },
    { proposer: 7 },
    { charter_version: 0 },
    { jti: 'A'.repeat(21) },
    { jti: 'A'.repeat(65) },
    { jti: `${'A'.repeat(22)}=` },
  ]) {
    refusesPayload({ ...lift, ...change })
  }
  const prune = payloadOf(targets[3] as ApprovalTarget)
  for (const kids of [[], [kid, kid], ['x'], kid]) refusesPayload({ ...prune, kids })
  const remove = payloadOf(targets[4] as ApprovalTarget)
  for (const name of ['', 'x'.repeat(129), 'a\u0000b', 7]) refusesPayload({ ...remove, name })
})

test('K11: an approval lasts fifteen minutes at most, a break-glass an hour', () => {
  const iat = lift['iat'] as number
  parseApproval({ ...lift, exp: iat + 900 })
  for (const exp of [iat, iat - 1, iat + 901, String(iat + 1)]) refusesPayload({ ...lift, exp })
  parseApproval({ ...glass, until: iat + 3600 })
  for (const until of [iat, iat - 1, iat + 3601]) refusesPayload({ ...glass, until })
})

test('a block that was not there yet cannot be lifted in advance', () => {
  const iat = lift['iat'] as number
  parseApproval({ ...lift, blocked_at: iat + 60 })
  refusesPayload({ ...lift, blocked_at: iat + 61 })
})

test('there is no operation that gives a private key away', () => {
  for (const op of ['export', 'export-key', 'backup', 'unseal']) refusesPayload({ ...lift, op })
})

interface Vectors {
  readonly about: string
  readonly trust_anchor: TrustAnchor
  readonly charter: unknown
  readonly cases: readonly { name: string; approval: unknown; flaw: DocumentFlaw | null }[]
}

const vectorsFile = new URL('../../spec/vectors/approval.json', import.meta.url)

function makeVectors(): Vectors {
  const iat = lift['iat'] as number
  const stranger = createTestKey('EdDSA').privateKey
  const cases: Readonly<Record<string, readonly [flaw: DocumentFlaw | null, approval: unknown]>> = {
    ...Object.fromEntries(targets.map((target) => [target.op, [null, world.approve(target)] as const])),
    'by all three': [null, seal(lift, [olga, omar, opal])],
    'by one': ['not_approved', seal(lift, [olga])],
    'by one person twice': ['not_approved', seal(lift, [olga, olga])],
    'by nobody': ['not_approved', seal(lift, [])],
    'by two others than the proposer': ['not_approved', seal(lift, [omar, opal])],
    'under another charter': ['not_approved', seal({ ...lift, charter_version: 2 })],
    'by an operator and the authority': [
      'signature_invalid',
      seal(lift, [olga, world.manifestKey.privateKey]),
    ],
    'a signature by a stranger beside two approvals': [
      'signature_invalid',
      seal(lift, [olga, omar, stranger]),
    ],
    'the key was changed after the approval': [
      'signature_invalid',
      { ...seal(lift), payload: encodePayload({ ...lift, kid: world.keys.enterprise.kid }) },
    ],
    'signed as a charter': ['type_mismatch', seal(lift, [olga, omar], 'charter+jwt')],
    'an unknown operation': ['malformed', seal({ ...lift, op: 'export' })],
    'an unknown member': ['malformed', seal({ ...lift, note: 'harmless' })],
    'a lift without the time of the block': ['malformed', seal({ ...lift, blocked_at: undefined })],
    'a lift of a block to come': ['malformed', seal({ ...lift, blocked_at: iat + 61 })],
    'good for more than fifteen minutes': ['malformed', seal({ ...lift, exp: iat + 901 })],
    'over before it begins': ['malformed', seal({ ...lift, exp: iat })],
    'a break-glass of more than an hour': ['malformed', seal({ ...glass, until: iat + 3601 })],
    'a reason of two lines': ['malformed', seal({ ...lift, reason: 'two\nlines' })],
    'a jti that is too short': ['malformed', seal({ ...lift, jti: 'A'.repeat(21) })],
  }
  return {
    about:
      'Approvals, each verified under the one charter, before anybody looks at what they are used for. The words for flaws are those of spec/approval.md.',
    trust_anchor: world.trustAnchor,
    charter: world.charterDocuments[0],
    cases: Object.entries(cases).map(([name, [flaw, approval]]) => ({ name, approval, flaw })),
  }
}

if (process.env['COUNTERSIGN_WRITE_VECTORS'] !== undefined) {
  writeFileSync(vectorsFile, `${JSON.stringify(makeVectors(), undefined, 2)}\n`)
}

const published: Vectors = JSON.parse(readFileSync(vectorsFile, 'utf8'))

test('the vectors of spec/vectors/approval.json are judged as they say', () => {
  const pinned = verifyCharter(published.charter, published.trust_anchor)
  for (const { name, approval, flaw } of published.cases) {
    const verify = (): unknown => verifyApproval(approval, pinned)
    if (flaw === null) assert.doesNotThrow(verify, name)
    else assert.throws(verify, (error) => error instanceof DocumentRefusal && error.flaw === flaw, name)
  }
  assert.ok(readApproval(published.cases[0]?.approval))
})
