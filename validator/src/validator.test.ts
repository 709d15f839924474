/**
 * Goal: what an attacker tries on a protected service is refused with the reason that tells what it was, an honest token
 * is accepted, no cached verdict outlives its cause, and every decision can be heard of. Method: a small world of trust
 * with every private key at hand, in which each test plays whoever stole or twisted something.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { decode, decodeText, encode } from './base64url.ts'
import { type TokenType, tokenTypes } from './entry.ts'
import { signInput } from './jws.ts'
import type { TrustSource } from './manifest.ts'
import { decodeReceipt, encodeReceipt } from './receipt.ts'
import { Refusal } from './refusal.ts'
import { REPORT_SIGHTINGS_MAX, readSighting, type Sighting, signReport, writeSighting } from './sighting.ts'
import {
  createTestKey,
  createTestWitness,
  createTestWorld,
  mailAudience,
  type TestOrder,
  tenants,
  verdictOf,
} from './testing.ts'
import { proveEach } from './tree.ts'
import {
  acceptWithoutReceipt,
  createValidator,
  type Sender,
  type Validator,
  type ValidatorOptions,
} from './validator.ts'

const world = createTestWorld()
const { now } = world
const usual = {
  realm: 'enterprise',
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
} as const
const enterprise = createValidator(usual)
const consumer = createValidator({ ...usual, realm: 'consumer' })
const both = createValidator({ ...usual, realm: ['consumer', 'enterprise'] })
const fabrikamIssuer = `https://login.enterprise.example/${tenants.fabrikam}/v2.0`

function verdict(validator: Validator, token: string, sender?: Sender): string {
  return verdictOf(validator.decide(token, sender))
}

/** An enterprise access token with other claims or header, without receipt where it is refused before that matters. */
function twisted(claims: Record<string, unknown>, order: TestOrder = {}): string {
  return world.issue({ realm: 'enterprise', receipt: null, ...order, claims })
}

function issue(order: TestOrder = {}): string {
  return world.issue({ realm: 'enterprise', ...order })
}

/** The same header and claims under another signature by the key, without the signer or its log. */
function resign(token: string, key = world.keys.enterprise): string {
  const input = token.slice(0, token.lastIndexOf('.'))
  return `${input}.${encode(signInput(key.algorithm, key.privateKey, input))}`
}

/** `s` replaced by its negative: verifies as well, and is another text. */
function twin(token: string): string {
  const at = token.lastIndexOf('.') + 1
  const signature = Buffer.from(decode(token.slice(at)))
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = order - BigInt(`0x${signature.subarray(32).toString('hex')}`)
  signature.write(s.toString(16).padStart(64, '0'), 32, 'hex')
  return token.slice(0, at) + encode(signature)
}

test('an honest token is accepted, and tells who it is', () => {
  const token = enterprise.validate(
    issue({ claims: { sub: 'ada', scope: 'mail.read mail.send', aud: [mailAudience] } }),
  )
  assert.equal(token.subject, 'ada')
  assert.equal(token.issuer, fabrikamIssuer)
  assert.equal(token.tenant, tenants.fabrikam)
  assert.equal(token.realm, 'enterprise')
  assert.equal(token.kid, world.keys.enterprise.kid)
  assert.equal(token.clientId, 'client-1')
  assert.deepEqual(token.scopes, ['mail.read', 'mail.send'])
  assert.deepEqual(token.audiences, [mailAudience])
  assert.deepEqual([token.issuedAt, token.expiresAt], [now, now + 300])
  assert.equal(token.claims['sub'], 'ada')
  assert.equal(token.tokenId, token.claims['jti'])
  assert.equal(token.receipt?.origin, world.witness.origin)
  const leaf = world.witness.leafHashes[token.receipt?.index ?? -1]
  assert.equal(token.receipt?.leafHash, encode(leaf ?? new Uint8Array()))
})

test('a token of a batch is accepted like a lone one', () => {
  const tokens = world.issueBatch(Array.from({ length: 40 }, () => ({ realm: 'enterprise' })))
  for (const token of tokens) assert.equal(verdict(enterprise, token), 'accepted')
})

test('where the witness has told of a root, the path to it is enough; where not, the signature decides', () => {
  const [token = ''] = world.issueBatch([{ realm: 'enterprise' }, { realm: 'enterprise' }])
  const [header, claims] = token.split('.', 2).map((segment) => JSON.parse(decodeText(segment)))
  const receipt = decodeReceipt(decode(header.rcpt))
  const isTold = (start: number, size: number): boolean => start === receipt.start && size === receipt.size
  const { root: toldRoot } = proveEach(
    world.witness.leafHashes.slice(receipt.start, receipt.start + receipt.size),
  )
  const told = (root: Uint8Array): TrustSource => ({
    state: world.trust.state,
    ageSeconds: () => 0,
    roots: { has: (_log, start, size, shown) => isTold(start, size) && Buffer.compare(root, shown) === 0 },
  })
  const unsigned = issue({ claims, receipt: encodeReceipt({ ...receipt, signature: new Uint8Array(64) }) })
  assert.equal(verdict(createValidator({ ...usual, trust: told(toldRoot) }), unsigned), 'accepted')
  assert.equal(
    verdict(createValidator({ ...usual, trust: told(new Uint8Array(32)) }), unsigned),
    'receipt_invalid',
  )
  assert.equal(verdict(enterprise, unsigned), 'receipt_invalid')
  // Nobody else's token is on that path.
  const other = issue({ claims: { ...claims, sub: 'root' }, receipt: encodeReceipt(receipt) })
  assert.equal(verdict(createValidator({ ...usual, trust: told(toldRoot) }), other), 'receipt_invalid')
})

for (const algorithm of ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44'] as const) {
  test(`a token signed with ${algorithm} is accepted, and T021 under another alg refused`, () => {
    const place = createTestWorld()
    const key = createTestKey(algorithm)
    place.publish((draft) => ({ keys: [...draft.keys, place.draftKey(key, 'enterprise')] }))
    const validator = createValidator({ ...usual, trust: place.trust })
    assert.equal(verdict(validator, place.issue({ realm: 'enterprise', key })), 'accepted')
    for (const alg of ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44']) {
      if (alg === algorithm) continue
      const token = place.issue({ realm: 'enterprise', key, header: { alg } })
      assert.equal(verdict(validator, token), 'key_out_of_scope')
    }
  })
}

