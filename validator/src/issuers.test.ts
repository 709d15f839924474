/**
 * Goal: of each provider its access tokens are taken, and nothing else that its keys may have signed. Method: a fake provider
 * on loopback for each preset, tokens as the real one makes them, and each of them spoilt in one respect at a time; the
 * incident of 2023 as it happened.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { encode } from './base64url.ts'
import { deny } from './bearer.ts'
import { encodePayload } from './document.ts'
import {
  createProviderKey,
  type FakeProvider,
  type ProviderKey,
  signAs,
  startFakeProvider,
} from './fake-provider.ts'
import {
  auth0,
  cognito,
  consumerTenant,
  entra,
  fetchFromLoopback,
  google,
  keycloak,
  oidc,
  okta,
} from './issuers.ts'
import type { Algorithm } from './jws.ts'
import { type Refusal, refusals } from './refusal.ts'
import type { Sighting } from './sighting.ts'
import {
  microsoft,
  openProvider,
  type ProviderName,
  providerAudience,
  providerNow,
  providers,
  type TestProvider,
  tenantA,
  tenantB,
} from './test-providers.ts'
import { verdictOf } from './testing.ts'
import { acceptWithoutReceipt, createValidator, type ForeignValidator } from './validator.ts'

const now = providerNow
const audience = providerAudience
const graph = '00000003-0000-0000-c000-000000000000'

interface Row extends TestProvider {
  readonly name: string
  readonly key?: { readonly algorithm?: Algorithm; readonly shown?: object }
  /** Other keys of its set. */
  readonly beside?: readonly ProviderKey[]
  readonly idToken: { readonly header?: object; readonly claims: object } | undefined
  /** Spoilt in ways of its own. */
  readonly hostile?: readonly (readonly [what: string, change: Change, reason: string])[]
}

interface Change {
  readonly header?: object
  readonly claims?: object
}

