/**
 * Goal: a manifest counts only when the authority signed it, the witness logged it, and each of its keys lies inside
 * the charter and inside what its own signer attested. Method: in a world where every key is at hand, play each of the
 * parties as a traitor in turn; bend each member of a good manifest; judge the vectors of spec/vectors, which are
 * made by
 *
 *     COUNTERSIGN_WRITE_VECTORS=1 node --test validator/src/manifest.test.ts
 * @module
 */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'node:test'
import fc from 'fast-check'
import { attestKey, verifyAttestation } from './attestation.ts'
import { type TrustAnchor, verifyCharter } from './charter.ts'
import {
  type DocumentFlaw,
  DocumentRefusal,
  encodePayload,
  readPayload,
  type SignedDocument,
  signDocument,
} from './document.ts'
import { encodeEntry } from './entry.ts'
import type { JsonObject } from './json.ts'
import { composeManifest, manifestEntry, signManifest, verifyManifest } from './manifest.ts'
import {
  createTestKey,
  createTestWitness,
  createTestWorld,
  issuers,
  type TestKey,
  tenants,
} from './testing.ts'

const world = createTestWorld()
const { charter, manifestKey, witness, keys } = world
const good = world.manifestDocument
const payload = readPayload(good.payload)
const wireKeys = payload['keys'] as readonly JsonObject[]
const consumerKey = wireKeys.find(({ kid }) => kid === keys.consumer.kid) as JsonObject

/** What an authority without scruples makes: logged and signed as it should be, whatever it says. */
test('T113: a key is not taken for the one it was because it has its name: what is imported once is compared whole', () => {
  const before = { charter, manifest: verifyManifest(good, charter) }
  const { x, y } = createTestKey('ES256').jwk as unknown as Record<string, string>
  const twisted = [
    { x },
    { x, y },
    { alg: 'ES384' },
    { crv: 'P-384' },
    { kty: 'OKP' },
    { d: 'AA' },
    { x: undefined },
  ]
  for (const change of twisted) {
    assert.throws(
      () => verifyManifest(publish({ ...withKey(change), version: 2 }), charter, before),
      (error) => error instanceof DocumentRefusal && error.flaw === 'malformed',
      JSON.stringify(change),
    )
  }
  const next = verifyManifest(publish({ ...payload, version: 2 }), charter, before)
  const { kid } = keys.consumer
  assert.equal(next.keys.get(kid)?.publicKey, before.manifest.keys.get(kid)?.publicKey)
})

function publish(content: object, key: TestKey = manifestKey): SignedDocument {
  const segment = encodePayload(content)
  const entry = encodeEntry(manifestEntry(segment, key.kid))
  const [receipt] = witness.append([entry], (content as { version: number }).version)
  return signManifest(segment, receipt as Uint8Array, key.privateKey)
}

function refuses(document: unknown, flaw: DocumentFlaw): void {
  assert.throws(
    () => verifyManifest(document, charter),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
  )
}

/** The payload with the consumer realm's active key changed. */
function withKey(change: object): object {
  return { ...payload, keys: [{ ...consumerKey, ...change }] }
}

/** An attestation, by the consumer realm's signer unless said otherwise, of the consumer key with another scope. */
function attest(change: object = {}, signer: TestKey = world.signers.consumer): string {
  const scope = {
    kid: keys.consumer.kid,
    algorithm: 'ES256' as const,
    realm: 'consumer',
    issuer: issuers.consumer,
    tenants: [tenants.home],
    tokenTypes: ['access', 'id'] as const,
    audiences: undefined,
    lifetimeSecondsMax: 3600,
    issuedAt: world.now,
  }
  return attestKey({ ...scope, ...change }, signer.privateKey)
}