test('T032 T084 F1 F2 F14: a consumer key cannot vouch for an enterprise issuer', () => {
  const order = { realm: 'enterprise', key: world.keys.consumer } as const
  assert.equal(verdict(enterprise, world.issue(order)), 'key_out_of_scope')
  assert.equal(verdict(both, world.issue(order)), 'issuer_mismatch')
  assert.equal(verdict(enterprise, world.issue({ ...order, receipt: null })), 'key_out_of_scope')
})

test('T085: a consumer issuer with an enterprise tenant is refused', () => {
  const token = world.issue({ realm: 'consumer', claims: { tid: tenants.fabrikam } })
  assert.equal(verdict(consumer, token), 'tenant_mismatch')
})

test('T083 T086: issuer and tenant must be those of the key, and agree', () => {
  const iss = fabrikamIssuer
  for (const other of [
    iss.replace('https', 'http'),
    `${iss}/`,
    iss.toUpperCase(),
    'https://login.consumer.example',
  ]) {
    assert.equal(verdict(enterprise, twisted({ iss: other })), 'issuer_mismatch')
  }
  assert.equal(verdict(enterprise, twisted({ iss, tid: tenants.northwind })), 'tenant_mismatch')
  assert.equal(verdict(enterprise, twisted({ tid: tenants.home })), 'tenant_mismatch')
  assert.equal(verdict(enterprise, twisted({ tid: '{tenantid}' })), 'tenant_mismatch')
  assert.equal(verdict(enterprise, twisted({ tid: 'common' })), 'tenant_mismatch')
})

test('T087 T088: a subject is one only together with its issuer, and mail is not looked at', () => {
  const [ada, other] = [tenants.fabrikam, tenants.northwind].map((tid) =>
    enterprise.validate(issue({ claims: { tid, sub: 'ada', email: 'ada@fabrikam.example' } })),
  )
  assert.equal(ada?.subject, other?.subject)
  assert.notEqual(ada?.issuer, other?.issuer)
  assert.notEqual(ada?.tenant, other?.tenant)
})

test('T089 T090 F14: an unsigned token around a signed one is refused, and an actor adds nothing', () => {
  const actor = issue({ claims: { sub: 'service' } })
  const segments = [
    { alg: 'none', typ: 'at+jwt' },
    { iss: fabrikamIssuer, sub: 'ceo', actort: actor },
  ]
  const outer = segments.map((each) => encode(Buffer.from(JSON.stringify(each)))).join('.')
  assert.notEqual(verdict(enterprise, `${outer}.`), 'accepted')
  const full = twisted({ sub: 'ceo', actort: actor }, { header: { alg: 'none' } })
  assert.equal(verdict(enterprise, full), 'alg_not_allowed')
  assert.equal(verdict(enterprise, `${full.slice(0, full.lastIndexOf('.'))}.`), 'alg_not_allowed')
  const acting = enterprise.validate(issue({ claims: { sub: 'service', act: { sub: 'ceo' }, actort: 'x' } }))
  assert.equal(acting.subject, 'service')
})

test('T081 T082: what other claims say changes nothing that a validated token tells', () => {
  const act = { sub: 'a', act: { sub: 'b', act: { sub: 'c' } } }
  const token = enterprise.validate(
    issue({ claims: { act, roles: ['admin'], groups: ['all'], realm: 'x', subject: 'x' } }),
  )
  assert.deepEqual([token.subject, token.realm], ['user-1', 'enterprise'])
  assert.deepEqual(token.scopes, ['mail.read'])
})

const types = ['access', 'id', 'logout', 'set'] as const
for (const asked of types) {
  for (const given of types) {
    test(`T092: an ${asked} validator ${asked === given ? 'accepts' : 'refuses'} a token of type ${given}`, () => {
      const validator = createValidator({ ...usual, tokenType: asked })
      assert.equal(verdict(validator, issue({ type: given })), asked === given ? 'accepted' : 'type_mismatch')
      if (asked === given) return
      // With its own header exchanged the entry in the log is still one of another type; and a SET has other claims.
      const typ = { access: 'at+jwt', id: 'JWT', logout: 'logout+jwt', set: 'secevent+jwt' }[asked]
      const reason = [asked, given].includes('set') ? 'malformed' : 'receipt_invalid'
      assert.equal(verdict(validator, issue({ type: given, header: { typ } })), reason)
    })
  }
}

test('a SET is accepted without end, subject or tenant, and tells what happened and to whom', () => {
  const subject = { format: 'iss_sub', iss: fabrikamIssuer, sub: 'ada' }
  const claims = { sub_id: subject, events: { 'https://events.example/x': { event_timestamp: 7 } } }
  const validator = createValidator({ ...usual, tokenType: 'set', now: () => now + 7 * 24 * 3600 - 3700 })
  const token = createValidator({ ...usual, tokenType: 'set' }).validate(issue({ type: 'set', claims }))
  assert.deepEqual(token.event, {
    type: 'https://events.example/x',
    payload: { event_timestamp: 7 },
    subject,
  })
  assert.equal(token.tenant, tenants.fabrikam)
  assert.ok(token.receipt)
  for (const name of ['subject', 'expiresAt'] as const) assert.throws(() => token[name], TypeError)
  assert.equal(verdict(validator, issue({ type: 'set' })), 'key_retired', 'only its key ends')
})

test('a SET of an issuer without a tenant in its name is of the only tenant of its key, or of none', () => {
  const validator = createValidator({ ...usual, realm: 'consumer', tokenType: 'set' })
  assert.equal(
    validator.validate(world.issue({ realm: 'consumer', type: 'set' })).tenant,
    world.state.charter.realms.get('consumer')?.tenants[0],
  )
})

test('T219 a SET falls with a cutoff of its tenant, and not with one of the subject that it tells of', () => {
  const place = createTestWorld()
  const validator = createValidator({ ...usual, trust: place.trust, tokenType: 'set' })
  const token = place.issue({ realm: 'enterprise', type: 'set' })
  place.publish(() => ({ cutoffs: [{ realm: 'enterprise', subject: 'user-1', before: now + 1 }] }))
  assert.equal(verdict(validator, token), 'accepted')
  place.publish(() => ({ cutoffs: [{ realm: 'enterprise', tenant: tenants.northwind, before: now + 1 }] }))
  assert.equal(verdict(validator, token), 'accepted')
  place.publish(() => ({ cutoffs: [{ realm: 'enterprise', tenant: tenants.fabrikam, before: now + 1 }] }))
  assert.equal(verdict(validator, token), 'issued_before_cutoff')
})