const rows: readonly Row[] = [
  {
    name: 'entra 2.0',
    ...providers['entra 2.0'],
    key: { shown: { issuer: `${microsoft}/{tenantid}/v2.0`, cloud_instance_name: 'microsoftonline.com' } },
    idToken: { claims: { azp: undefined, azpacr: undefined, scp: undefined, nonce: '123523' } },
    hostile: [
      ['T087: a tenant that is not allowed', of('11111111-1111-4111-8111-111111111111'), 'tenant_mismatch'],
      ['T086: tid of another allowed tenant', { claims: { tid: tenantB } }, 'tenant_mismatch'],
      ['T086: no tid', { claims: { tid: undefined } }, 'malformed'],
      ['T086: tid that is no GUID', { claims: { tid: 'contoso.com' } }, 'malformed'],
      ['T086: the template itself', of('{tenantid}'), 'malformed'],
      ['T085: the consumer tenant, which nobody named', of(consumerTenant), 'tenant_mismatch'],
      ['T083: an issuer in capitals', { claims: { iss: `${microsoft}/${tenantA}/V2.0` } }, 'issuer_mismatch'],
      [
        'T083: an issuer with a slash',
        { claims: { iss: `${microsoft}/${tenantA}/v2.0/` } },
        'issuer_mismatch',
      ],
      [
        'T083: plain http',
        { claims: { iss: `http://login.microsoftonline.com/${tenantA}/v2.0` } },
        'issuer_mismatch',
      ],
      [
        'T092: an ID token with roles',
        { claims: { azp: undefined, scp: undefined, roles: ['admin'] } },
        'type_mismatch',
      ],
      ['a token that permits nothing', { claims: { scp: undefined } }, 'type_mismatch'],
      ['version 1.0', { claims: { ver: '1.0' } }, 'type_mismatch'],
      ['no nbf', { claims: { nbf: undefined } }, 'malformed'],
      [
        'a token for Graph',
        { header: { nonce: 'QltrBofYb5am7UJ8' }, claims: { aud: graph } },
        'header_not_allowed',
      ],
      ['a token for Graph without its nonce', { claims: { aud: graph } }, 'audience_mismatch'],
      ['T077: roles as a text', { claims: { scp: undefined, roles: 'admin' } }, 'malformed'],
    ],
  },
  {
    name: 'entra 1.0',
    ...providers['entra 1.0'],
    idToken: { claims: { appid: undefined, scp: undefined, ver: '1.0' } },
    hostile: [
      [
        'another tenant',
        { claims: { iss: `https://sts.windows.net/${tenantB}/`, tid: tenantB } },
        'issuer_mismatch',
      ],
      ['T086: tid of another', { claims: { tid: tenantB } }, 'tenant_mismatch'],
      ['version 2.0', { claims: { ver: '2.0' } }, 'type_mismatch'],
      [
        'a token for Graph',
        { header: { nonce: 'QltrBofYb5am7UJ8' }, claims: { aud: graph } },
        'header_not_allowed',
      ],
    ],
  },
  {
    name: 'auth0',
    ...providers.auth0,
    key: { shown: { alg: 'RS256', x5t: 'NzE5', x5c: ['MIIC'] } },
    idToken: { claims: { azp: undefined, nonce: 'n-0S6', aud: [audience] } },
    hostile: [
      ['another organization', { claims: { org_id: 'org_other' } }, 'tenant_mismatch'],
      ['no organization', { claims: { org_id: undefined } }, 'tenant_mismatch'],
      ['the other profile', { header: { typ: 'at+jwt' } }, 'type_mismatch'],
    ],
  },
  {
    name: 'auth0 with the profile of RFC 9068',
    ...providers['auth0 with the profile of RFC 9068'],
    key: { shown: { alg: 'RS256' } },
    idToken: { header: { typ: 'JWT' }, claims: { client_id: undefined } },
  },
  {
    name: 'keycloak',
    ...providers.keycloak,
    key: { algorithm: 'ES256', shown: { alg: 'ES256' } },
    idToken: { claims: { typ: 'ID', at_hash: 'x', aud: audience } },
    hostile: [
      ['T092: a refresh token', { claims: { typ: 'Refresh' } }, 'type_mismatch'],
      ['T092: a logout token', { claims: { typ: 'Logout' } }, 'type_mismatch'],
      [
        'T032: another realm of the same server',
        { claims: { iss: 'https://id.example/auth/realms/master' } },
        'issuer_mismatch',
      ],
      [
        'T186: a realm by another path',
        { claims: { iss: 'https://id.example/auth/realms/master/../staff' } },
        'issuer_mismatch',
      ],
    ],
  },
  {
    name: 'okta',
    ...providers.okta,
    key: { shown: { alg: 'RS256' } },
    idToken: { claims: { cid: undefined, scp: undefined, at_hash: 'cpqKfdQA5eH891Ff5oJr_Q' } },
    hostile: [['T077: scp as a text', { claims: { scp: 'openid' } }, 'malformed']],
  },
  {
    name: 'cognito',
    ...providers.cognito,
    key: { shown: { alg: 'RS256' } },
    idToken: { claims: { token_use: 'id', client_id: undefined, aud: audience, at_hash: 'x' } },
    hostile: [['T073: another client', { claims: { client_id: 'another' } }, 'audience_mismatch']],
  },
  {
    name: 'google',
    ...providers.google,
    key: { shown: { alg: 'RS256' } },
    idToken: undefined,
    hostile: [
      [
        'T088: a mail address of the domain, and another hd',
        { claims: { hd: 'evil.example' } },
        'tenant_mismatch',
      ],
      ['T088: a mail address of the domain alone', { claims: { hd: undefined } }, 'tenant_mismatch'],
      ['the issuer without its scheme', { claims: { iss: 'accounts.google.com' } }, 'issuer_mismatch'],
    ],
  },
  {
    name: 'oidc',
    ...providers.oidc,
    key: { algorithm: 'EdDSA', shown: { alg: 'EdDSA' } },
    idToken: { header: { typ: 'JWT' }, claims: { nonce: 'n' } },
    hostile: [
      ['no client', { claims: { client_id: undefined } }, 'type_mismatch'],
      ['T076: no jti', { claims: { jti: undefined } }, 'malformed'],
    ],
  },
  {
    name: 'oidc without a profile',
    ...providers['oidc without a profile'],
    options: { issuer: 'https://old.example', profile: 'jwt', algorithms: ['PS256'] },
    key: { algorithm: 'PS256' },
    idToken: { claims: { at_hash: 'x' } },
  },
]

function of(tenant: string): Change {
  return { claims: { iss: `${microsoft}/${tenant}/v2.0`, tid: tenant } }
}