test('a manifest gives its keys, logs and cutoffs', () => {
  world.publish(() => ({ cutoffs: [{ realm: 'consumer', subject: 'user-1', before: 7 }] }))
  const { manifest } = world.state
  assert.equal(manifest.version, 2)
  assert.equal(manifest.keys.get(keys.consumer.kid)?.state, 'active')
  assert.equal(manifest.keys.get(keys.enterprise.kid)?.issuer, issuers.enterprise)
  assert.deepEqual(
    [...manifest.logs.values()].map(({ origin, state }) => [origin, state]),
    [[witness.origin, 'open']],
  )
  assert.deepEqual(manifest.cutoffs, [{ realm: 'consumer', subject: 'user-1', before: 7 }])
})

test('what composeManifest writes, verifyManifest reads back', () => {
  const { manifest } = world.state
  const segment = composeManifest(
    { ...manifest, keys: [...manifest.keys.values()], logs: [...manifest.logs.values()] },
    charter,
  )
  assert.equal(segment, world.manifestDocument.payload)
})

test('composeManifest refuses what no validator would take', () => {
  const draft = { ...world.draft, keys: [world.draftKey(keys.consumer, 'enterprise')] }
  assert.doesNotThrow(() => composeManifest(draft, charter))
  const [key] = draft.keys
  const beyond = { ...draft, keys: [{ ...key, tenants: [tenants.home] } as NonNullable<typeof key>] }
  assert.throws(() => composeManifest(beyond, charter), DocumentRefusal)
})

test('T113: only a manifest key of the charter signs manifests', () => {
  refuses(publish(payload, keys.consumer), 'signature_invalid')
  refuses(publish(payload, world.blockKey), 'signature_invalid')
  refuses(publish(payload, world.signers.consumer), 'signature_invalid')
  refuses(publish(payload, createTestKey('ES256')), 'signature_invalid')
  const [one] = good.signatures
  refuses({ ...good, signatures: [] }, 'not_approved')
  refuses({ payload: encodePayload({ ...payload, version: 9 }), signatures: [one] }, 'signature_invalid')
})

test('T125 T126: a manifest that was not logged does not count, whoever signed it', () => {
  const segment = encodePayload({ ...payload, version: 3 })
  refuses(signDocument(segment, 'key-manifest+jwt', [manifestKey.privateKey]), 'receipt_invalid')
  const [other] = witness.append([encodeEntry(manifestEntry(good.payload, manifestKey.kid))], 3)
  refuses(signManifest(segment, other as Uint8Array, manifestKey.privateKey), 'receipt_invalid')
  refuses(signManifest(segment, new Uint8Array(80), manifestKey.privateKey), 'receipt_invalid')
})

test('the receipt of a manifest is for its version', () => {
  const segment = encodePayload({ ...payload, version: 3 })
  const entry = encodeEntry({ ...manifestEntry(segment, manifestKey.kid), serial: 2 })
  const [receipt] = witness.append([entry], 2)
  refuses(signManifest(segment, receipt as Uint8Array, manifestKey.privateKey), 'receipt_invalid')
})

test('T128: a receipt by a witness that the charter does not name is none', () => {
  const own = createTestWitness(witness.name)
  const [receipt] = own.append([encodeEntry(manifestEntry(good.payload, manifestKey.kid))], 1)
  refuses(signManifest(good.payload, receipt as Uint8Array, manifestKey.privateKey), 'receipt_invalid')
  const logs = [{ origin: 'mine.example/2026', witness: 'mine.example', state: 'open' }]
  refuses(publish({ ...payload, logs }), 'out_of_charter')
})

test("T127: a log's origin is the witness's name and an epoch", () => {
  for (const origin of [
    'other.example/2026',
    'witness.example',
    'witness.example/',
    'witness.example/../x',
    'witness.example/2026/1',
    'Witness.example/2026',
  ]) {
    refuses(publish({ ...payload, logs: [{ origin, witness: witness.name, state: 'open' }] }), 'malformed')
  }
  const log = { origin: witness.origin, witness: witness.name, state: 'open' }
  refuses(publish({ ...payload, logs: [log, log] }), 'malformed')
  refuses(publish({ ...payload, logs: [{ ...log, state: 'frozen' }] }), 'malformed')
})