const notSets: readonly (readonly [title: string, claims: Record<string, unknown>])[] = [
  ['an end', { exp: now + 300 }],
  ['a subject', { sub: 'user-1' }],
  ['a tenant', { tid: tenants.fabrikam }],
  ['a client', { client_id: 'client-1' }],
  ['a scope', { scope: 'mail.read' }],
  ['a nonce', { nonce: 'n' }],
  ['a session', { sid: 'session-1' }],
  ['two events', { events: { 'https://events.example/x': {}, 'https://events.example/y': {} } }],
  ['no event', { events: {} }],
  ['a list of events', { events: [{}] }],
  ['an event that is a text', { events: { 'https://events.example/x': 'happened' } }],
  ['an event without a name', { events: { '': {} } }],
  ['events left out', { events: undefined }],
  ['a subject identifier left out', { sub_id: undefined }],
  ['a subject identifier without a format', { sub_id: { id: '1' } }],
  ['a subject identifier that is a text', { sub_id: 'user-1' }],
]
for (const [title, claims] of notSets) {
  test(`T210 T092: a SET with ${title} is malformed`, () => {
    const validator = createValidator({ ...usual, tokenType: 'set' })
    assert.equal(verdict(validator, issue({ type: 'set', claims })), 'malformed')
  })
}

for (const typ of [
  'dpop+jwt',
  'token-introspection+jwt',
  'oauth-authz-req+jwt',
  'client-authentication+jwt',
  'key-manifest+jwt',
  'charter+jwt',
  'key-attestation+jwt',
  'rt+jwt',
  'jwt',
  '',
  'аt+jwt',
  'at+jwt\0',
  undefined,
]) {
  test(`T046 T092: typ ${JSON.stringify(typ)} is no access token`, () => {
    assert.equal(verdict(enterprise, issue({ header: { typ } })), 'type_mismatch')
  })
}

test('T046: application/at+jwt in any case is at+jwt, and the receipt holds for it', () => {
  for (const typ of ['application/at+jwt', 'AT+JWT'])
    assert.equal(verdict(enterprise, issue({ header: { typ } })), 'accepted')
})

for (const kid of [
  '../../etc/passwd',
  '/dev/null',
  'k\0',
  '%00',
  "' OR 1=1 --",
  '*)(uid=*',
  '$(id)',
  'k\r\nset-cookie: a=b',
  '__proto__',
  'constructor',
  'toString',
  '',
  undefined,
]) {
  test(`T026 T027 T028 T029: kid ${JSON.stringify(kid)} names no key, and is not repeated`, () => {
    const seen: Sighting[] = []
    const validator = createValidator({ ...usual, onSighting: (sighting) => seen.push(sighting) })
    const decision = validator.decide(twisted({}, { header: { kid } }))
    assert.ok(!decision.accepted)
    assert.equal(decision.refusal.reason, 'unknown_key')
    assert.equal(decision.refusal.kid, undefined)
    assert.equal(seen[0]?.kid, undefined)
  })
}

test('T029: a token without kid is refused also where there is one key only', () => {
  const place = createTestWorld()
  place.publish((draft) => ({ keys: draft.keys.filter(({ kid }) => kid === place.keys.enterprise.kid) }))
  const validator = createValidator({ ...usual, trust: place.trust })
  assert.equal(verdict(validator, place.issue({ realm: 'enterprise' })), 'accepted')
  assert.equal(
    verdict(validator, place.issue({ realm: 'enterprise', header: { kid: undefined } })),
    'unknown_key',
  )
})

test('T031 T101: the name of one key on a signature by another does not verify', () => {
  const token = issue({ key: world.keys.consumer, header: { kid: world.keys.enterprise.kid } })
  assert.equal(verdict(both, token), 'signature_invalid')
  assert.equal(verdict(enterprise, resign(issue(), world.keys.consumer)), 'signature_invalid')
})

test('T025: claims that say the same in other characters are not what was signed', () => {
  const [header, payload, signature] = issue().split('.') as [string, string, string]
  const spaced = encode(
    Buffer.from(JSON.stringify(JSON.parse(Buffer.from(payload, 'base64url').toString()), null, 1)),
  )
  assert.equal(verdict(enterprise, `${header}.${spaced}.${signature}`), 'signature_invalid')
})

test('T063: a token of more than 16 KiB, or a header of more than 2 KiB, is refused', () => {
  assert.equal(verdict(enterprise, twisted({ padding: 'x'.repeat(16_384) })), 'oversized')
  assert.equal(verdict(enterprise, twisted({}, { header: { kid: 'k'.repeat(2048) } })), 'oversized')
})

const notATime = [undefined, null, '1800000300', now + 0.5, -1, 1e300, 2 ** 53, [now], {}, true, Number.NaN]
test('T067 T058: exp must be a whole number of seconds', () => {
  for (const exp of notATime) assert.equal(verdict(enterprise, twisted({ exp })), 'malformed', String(exp))
})

test('T068 T069: iat and nbf must be whole numbers of seconds, nbf may be absent', () => {
  for (const iat of notATime) assert.equal(verdict(enterprise, twisted({ iat })), 'malformed', String(iat))
  for (const nbf of notATime.slice(1, -1))
    assert.equal(verdict(enterprise, twisted({ nbf })), 'malformed', String(nbf))
  assert.equal(verdict(enterprise, issue({ claims: { nbf: now } })), 'accepted')
})

test('T055: Exp, ISS and Aud are not exp, iss and aud', () => {
  assert.equal(verdict(enterprise, twisted({ exp: undefined, Exp: now + 300 })), 'malformed')
  assert.equal(verdict(enterprise, twisted({ iss: undefined, ISS: fabrikamIssuer })), 'malformed')
  assert.equal(
    verdict(enterprise, issue({ claims: { aud: 'other', Aud: mailAudience } })),
    'audience_mismatch',
  )
})