/** Spoilt in ways that every provider's tokens can be. */
const hostile: readonly (readonly [what: string, change: Change, reason: string])[] = [
  ['T033: jku', { header: { jku: 'https://evil.example/keys' } }, 'header_not_allowed'],
  ['T034: x5u', { header: { x5u: 'https://evil.example/cert' } }, 'header_not_allowed'],
  ['T034: x5c', { header: { x5c: ['MIIC'] } }, 'header_not_allowed'],
  ['T035: jwk', { header: { jwk: { kty: 'RSA' } } }, 'header_not_allowed'],
  ['T037: crit', { header: { crit: ['b64'], b64: true } }, 'header_not_allowed'],
  ['T040: zip', { header: { zip: 'DEF' } }, 'header_not_allowed'],
  ['T041: cty', { header: { cty: 'JWT' } }, 'header_not_allowed'],
  ['T029: no kid', { header: { kid: undefined } }, 'unknown_key'],
  ['T028: kid __proto__', { header: { kid: '__proto__' } }, 'unknown_key'],
  ['T026: kid with dots', { header: { kid: '../../dev/null' } }, 'unknown_key'],
  ['a kid that is no text', { header: { kid: 7 } }, 'malformed'],
  ['T046: typ of a logout token', { header: { typ: 'logout+jwt' } }, 'type_mismatch'],
  ['T046: typ of a SET', { header: { typ: 'secevent+jwt' } }, 'type_mismatch'],
  ['T046: typ of a DPoP proof', { header: { typ: 'dpop+jwt' } }, 'type_mismatch'],
  ['T092: a SET, whatever its typ', { claims: { events: {} } }, 'type_mismatch'],
  ['T073: another audience', { claims: { aud: 'api://other', client_id: 'another' } }, 'audience_mismatch'],
  ['T073: an audience in capitals', { claims: { aud: audience.toUpperCase() } }, 'audience_mismatch'],
  ['T073: no audience in the list', { claims: { aud: [] } }, 'audience_mismatch'],
  ['T067: no exp', { claims: { exp: undefined } }, 'malformed'],
  ['T067: exp as text', { claims: { exp: String(now + 60) } }, 'malformed'],
  ['T067: expired', { claims: { iat: now - 700, nbf: now - 700, exp: now - 6 } }, 'expired'],
  ['T068: not yet', { claims: { nbf: now + 60 } }, 'not_yet_valid'],
  ['T069: issued in the future', { claims: { iat: now + 60, exp: now + 600 } }, 'not_yet_valid'],
  ['no iat', { claims: { iat: undefined } }, 'malformed'],
  ['T072: lives for a month', { claims: { exp: now + 30 * 86_400 } }, 'lifetime_too_long'],
  ['T075: no subject', { claims: { sub: undefined } }, 'malformed'],
  ['an issuer that nobody configured', { claims: { iss: 'https://evil.example' } }, 'issuer_mismatch'],
  ['no issuer', { claims: { iss: undefined } }, 'malformed'],
  ['T080: bound to a key that is not shown', { claims: { cnf: { jkt: 'x'.repeat(43) } } }, 'sender_mismatch'],
  ['T080: cnf that is no object', { claims: { cnf: 'x' } }, 'malformed'],
]

interface Scene {
  readonly provider: FakeProvider
  readonly key: ProviderKey
  readonly validator: ForeignValidator
  readonly sightings: Sighting[]
  token(change?: Change, key?: ProviderKey): string
  reasonFor(token: string): string
}

async function begin(t: TestContext, row: Row): Promise<Scene> {
  const { url, issuer, jwks_uri: keySet } = row.metadata
  const provider = await startFakeProvider({ issuer, metadataPath: new URL(url).pathname, keySet })
  const key = createProviderKey('jS1Xo1OWDj_52vbwGNgvQO2VzMc', row.key?.algorithm, row.key?.shown)
  provider.keys = [key, ...(row.beside ?? [])].map(({ shown }) => shown)
  const sightings: Sighting[] = []
  const validator = createValidator({
    issuers: [openProvider(row, provider.origin)],
    audience,
    [acceptWithoutReceipt]: 'the provider of this test logs nothing',
    ...(row.tokenType && { tokenType: row.tokenType }),
    onSighting: (sighting) => sightings.push(sighting),
    now: () => now,
  })
  t.after(async () => {
    validator.stop()
    await provider.stop()
  })
  await validator.ready()
  return {
    provider,
    key,
    validator,
    sightings,
    token: ({ header = {}, claims = {} } = {}, by = key) =>
      signAs(by, { ...row.header, ...header }, { ...row.claims, ...claims }),
    reasonFor: (token) => {
      return verdictOf(validator.decide(token))
    },
  }
}