test('T084 F1: a stolen authority key cannot take a key out of its realm', () => {
  const attestation = attest({ issuer: issuers.enterprise, tenants: [tenants.fabrikam] })
  for (const change of [
    { iss: issuers.enterprise },
    { tenants: [tenants.fabrikam] },
    { tenants: [tenants.home, tenants.fabrikam] },
    { iss: issuers.enterprise, tenants: [tenants.fabrikam], attestation },
    { iss: 'https://login.consumer.example/' },
    { max_ttl: 3601 },
    { realm: 'admin' },
    { realm: '__proto__' },
    { sign_until: world.now + 15 * 24 * 3600, verify_until: world.now + 15 * 24 * 3600 },
    { verify_until: (consumerKey['sign_until'] as number) + 3660 + 601 },
    { verify_until: (consumerKey['sign_until'] as number) - 1 },
    { sign_until: (consumerKey['nbf'] as number) - 1 },
  ]) {
    refuses(publish(withKey(change)), 'out_of_charter')
  }
  refuses(publish(withKey({ token_types: ['manifest'] })), 'malformed')
})

test('T032 F1: a key that the charter lets one realm use cannot be listed under the other', () => {
  const moved = { realm: 'enterprise', iss: issuers.enterprise, tenants: [tenants.fabrikam] }
  // By the attestation that it has, by one of its own signer, and by one that claims the other realm.
  refuses(publish(withKey(moved)), 'signature_invalid')
  const scope = { realm: 'enterprise', issuer: issuers.enterprise, tenants: [tenants.fabrikam] }
  refuses(publish(withKey({ ...moved, attestation: attest(scope) })), 'signature_invalid')
})

test('T031 T101: one kid stands in a manifest once', () => {
  const enterprise = wireKeys.find(({ kid }) => kid === keys.enterprise.kid) as JsonObject
  refuses(publish({ ...payload, keys: [consumerKey, consumerKey] }), 'malformed')
  refuses(
    publish({ ...payload, keys: [consumerKey, { ...enterprise, kid: consumerKey['kid'] }] }),
    'malformed',
  )
})

test('the authority cannot invent a key: its signer has to attest it', () => {
  const invented = createTestKey('ES256')
  const { kty, crv, x, y } = invented.jwk
  const own = { kid: invented.kid, kty, crv, x, y }
  refuses(publish(withKey(own)), 'attestation_invalid')
  const kid = invented.kid
  for (const forger of [manifestKey, world.signers.enterprise, createTestKey('EdDSA'), invented]) {
    refuses(publish(withKey({ ...own, attestation: attest({ kid }, forger) })), 'signature_invalid')
  }
  refuses(publish(withKey({ ...own, attestation: world.freshness() })), 'type_mismatch')
  refuses(publish(withKey({ ...own, attestation: 'a.b.c' })), 'malformed')
  assert.doesNotThrow(() =>
    verifyManifest(publish(withKey({ ...own, attestation: attest({ kid }), token_types: ['id'] })), charter),
  )
})

test('a manifest may give a key less than its signer attested, never more', () => {
  const narrow = {
    token_types: ['access'],
    max_ttl: 600,
    audiences: ['https://a.example'],
    attestation: attest({ audiences: ['https://a.example', 'https://b.example'] }),
  }
  assert.doesNotThrow(() => verifyManifest(publish(withKey(narrow)), charter))
  const { audiences: _, ...unlimited } = narrow
  for (const change of [
    { ...narrow, token_types: ['access', 'set'] },
    { ...narrow, audiences: ['https://c.example'] },
    unlimited,
    { ...narrow, attestation: attest({ lifetimeSecondsMax: 599 }) },
    { ...narrow, attestation: attest({ algorithm: 'EdDSA' }) },
    { ...narrow, attestation: attest({ issuer: 'https://old.consumer.example' }) },
    { ...narrow, attestation: attest({ realm: 'enterprise' }) },
    { ...narrow, attestation: attest({ kid: keys.enterprise.kid }) },
  ]) {
    refuses(publish(withKey(change)), 'attestation_invalid')
  }
})