test('T067 T072: a life beyond the policy of the key is refused, though exp is in the future', () => {
  assert.equal(verdict(enterprise, issue({ claims: { exp: now + 3600 } })), 'accepted')
  assert.equal(verdict(enterprise, issue({ claims: { exp: now + 3601 } })), 'lifetime_too_long')
  assert.equal(verdict(enterprise, issue({ claims: { exp: 2 ** 40 } })), 'lifetime_too_long')
})

/** What another validator of the same world says `seconds` later. */
function later(seconds: number, token: string, options: Partial<ValidatorOptions> = {}): string {
  return verdict(createValidator({ ...usual, now: () => now + seconds, ...options }), token)
}

test('T070: a token expires when exp and the tolerance have passed, to the second', () => {
  const token = issue()
  assert.equal(later(304.999, token), 'accepted')
  assert.equal(later(305, token), 'expired')
  assert.equal(later(299.999, token, { clockToleranceSeconds: 0 }), 'accepted')
  assert.equal(later(300, token, { clockToleranceSeconds: 0 }), 'expired')
})

test('T068 T069 T070: a token of the future is not yet valid, to the second', () => {
  for (const claim of ['iat', 'nbf']) {
    const token = issue({ claims: { [claim]: now + 100 } })
    assert.equal(later(94.999, token), 'not_yet_valid')
    assert.equal(later(95, token), 'accepted')
    assert.equal(later(99.999, token, { clockToleranceSeconds: 0 }), 'not_yet_valid')
    assert.equal(later(100, token, { clockToleranceSeconds: 0 }), 'accepted')
  }
})

test('T069: iat after exp is malformed', () => {
  assert.equal(verdict(enterprise, twisted({ iat: now, exp: now })), 'malformed')
  assert.equal(verdict(enterprise, twisted({ iat: now, exp: now - 1 })), 'malformed')
})

test('T071 T115: a clock set back revives no token, since the manifest knows a later time', () => {
  assert.equal(later(-61, issue()), 'not_yet_valid')
  const old = issue({ claims: { iat: now - 600, exp: now - 300 } })
  assert.equal(verdict(enterprise, old), 'expired')
  assert.equal(later(-400, old), 'manifest_stale')
})

test('T071 T121: a manifest that nobody vouches for is too old, whatever the clock says', () => {
  const token = issue()
  for (const [age, expected] of [
    [60, 'accepted'],
    [60.001, 'manifest_stale'],
    [Number.NaN, 'manifest_stale'],
    [Number.POSITIVE_INFINITY, 'manifest_stale'],
  ] as const) {
    const trust = { state: world.state, ageSeconds: () => age }
    assert.equal(later(0, token, { trust }), expected)
  }
  assert.equal(later(0, token, { trust: { state: undefined, ageSeconds: () => 0 } }), 'manifest_stale')
})

test('a manifest is good until it expires', () => {
  const key = createTestKey('ES256')
  const place = createTestWorld()
  const change = {
    notBefore: now - 3600,
    signUntil: now + 9 * 24 * 3600,
    verifyUntil: now + 9 * 24 * 3600 + 3600,
  }
  place.publish((draft) => ({ keys: [...draft.keys, place.draftKey(key, 'enterprise', change)] }))
  place.now = now + 24 * 3600
  const token = place.issue({ realm: 'enterprise', key })
  const at = (seconds: number): string =>
    verdict(createValidator({ ...usual, trust: place.trust, now: () => now + seconds }), token)
  assert.equal(at(24 * 3600 - 1), 'accepted')
  assert.equal(at(24 * 3600), 'manifest_stale')
})

for (const [what, aud, expected] of [
  ['missing', undefined, 'malformed'],
  ['null', null, 'malformed'],
  ['a number', 7, 'malformed'],
  ['an object', { 0: mailAudience }, 'malformed'],
  ['a list with a number', [mailAudience, 7], 'malformed'],
  ['a nested list', [[mailAudience]], 'malformed'],
  ['empty', '', 'audience_mismatch'],
  ['an empty list', [], 'audience_mismatch'],
  ['a prefix', mailAudience.slice(0, -1), 'audience_mismatch'],
  ['with a suffix', `${mailAudience}.attacker.example`, 'audience_mismatch'],
  ['with a slash', `${mailAudience}/`, 'audience_mismatch'],
  ['in upper case', mailAudience.toUpperCase(), 'audience_mismatch'],
  ['a list joined by a comma', `${mailAudience},https://other.example`, 'audience_mismatch'],
  ['the wildcard', '*', 'audience_mismatch'],
  ['ours', mailAudience, 'accepted'],
  ['ours among others', ['https://other.example', mailAudience], 'accepted'],
] as const) {
  test(`T073: aud ${what} comes out as ${expected}`, () => {
    const receipt = expected === 'accepted' ? {} : { receipt: null }
    assert.equal(verdict(enterprise, issue({ claims: { aud }, ...receipt })), expected)
  })
}

test('T099 T100: the audience of a service is text, not a pattern', () => {
  const token = issue()
  for (const audience of ['*', '.*', 'https://*', `${mailAudience}|x`, 'mail.countersign.example']) {
    assert.equal(later(0, token, { audience }), 'audience_mismatch')
  }
  assert.equal(later(0, token, { audience: ['https://other.example', mailAudience] }), 'accepted')
})

test('a refusal names the audience of the service for its log, and never that of the token', () => {
  const decision = enterprise.decide(issue({ claims: { aud: 'https://other.example' } }))
  assert.equal(
    decision.accepted || decision.refusal.message,
    `the token is meant for another audience: it is not for ${mailAudience}`,
  )
})

test('T075 T076: iss, sub, jti and tid must be text', () => {
  for (const claim of ['iss', 'sub', 'jti', 'tid']) {
    for (const value of [undefined, null, '', 7, ['a'], {}]) {
      const iss = claim === 'tid' ? { iss: fabrikamIssuer } : {}
      assert.equal(verdict(enterprise, twisted({ ...iss, [claim]: value })), 'malformed', `${claim} ${value}`)
    }
  }
})

test('T074 T075: a subject that is the client itself shows as such', () => {
  const token = enterprise.validate(issue({ claims: { sub: 'client-1' } }))
  assert.equal(token.subject, token.clientId)
  for (const client_id of [null, '', 7])
    assert.equal(verdict(enterprise, twisted({ client_id })), 'malformed')
})