for (const row of rows) {
  test(`${row.name}: its access tokens are taken, and read as they are meant`, async (t) => {
    const { validator, token, sightings, key } = await begin(t, row)
    const shown = token()
    const validated = validator.validate(shown)
    assert.equal(validator.validate(shown), validated, 'from the cache')
    assert.deepEqual(validated.scopes, row.expected.scopes)
    assert.equal(validated.clientId, row.expected.clientId)
    assert.equal(validated.tenant, row.expected.tenant)
    assert.equal(validated.realm, row.expected.realm ?? row.claims.iss)
    assert.equal(validated.issuer, row.claims.iss)
    assert.equal(validated.subject, row.claims['sub'])
    assert.equal(validated.kid, key.kid)
    assert.equal(validated.receipt, undefined)
    assert.equal(validated.tokenId, row.claims['jti'] ?? row.claims['uti'] ?? validated.tokenId)
    assert.match(validated.tokenId, /^\S{8,}$/)
    const [seen] = sightings
    assert.deepEqual(
      [seen?.verdict, seen?.issuer, seen?.kid, seen?.realm, seen?.signatureValid, seen?.receiptValid],
      ['accepted', row.claims.iss, key.kid, undefined, true, undefined],
    )
  })

  test(`${row.name}: T001 T004 T007 T026 T028 T029 T033-T035 T037 T046 T067-T069 T072 T073 T080 T083 T085 T086 T092: what is spoilt is refused`, async (t) => {
    const { token, reasonFor, key } = await begin(t, row)
    assert.equal(reasonFor(token()), 'accepted')
    for (const [what, change, reason] of [...hostile, ...(row.hostile ?? [])])
      assert.equal(reasonFor(token(change)), reason, what)
    if (row.idToken !== undefined)
      assert.equal(reasonFor(token(row.idToken)), 'type_mismatch', 'T092: an ID token by the same key')

    const good = token()
    const [head = '', body = '', signature = ''] = good.split('.')
    assert.equal(reasonFor(`${head}.${body}.${signature.slice(0, -6)}AAAAAA`), 'signature_invalid')
    assert.equal(reasonFor(`${head}.${body}.`), 'signature_invalid', 'T009')
    const unsigned = encodePayload({ ...row.header, alg: 'none', kid: key.kid })
    assert.equal(reasonFor(`${unsigned}.${body}.`), 'alg_not_allowed', 'T001')
    const input = `${encodePayload({ ...row.header, alg: 'HS256', kid: key.kid })}.${body}`
    const pem = createHmac('sha256', JSON.stringify(key.shown)).update(input).digest()
    assert.equal(reasonFor(`${input}.${encode(pem)}`), 'alg_not_allowed', 'T004')
    const other = key.algorithm === 'RS256' ? 'PS256' : 'RS256'
    assert.equal(
      reasonFor(token({ header: { alg: other } })),
      'key_out_of_scope',
      'T007 T021: the key has one',
    )
    const stranger = createProviderKey(key.kid, key.algorithm)
    assert.equal(reasonFor(token({}, stranger)), 'signature_invalid', 'T031: the name of a key makes no key')
  })
}

test('F1 F2 T032 T084: 2023 again: a consumer key signs a token of an enterprise tenant, and it is refused and told of', async (t) => {
  const row = rows[0] as Row
  const scene = await begin(t, row)
  const consumerKey = createProviderKey('yreX2PsLi-qkbR8QDOmB_ySxp8Q', 'RS256', {
    issuer: `${microsoft}/${consumerTenant}/v2.0`,
  })
  // The very set that Microsoft's documentation shows: one endpoint for keys of both kinds.
  scene.provider.keys = [scene.key.shown, consumerKey.shown]
  const sightings: Sighting[] = []
  const validator = createValidator({
    issuers: [openProvider(row, scene.provider.origin)],
    audience,
    [acceptWithoutReceipt]: 'the provider of this test logs nothing',
    onSighting: (sighting) => sightings.push(sighting),
    now: () => now,
  })
  t.after(() => validator.stop())
  await validator.ready()
  const refused = (token: string): string => {
    return verdictOf(validator.decide(token))
  }
  assert.equal(refused(scene.token({}, consumerKey)), 'issuer_mismatch')
  const [seen] = sightings
  assert.deepEqual(
    [seen?.verdict, seen?.kid, seen?.signatureValid],
    ['issuer_mismatch', consumerKey.kid, true],
    'only who holds the key can bring that about',
  )
  assert.equal(
    refused(scene.token(of(consumerTenant), consumerKey)),
    'tenant_mismatch',
    'its own tokens: not named',
  )
  assert.equal(
    refused(scene.token(of(consumerTenant))),
    'tenant_mismatch',
    'T085: an enterprise key, personal account',
  )
  assert.equal(refused(scene.token()), 'accepted')
  assert.equal(sightings.at(-2)?.signatureValid, undefined, 'a tenant that is not ours is weather')
})

