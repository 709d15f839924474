/**
 * Goal: no charter counts that the operators before it did not approve, or that would let one realm speak for another.
 * Method: a good charter is approved and then bent member by member; chains are built with every wrong link; vectors
 * from spec/vectors are judged as they say, which are made by
 *
 *     COUNTERSIGN_WRITE_VECTORS=1 node --test validator/src/charter.test.ts
 * @module
 */

import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'node:test'
import { approveCharter, type Charter, parseCharter, parseTrustAnchor, verifyCharter } from './charter.ts'
import {
  type DocumentFlaw,
  DocumentRefusal,
  encodePayload,
  readPayload,
  type SignedDocument,
  signDocument,
} from './document.ts'
import type { JsonObject } from './json.ts'
import { createTestKey, createTestWorld, issuers, tenants } from './testing.ts'

const world = createTestWorld()
const { operators, trustAnchor } = world
const [olga, omar, opal] = operators.map(({ privateKey }) => privateKey)
const document = world.charterDocuments[0]
const payload = readPayload(document?.payload ?? '')

function refuses(act: () => unknown, flaw: DocumentFlaw): void {
  assert.throws(act, (error) => error instanceof DocumentRefusal && error.flaw === flaw)
}

function approve(charter: object, ...keys: (typeof olga)[]): object {
  return keys.reduce<object>((before, key) => approveCharter(before, key as NonNullable<typeof key>), charter)
}

/** The payload with one realm changed. */
function withRealm(realm: string, change: object): JsonObject {
  const realms = payload['realms'] as JsonObject
  return {
    ...payload,
    realms: { ...realms, [realm]: { ...(realms[realm] as object), ...change } },
  } as JsonObject
}

function refusesPayload(bent: object): void {
  refuses(() => parseCharter(readPayload(encodePayload(bent))), 'malformed')
  // Nor does an operator get to sign it by mistake.
  refuses(() => approveCharter(bent, olga as NonNullable<typeof olga>), 'malformed')
}

test('a first charter counts once enough of the pinned operators approved it', () => {
  const charter = verifyCharter(document, trustAnchor)
  assert.equal(charter.version, 1)
  assert.deepEqual([...charter.realms.keys()], ['consumer', 'enterprise'])
  assert.deepEqual(charter.realms.get('enterprise')?.tenants, [tenants.fabrikam, tenants.northwind])
  assert.equal(charter.threshold, 2)
})

test('T228: one approval, or one person twice, does not make a charter', () => {
  refuses(() => verifyCharter(approve(payload, olga), trustAnchor), 'not_approved')
  refuses(() => verifyCharter(approve(payload, olga, olga), trustAnchor), 'not_approved')
  verifyCharter(approve(payload, opal, omar), trustAnchor)
})

test('T228: an approval does not carry over to changed content', () => {
  const [approved, other] = [approve(payload, olga, omar), approve({ ...payload, threshold: 1 }, olga)]
  const mixed = { ...other, signatures: (approved as { signatures: unknown }).signatures }
  refuses(() => verifyCharter(mixed, trustAnchor), 'signature_invalid')
})

test('an operator who is not pinned approves nothing', () => {
  const stranger = createTestKey('EdDSA')
  refuses(
    () => verifyCharter(approve(payload, olga, omar, stranger.privateKey), trustAnchor),
    'signature_invalid',
  )
})

test('T113: a charter that names its own operators is not approved by them', () => {
  const [eve, mallory] = [createTestKey('EdDSA'), createTestKey('EdDSA')]
  const own = [
    { id: 'eve', jwk: eve.jwk },
    { id: 'mallory', jwk: mallory.jwk },
  ]
  const taken = approve({ ...payload, operators: own }, eve.privateKey, mallory.privateKey)
  refuses(() => verifyCharter(taken, trustAnchor), 'signature_invalid')
})

test('each later charter is approved by the operators and threshold before it', () => {
  const charter = verifyCharter(document, trustAnchor)
  const pat = createTestKey('EdDSA')
  const people = [...trustAnchor.operators.slice(0, 2), { id: 'pat', jwk: pat.jwk }]
  const second = verifyCharter(
    approve({ ...payload, version: 2, operators: people, threshold: 3 }, olga, opal),
    charter,
  )
  const third = { ...payload, version: 3, operators: people, threshold: 3 }
  // Opal left with the second charter, Pat came, and three are needed now.
  refuses(() => verifyCharter(approve(third, olga, omar, opal), second), 'signature_invalid')
  refuses(() => verifyCharter(approve(third, olga, omar), second), 'not_approved')
  assert.equal(verifyCharter(approve(third, olga, omar, pat.privateKey), second).version, 3)
})