test('an attestation says what was attested', () => {
  const attested = verifyAttestation(attest({ audiences: ['https://a.example'] }), [
    world.signers.consumer.jwk,
  ])
  assert.equal(attested.kid, keys.consumer.kid)
  assert.deepEqual(attested.audiences, ['https://a.example'])
  assert.equal(attested.issuedAt, world.now)
})

test('T019 T022-T024 T111: one key that is private, weak or not what its kid says refuses the whole manifest', () => {
  const { d } = keys.consumer.privateKey.export({ format: 'jwk' })
  const { n, e } = createTestKey('RS256').jwk
  for (const change of [
    { d },
    { kty: 'oct', k: 'c2VjcmV0' },
    { kid: keys.enterprise.kid },
    { kid: 'x' },
    { use: 'enc' },
    { use: undefined },
    { alg: 'none' },
    { alg: undefined },
    { alg: 'EdDSA' },
    { crv: 'P-384' },
    { x: consumerKey['y'] },
    { y: consumerKey['x'] },
    { kty: 'RSA', n, e: 'AQ', alg: 'RS256' },
    { kty: 'RSA', n: n?.slice(0, 200), e, alg: 'RS256' },
  ]) {
    refuses(publish(withKey(change)), 'malformed')
  }
})

test('T128: no key that has a role in the charter signs tokens', () => {
  for (const key of [manifestKey, witness.receiptKey]) {
    const { kid } = key
    refuses(publish(withKey({ kid, ...key.jwk, attestation: attest({ kid }) })), 'out_of_charter')
  }
})

test('a state and its record say the same', () => {
  const revoked = { at: world.now, reason: 'stolen' }
  const blocked = { at: world.now, reason: 'suspected', by: 'olga' }
  for (const change of [
    { state: 'revoked' },
    { state: 'blocked' },
    { revoked },
    { blocked },
    { state: 'blocked', revoked, blocked },
    { state: 'revoked', revoked: { ...revoked, by: 'olga' } },
    { state: 'revoked', revoked: { at: world.now } },
    { state: 'revoked', revoked: { at: world.now, reason: 'line\nbreak' } },
    { state: 'blocked', blocked: { at: world.now, reason: 'suspected' } },
    { state: 'compromised' },
    { state: undefined },
  ]) {
    refuses(publish(withKey(change)), 'malformed')
  }
  for (const change of [
    { state: 'revoked', revoked },
    { state: 'revoked', revoked, blocked },
    { state: 'blocked', blocked },
    { state: 'retired' },
  ]) {
    assert.doesNotThrow(() => verifyManifest(publish(withKey(change)), charter))
  }
})

test('T239: an unknown or missing member refuses the whole manifest, wherever it stands', () => {
  const [log] = payload['logs'] as [JsonObject]
  for (const content of [
    { ...payload, note: 'harmless' },
    withKey({ priority: 1 }),
    withKey({ audience: 'https://a.example' }),
    { ...payload, logs: [{ ...log, shard: 1 }] },
    { ...payload, cutoffs: [{ realm: 'consumer', after: 1, before: 2 }] },
    ...Object.keys(payload)
      .filter((name) => !['version', 'iat', 'exp'].includes(name))
      .map((name) => ({ ...payload, [name]: undefined })),
    ...Object.keys(consumerKey).map((name) => withKey({ [name]: undefined })),
  ]) {
    refuses(publish(content), 'malformed')
  }
})

test('a cutoff names whom it concerns', () => {
  for (const cutoff of [
    { before: 7 },
    { sub: 'user-1', before: 7 },
    { realm: 'consumer' },
    { realm: 'consumer', before: -1 },
    { realm: 'consumer', before: 1.5 },
    { realm: 7, before: 7 },
  ]) {
    refuses(publish({ ...payload, cutoffs: [cutoff] }), 'malformed')
  }
})