test('entra: personal accounts count where their tenant is named, and by their own keys alone', async (t) => {
  const row = rows[0] as Row
  const { provider, validator, token, key } = await begin(t, {
    ...row,
    ...providers['entra 2.0 with personal accounts'],
    key: { shown: { issuer: `${microsoft}/${consumerTenant}/v2.0` } },
  })
  assert.equal(validator.validate(token()).tenant, consumerTenant)
  assert.throws(() => validator.validate(token(of(tenantA))), { reason: 'issuer_mismatch' })
  assert.throws(
    () => validator.validate(token({ claims: { tid: tenantA } })),
    { reason: 'tenant_mismatch' },
    'T084 T086: a consumer key names another tenant that is allowed as well',
  )
  assert.deepEqual(provider.keys, [key.shown])
})

test('entra: tokens of version 1.0 of the cloud in China have an issuer of their own', async (t) => {
  const origin = 'https://login.partner.microsoftonline.cn'
  const issuer = `https://sts.chinacloudapi.cn/${tenantA}/`
  const { metadata, options, claims, ...rest } = providers['entra 1.0']
  const { validator, token } = await begin(t, {
    ...(rows[1] as Row),
    ...rest,
    options: { ...options, authority: origin },
    metadata: { ...metadata, issuer, jwks_uri: `${origin}/common/discovery/keys` },
    claims: { ...claims, iss: issuer },
  })
  assert.equal(validator.validate(token()).issuer, issuer)
})

test('entra: an application that acts for itself is permitted its roles; a person is not permitted theirs', async (t) => {
  const { validator, token } = await begin(t, rows[0] as Row)
  const roles = ['Orders.Read.All', 'Orders.Write.All']
  assert.deepEqual(
    validator.validate(token({ claims: { scp: undefined, roles, idtyp: 'app' } })).scopes,
    roles,
  )
  assert.deepEqual(validator.validate(token({ claims: { roles } })).scopes, ['orders.read', 'orders.write'])
})

test('entra: a key that does not say whose it is vouches for nobody, and a token for Graph gets a word of advice', async (t) => {
  const row = rows[0] as Row
  const beside = [createProviderKey('its own', 'RS256', { issuer: `${microsoft}/{tenantid}/v2.0` })]
  const { validator, token, provider } = await begin(t, { ...row, key: { shown: {} }, beside })
  assert.equal(provider.requests.length, 2)
  assert.throws(() => validator.validate(token()), { reason: 'unknown_key' })
  const graphToken = token({ header: { nonce: 'QltrBofYb5am7UJ8' }, claims: { aud: graph } })
  assert.throws(
    () => validator.validate(graphToken),
    (error: Refusal) => /Microsoft Graph alone/.test(error.message),
  )
})

test('T101: two providers that call their keys the same do not vouch for each other', async (t) => {
  const [first, second] = [rows[4] as Row, rows[8] as Row]
  const [a, b] = [await begin(t, first), await begin(t, second)]
  const validator = createValidator({
    issuers: [openProvider(first, a.provider.origin), openProvider(second, b.provider.origin)],
    audience,
    [acceptWithoutReceipt]: 'tests',
    now: () => now,
  })
  t.after(() => validator.stop())
  await validator.ready()
  assert.equal(a.key.kid, b.key.kid)
  assert.equal(validator.validate(a.token()).issuer, first.claims.iss)
  assert.equal(validator.validate(b.token()).issuer, second.claims.iss)
  const crossed = signAs(b.key, { ...first.header, alg: 'ES256' }, first.claims)
  assert.throws(() => validator.validate(crossed), { reason: 'signature_invalid' })
  assert.throws(() => validator.validate(signAs(b.key, first.header, first.claims)), {
    reason: 'key_out_of_scope',
  })
})