test('T112: versions rise by one, and time does not run backwards', () => {
  const charter = verifyCharter(document, trustAnchor)
  for (const version of [1, 3, 2 ** 32]) {
    refuses(() => verifyCharter(approve({ ...payload, version }, olga, omar), charter), 'version_mismatch')
  }
  refuses(
    () => verifyCharter(approve({ ...payload, version: 2 }, olga, omar), trustAnchor),
    'version_mismatch',
  )
  const earlier = { ...payload, version: 2, iat: charter.issuedAt - 1 }
  refuses(() => verifyCharter(approve(earlier, olga, omar), charter), 'version_mismatch')
})

test('T239: an unknown member refuses the whole charter, wherever it stands', () => {
  refusesPayload({ ...payload, note: 'harmless' })
  refusesPayload(withRealm('consumer', { audiences: [] }))
  refusesPayload({ ...payload, operators: operators.map(({ id, jwk }) => ({ id, jwk, role: 'admin' })) })
  refusesPayload({ ...payload, manifest_keys: [{ ...world.manifestKey.jwk, 'x-limit': 1 }] })
  const [witness] = payload['witnesses'] as [JsonObject]
  refusesPayload({ ...payload, witnesses: [{ ...witness, quorum: 2 }] })
})

test('a missing member refuses the whole charter, wherever it stands', () => {
  for (const name of Object.keys(payload)) {
    const { [name]: _, ...rest } = payload
    refusesPayload(rest)
  }
  const realm = (payload['realms'] as JsonObject)['consumer'] as JsonObject
  for (const name of Object.keys(realm)) {
    const { [name]: _, ...rest } = realm
    refusesPayload({ ...payload, realms: { consumer: rest } })
  }
})

