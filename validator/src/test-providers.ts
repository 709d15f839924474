/**
 * Identity providers as a validator is told of them, each with a token as the real one makes it, for tests.
 * @module
 */

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
import type { JsonObject } from './json.ts'

export interface ProviderConfiguration {
  readonly preset: keyof typeof presets
  readonly options: JsonObject
  /** Where the preset looks, and what it finds there. */
  readonly metadata: { readonly url: string; readonly issuer: string; readonly jwks_uri: string }
}

export interface TestProvider extends ProviderConfiguration {
  /** What of the validator's question is not as usual. */
  readonly tokenType?: 'id'
  readonly header: JsonObject
  readonly claims: JsonObject & { readonly iss: string; readonly sub: string }
  /** What is read from such a token. */
  readonly expected: {
    readonly tenant: string
    readonly scopes: readonly string[]
    readonly clientId: string
    /** Left out: the issuer. */
    readonly realm?: string
  }
}

/** When the tokens are made. */
export const providerNow = 1_800_000_000
/** Whom they are for. */
export const providerAudience = 'api://orders'

export const microsoft = 'https://login.microsoftonline.com'
/** Directories. */
export const [tenantA, tenantB] = [
  '8eaef023-2b34-4da1-9baa-8bc8c9d6a490',
  '82229342-1101-4ab6-817b-70c0747630f3',
] as const

const now = providerNow
const audience = providerAudience
const template = `${microsoft}/{tenantid}/v2.0`
const keycloakRealm = 'https://id.example/auth/realms/staff'
const userPool = 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example'

function entraClaims(tenant: string): TestProvider['claims'] {
  return {
    aud: audience,
    iss: `${microsoft}/${tenant}/v2.0`,
    iat: now,
    nbf: now,
    exp: now + 3600,
    aio: 'AXQAi/8TAAAA',
    azp: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
    azpacr: '0',
    name: 'Abe Lincoln',
    oid: '690222be-ff1a-4d56-abd1-7e4f7d38e474',
    rh: '0.ARoA',
    scp: 'orders.read orders.write',
    sid: '003e2f3e-session',
    sub: 'HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ',
    tid: tenant,
    uti: 'fqiBqXLPj0eQa82S-IYFAA',
    ver: '2.0',
  }
}

const entraExpected = {
  tenant: tenantA,
  scopes: ['orders.read', 'orders.write'],
  clientId: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
  realm: template,
} as const