/** What is said of tokens that somebody who moves here shows first. */
const words: readonly (readonly [preset: ProviderName, change: Change, message: RegExp])[] = [
  ['oidc', { header: { typ: 'JWT' } }, /: its typ is jwt, and should be at\+jwt; see profile$/],
  ['oidc', { header: { typ: undefined } }, /: its typ is none, and should be at\+jwt; see profile$/],
  ['oidc', { header: { typ: 'SECRET' } }, /: its typ is another, and should be at\+jwt; see profile$/],
  ['oidc', { claims: { jti: undefined } }, /: it has no jti; see profile$/],
  [
    'oidc',
    { claims: { client_id: undefined } },
    /: it has no client_id, as ID tokens have none; see profile$/,
  ],
  ['oidc', { claims: { sub: undefined } }, /: it has no sub$/],
  ['oidc', { claims: { exp: undefined } }, /: it has no exp$/],
  ['oidc', { claims: { exp: now - 1, iat: now } }, /: its exp is not after its iat$/],
  ['oidc', { claims: { scope: ['SECRET'] } }, /: its scope is of a wrong kind$/],
  ['oidc', { claims: { scope: 'a  SECRET' } }, /: its scope is of a wrong kind$/],
  ['oidc', { claims: { nonce: 'SECRET' } }, /: it has nonce, as ID tokens do$/],
  ['oidc', { claims: { iss: 'https://SECRET.example' } }, /: the issuer is none of those configured here$/],
  ['oidc', { claims: { iss: undefined } }, /: it has no iss that is a text$/],
  ['oidc', { claims: { exp: now + 10 * 86_400 } }, /: longer than 86400 seconds; see lifetimeSecondsMax$/],
  ['oidc', { header: { jku: 'https://SECRET.example' } }, /: it is jku$/],
  ['oidc', { header: { SECRET: 'x' } }, /: it is another$/],
  ['oidc', { header: { kid: 'SECRET' } }, /^no such key is known here: its issuer publishes no such key$/],
  ['oidc', { header: { kid: undefined } }, /^no such key is known here: its header has no kid$/],
  ['oidc', { header: { alg: 'RS256' } }, /: it is EdDSA, and alg RS256$/],
  [
    'oidc without a profile',
    { claims: { azp: undefined } },
    /: it has no client_id, as ID tokens have none$/,
  ],
  ['auth0', { header: { typ: 'at+jwt' } }, /: its typ is at\+jwt, and should be jwt; see profile$/],
  ['auth0', { claims: { org_id: undefined } }, /: it has no org_id$/],
  ['entra 2.0', { claims: { ver: '1.0' } }, /: its ver is not 2\.0; see version$/],
  ['entra 2.0', { claims: { scp: undefined } }, /: it has neither scp nor roles$/],
  ['keycloak', { claims: { typ: 'ID' } }, /: typ of its claims is neither Bearer nor DPoP$/],
  ['okta', { header: { typ: 'dpop+jwt' } }, /: its typ is dpop\+jwt, and should be none or jwt or at\+jwt$/],
  ['cognito', { claims: { token_use: 'id' } }, /: its token_use is not access$/],
  ['google', { claims: { hd: undefined } }, /: it has no hd$/],
]

test('T237: a refusal tells whoever runs the service what is missing, in words of ours, and whoever sent the token the general sentence', async (t) => {
  const messages = new Set<string>()
  for (const [name, change, message] of words) {
    const row = rows.find((each) => each.metadata === providers[name].metadata) as Row
    const { validator, token } = await begin(t, row)
    const decision = validator.decide(token(change))
    assert.ok(!decision.accepted)
    const { refusal } = decision
    assert.match(refusal.message, message)
    assert.ok(refusal.message.startsWith(`${refusals[refusal.reason].message}: `), refusal.message)
    assert.doesNotMatch(refusal.message, /SECRET/)
    assert.equal(deny(refusal).body['error_description'], refusals[refusal.reason].message)
    assert.equal(deny(refusal).refusal, refusal)
    messages.add(refusal.message)
  }
  const page = readFileSync(new URL('../../docs/foreign-issuers.md', import.meta.url), 'utf8')
  const [, shown = ''] = /^```text\n(.*?)^```$/ms.exec(page) ?? []
  const lines = shown.trim().split('\n')
  assert.ok(lines.length > 1)
  assert.deepEqual(
    lines.filter((line) => !messages.has(line)),
    [],
    'the page shows what is said',
  )
})

test('before there are keys of an issuer, a refusal speaks of them, and ready says within its time why there are none', async (t) => {
  const { metadata, options, header, claims } = providers.oidc
  const { issuer, url, jwks_uri: keySet } = metadata
  const provider = await startFakeProvider({ issuer, metadataPath: new URL(url).pathname, keySet })
  provider.metadata = { issuer: 'https://other.example' }
  const problems: Error[] = []
  const validator = createValidator({
    issuers: [openProvider({ preset: 'oidc', options }, provider.origin)],
    audience,
    [acceptWithoutReceipt]: 'tests',
    onProblem: (problem) => problems.push(problem),
    now: () => now,
  })
  t.after(async () => {
    validator.stop()
    await provider.stop()
  })
  await assert.rejects(validator.ready(500), ({ message, cause }: Error) => {
    assert.match(
      message,
      /^no keys of https:\/\/as\.example\/tenant-1 have come: the metadata .* are of another issuer: "https:\/\/other\.example"$/,
    )
    assert.equal(cause, problems[0]?.cause)
    return true
  })
  const decision = validator.decide(signAs(createProviderKey('a', 'EdDSA'), header, claims))
  assert.ok(!decision.accepted)
  assert.match(
    decision.refusal.message,
    /^what is known here is too old to decide by: no key set of its issuer has come/,
  )
  for (const milliseconds of [-1, Number.NaN, 2 ** 31]) {
    await assert.rejects(validator.ready(milliseconds), TypeError)
  }
})