test('T024 T239: keys that are private, weak or of the wrong kind are refused', () => {
  const pair = createTestKey('EdDSA')
  const rsa = createTestKey('RS256').jwk
  for (const jwk of [
    pair.privateKey.export({ format: 'jwk' }),
    { kty: 'oct', k: 'c2VjcmV0' },
    { ...pair.jwk, x: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' },
    { ...pair.jwk, alg: 'ES256' },
    { ...pair.jwk, kid: 'another' },
    { ...pair.jwk, use: 'enc' },
    rsa,
    null,
    'key',
  ]) {
    refusesPayload({ ...payload, manifest_keys: [jwk] })
    refusesPayload({ ...payload, operators: [{ id: 'olga', jwk }], threshold: 1 })
  }
  // The signer's word is Ed25519 or ES256, the witness's receipts ES256.
  refusesPayload(withRealm('consumer', { signers: [createTestKey('ML-DSA-44').jwk] }))
  const [witness] = payload['witnesses'] as [JsonObject]
  refusesPayload({ ...payload, witnesses: [{ ...witness, receipt_key: pair.jwk }] })
})

test('T128 T228: one key has one role in a charter', () => {
  const [operator] = operators
  refusesPayload({ ...payload, manifest_keys: [operator?.jwk] })
  refusesPayload({ ...payload, block_keys: [world.manifestKey.jwk] })
  refusesPayload({
    ...payload,
    operators: [operator, operator].map((one) => ({ id: 'a', jwk: one?.jwk })),
    threshold: 2,
  })
  refusesPayload(withRealm('enterprise', { signers: [world.signers.consumer.jwk] }))
  const own = world.signers.enterprise.jwk
  refusesPayload(withRealm('enterprise', { signers: [own, own] }))
  const [witness] = payload['witnesses'] as [JsonObject]
  refusesPayload({ ...payload, witnesses: [{ ...witness, checkpoint_keys: [world.signers.consumer.jwk] }] })
  refusesPayload({ ...payload, witnesses: [{ ...witness, receipt_key: world.manifestKey.jwk }] })
})

test('a threshold is at least one and at most the number of operators', () => {
  for (const threshold of [0, -1, 4, 1.5, '2', null]) refusesPayload({ ...payload, threshold })
})

test('T101 F1: no two realms can claim one issuer or tenant, however it is written', () => {
  refusesPayload(withRealm('consumer', { issuers: [issuers.enterprise] }))
  refusesPayload(withRealm('consumer', { tenants: [tenants.fabrikam] }))
  const expanded = issuers.enterprise.replace('{tenantid}', tenants.fabrikam)
  refusesPayload(withRealm('consumer', { issuers: [expanded] }))
})

test('T083: an issuer that has other spellings is refused', () => {
  for (const issuer of [
    'http://login.consumer.example',
    'https://login.consumer.example/?',
    'https://login.consumer.example/#',
    'https://login.consumer.example:443',
    'https://LOGIN.consumer.example',
    'https://login.consumer.example/a/../b',
    'https://login.consumer.example/%61/..',
    'https://user@login.consumer.example',
    'https://münchen.example',
    'https://login.consumer.example\n',
    'login.consumer.example',
    'https://{tenantid}.consumer.example',
    'https://login.consumer.example/x{tenantid}',
    'https://login.consumer.example/{tenantid}/{tenantid}',
    'https://login.consumer.example/{tenant}',
    '{tenantid}',
    '',
  ]) {
    refusesPayload(withRealm('consumer', { issuers: [issuer] }))
  }
  for (const issuer of [
    'http://localhost:8400',
    'http://127.0.0.1:1/a',
    'https://a.example/',
    'https://a.example/b/',
  ]) {
    parseCharter(withRealm('consumer', { issuers: [issuer] }))
  }
})

test('T086: tenants are GUIDs in lower case', () => {
  for (const tenant of [
    'home',
    '{tenantid}',
    tenants.home.toUpperCase().replace('1', 'A'),
    `${tenants.home}\n`,
    '',
  ]) {
    refusesPayload(withRealm('consumer', { tenants: [tenant] }))
  }
  refusesPayload(withRealm('consumer', { tenants: [] }))
  refusesPayload(withRealm('consumer', { tenants: [tenants.home, tenants.home] }))
})

test('T124 T239: limits that are zero, negative, text or without bound are refused', () => {
  for (const limit of [
    'max_ttl',
    'rotation_seconds',
    'key_age_max',
    'overlap_seconds',
    'cache_seconds',
    'acknowledge_seconds',
  ]) {
    for (const value of [0, -1, 1.5, '3600', 2 ** 40, null])
      refusesPayload(withRealm('consumer', { [limit]: value }))
  }
  refusesPayload(withRealm('consumer', { token_types: ['access', 'manifest'] }))
  refusesPayload(withRealm('consumer', { token_types: ['refresh'] }))
  refusesPayload(withRealm('consumer', { algs: ['none'] }))
  refusesPayload(withRealm('consumer', { algs: ['ES256', 'ES256'] }))
})

test('K4 T124: an overlap is not shorter than the longest token and what clocks differ by', () => {
  refusesPayload(withRealm('consumer', { overlap_seconds: 3659 }))
  parseCharter(withRealm('consumer', { overlap_seconds: 3660 }))
})

test('K3 K5: a key is known twice the slowest cache before its turn, and is young enough until its turn is over', () => {
  const limits = { rotation_seconds: 7200, cache_seconds: 3600, key_age_max: 14_400 }
  parseCharter(withRealm('consumer', limits))
  refusesPayload(withRealm('consumer', { ...limits, cache_seconds: 3601, key_age_max: 20_000 }))
  refusesPayload(withRealm('consumer', { ...limits, key_age_max: 14_399 }))
})

test('a realm has one to four signers, of Ed25519 or ES256', () => {
  const signers = Array.from({ length: 5 }, (_, at) => createTestKey(at === 0 ? 'EdDSA' : 'ES256').jwk)
  parseCharter(withRealm('consumer', { signers: signers.slice(0, 4) }))
  refusesPayload(withRealm('consumer', { signers }))
  refusesPayload(withRealm('consumer', { signers: [] }))
  refusesPayload(withRealm('consumer', { signers: undefined, signer: signers[0] }))
})

test('T028: realm names are plain words', () => {
  const realm = (payload['realms'] as JsonObject)['consumer']
  for (const name of ['', 'Consumer', 'a/b', '..', 'a b', 'x'.repeat(33)]) {
    refusesPayload({ ...payload, realms: { [name]: realm } })
  }
  refusesPayload({ ...payload, realms: {} })
})

test('a trust anchor is read as strictly as a charter', () => {
  assert.deepEqual(parseTrustAnchor(JSON.parse(JSON.stringify(trustAnchor))), trustAnchor)
  for (const anchor of [
    {},
    null,
    { ...trustAnchor, threshold: 4 },
    { ...trustAnchor, operators: [] },
    { ...trustAnchor, comment: 'x' },
  ]) {
    refuses(() => parseTrustAnchor(anchor), 'malformed')
  }
})

interface Vectors {
  readonly about: string
  readonly trust_anchor: unknown
  readonly cases: readonly { name: string; charters: readonly unknown[]; flaw: DocumentFlaw | null }[]
}

const vectorsFile = new URL('../../spec/vectors/charter.json', import.meta.url)

function makeVectors(): Vectors {
  /** Approved by two, whether or not `approveCharter` would have it. */
  const seal = (content: object, type = 'charter+jwt', keys = [olga, omar]): SignedDocument =>
    signDocument(encodePayload(content), type, keys as KeyObject[])
  const [first, eve] = [seal(payload), createTestKey('EdDSA')]
  const own = { ...payload, operators: [{ id: 'eve', jwk: eve.jwk }], threshold: 1 }
  const enterpriseIssuer = issuers.enterprise.replace('{tenantid}', tenants.northwind)
  const good: Readonly<Record<string, readonly unknown[]>> = {
    'approved by two of three, threshold two': [first],
    'approved by all three': [seal(payload, 'charter+jwt', [olga, omar, opal])],
    'a second charter, approved under the first': [first, seal({ ...payload, version: 2 })],
    'a realm with two signers': [
      seal(withRealm('consumer', { signers: [createTestKey('EdDSA').jwk, createTestKey('ES256').jwk] })),
    ],
  }
  const bad: Readonly<Record<string, readonly [flaw: DocumentFlaw, ...charters: unknown[]]>> = {
    'approved by one': ['not_approved', seal(payload, 'charter+jwt', [olga])],
    'approved by one person twice': ['not_approved', seal(payload, 'charter+jwt', [olga, olga])],
    'approved by nobody': ['not_approved', seal(payload, 'charter+jwt', [])],
    'a signature by a stranger beside two approvals': [
      'signature_invalid',
      seal(payload, 'charter+jwt', [olga, omar, eve.privateKey]),
    ],
    'the content was changed after the approval': [
      'signature_invalid',
      { ...first, payload: encodePayload({ ...payload, threshold: 1 }) },
    ],
    'operators of its own approve it': ['signature_invalid', seal(own, 'charter+jwt', [eve.privateKey])],
    'signed as another type': ['type_mismatch', seal(payload, 'key-manifest+jwt')],
    'version 2 without version 1': ['version_mismatch', seal({ ...payload, version: 2 })],
    'version 3 after version 1': ['version_mismatch', first, seal({ ...payload, version: 3 })],
    'version 1 after version 1': ['version_mismatch', first, first],
    'an unprotected header with a member that is not known': [
      'malformed',
      { ...first, signatures: first.signatures.map((line) => ({ ...line, header: { kid: 'x' } })) },
    ],
    'an unknown member': ['malformed', seal({ ...payload, note: 'harmless' })],
    'an unknown limit in a realm': [
      'malformed',
      seal(withRealm('consumer', { audiences: ['https://a.example'] })),
    ],
    'a threshold that nobody can meet': ['malformed', seal({ ...payload, threshold: 4 })],
    'one key in two roles': ['malformed', seal({ ...payload, block_keys: [world.manifestKey.jwk] })],
    'two realms with one signer': [
      'malformed',
      seal(withRealm('enterprise', { signers: [world.signers.consumer.jwk] })),
    ],
    'two realms with one tenant': ['malformed', seal(withRealm('consumer', { tenants: [tenants.fabrikam] }))],
    'two realms with one issuer, once as a template and once written out': [
      'malformed',
      seal(withRealm('consumer', { issuers: [enterpriseIssuer] })),
    ],
    'an issuer over plain HTTP': [
      'malformed',
      seal(withRealm('consumer', { issuers: ['http://login.consumer.example'] })),
    ],
    'a realm whose keys may sign manifests': [
      'malformed',
      seal(withRealm('consumer', { token_types: ['access', 'manifest'] })),
    ],
    'a realm without a signer': ['malformed', seal(withRealm('consumer', { signers: [] }))],
    'an overlap shorter than the longest token and 60 s': [
      'malformed',
      seal(withRealm('consumer', { overlap_seconds: 3659 })),
    ],
    'a key that signs before the slowest cache has asked twice': [
      'malformed',
      seal(withRealm('consumer', { cache_seconds: 43_201 })),
    ],
    'a key that is too old before its turn is over': [
      'malformed',
      seal(withRealm('consumer', { key_age_max: 24 * 3600 + 1199 })),
    ],
  }
  return {
    about:
      'Chains of charters, each verified under the one before and the first under the trust anchor. A chain with a flaw has it in its last charter; the words are those of spec/charter.md.',
    trust_anchor: trustAnchor,
    cases: [
      ...Object.entries(good).map(([name, charters]) => ({ name, charters, flaw: null })),
      ...Object.entries(bad).map(([name, [flaw, ...charters]]) => ({ name, charters, flaw })),
    ],
  }
}

if (process.env['COUNTERSIGN_WRITE_VECTORS'] !== undefined) {
  writeFileSync(vectorsFile, `${JSON.stringify(makeVectors(), undefined, 2)}\n`)
}

const published: Vectors = JSON.parse(readFileSync(vectorsFile, 'utf8'))

test('the vectors of spec/vectors/charter.json are judged as they say', () => {
  for (const { name, charters, flaw } of published.cases) {
    const walk = (): unknown =>
      charters.reduce<Charter | ReturnType<typeof parseTrustAnchor>>(
        (before, next) => verifyCharter(next, before),
        parseTrustAnchor(published.trust_anchor),
      )
    if (flaw === null) assert.doesNotThrow(walk, name)
    else assert.throws(walk, (error) => error instanceof DocumentRefusal && error.flaw === flaw, name)
  }
})
