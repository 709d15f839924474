/**
 * Goal: of each provider its access tokens are taken, and nothing else that its keys may have signed. Method: a fake provider
 * on loopback for each preset, tokens as the real one makes them, and each of them spoilt in one respect at a time; the
 * incident of 2023 as it happened.
 */

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { encode } from './base64url.ts'
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
  type ForeignIssuer,
  fetchFromLoopback,
  google,
  keycloak,
  oidc,
  okta,
} from './issuers.ts'
import type { Algorithm } from './jws.ts'
import type { Refusal } from './refusal.ts'
import type { Sighting } from './sighting.ts'
import { acceptWithoutReceipt, createValidator, type ForeignValidator } from './validator.ts'

const now = 1_800_000_000
const audience = 'api://orders'
const tenantA = '8eaef023-2b34-4da1-9baa-8bc8c9d6a490'
const tenantB = '82229342-1101-4ab6-817b-70c0747630f3'
const graph = '00000003-0000-0000-c000-000000000000'
const microsoft = 'https://login.microsoftonline.com'
const times = { iat: now, nbf: now, exp: now + 3600 }

/** A preset, with a token as its provider makes one. */
interface Row {
  readonly name: string
  readonly issuer: (loopback: { readonly [fetchFromLoopback]: string }) => ForeignIssuer
  readonly metadataPath: string
  readonly metadataIssuer?: string
  readonly keySet: string
  readonly key?: { readonly algorithm?: Algorithm; readonly shown?: object }
  readonly header: object
  readonly claims: Readonly<Record<string, unknown>> & { readonly iss: string }
  readonly idToken: { readonly header?: object; readonly claims: object } | undefined
  readonly expected: {
    readonly scopes: readonly string[]
    readonly clientId: string | undefined
    readonly tenant: string
    readonly realm?: string
  }
  readonly tokenType?: 'id'
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
    issuer: (loopback) => entra({ tenants: [tenantA, tenantB], ...loopback }),
    metadataPath: '/organizations/v2.0/.well-known/openid-configuration',
    metadataIssuer: `${microsoft}/{tenantid}/v2.0`,
    keySet: `${microsoft}/organizations/discovery/v2.0/keys`,
    key: { shown: { issuer: `${microsoft}/{tenantid}/v2.0`, cloud_instance_name: 'microsoftonline.com' } },
    header: { typ: 'JWT' },
    claims: {
      aud: audience,
      iss: `${microsoft}/${tenantA}/v2.0`,
      ...times,
      aio: 'AXQAi/8TAAAA',
      azp: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
      azpacr: '0',
      name: 'Abe Lincoln',
      oid: '690222be-ff1a-4d56-abd1-7e4f7d38e474',
      rh: '0.ARoA',
      scp: 'orders.read orders.write',
      sid: '003e2f3e-session',
      sub: 'HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ',
      tid: tenantA,
      uti: 'fqiBqXLPj0eQa82S-IYFAA',
      ver: '2.0',
    },
    idToken: { claims: { azp: undefined, azpacr: undefined, scp: undefined, nonce: '123523' } },
    expected: {
      scopes: ['orders.read', 'orders.write'],
      clientId: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
      tenant: tenantA,
      realm: `${microsoft}/{tenantid}/v2.0`,
    },
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
    issuer: (loopback) => entra({ tenants: [tenantA], version: '1.0', ...loopback }),
    metadataPath: `/${tenantA}/.well-known/openid-configuration`,
    metadataIssuer: `https://sts.windows.net/${tenantA}/`,
    keySet: `${microsoft}/common/discovery/keys`,
    header: { typ: 'JWT', x5t: 'i6lGk3FZzxRcUb2C3nEQ7syHJlY' },
    claims: {
      aud: audience,
      iss: `https://sts.windows.net/${tenantA}/`,
      ...times,
      acr: '1',
      aio: 'AXQAi/8IAAAA',
      amr: ['pwd'],
      appid: '75dbe77f-10a3-4e59-85fd-8c127544f17c',
      appidacr: '0',
      ipaddr: '192.0.2.7',
      scp: 'user_impersonation',
      sub: 'l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA',
      tid: tenantA,
      unique_name: 'AbeLi@microsoft.com',
      uti: 'FVsGxYXI30-TuikuuUoFAA',
      ver: '1.0',
    },
    idToken: { claims: { appid: undefined, scp: undefined, ver: '1.0' } },
    expected: {
      scopes: ['user_impersonation'],
      clientId: '75dbe77f-10a3-4e59-85fd-8c127544f17c',
      tenant: tenantA,
    },
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
    issuer: (loopback) =>
      auth0({ domain: 'acme.eu.auth0.com', organizations: ['org_9ybsU1dN2dKfDkBi'], ...loopback }),
    metadataPath: '/.well-known/openid-configuration',
    keySet: 'https://acme.eu.auth0.com/.well-known/jwks.json',
    key: { shown: { alg: 'RS256', x5t: 'NzE5', x5c: ['MIIC'] } },
    header: { typ: 'JWT' },
    claims: {
      iss: 'https://acme.eu.auth0.com/',
      sub: 'auth0|123456',
      aud: [audience, 'https://acme.eu.auth0.com/userinfo'],
      iat: now,
      exp: now + 86_400,
      azp: 'my_client_id',
      scope: 'openid profile orders.read',
      org_id: 'org_9ybsU1dN2dKfDkBi',
      permissions: ['orders.read'],
    },
    idToken: { claims: { azp: undefined, nonce: 'n-0S6', aud: [audience] } },
    expected: {
      scopes: ['openid', 'profile', 'orders.read'],
      clientId: 'my_client_id',
      tenant: 'org_9ybsU1dN2dKfDkBi',
    },
    hostile: [
      ['another organization', { claims: { org_id: 'org_other' } }, 'tenant_mismatch'],
      ['no organization', { claims: { org_id: undefined } }, 'tenant_mismatch'],
      ['the other profile', { header: { typ: 'at+jwt' } }, 'type_mismatch'],
    ],
  },
  {
    name: 'auth0 with the profile of RFC 9068',
    issuer: (loopback) => auth0({ domain: 'login.acme.example', profile: 'rfc9068', ...loopback }),
    metadataPath: '/.well-known/openid-configuration',
    keySet: 'https://login.acme.example/.well-known/jwks.json',
    key: { shown: { alg: 'RS256' } },
    header: { typ: 'at+jwt' },
    claims: {
      iss: 'https://login.acme.example/',
      sub: 'auth0|123456',
      aud: audience,
      iat: now,
      exp: now + 86_400,
      client_id: 'my_client_id',
      jti: 'hoCkPyJC3QmwkmNXxPqjGj',
      scope: 'orders.read',
    },
    idToken: { header: { typ: 'JWT' }, claims: { client_id: undefined } },
    expected: { scopes: ['orders.read'], clientId: 'my_client_id', tenant: 'login.acme.example' },
  },
  {
    name: 'keycloak',
    issuer: (loopback) => keycloak({ url: 'https://id.example/auth', realm: 'staff', ...loopback }),
    metadataPath: '/auth/realms/staff/.well-known/openid-configuration',
    keySet: 'https://id.example/auth/realms/staff/protocol/openid-connect/certs',
    key: { algorithm: 'ES256', shown: { alg: 'ES256' } },
    header: { typ: 'JWT' },
    claims: {
      exp: now + 300,
      iat: now,
      auth_time: now,
      jti: 'onrtac:a4f2d5b8-6c1e',
      iss: 'https://id.example/auth/realms/staff',
      aud: [audience, 'account'],
      sub: 'f7c1a3c2-0b0e-4f4e-8f0e-1c2d3e4f5a6b',
      typ: 'Bearer',
      azp: 'shop',
      sid: 'c6d9e3a1',
      acr: '1',
      realm_access: { roles: ['offline_access'] },
      resource_access: { account: { roles: ['view-profile'] } },
      scope: 'openid email orders.read',
    },
    idToken: { claims: { typ: 'ID', at_hash: 'x', aud: audience } },
    expected: { scopes: ['openid', 'email', 'orders.read'], clientId: 'shop', tenant: 'staff' },
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
    issuer: (loopback) => okta({ domain: 'acme.okta.com', ...loopback }),
    metadataPath: '/oauth2/default/.well-known/openid-configuration',
    keySet: 'https://acme.okta.com/oauth2/default/v1/keys',
    key: { shown: { alg: 'RS256' } },
    header: {},
    claims: {
      ver: 1,
      jti: 'AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE',
      iss: 'https://acme.okta.com/oauth2/default',
      aud: audience,
      sub: '00ujmkLgagxeRrAg20g3',
      iat: now,
      exp: now + 3600,
      cid: 'nmdP1fcyvdVO11AL7ECm',
      uid: '00ujmkLgagxeRrAg20g3',
      scp: ['openid', 'orders.read'],
    },
    idToken: { claims: { cid: undefined, scp: undefined, at_hash: 'cpqKfdQA5eH891Ff5oJr_Q' } },
    expected: {
      scopes: ['openid', 'orders.read'],
      clientId: 'nmdP1fcyvdVO11AL7ECm',
      tenant: 'acme.okta.com',
    },
    hostile: [['T077: scp as a text', { claims: { scp: 'openid' } }, 'malformed']],
  },
  {
    name: 'cognito',
    issuer: (loopback) =>
      cognito({ region: 'eu-central-1', userPoolId: 'eu-central-1_example', ...loopback }),
    metadataPath: '/eu-central-1_example/.well-known/openid-configuration',
    keySet: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example/.well-known/jwks.json',
    key: { shown: { alg: 'RS256' } },
    header: {},
    claims: {
      sub: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      iss: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example',
      version: 2,
      client_id: audience,
      origin_jti: 'aaaaaaaa-origin',
      token_use: 'access',
      scope: 'orders/read',
      auth_time: now,
      iat: now,
      exp: now + 3600,
      jti: 'aaaaaaaa-jti',
      username: 'my-test-user',
    },
    idToken: { claims: { token_use: 'id', client_id: undefined, aud: audience, at_hash: 'x' } },
    expected: { scopes: ['orders/read'], clientId: audience, tenant: 'eu-central-1_example' },
    hostile: [['T073: another client', { claims: { client_id: 'another' } }, 'audience_mismatch']],
  },
  {
    name: 'google',
    issuer: (loopback) => google({ hostedDomains: ['acme.example'], ...loopback }),
    metadataPath: '/.well-known/openid-configuration',
    keySet: 'https://www.googleapis.com/oauth2/v3/certs',
    key: { shown: { alg: 'RS256' } },
    header: { typ: 'JWT' },
    claims: {
      iss: 'https://accounts.google.com',
      azp: '1234987819200.apps.googleusercontent.com',
      aud: audience,
      sub: '10769150350006150715113082367',
      at_hash: 'HK6E_P6Dh8Y93mRNtsDB1Q',
      hd: 'acme.example',
      email: 'jsmith@acme.example',
      email_verified: true,
      iat: now,
      exp: now + 3600,
      nonce: '0394852-3190485-2490358',
    },
    idToken: undefined,
    tokenType: 'id',
    expected: { scopes: [], clientId: '1234987819200.apps.googleusercontent.com', tenant: 'acme.example' },
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
    issuer: (loopback) => oidc('https://as.example/tenant-1', loopback),
    metadataPath: '/tenant-1/.well-known/openid-configuration',
    keySet: 'https://as.example/tenant-1/jwks',
    key: { algorithm: 'EdDSA', shown: { alg: 'EdDSA' } },
    header: { typ: 'application/at+jwt' },
    claims: {
      iss: 'https://as.example/tenant-1',
      sub: '5ba552d67',
      aud: audience,
      iat: now,
      exp: now + 600,
      jti: 'dbe39bf3a3ba4238a513f51d6e1691c4',
      client_id: 's6BhdRkqt3',
      scope: 'orders.read',
    },
    idToken: { header: { typ: 'JWT' }, claims: { nonce: 'n' } },
    expected: { scopes: ['orders.read'], clientId: 's6BhdRkqt3', tenant: 'as.example' },
    hostile: [
      ['no client', { claims: { client_id: undefined } }, 'type_mismatch'],
      ['T076: no jti', { claims: { jti: undefined } }, 'malformed'],
    ],
  },
  {
    name: 'oidc without a profile',
    issuer: (loopback) => oidc('https://old.example', { profile: 'jwt', algorithms: ['PS256'], ...loopback }),
    metadataPath: '/.well-known/openid-configuration',
    keySet: 'https://old.example/jwks',
    key: { algorithm: 'PS256' },
    header: {},
    claims: {
      iss: 'https://old.example',
      sub: 's',
      aud: audience,
      iat: now,
      exp: now + 600,
      azp: 'c',
      scope: '',
    },
    idToken: { claims: { at_hash: 'x' } },
    expected: { scopes: [], clientId: 'c', tenant: 'old.example' },
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
  const { metadataPath, metadataIssuer = row.claims.iss, keySet } = row
  const provider = await startFakeProvider({ issuer: metadataIssuer, metadataPath, keySet })
  const key = createProviderKey('jS1Xo1OWDj_52vbwGNgvQO2VzMc', row.key?.algorithm, row.key?.shown)
  provider.keys = [key.shown]
  const sightings: Sighting[] = []
  const validator = createValidator({
    issuers: [row.issuer({ [fetchFromLoopback]: provider.origin })],
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
      const decision = validator.decide(token)
      return decision.accepted ? 'accepted' : decision.refusal.reason
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
    issuers: [row.issuer({ [fetchFromLoopback]: scene.provider.origin })],
    audience,
    [acceptWithoutReceipt]: 'the provider of this test logs nothing',
    onSighting: (sighting) => sightings.push(sighting),
    now: () => now,
  })
  t.after(() => validator.stop())
  await validator.ready()
  const refused = (token: string): string => {
    const decision = validator.decide(token)
    return decision.accepted ? 'accepted' : decision.refusal.reason
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
    issuer: (loopback) => entra({ tenants: [tenantA, consumerTenant], ...loopback }),
    metadataPath: '/common/v2.0/.well-known/openid-configuration',
    keySet: `${microsoft}/common/discovery/v2.0/keys`,
    key: { shown: { issuer: `${microsoft}/${consumerTenant}/v2.0` } },
  })
  assert.equal(validator.validate(token(of(consumerTenant))).tenant, consumerTenant)
  assert.throws(() => validator.validate(token()), { reason: 'issuer_mismatch' })
  assert.deepEqual(provider.keys, [key.shown])
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
  const { validator, token, provider } = await begin(t, { ...row, key: { shown: {} } })
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
    issuers: [
      first.issuer({ [fetchFromLoopback]: a.provider.origin }),
      second.issuer({ [fetchFromLoopback]: b.provider.origin }),
    ],
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
})