test('a start that waits for keys fails with the reason why there are none', () => {
  const script = `
    import { fetchFromLoopback, oidc } from './issuers.ts'
    import { acceptWithoutReceipt, createValidator } from './validator.ts'
    const here = 'http://127.0.0.1:9'
    const validator = createValidator({
      issuers: [oidc(here, { [fetchFromLoopback]: here })],
      audience: 'a',
      [acceptWithoutReceipt]: 'tests',
    })
    await validator.ready(1000)`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  })
  assert.equal(status, 1, stderr)
  assert.match(stderr, /Error: no keys of http:\/\/127\.0\.0\.1:9 have come: /)
})

test('an option that a preset does not know, or a word that it does not take, is named', () => {
  const wrong: readonly (readonly [construct: () => unknown, message: RegExp])[] = [
    [
      () => oidc('https://as.example', { algorithm: ['ES256'] } as object),
      /^oidc knows no option algorithm$/,
    ],
    [
      () => oidc('https://as.example', { lifetimeSecondMax: 60 } as object),
      /^oidc knows no option lifetimeSecondMax$/,
    ],
    [() => auth0({ domian: 'acme.auth0.com' } as never), /^auth0 knows no option domian$/],
    [() => entra({ tenant: tenantA } as never), /^entra knows no option tenant$/],
    [() => keycloak({ url: 'https://id.example', relam: 'a' } as never), /^keycloak knows no option relam$/],
    [() => okta({ domain: 'acme.okta.com', audience: 'a' } as never), /^okta knows no option audience$/],
    [
      () => cognito({ region: 'eu-central-1', userPoolId: 'a', clientId: 'b' } as never),
      /^cognito knows no option clientId$/,
    ],
    [() => google({ hd: ['a'] } as never), /^google knows no option hd$/],
    [
      () => oidc('https://as.example', { [Symbol('fetchFromLoopback')]: 'x' } as object),
      /^oidc knows no option Symbol\(fetchFromLoopback\)$/,
    ],
    [
      () => oidc('https://as.example', { profile: 'JWT' as 'jwt' }),
      /^profile is 'rfc9068' or 'jwt', not JWT$/,
    ],
    [
      () => auth0({ domain: 'acme.auth0.com', profile: 'jwt' as 'auth0' }),
      /^profile is 'auth0' or 'rfc9068', not jwt$/,
    ],
    [
      () => entra({ tenants: [tenantA], version: 2 as unknown as '2.0' }),
      /^version is '2\.0' or '1\.0', not 2$/,
    ],
    [
      () => oidc('https://as.example', { algorithms: ['HS256' as 'ES256'] }),
      /^algorithms: HS256 is not one of ES256, EdDSA, PS256, RS256, ML-DSA-44$/,
    ],
    [
      () => oidc('https://as.example', { algorithms: ['RS256', 'ES384' as 'ES256'] }),
      /^algorithms: ES384 is not one of /,
    ],
    [
      () => oidc('https://as.example', { algorithms: 'ES256' as unknown as [] }),
      /^algorithms is not a list$/,
    ],
    [() => oidc('https://as.example', { algorithms: [] }), /^algorithms is missing$/],
    [() => entra({ tenants: tenantA as unknown as [] }), /^tenants is not a list$/],
    [
      () => oidc('http://localhost:4000/realm'),
      /^issuer is no https URL: for one's own desk, \[fetchFromLoopback\]: 'http:\/\/localhost:4000' lets it be one$/,
    ],
    [
      () => keycloak({ url: 'http://127.0.0.1:8080', realm: 'a' }),
      /^url is no https URL: .*fetchFromLoopback/,
    ],
    [() => oidc('http://10.0.0.1:4000'), /^issuer is no https URL$/],
    [() => oidc(new URL('https://as.example') as unknown as string), /^issuer is no https URL$/],
    [
      () => oidc('https://as.example/.well-known/openid-configuration'),
      /^issuer is the issuer itself, as it stands in iss, and not where its metadata are$/,
    ],
    [
      () =>
        createValidator({
          issuers: ['https://as.example' as never],
          audience,
          [acceptWithoutReceipt]: 'tests',
        }),
      /^issuers takes presets: oidc\(url\)$/,
    ],
    [() => auth0('acme.auth0.com' as never), /^auth0 takes an object of options$/],
    [() => cognito({ userPoolId: 'eu-central-1_a' } as never), /^region is missing$/],
    [() => cognito({ region: 'eu-central-1' } as never), /^userPoolId is missing$/],
    [() => keycloak({ url: 'https://id.example' } as never), /^realm is missing$/],
    [
      () => oidc('http://localhost:4000', { [fetchFromLoopback]: 'yes' }),
      /^fetchFromLoopback is no origin on loopback, such as http:\/\/localhost:4000$/,
    ],
  ]
  for (const [construct, message] of wrong) assert.throws(construct, { name: 'TypeError', message })
  oidc('http://localhost:4000', { [fetchFromLoopback]: 'http://localhost:4000' })
  oidc('https://as.example', { profile: undefined, algorithms: undefined } as object)
})