test('T078: how somebody signed in reaches the service as it was signed, for the route to judge', () => {
  const how = { acr: 'urn:mfa', amr: ['pwd', 'otp'], auth_time: now - 7200 }
  const { claims } = enterprise.validate(issue({ claims: how }))
  assert.deepEqual({ acr: claims['acr'], amr: claims['amr'], auth_time: claims['auth_time'] }, how)
})

test('T077: scope is text with single spaces, and its tokens are compared whole', () => {
  for (const scope of [
    ['mail.read'],
    '',
    ' mail.read',
    'mail.read ',
    'a  b',
    'a\tb',
    'a"b',
    'a\\b',
    7,
    null,
  ]) {
    assert.equal(verdict(enterprise, twisted({ scope })), 'malformed', String(scope))
  }
  assert.deepEqual(enterprise.validate(issue({ claims: { scope: 'mail.read.all' } })).scopes, [
    'mail.read.all',
  ])
  assert.deepEqual(enterprise.validate(issue({ claims: { scope: undefined } })).scopes, [])
})

const jkt = 'A'.repeat(43)
for (const [what, cnf, confirmation, expected] of [
  ['bound, proven', { jkt }, { jkt }, 'accepted'],
  ['bound, shown as a bearer token', { jkt }, undefined, 'sender_mismatch'],
  ['bound, empty proof', { jkt }, {}, 'sender_mismatch'],
  ['bound, proof of another key', { jkt }, { jkt: 'B'.repeat(43) }, 'sender_mismatch'],
  ['not bound, with a proof', undefined, { jkt }, 'sender_mismatch'],
  ['bound twice', { jkt, 'x5t#S256': 'a' }, { jkt }, 'sender_mismatch'],
  ['bound by a certificate', { 'x5t#S256': 'a' }, undefined, 'sender_mismatch'],
  ['bound by an unknown method', { magic: 'a' }, undefined, 'sender_mismatch'],
  ['bound to nothing', {}, undefined, 'sender_mismatch'],
  ['bound to a number', { jkt: 7 }, { jkt: '7' }, 'sender_mismatch'],
  ['cnf that is text', jkt, { jkt }, 'malformed'],
  ['cnf that is null', null, undefined, 'malformed'],
] as const) {
  test(`T066 T080 T156: ${what} comes out as ${expected}, also when the token was accepted before`, () => {
    const token = issue({ claims: { cnf } })
    if (typeof cnf === 'object' && cnf !== null && 'jkt' in cnf)
      enterprise.decide(token, { confirmation: { jkt } })
    assert.equal(verdict(enterprise, token, { confirmation }), expected)
  })
}

test('T066: a refusal tells a token that is bound to a key not proven from one that is bound to nothing', () => {
  const strict = createValidator({ ...usual, requireBinding: true })
  for (const [validator, cnf, confirmation, said] of [
    [strict, { jkt }, undefined, /: it is bound to a key that the request does not prove$/],
    [strict, undefined, undefined, /: it is bound to nothing, and only bound tokens are taken here$/],
    [strict, undefined, { jkt }, /: it is bound to nothing, and only bound tokens are taken here$/],
    [enterprise, undefined, { jkt }, /: it is bound to nothing, and only bound tokens are taken here$/],
  ] as const) {
    const token = issue({ claims: { cnf } })
    assert.throws(() => validator.validate(token, { confirmation }), {
      reason: 'sender_mismatch',
      message: said,
    })
  }
})

test('T093 F4 F5: a key of each state, a key of the past and a key that is not known', () => {
  const states = {
    published: 'key_not_active',
    active: 'accepted',
    retiring: 'accepted',
    retired: 'key_retired',
    blocked: 'key_blocked',
    revoked: 'key_revoked',
  } as const
  for (const [state, expected] of Object.entries(states)) {
    const place = createTestWorld()
    const token = place.issue({ realm: 'enterprise' })
    place.setState(place.keys.enterprise.kid, state as keyof typeof states)
    assert.equal(verdict(createValidator({ ...usual, trust: place.trust }), token), expected)
  }
  assert.equal(verdict(enterprise, issue({ key: createTestKey('ES256') })), 'unknown_key')
})

test('T093 T094 F4: a key is held to its times, though the manifest still calls it active', () => {
  const place = createTestWorld()
  const { kid } = place.keys.enterprise
  const within = (change: object): void => {
    place.publish(({ keys }) => ({
      keys: keys.map((key) => (key.kid === kid ? { ...key, ...change } : key)),
    }))
  }
  const validator = createValidator({ ...usual, trust: place.trust, now: () => place.now })
  const token = place.issue({ realm: 'enterprise' })
  within({ notBefore: now + 1 })
  assert.equal(verdict(validator, token), 'key_not_active')
  within({ notBefore: now, signUntil: now + 10, verifyUntil: now + 20 })
  assert.equal(verdict(validator, token), 'accepted')
  assert.equal(
    verdict(validator, place.issue({ realm: 'enterprise', claims: { iat: now - 1 } })),
    'issued_outside_key_window',
  )
  place.now = now + 11
  assert.equal(verdict(validator, place.issue({ realm: 'enterprise' })), 'issued_outside_key_window')
  place.now = now + 19
  assert.equal(verdict(validator, token), 'accepted')
  place.now = now + 20
  assert.equal(verdict(validator, token), 'key_retired')
})

test('T095 F9: a key of narrower scope signs no other type and for no other audience', () => {
  const place = createTestWorld()
  const key = createTestKey('ES256')
  const scope = { tokenTypes: ['id'], audiences: ['client-1'] } as const
  place.publish((draft) => ({ keys: [...draft.keys, place.draftKey(key, 'enterprise', scope)] }))
  const options = { ...usual, trust: place.trust }
  const id = { realm: 'enterprise', key, type: 'id' } as const
  const asClient = createValidator({ ...options, audience: 'client-1', tokenType: 'id' })
  assert.equal(verdict(asClient, place.issue({ ...id, claims: { aud: 'client-1' } })), 'accepted')
  assert.equal(verdict(createValidator(options), place.issue({ ...id, type: 'access' })), 'key_out_of_scope')
  assert.equal(
    verdict(asClient, place.issue({ ...id, claims: { aud: ['client-1', 'client-2'] } })),
    'key_out_of_scope',
  )
})