test('a manifest belongs to one charter, named by its version and its content', () => {
  refuses(publish({ ...payload, charter_version: 2 }), 'version_mismatch')
  refuses(publish({ ...payload, charter_sha256: createTestWorld().charter.sha256 }), 'version_mismatch')
  refuses(publish({ ...payload, charter_sha256: undefined }), 'malformed')
  assert.equal(payload['charter_sha256'], charter.sha256)
  const amended = createTestWorld()
  const before = amended.manifestDocument
  amended.amend()
  assert.throws(() => verifyManifest(before, amended.charter), DocumentRefusal)
})

test('T067: times and versions are whole numbers in their range', () => {
  refuses(publish({ ...payload, version: 0 }), 'malformed')
  for (const value of [-1, 1.5, '7', null, 2 ** 53]) {
    for (const name of ['nbf', 'sign_until', 'verify_until', 'max_ttl']) {
      refuses(publish(withKey({ [name]: value })), 'malformed')
    }
  }
  refuses(publish({ ...payload, exp: payload['iat'] }), 'malformed')
})

test('what was verified before is not taken on trust in the next version', () => {
  const { state } = world
  const segment = (content: object): SignedDocument => publish({ ...content, version: 3 })
  assert.doesNotThrow(() => verifyManifest(segment(payload), charter, state))
  for (const change of [
    { max_ttl: 3601 },
    { attestation: attest({}, manifestKey) },
    { realm: 'enterprise', iss: issuers.enterprise, tenants: [tenants.fabrikam] },
    { token_types: ['access', 'id', 'logout', 'set'], attestation: attest() },
    { x: consumerKey['y'] },
  ]) {
    assert.throws(() => verifyManifest(segment(withKey(change)), charter, state), DocumentRefusal)
  }
})

test('a key that has ended stays in sight, whatever the charter says of it, and vouches for nothing later', () => {
  const invented = createTestKey('ES256')
  const { kid } = invented
  const forged = { kid, ...invented.jwk, attestation: attest({ kid }, manifestKey) }
  const revoked = { at: world.now, reason: 'stolen' }
  for (const end of [{ state: 'retired' }, { state: 'revoked', revoked }]) {
    verifyManifest(
      publish(withKey({ ...end, max_ttl: 7200, tenants: [tenants.fabrikam], realm: 'gone' })),
      charter,
    )
    const manifest = verifyManifest(publish(withKey({ ...forged, ...end })), charter)
    const alive = publish({ ...withKey(forged), version: 4 })
    assert.throws(
      () => verifyManifest(alive, charter, { charter, manifest }),
      (error) => error instanceof DocumentRefusal && error.flaw === 'signature_invalid',
    )
  }
})

test('T239: acts are commands and approvals, read for their form alone', () => {
  const approval = world.approve({ op: 'remove-validator', name: 'gateway-1' })
  const glass = world.approve({ op: 'break-glass', realm: 'consumer', until: world.now + 60 })
  const prune = world.approve({ op: 'prune', kids: [createTestKey('ES256').kid] })
  const unsigned = { payload: approval.payload, signatures: [] }
  verifyManifest(
    publish({
      ...payload,
      acts: [{ command: 'eyJh.eyJi.c2ln' }, { approval }, { approval: unsigned }],
      break_glass: [glass],
      pruned: [prune],
    }),
    charter,
  )
  for (const change of [
    { acts: [{}] },
    { acts: [{ command: 'a.b' }] },
    { acts: [{ command: 'a.b.c', approval }] },
    { acts: [{ approval: { payload: 'e30', signatures: [] } }] },
    { acts: {} },
    { break_glass: [approval] },
    { break_glass: [{ ...glass, note: 'x' }] },
    { pruned: [glass] },
    withKey({ lifted: approval }),
    withKey({ lifted: null }),
    withKey({ early: prune }),
  ]) {
    refuses(publish({ ...payload, ...change }), 'malformed')
  }
})