test('V1 T100 T239: what is left open or mistaken in a configuration is refused at construction', () => {
  const good = { audience, [acceptWithoutReceipt]: 'tests' } as const
  const make = (change: object) => () => {
    const validator = createValidator({ issuers: [google()], tokenType: 'id', ...good, ...change })
    validator.stop()
  }
  const bad: readonly (() => unknown)[] = [
    make({ issuers: [] }),
    make({ issuers: ['https://accounts.google.com'] }),
    make({ issuers: [google(), google()] }),
    make({ issuers: [entra({ tenants: [tenantA] }), entra({ tenants: [tenantB] })], tokenType: 'access' }),
    make({
      issuers: [entra({ tenants: [tenantA] }), oidc(`${microsoft}/${tenantB}/v2.0`)],
      tokenType: 'access',
    }),
    make({ tokenType: 'access' }),
    make({ [acceptWithoutReceipt]: undefined }),
    make({ [acceptWithoutReceipt]: '' }),
    make({ audience: [] }),
    make({ realm: 'enterprise' }),
    make({ issuer: 'https://a.example' }),
    () => entra({ tenants: [] }),
    () => entra({ tenants: ['*'] }),
    () => entra({ tenants: ['common'] }),
    () => entra({ tenants: ['contoso.onmicrosoft.com'] }),
    () => entra({ tenants: [tenantA.toUpperCase()] }),
    () => entra({ tenants: [tenantA, tenantB], version: '1.0' }),
    () => entra({ tenants: [tenantA], version: '3.0' as '2.0' }),
    () => entra({ tenants: [tenantA], authority: 'http://login.microsoftonline.com' }),
    () => auth0({ domain: 'https://acme.auth0.com' }),
    () => auth0({ domain: 'ACME.auth0.com' }),
    () => auth0({ domain: 'acme.auth0.com/' }),
    () => auth0({ domain: 'acme.auth0.com', organizations: [] }),
    () => keycloak({ url: 'http://id.example', realm: 'a' }),
    () => keycloak({ url: 'https://id.example', realm: '../master' }),
    () => keycloak({ url: 'https://id.example?x=1', realm: 'a' }),
    () => okta({ domain: 'acme.okta.com', authorizationServer: '' }),
    () => cognito({ region: '', userPoolId: 'a' }),
    () => google({ hostedDomains: [] }),
    () => oidc('http://as.example'),
    () => oidc('https://as.example/{tenantid}'),
    () => oidc('https://user@as.example'),
    () => oidc('https://as.example', { keyOrigin: 'https://keys.example/path' }),
    () => oidc('https://as.example', { refreshSeconds: 601 }),
    () => oidc('https://as.example', { keySetSecondsMax: 86_401 }),
    () => oidc('https://as.example', { lifetimeSecondsMax: Number.NaN }),
    () => oidc('https://as.example', { [fetchFromLoopback]: 'http://10.0.0.1' }),
    () => oidc('https://as.example', { [fetchFromLoopback]: 'https://evil.example' }),
  ]
  for (const [at, construct] of bad.entries()) assert.throws(construct, TypeError, String(at))
  make({})()
  const itsOwnFirst = [oidc(`${microsoft}/${tenantB}/v2.0`), entra({ tenants: [tenantA] })]
  make({ issuers: itsOwnFirst, tokenType: 'access' })()
})