test('T102 F12: a key that left the manifest is unknown at once, though its verdict was cached', () => {
  const place = createTestWorld()
  const validator = createValidator({ ...usual, trust: place.trust })
  const token = place.issue({ realm: 'enterprise' })
  for (let count = 0; count < 3; count++) assert.equal(verdict(validator, token), 'accepted')
  place.publish((draft) => ({ keys: draft.keys.filter(({ kid }) => kid !== place.keys.enterprise.kid) }))
  assert.equal(verdict(validator, token), 'unknown_key')
})

test('T014 T102 T255 F12: a cached verdict falls with the key, for the token and for its twin', () => {
  const place = createTestWorld()
  const validator = createValidator({ ...usual, trust: place.trust })
  const token = place.issue({ realm: 'enterprise' })
  assert.equal(verdict(validator, token), 'accepted')
  assert.equal(verdict(validator, twin(token)), 'accepted')
  place.setState(place.keys.enterprise.kid, 'revoked')
  assert.equal(verdict(validator, token), 'key_revoked')
  assert.equal(verdict(validator, twin(token)), 'key_revoked')
})

test('T009 T255: a cached verdict does not stand for the same claims with another signature', () => {
  const token = issue()
  assert.equal(verdict(enterprise, token), 'accepted')
  const input = token.slice(0, token.lastIndexOf('.'))
  for (const signature of ['', 'AAAA', encode(new Uint8Array(64)), token.slice(input.length + 2)]) {
    assert.notEqual(verdict(enterprise, `${input}.${signature}`), 'accepted')
  }
  assert.equal(verdict(enterprise, `${token}.`), 'malformed')
  assert.equal(verdict(enterprise, resign(token)), 'accepted')
})

test('T070 T102: a cached verdict ends with every clock: exp, nbf, the key, the manifest and its age', () => {
  const place = createTestWorld()
  let [clock, age] = [now, 0]
  const trust: TrustSource = { state: place.state, ageSeconds: () => age }
  const validator = createValidator({ ...usual, trust, now: () => clock })
  const token = place.issue({ realm: 'enterprise', claims: { nbf: now } })
  for (const [at, staleFor, expected] of [
    [now, 0, 'accepted'],
    [now, 61, 'manifest_stale'],
    [now, 0, 'accepted'],
    [now + 304, 0, 'accepted'],
    [now + 305, 0, 'expired'],
    [now - 6, 0, 'not_yet_valid'],
    [now + 100_000, 0, 'key_retired'],
    [now, 0, 'accepted'],
  ] as const) {
    ;[clock, age] = [at, staleFor]
    assert.equal(verdict(validator, token), expected)
  }
})

test('T270: ten thousand tokens later the first is decided anew, and the memory is bounded', () => {
  const seen: Sighting[] = []
  const validator = createValidator({
    ...usual,
    [acceptWithoutReceipt]: 'cheaper tokens for this test',
    onSighting: (sighting) => seen.push(sighting),
  })
  const key = world.keys.enterprise
  const tokens = Array.from({ length: 10_001 }, () => twisted({}, { key }))
  for (const token of tokens) validator.decide(token)
  validator.decide(tokens.at(-1) as string)
  assert.equal(seen.length, 10_001)
  validator.decide(tokens[0] as string)
  assert.equal(seen.length, 10_002)
})

test('nobody can change what a validated token says, not even for the next who shows the token', () => {
  const order = issue({ claims: { roles: ['reader'], aud: [mailAudience] } })
  const token = enterprise.validate(order)
  const claims = token.claims as Record<string, unknown>
  assert.throws(() => (claims['sub'] = 'root'), TypeError)
  assert.throws(() => (claims['roles'] as string[]).push('admin'), TypeError)
  assert.throws(() => (token.scopes as string[]).push('admin'), TypeError)
  assert.throws(() => (token.audiences as string[]).push('x'), TypeError)
  assert.throws(() => Object.assign(token, { subject: 'root' }), TypeError)
  assert.equal(enterprise.validate(order).subject, 'user-1')
})

test('T125 F8: a signature alone does not do: a token that was never logged is refused', () => {
  assert.equal(verdict(enterprise, issue({ receipt: null })), 'receipt_missing')
})

test('T126 T128: a receipt of another token, of a strange witness or of no witness is refused', () => {
  const [header] = issue().split('.') as [string]
  const { rcpt } = JSON.parse(Buffer.from(header, 'base64url').toString())
  assert.equal(verdict(enterprise, issue({ receipt: decode(rcpt) })), 'receipt_invalid')
  const strange = createTestWitness('witness.example', '2026').append([new Uint8Array(90)], 1)
  assert.equal(verdict(enterprise, issue({ receipt: strange[0] as Uint8Array })), 'receipt_invalid')
  assert.equal(verdict(enterprise, issue({ receipt: new Uint8Array() })), 'receipt_invalid')
  assert.equal(verdict(enterprise, issue({ receipt: null, header: { rcpt: '' } })), 'receipt_invalid')
  assert.equal(verdict(enterprise, issue({ receipt: null, header: { rcpt: 'A' } })), 'receipt_invalid')
})

test('T126: a receipt is bound to serial, times and every character of the claims', () => {
  const [header, payload] = issue().split('.') as [string, string]
  const members = JSON.parse(Buffer.from(header, 'base64url').toString())
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const receipt = decodeReceipt(decode(members.rcpt))
  assert.equal(verdict(enterprise, issue({ claims, receipt: encodeReceipt(receipt) })), 'accepted')
  assert.equal(
    verdict(
      enterprise,
      issue({ claims, receipt: encodeReceipt({ ...receipt, serial: receipt.serial + 1 }) }),
    ),
    'receipt_invalid',
  )
  for (const change of [{ exp: claims.exp + 1 }, { iat: claims.iat - 1 }, { sub: 'root' }]) {
    const token = issue({ claims: { ...claims, ...change }, receipt: encodeReceipt(receipt) })
    assert.equal(verdict(enterprise, token), 'receipt_invalid')
  }
})