test('a key may be attested by any signer that its realm has in the charter', () => {
  const other = createTestWorld()
  const moved = createTestKey('ES256')
  const realms = readPayload(other.charterDocuments[0]?.payload ?? '')['realms'] as JsonObject
  const consumer = realms['consumer'] as JsonObject
  const signers = [...(consumer['signers'] as object[]), moved.jwk]
  other.amend(() => ({ realms: { ...realms, consumer: { ...consumer, signers } } }))
  const added = createTestKey('ES256')
  const scope = other.draftKey(added, 'consumer')
  const attestation = attestKey({ ...scope, issuedAt: other.now }, moved.privateKey)
  other.publish(({ keys: before }) => ({ keys: [...before, { ...scope, attestation }] }))
  assert.equal(other.state.manifest.keys.has(added.kid), true)
  assert.equal(other.state.manifest.keys.has(other.keys.consumer.kid), true)
})

test('a signer that the charter replaced attests nothing any more', () => {
  const other = createTestWorld()
  const before = other.state
  const realms = readPayload(other.charterDocuments[0]?.payload ?? '')['realms'] as JsonObject
  const signers = [createTestKey('EdDSA').jwk]
  assert.throws(
    () =>
      other.amend(() => ({
        realms: { ...realms, consumer: { ...(realms['consumer'] as object), signers } },
      })),
    (error) => error instanceof DocumentRefusal && error.flaw === 'signature_invalid',
  )
  assert.equal(before.charter.version, 1)
})

test('no member of a manifest can be changed without a new signature', () => {
  const text = JSON.stringify(payload)
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom('0', '1', 'a', '"'), (at, character) => {
      const changed = `${text.slice(0, at)}${character}${text.slice(at + 1)}`
      fc.pre(changed !== text)
      const document = { ...good, payload: Buffer.from(changed).toString('base64url') }
      assert.throws(() => verifyManifest(document, charter), DocumentRefusal)
    }),
    { seed: 5, numRuns: 300 },
  )
})

interface Vectors {
  readonly about: string
  readonly trust_anchor: TrustAnchor
  readonly charter: unknown
  readonly cases: readonly { name: string; manifest: unknown; flaw: DocumentFlaw | null }[]
}

const vectorsFile = new URL('../../spec/vectors/manifest.json', import.meta.url)