export const providers = {
  'entra 2.0': {
    preset: 'entra',
    options: { tenants: [tenantA, tenantB] },
    metadata: {
      url: `${microsoft}/organizations/v2.0/.well-known/openid-configuration`,
      issuer: template,
      jwks_uri: `${microsoft}/organizations/discovery/v2.0/keys`,
    },
    header: { typ: 'JWT' },
    claims: entraClaims(tenantA),
    expected: entraExpected,
  },
  'entra 2.0 with personal accounts': {
    preset: 'entra',
    options: { tenants: [tenantA, consumerTenant] },
    metadata: {
      url: `${microsoft}/common/v2.0/.well-known/openid-configuration`,
      issuer: template,
      jwks_uri: `${microsoft}/common/discovery/v2.0/keys`,
    },
    header: { typ: 'JWT' },
    claims: entraClaims(consumerTenant),
    expected: { ...entraExpected, tenant: consumerTenant },
  },
  'entra 1.0': {
    preset: 'entra',
    options: { tenants: [tenantA], version: '1.0' },
    metadata: {
      url: `${microsoft}/${tenantA}/.well-known/openid-configuration`,
      issuer: `https://sts.windows.net/${tenantA}/`,
      jwks_uri: `${microsoft}/common/discovery/keys`,
    },
    header: { typ: 'JWT', x5t: 'i6lGk3FZzxRcUb2C3nEQ7syHJlY' },
    claims: {
      aud: audience,
      iss: `https://sts.windows.net/${tenantA}/`,
      iat: now,
      nbf: now,
      exp: now + 3600,
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
    expected: {
      tenant: tenantA,
      scopes: ['user_impersonation'],
      clientId: '75dbe77f-10a3-4e59-85fd-8c127544f17c',
    },
  },
  auth0: {
    preset: 'auth0',
    options: { domain: 'acme.eu.auth0.com', organizations: ['org_9ybsU1dN2dKfDkBi'] },
    metadata: {
      url: 'https://acme.eu.auth0.com/.well-known/openid-configuration',
      issuer: 'https://acme.eu.auth0.com/',
      jwks_uri: 'https://acme.eu.auth0.com/.well-known/jwks.json',
    },
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
    expected: {
      tenant: 'org_9ybsU1dN2dKfDkBi',
      scopes: ['openid', 'profile', 'orders.read'],
      clientId: 'my_client_id',
    },
  },
  'auth0 with the profile of RFC 9068': {
    preset: 'auth0',
    options: { domain: 'login.acme.example', profile: 'rfc9068' },
    metadata: {
      url: 'https://login.acme.example/.well-known/openid-configuration',
      issuer: 'https://login.acme.example/',
      jwks_uri: 'https://login.acme.example/.well-known/jwks.json',
    },
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
    expected: { tenant: 'login.acme.example', scopes: ['orders.read'], clientId: 'my_client_id' },
  },
  keycloak: {
    preset: 'keycloak',
    options: { url: 'https://id.example/auth', realm: 'staff' },
    metadata: {
      url: `${keycloakRealm}/.well-known/openid-configuration`,
      issuer: keycloakRealm,
      jwks_uri: `${keycloakRealm}/protocol/openid-connect/certs`,
    },
    header: { typ: 'JWT' },
    claims: {
      exp: now + 300,
      iat: now,
      auth_time: now,
      jti: 'onrtac:a4f2d5b8-6c1e',
      iss: keycloakRealm,
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
    expected: { tenant: 'staff', scopes: ['openid', 'email', 'orders.read'], clientId: 'shop' },
  },
  okta: {
    preset: 'okta',
    options: { domain: 'acme.okta.com' },
    metadata: {
      url: 'https://acme.okta.com/oauth2/default/.well-known/openid-configuration',
      issuer: 'https://acme.okta.com/oauth2/default',
      jwks_uri: 'https://acme.okta.com/oauth2/default/v1/keys',
    },
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
    expected: {
      tenant: 'acme.okta.com',
      scopes: ['openid', 'orders.read'],
      clientId: 'nmdP1fcyvdVO11AL7ECm',
    },
  },
  cognito: {
    preset: 'cognito',
    options: { region: 'eu-central-1', userPoolId: 'eu-central-1_example' },
    metadata: {
      url: `${userPool}/.well-known/openid-configuration`,
      issuer: userPool,
      jwks_uri: `${userPool}/.well-known/jwks.json`,
    },
    header: {},
    claims: {
      sub: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      iss: userPool,
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
    expected: { tenant: 'eu-central-1_example', scopes: ['orders/read'], clientId: audience },
  },
  google: {
    preset: 'google',
    options: { hostedDomains: ['acme.example'] },
    metadata: {
      url: 'https://accounts.google.com/.well-known/openid-configuration',
      issuer: 'https://accounts.google.com',
      jwks_uri: 'https://www.googleapis.com/oauth2/v3/certs',
    },
    tokenType: 'id',
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
    expected: { tenant: 'acme.example', scopes: [], clientId: '1234987819200.apps.googleusercontent.com' },
  },
  oidc: {
    preset: 'oidc',
    options: { issuer: 'https://as.example/tenant-1' },
    metadata: {
      url: 'https://as.example/tenant-1/.well-known/openid-configuration',
      issuer: 'https://as.example/tenant-1',
      jwks_uri: 'https://as.example/tenant-1/jwks',
    },
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
    expected: { tenant: 'as.example', scopes: ['orders.read'], clientId: 's6BhdRkqt3' },
  },
  'oidc without a profile': {
    preset: 'oidc',
    options: { issuer: 'https://old.example', profile: 'jwt' },
    metadata: {
      url: 'https://old.example/.well-known/openid-configuration',
      issuer: 'https://old.example',
      jwks_uri: 'https://old.example/jwks',
    },
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
    expected: { tenant: 'old.example', scopes: [], clientId: 'c' },
  },
} as const satisfies Readonly<Record<string, TestProvider>>

export type ProviderName = keyof typeof providers

const presets = {
  entra,
  auth0,
  keycloak,
  okta,
  cognito,
  google,
  oidc: ({ issuer, ...options }: { readonly issuer: string }) => oidc(issuer, options),
} as const

/** As its preset makes it; everything is fetched from `loopback`. */
export function openProvider(
  { preset, options }: Pick<ProviderConfiguration, 'preset' | 'options'>,
  loopback: string,
): ForeignIssuer {
  const open = presets[preset] as (options: object) => ForeignIssuer
  return open({ ...options, [fetchFromLoopback]: loopback })
}