test('T126: a receipt goes with its key: the same claims by another key of the realm need their own', () => {
  const place = createTestWorld()
  const key = createTestKey('ES256')
  place.publish((draft) => ({ keys: [...draft.keys, place.draftKey(key, 'enterprise')] }))
  const [header, payload] = place.issue({ realm: 'enterprise' }).split('.') as [string, string]
  const { rcpt } = JSON.parse(Buffer.from(header, 'base64url').toString())
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const token = place.issue({ realm: 'enterprise', key, claims, receipt: decode(rcpt) })
  assert.equal(verdict(createValidator({ ...usual, trust: place.trust }), token), 'receipt_invalid')
})

test('cutoffs refuse what was issued before them to whom they name, and nothing else', () => {
  const place = createTestWorld()
  const token = place.issue({ realm: 'enterprise', claims: { sub: 'ada' } })
  const { kid } = place.keys.enterprise
  const validator = createValidator({ ...usual, trust: place.trust })
  const before = now + 1
  const tenant = tenants.fabrikam
  for (const [cutoff, expected] of [
    [{ realm: 'enterprise', before }, 'issued_before_cutoff'],
    [{ kid, before }, 'issued_before_cutoff'],
    [{ tenant, before }, 'issued_before_cutoff'],
    [{ realm: 'enterprise', tenant, kid, subject: 'ada', before }, 'issued_before_cutoff'],
    [{ realm: 'enterprise', before: now }, 'accepted'],
    [{ realm: 'consumer', before }, 'accepted'],
    [{ kid: place.keys.consumer.kid, before }, 'accepted'],
    [{ tenant: tenants.northwind, before }, 'accepted'],
    [{ realm: 'enterprise', subject: 'bob', before }, 'accepted'],
    [{ realm: 'enterprise', tenant: tenants.northwind, subject: 'ada', before }, 'accepted'],
  ] as const) {
    place.publish(() => ({ cutoffs: [cutoff] }))
    assert.equal(verdict(validator, token), expected, JSON.stringify(cutoff))
  }
})

test('a validator cannot be made without realm, audience and trust', () => {
  for (const name of ['realm', 'audience', 'trust'] as const) {
    const { [name]: _, ...others } = usual
    assert.throws(() => createValidator(others as ValidatorOptions), {
      name: 'TypeError',
      message: new RegExp(name),
    })
  }
  for (const value of ['', [], [''], [undefined], null, 7, ['a', '']]) {
    assert.throws(() => createValidator({ ...usual, realm: value as string }), TypeError)
    assert.throws(() => createValidator({ ...usual, audience: value as string }), TypeError)
  }
})

test('T239: an option that is not known or makes no sense is an error, not a default', () => {
  for (const options of [
    { maxStale: 10 },
    { requireReceipt: false },
    { acceptWithoutReceipt: 'because' },
    { maxStaleSeconds: 0 },
    { maxStaleSeconds: Number.NaN },
    { maxStaleSeconds: Number.POSITIVE_INFINITY },
    { maxStaleSeconds: '60' },
    { clockToleranceSeconds: -1 },
    { clockToleranceSeconds: 61 },
    { tokenType: 'manifest' },
    { tokenType: 'refresh' },
    { tokenType: 'toString' },
    { [acceptWithoutReceipt]: '' },
    { [acceptWithoutReceipt]: true },
  ]) {
    assert.throws(() => createValidator({ ...usual, ...options } as ValidatorOptions), TypeError)
  }
})

test('a validator that accepts without receipt says so at start, and still refuses a wrong receipt', async () => {
  const warned = warningThat((warning) => /drill 7/.test(warning.message))
  const validator = createValidator({
    ...usual,
    [acceptWithoutReceipt]: 'drill 7, witness offline until 14:00',
  })
  assert.equal((await warned).code, 'COUNTERSIGN_WEAKENED')
  const token = validator.validate(issue({ receipt: null }))
  assert.equal(token.receipt, undefined)
  assert.equal(verdict(validator, issue({ receipt: new Uint8Array(80) })), 'receipt_invalid')
  assert.equal(verdict(validator, issue()), 'accepted')
})

/** The first warning of the process that fits; others of this file may still be on their way. */
function warningThat(fits: (warning: Error) => boolean): Promise<Error & { readonly code?: string }> {
  return new Promise((resolve) => {
    process.on('warning', function hear(warning) {
      if (!fits(warning)) return
      process.off('warning', hear)
      resolve(warning)
    })
  })
}

/** Every sighting of one decision. */
function sightings(token: string, sender?: Sender, options: Partial<ValidatorOptions> = {}): Sighting[] {
  const seen: Sighting[] = []
  createValidator({ ...usual, onSighting: (sighting) => seen.push(sighting), ...options }).decide(
    token,
    sender,
  )
  return seen
}

test('an acceptance is seen with its place in the log', () => {
  const token = issue()
  const { receipt } = enterprise.validate(token)
  assert.deepEqual(sightings(token, { network: '192.0.2.0/24' }), [
    {
      verdict: 'accepted',
      at: now * 1000,
      manifestVersion: world.state.manifest.version,
      realm: 'enterprise',
      kid: world.keys.enterprise.kid,
      issuer: fabrikamIssuer,
      tenant: tenants.fabrikam,
      tokenType: 'access',
      signatureValid: true,
      receiptValid: true,
      ...receipt,
      network: '192.0.2.0/24',
      agent: undefined,
      fingerprint: undefined,
    },
  ])
})

for (const [what, order, expected] of [
  ['type_mismatch', { header: { typ: 'JWT' } }, [true, false]],
  ['header_not_allowed', { header: { jku: 'https://attacker.example' } }, [true, true]],
  ['alg_not_allowed', { header: { alg: 'HS256' } }, [true, true]],
  ['malformed', { claims: { sub: '' } }, [true, true]],
  ['issuer_mismatch', { claims: { iss: 'https://attacker.example' } }, [true, true]],
  ['audience_mismatch', { claims: { aud: 'other' } }, [true, true]],
  ['audience_mismatch', { claims: { aud: 'other' }, receipt: null }, [true, false]],
  ['receipt_missing', { receipt: null }, [true, false]],
  ['expired', { claims: { iat: now - 900, exp: now - 600 } }, [true, true]],
] as const) {
  test(`T093 T145 F8 F9: refused as ${what} with a valid signature is evidence, ${expected[1] ? 'issued' : 'never issued'}`, () => {
    const [seen, ...others] = sightings(issue(order as TestOrder))
    assert.deepEqual(others, [])
    assert.deepEqual([seen?.verdict, seen?.signatureValid, seen?.receiptValid], [what, ...expected])
    assert.deepEqual([seen?.realm, seen?.kid], ['enterprise', world.keys.enterprise.kid])
  })
}