function makeVectors(): Vectors {
  const invented = createTestKey('ES256')
  const { kid } = invented
  const foreign = { kid, ...invented.jwk }
  const at = world.now
  const [log] = payload['logs'] as [JsonObject]
  const enterprise = wireKeys.find(({ kid: name }) => name === keys.enterprise.kid) as JsonObject
  const second = encodePayload({ ...payload, version: 2 })
  const [receipt] = witness.append([encodeEntry(manifestEntry(good.payload, manifestKey.kid))], 2)
  const cases: Readonly<Record<string, readonly [flaw: DocumentFlaw | null, manifest: unknown]>> = {
    'two realms, an active and a published key each': [null, good],
    'a blocked and a revoked key, a cutoff': [
      null,
      publish({
        ...payload,
        keys: [
          { ...consumerKey, state: 'blocked', blocked: { at, reason: 'suspected', by: 'olga' } },
          { ...enterprise, state: 'revoked', revoked: { at, reason: 'stolen' } },
        ],
        cutoffs: [{ realm: 'enterprise', tenant: tenants.fabrikam, sub: 'user-1', before: at }],
      }),
    ],
    'narrower than what the signer attested': [
      null,
      publish(withKey({ token_types: ['access'], max_ttl: 600 })),
    ],
    'signed by a signing key that it lists': ['signature_invalid', publish(payload, keys.consumer)],
    'no receipt': [
      'receipt_invalid',
      signDocument(good.payload, 'key-manifest+jwt', [manifestKey.privateKey]),
    ],
    'the receipt of another manifest': [
      'receipt_invalid',
      signManifest(second, receipt as Uint8Array, manifestKey.privateKey),
    ],
    'consumer key with the enterprise issuer': [
      'out_of_charter',
      publish(withKey({ iss: issuers.enterprise })),
    ],
    'consumer key with an enterprise tenant': [
      'out_of_charter',
      publish(withKey({ tenants: [tenants.home, tenants.fabrikam] })),
    ],
    'longer-lived tokens than the charter allows': ['out_of_charter', publish(withKey({ max_ttl: 3601 }))],
    'a key that signs for longer than the charter allows': [
      'out_of_charter',
      publish(withKey({ sign_until: at + 15 * 24 * 3600, verify_until: at + 15 * 24 * 3600 })),
    ],
    'a key that verifies for longer than the charter allows': [
      'out_of_charter',
      publish(withKey({ verify_until: (consumerKey['sign_until'] as number) + 3660 + 601 })),
    ],
    'a realm that the charter does not have': ['out_of_charter', publish(withKey({ realm: 'admin' }))],
    'the log of a witness that the charter does not name': [
      'out_of_charter',
      publish({ ...payload, logs: [{ ...log, origin: 'mine.example/2026', witness: 'mine.example' }] }),
    ],
    'consumer key moved to the enterprise realm, attested by the consumer signer': [
      'signature_invalid',
      publish(
        withKey({
          realm: 'enterprise',
          iss: issuers.enterprise,
          tenants: [tenants.fabrikam],
          attestation: attest({
            realm: 'enterprise',
            issuer: issuers.enterprise,
            tenants: [tenants.fabrikam],
          }),
        }),
      ),
    ],
    'an invented key with the attestation of another': ['attestation_invalid', publish(withKey(foreign))],
    'an invented key, attested by the authority': [
      'signature_invalid',
      publish(withKey({ ...foreign, attestation: attest({ kid }, manifestKey) })),
    ],
    'wider than what the signer attested': [
      'attestation_invalid',
      publish(withKey({ attestation: attest({ tokenTypes: ['access'] }) })),
    ],
    'a kid that is not the thumbprint': ['malformed', publish(withKey({ kid: keys.enterprise.kid }))],
    'one key twice': ['malformed', publish({ ...payload, keys: [consumerKey, consumerKey] })],
    'an unknown member in a key': ['malformed', publish(withKey({ priority: 1 }))],
    'revoked without a record of it': ['malformed', publish(withKey({ state: 'revoked' }))],
    'a cutoff that names nobody': ['malformed', publish({ ...payload, cutoffs: [{ before: 7 }] })],
    'an origin that is not of the named witness': [
      'malformed',
      publish({ ...payload, logs: [{ ...log, origin: 'other.example/2026' }] }),
    ],
    'a manifest of another charter': ['version_mismatch', publish({ ...payload, charter_version: 2 })],
    'signed as another type': ['type_mismatch', signDocument(good.payload, 'jwt', [manifestKey.privateKey])],
  }
  return {
    about:
      'Manifests, each verified under the one charter. The words for flaws are those of spec/manifest.md.',
    trust_anchor: world.trustAnchor,
    charter: world.charterDocuments[0],
    cases: Object.entries(cases).map(([name, [flaw, manifest]]) => ({ name, manifest, flaw })),
  }
}

if (process.env['COUNTERSIGN_WRITE_VECTORS'] !== undefined) {
  writeFileSync(vectorsFile, `${JSON.stringify(makeVectors(), undefined, 2)}\n`)
}

const published: Vectors = JSON.parse(readFileSync(vectorsFile, 'utf8'))

test('the vectors of spec/vectors/manifest.json are judged as they say', () => {
  const pinned = verifyCharter(published.charter, published.trust_anchor)
  for (const { name, manifest, flaw } of published.cases) {
    const verify = (): unknown => verifyManifest(manifest, pinned)
    if (flaw === null) assert.doesNotThrow(verify, name)
    else assert.throws(verify, (error) => error instanceof DocumentRefusal && error.flaw === flaw, name)
  }
})