test('F9: whatever a sender writes, what is told of it can be read, so that it hides nothing that is reported with it', () => {
  const words = [
    '',
    ' ',
    '\u0000',
    '\n',
    '\ud800',
    'x'.repeat(256),
    'x'.repeat(257),
    '\u{1f511}'.repeat(128),
    'ü%/:;',
  ]
  const places = words.flatMap((word) => [
    ...sightings(issue({ claims: { iss: word } })),
    ...sightings(issue({ claims: { tid: word } })),
    ...sightings(issue({ header: { kid: word } })),
    ...sightings('no token', { network: word, userAgent: word, fingerprint: word }),
  ])
  assert.equal(places.length, 4 * words.length)
  for (const seen of places) readSighting(JSON.parse(JSON.stringify(writeSighting(seen))), 'sighting')
})

test('F9: a full report stays below what the sentinel takes, whatever senders write', () => {
  for (const character of ['\u0000', '"', '\u{1f511}']) {
    const word = character.repeat(256)
    // What a header says comes byte by byte.
    const sender = { network: 'ÿ'.repeat(128), fingerprint: 'f'.repeat(128), userAgent: 'curl' }
    const [seen] = sightings(issue({ claims: { iss: word, tid: word } }), sender)
    const report = {
      id: 'i'.repeat(22),
      issuedAt: now,
      dropped: 0,
      sightings: Array(REPORT_SIGHTINGS_MAX).fill(seen),
    }
    const { length } = signReport(report, {
      name: 'n'.repeat(128),
      privateKey: createTestKey('EdDSA').privateKey,
    })
    assert.ok(length < 1024 * 1024, `${length} bytes`)
  }
})

test('F4 F9: use of a stolen key of another realm, or one that is not active, is seen with its valid signature', () => {
  const [seen] = sightings(issue({ key: world.keys.consumer, receipt: null }))
  assert.deepEqual([seen?.verdict, seen?.realm, seen?.signatureValid], ['key_out_of_scope', 'consumer', true])
  const place = createTestWorld()
  const token = place.issue({ realm: 'enterprise' })
  place.setState(place.keys.enterprise.kid, 'blocked')
  const [blocked] = sightings(token, {}, { trust: place.trust })
  assert.deepEqual(
    [blocked?.verdict, blocked?.signatureValid, blocked?.receiptValid],
    ['key_blocked', true, true],
  )
})

test('a forgery without the key is seen as one, and what is not known is left out', () => {
  const [forged] = sightings(resign(issue({ claims: { aud: 'other' } }), createTestKey('ES256')))
  assert.deepEqual([forged?.verdict, forged?.signatureValid], ['audience_mismatch', false])
  const [unknown] = sightings(issue({ key: createTestKey('ES256') }))
  assert.deepEqual(
    [unknown?.verdict, unknown?.signatureValid, unknown?.realm],
    ['unknown_key', undefined, undefined],
  )
  assert.deepEqual(sightings('x'.repeat(20_000))[0]?.kid, undefined)
})

test('T262: a flood of garbage buys at most 1000 signature checks a second beyond those of the verdicts', () => {
  const seen: Sighting[] = []
  let clock = now
  const validator = createValidator({
    ...usual,
    onSighting: (sighting) => seen.push(sighting),
    now: () => clock,
  })
  const unknown = issue({ key: createTestKey('ES256') })
  const garbage = issue({ claims: { aud: 'other' }, receipt: null })
  // What cannot be looked into does not use up what may be.
  for (let count = 0; count < 1100; count++) validator.decide(unknown)
  for (let count = 0; count < 1100; count++) validator.decide(garbage)
  assert.equal(seen.length, 2200)
  assert.equal(seen.filter(({ signatureValid }) => signatureValid !== undefined).length, 1000)
  clock++
  validator.decide(garbage)
  assert.equal(seen.at(-1)?.signatureValid, true)
})

test('D4: a token that is shown again is reported again only when it comes from elsewhere', () => {
  const seen: Sighting[] = []
  const validator = createValidator({ ...usual, onSighting: (sighting) => seen.push(sighting) })
  const token = issue()
  for (const network of ['192.0.2.1', '192.0.2.1', '198.51.100.7', '198.51.100.7'])
    validator.decide(token, { network })
  assert.deepEqual(
    seen.map(({ network }) => network),
    ['192.0.2.1', '198.51.100.7'],
  )
  assert.equal(seen[0]?.leafHash, seen[1]?.leafHash)
})

test('T027 T237: no refusal and no sighting holds a word of a stranger that is long, or the token', () => {
  const token = issue({ claims: { iss: 'x'.repeat(300), tid: 'y'.repeat(300) }, receipt: null })
  const [, payload, signature] = token.split('.') as [string, string, string]
  const [seen] = sightings(token)
  assert.deepEqual([seen?.issuer, seen?.tenant], [undefined, undefined])
  const decision = enterprise.decide(token)
  assert.ok(!decision.accepted)
  for (const text of [JSON.stringify(seen), decision.refusal.message, String(decision.refusal.stack)]) {
    assert.ok(!text.includes(payload) && !text.includes(signature))
  }
})

test('a fault is not taken for a verdict', () => {
  const trust: TrustSource = {
    get state(): never {
      throw new Error('the disk is gone')
    },
    ageSeconds: () => 0,
  }
  assert.throws(() => createValidator({ ...usual, trust }).decide(issue()), /the disk is gone/)
})

test('validate throws the refusal that decide returns', () => {
  const token = issue({ receipt: null })
  assert.throws(
    () => enterprise.validate(token),
    (error) => error instanceof Refusal && error.reason === 'receipt_missing' && error.status === 401,
  )
  for (const value of [undefined, null, 7, {}, [issue()]])
    assert.equal(verdict(enterprise, value as string), 'malformed')
})

test('the types that a log entry can have are those that a validator tells apart', () => {
  const known: readonly TokenType[] = [...types, 'manifest']
  assert.deepEqual(Object.keys(tokenTypes).sort(), [...known].sort())
})
