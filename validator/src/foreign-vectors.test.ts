/**
 * Goal: each reason that a token of another issuer can be refused for is given for its cause, of several causes the first in
 * the order of spec/verdict.md, Foreign issuers, and other implementations can try the same. Method: a defect for each step
 * there, laid over a good token; each alone, then every two that can stand together. They are what spec/vectors/foreign.json
 * is made of, with tokens of every provider. Keys are made from names and signatures have no randomness, so the file comes out
 * the same whoever makes it:
 *
 *     COUNTERSIGN_WRITE_VECTORS=1 node --test validator/src/foreign-vectors.test.ts
 */

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { encode } from './base64url.ts'
import type { Confirmation } from './confirmation.ts'
import { type Denial, openDenials } from './denials.ts'
import { encodePayload } from './document.ts'
import { type FakeProvider, signAs, startFakeProvider } from './fake-provider.ts'
import { readForeignDenials } from './foreign-denials.ts'
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
import { Members } from './members.ts'
import type { Reason } from './refusal.ts'
import { createNamedKey } from './test-key.ts'
import { createTestWorld, type TestKey } from './testing.ts'
import { acceptWithoutReceipt, createValidator, type ForeignValidator } from './validator.ts'

const now = 1_800_000_000
const audience = 'api://orders'
const microsoft = 'https://login.microsoftonline.com'
const template = `${microsoft}/{tenantid}/v2.0`
const [tenantA, tenantB] = ['8eaef023-2b34-4da1-9baa-8bc8c9d6a490', '82229342-1101-4ab6-817b-70c0747630f3']
const stranger = '11111111-1111-4111-8111-111111111111'
const jkt = 'A'.repeat(43)

/** A provider as a validator is told of it: a preset with its options, and where that finds the keys. */
interface Configuration {
  readonly preset: string
  readonly options: JsonObject
  readonly metadata: { readonly url: string; readonly issuer: string; readonly jwks_uri: string }
}

/** What is asked, besides the token. As it stands in the vectors. */
interface Question {
  readonly audience: string
  readonly token_type?: 'id'
  readonly now: number
  /** Left out: no authority is followed. */
  readonly manifest_age_seconds?: number | undefined
  /** Members of `foreign` of the manifest. */
  readonly blocked?: readonly JsonObject[]
  readonly cutoffs?: readonly JsonObject[]
  readonly denials?: readonly Denial[]
  readonly binding_required?: boolean
  readonly confirmation?: Confirmation
}

interface Vector {
  readonly about: string
  readonly issuer: string
  /** Null: none has come yet. */
  readonly key_set: string | null
  readonly token: string
  readonly question: Question
  readonly expected: 'accepted' | Reason
  /** Of the table in spec/verdict.md; none where no issuer speaks for the token. */
  readonly step?: number
  /** What is read from a token that is accepted. */
  readonly tenant?: string
  readonly subject?: string
  readonly realm?: string
}

const keys = {
  entra: createNamedKey('entra', 'RS256'),
  consumer: createNamedKey('entra consumer', 'RS256'),
  orphan: createNamedKey('entra orphan', 'RS256'),
  stranger: createNamedKey('stranger', 'RS256'),
  auth0: createNamedKey('auth0', 'RS256'),
  keycloak: createNamedKey('keycloak', 'EdDSA'),
  okta: createNamedKey('okta', 'RS256'),
  cognito: createNamedKey('cognito', 'RS256'),
  google: createNamedKey('google', 'RS256'),
  oidc: createNamedKey('oidc', 'EdDSA'),
} as const
type KeyName = keyof typeof keys

/** The names that their owners gave them. */
const kids: Readonly<Record<KeyName, string>> = {
  entra: 'jS1Xo1OWDj_52vbwGNgvQO2VzMc',
  consumer: 'yreX2PsLi-qkbR8QDOmB_ySxp8Q',
  orphan: 'of-nobody',
  stranger: 'jS1Xo1OWDj_52vbwGNgvQO2VzMc',
  auth0: 'NzE5',
  keycloak: 'FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE',
  okta: 'U5R8cHbGw445Qbq8zVO1PcCpXL8yG6IcovVa3laCoxM',
  cognito: 'abcdefghijklmnopqrsexample=',
  google: 'f5f4bf46e52b31d9b6249f7309ad0338400680cd',
  oidc: 'key-1',
}

function shown(name: KeyName, members: JsonObject = {}): JsonObject {
  const { alg: _, ...jwk } = keys[name].jwk as unknown as JsonObject
  return { ...jwk, kid: kids[name], use: 'sig', ...members }
}

/** Without `alg`, as Microsoft shows them. */
const microsoftKeys = [
  shown('entra', { issuer: template }),
  shown('consumer', { issuer: `${microsoft}/${consumerTenant}/v2.0` }),
  shown('orphan'),
  shown('okta', { issuer: template, kid: 'twice' }),
  shown('auth0', { issuer: template, kid: 'twice' }),
  { ...shown('google', { issuer: template, kid: 'for-encryption' }), use: 'enc' },
]

const keySets: Readonly<Record<string, { readonly keys: readonly JsonObject[] }>> = {
  entra: { keys: microsoftKeys },
  'entra-1.0': {
    keys: [shown('entra'), shown('consumer', { issuer: `https://sts.windows.net/${tenantB}/` })],
  },
  auth0: { keys: [shown('auth0', { alg: 'RS256', x5t: 'NzE5' })] },
  keycloak: { keys: [shown('keycloak', { alg: 'EdDSA' })] },
  okta: { keys: [shown('okta', { alg: 'RS256' })] },
  cognito: { keys: [shown('cognito', { alg: 'RS256' })] },
  google: { keys: [shown('google', { alg: 'RS256' })] },
  oidc: { keys: [shown('oidc', { alg: 'EdDSA' }), shown('stranger', { alg: 'RS512', kid: 'key-2' })] },
}

/** A provider, with a token as it makes one. */
interface Provider extends Configuration {
  readonly key: KeyName
  readonly keySet: string
  readonly header: JsonObject
  readonly claims: JsonObject
  readonly question?: Partial<Question>
  readonly tenant: string
  readonly realm?: string
}

const hourly = { iat: now, exp: now + 3600 }

const providers: Readonly<Record<string, Provider>> = {
  entra: {
    preset: 'entra',
    options: { tenants: [tenantA, tenantB] },
    metadata: {
      url: `${microsoft}/organizations/v2.0/.well-known/openid-configuration`,
      issuer: template,
      jwks_uri: `${microsoft}/organizations/discovery/v2.0/keys`,
    },
    key: 'entra',
    keySet: 'entra',
    header: { typ: 'JWT' },
    claims: {
      aud: audience,
      iss: `${microsoft}/${tenantA}/v2.0`,
      ...hourly,
      nbf: now,
      azp: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
      scp: 'orders.read orders.write',
      sub: 'HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ',
      tid: tenantA,
      uti: 'fqiBqXLPj0eQa82S-IYFAA',
      ver: '2.0',
    },
    tenant: tenantA,
    realm: template,
  },
  'entra with personal accounts': {
    preset: 'entra',
    options: { tenants: [tenantA, consumerTenant] },
    metadata: {
      url: `${microsoft}/common/v2.0/.well-known/openid-configuration`,
      issuer: template,
      jwks_uri: `${microsoft}/common/discovery/v2.0/keys`,
    },
    key: 'consumer',
    keySet: 'entra',
    header: { typ: 'JWT' },
    claims: {
      aud: audience,
      iss: `${microsoft}/${consumerTenant}/v2.0`,
      ...hourly,
      nbf: now,
      azp: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
      scp: 'orders.read',
      sub: 'AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ',
      tid: consumerTenant,
      uti: 'fqiBqXLPj0eQa82S-IYFAB',
      ver: '2.0',
    },
    tenant: consumerTenant,
    realm: template,
  },
  'entra-1.0': {
    preset: 'entra',
    options: { tenants: [tenantA], version: '1.0' },
    metadata: {
      url: `${microsoft}/${tenantA}/.well-known/openid-configuration`,
      issuer: `https://sts.windows.net/${tenantA}/`,
      jwks_uri: `${microsoft}/common/discovery/keys`,
    },
    key: 'entra',
    keySet: 'entra-1.0',
    header: { typ: 'JWT', x5t: 'i6lGk3FZzxRcUb2C3nEQ7syHJlY' },
    claims: {
      aud: audience,
      iss: `https://sts.windows.net/${tenantA}/`,
      ...hourly,
      nbf: now,
      appid: '75dbe77f-10a3-4e59-85fd-8c127544f17c',
      scp: 'user_impersonation',
      sub: 'l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA',
      tid: tenantA,
      uti: 'FVsGxYXI30-TuikuuUoFAA',
      ver: '1.0',
    },
    tenant: tenantA,
  },
  auth0: {
    preset: 'auth0',
    options: { domain: 'acme.eu.auth0.com', organizations: ['org_9ybsU1dN2dKfDkBi'] },
    metadata: {
      url: 'https://acme.eu.auth0.com/.well-known/openid-configuration',
      issuer: 'https://acme.eu.auth0.com/',
      jwks_uri: 'https://acme.eu.auth0.com/.well-known/jwks.json',
    },
    key: 'auth0',
    keySet: 'auth0',
    header: { typ: 'JWT' },
    claims: {
      iss: 'https://acme.eu.auth0.com/',
      sub: 'auth0|123456',
      aud: [audience, 'https://acme.eu.auth0.com/userinfo'],
      iat: now,
      exp: now + 86_400,
      azp: 'my_client_id',
      scope: 'openid orders.read',
      org_id: 'org_9ybsU1dN2dKfDkBi',
    },
    tenant: 'org_9ybsU1dN2dKfDkBi',
  },
  keycloak: {
    preset: 'keycloak',
    options: { url: 'https://id.example/auth', realm: 'staff' },
    metadata: {
      url: 'https://id.example/auth/realms/staff/.well-known/openid-configuration',
      issuer: 'https://id.example/auth/realms/staff',
      jwks_uri: 'https://id.example/auth/realms/staff/protocol/openid-connect/certs',
    },
    key: 'keycloak',
    keySet: 'keycloak',
    header: { typ: 'JWT' },
    claims: {
      iss: 'https://id.example/auth/realms/staff',
      sub: 'f7c1a3c2-0b0e-4f4e-8f0e-1c2d3e4f5a6b',
      aud: [audience, 'account'],
      iat: now,
      exp: now + 300,
      jti: 'onrtac:a4f2d5b8-6c1e',
      typ: 'Bearer',
      azp: 'shop',
      scope: 'openid orders.read',
    },
    tenant: 'staff',
  },
  okta: {
    preset: 'okta',
    options: { domain: 'acme.okta.com' },
    metadata: {
      url: 'https://acme.okta.com/oauth2/default/.well-known/openid-configuration',
      issuer: 'https://acme.okta.com/oauth2/default',
      jwks_uri: 'https://acme.okta.com/oauth2/default/v1/keys',
    },
    key: 'okta',
    keySet: 'okta',
    header: {},
    claims: {
      iss: 'https://acme.okta.com/oauth2/default',
      sub: '00ujmkLgagxeRrAg20g3',
      aud: audience,
      ...hourly,
      jti: 'AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE',
      cid: 'nmdP1fcyvdVO11AL7ECm',
      scp: ['openid', 'orders.read'],
    },
    tenant: 'acme.okta.com',
  },
  cognito: {
    preset: 'cognito',
    options: { region: 'eu-central-1', userPoolId: 'eu-central-1_example' },
    metadata: {
      url: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example/.well-known/openid-configuration',
      issuer: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example',
      jwks_uri: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example/.well-known/jwks.json',
    },
    key: 'cognito',
    keySet: 'cognito',
    header: {},
    claims: {
      iss: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example',
      sub: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      ...hourly,
      jti: 'aaaaaaaa-jti',
      client_id: audience,
      token_use: 'access',
      scope: 'orders/read',
    },
    tenant: 'eu-central-1_example',
  },
  google: {
    preset: 'google',
    options: { hostedDomains: ['acme.example'] },
    metadata: {
      url: 'https://accounts.google.com/.well-known/openid-configuration',
      issuer: 'https://accounts.google.com',
      jwks_uri: 'https://www.googleapis.com/oauth2/v3/certs',
    },
    key: 'google',
    keySet: 'google',
    header: { typ: 'JWT' },
    claims: {
      iss: 'https://accounts.google.com',
      sub: '10769150350006150715113082367',
      aud: audience,
      ...hourly,
      azp: '1234987819200.apps.googleusercontent.com',
      at_hash: 'HK6E_P6Dh8Y93mRNtsDB1Q',
      hd: 'acme.example',
      email: 'jsmith@acme.example',
      nonce: '0394852-3190485-2490358',
    },
    question: { token_type: 'id' },
    tenant: 'acme.example',
  },
  oidc: {
    preset: 'oidc',
    options: { issuer: 'https://as.example/tenant-1' },
    metadata: {
      url: 'https://as.example/tenant-1/.well-known/openid-configuration',
      issuer: 'https://as.example/tenant-1',
      jwks_uri: 'https://as.example/tenant-1/jwks',
    },
    key: 'oidc',
    keySet: 'oidc',
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
    tenant: 'as.example',
  },
}

/** How a token, its keys or its question differ from what is good. */
interface Change {
  readonly key?: KeyName
  readonly header?: Readonly<Record<string, unknown>>
  readonly claims?: Readonly<Record<string, unknown>>
  readonly token?: (token: string) => string
  readonly noKeySet?: boolean
  readonly question?: Partial<Question>
}

interface Defect extends Change {
  readonly about: string
  readonly step?: number
  readonly expected: Reason
  /** Two defects of one place cannot stand together. */
  readonly place: string
}

/** Of a token of Entra, in the order in which they are found. */
const defects: readonly Defect[] = [
  {
    about: 'more than 16 KiB',
    step: 2,
    expected: 'oversized',
    place: 'padding',
    claims: { padding: 'x'.repeat(16_384) },
  },
  {
    about: 'four segments',
    step: 1,
    expected: 'malformed',
    place: 'form',
    token: (token) => `${token}.x`,
  },
  { about: 'iss is no text', step: 1, expected: 'malformed', place: 'iss', claims: { iss: 7 } },
  {
    about: 'iss is of nobody who was configured',
    expected: 'issuer_mismatch',
    place: 'iss',
    claims: { iss: 'https://evil.example' },
  },
  { about: 'alg none', step: 3, expected: 'alg_not_allowed', place: 'alg', header: { alg: 'none' } },
  {
    about: 'a key set that the header names',
    step: 4,
    expected: 'header_not_allowed',
    place: 'jku',
    header: { jku: 'https://evil.example/keys' },
  },
  {
    about: 'a token for Microsoft Graph, by its nonce',
    step: 4,
    expected: 'header_not_allowed',
    place: 'header nonce',
    header: { nonce: 'QltrBofYb5am7UJ8' },
  },
  {
    about: 'typ of a logout token',
    step: 5,
    expected: 'type_mismatch',
    place: 'typ',
    header: { typ: 'logout+jwt' },
  },
  {
    about: 'an ID token by the same key',
    step: 6,
    expected: 'type_mismatch',
    place: 'azp',
    claims: { azp: undefined, scp: undefined, nonce: '123523' },
  },
  { about: 'no subject', step: 6, expected: 'malformed', place: 'sub', claims: { sub: undefined } },
  { about: 'no key set has come', step: 7, expected: 'manifest_stale', place: 'set', noKeySet: true },
  {
    about: 'a kid that is not in the set',
    step: 8,
    expected: 'unknown_key',
    place: 'key',
    header: { kid: 'another' },
  },
  {
    about: 'a key that does not say whose it is',
    step: 8,
    expected: 'unknown_key',
    place: 'key',
    key: 'orphan',
  },
  {
    about: 'alg is not that of the key',
    step: 9,
    expected: 'key_out_of_scope',
    place: 'alg',
    header: { alg: 'PS256' },
  },
  {
    about: 'the key is blocked, by the name of another tenant that it signs for',
    step: 10,
    expected: 'key_blocked',
    place: 'blocked',
    question: {
      blocked: [kids.entra, kids.consumer].map((kid) => ({
        iss: `https://sts.windows.net/${tenantB}/`,
        kid,
        at: now - 60,
        reason: 'stolen',
        by: 'olga',
      })),
    },
  },
  {
    about: '2023: a key for personal accounts signs a token of an enterprise',
    step: 11,
    expected: 'issuer_mismatch',
    place: 'key',
    key: 'consumer',
  },
  {
    about: 'a tenant that is not allowed',
    step: 12,
    expected: 'tenant_mismatch',
    place: 'iss',
    claims: { iss: `${microsoft}/${stranger}/v2.0`, tid: stranger },
  },
  {
    about: 'tid is not the tenant in iss',
    step: 12,
    expected: 'tenant_mismatch',
    place: 'iss',
    claims: { tid: tenantB },
  },
  {
    about: 'another audience',
    step: 13,
    expected: 'audience_mismatch',
    place: 'aud',
    claims: { aud: 'api://other' },
  },
  {
    about: 'lives for 30 hours',
    step: 14,
    expected: 'lifetime_too_long',
    place: 'time',
    claims: { exp: now + 30 * 3600 },
  },
  {
    about: 'by a key that only has the name',
    step: 15,
    expected: 'signature_invalid',
    place: 'key',
    key: 'stranger',
  },
  {
    about: 'a signature of zeros',
    step: 15,
    expected: 'signature_invalid',
    place: 'signature',
    token: (token) => `${token.slice(0, token.lastIndexOf('.'))}.${encode(new Uint8Array(256))}`,
  },
  {
    about: 'expired by more than the tolerance',
    step: 16,
    expected: 'expired',
    place: 'time',
    claims: { iat: now - 3600, nbf: now - 3600, exp: now - 5 },
  },
  {
    about: 'not yet valid',
    step: 16,
    expected: 'not_yet_valid',
    place: 'nbf',
    claims: { nbf: now + 6 },
  },
  {
    about: 'a cutoff of all tenants of the template',
    step: 17,
    expected: 'issued_before_cutoff',
    place: 'cutoffs',
    question: { cutoffs: [{ iss: template, before: now + 1 }] },
  },
  {
    about: 'a denial names the key by its thumbprint',
    step: 18,
    expected: 'key_revoked',
    place: 'denials',
    question: {
      denials: [{ issuer: `${microsoft}/${tenantA}/v2.0`, kid: keys.entra.kid }],
    },
  },
  {
    about: 'a denial names the person',
    step: 18,
    expected: 'issued_before_cutoff',
    place: 'denials',
    question: {
      denials: [
        {
          issuer: `${microsoft}/${tenantA}/v2.0`,
          subject: 'HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ',
          before: now + 1,
        },
      ],
    },
  },
  {
    about: 'bound to a key that was not proven',
    step: 19,
    expected: 'sender_mismatch',
    place: 'sender',
    claims: { cnf: { jkt } },
  },
  {
    about: 'bound to nothing where bound tokens alone are taken',
    step: 19,
    expected: 'sender_mismatch',
    place: 'sender',
    question: { binding_required: true },
  },
  {
    about: 'a proof of a key that the token is not bound to',
    step: 19,
    expected: 'sender_mismatch',
    place: 'sender',
    question: { confirmation: { jkt } },
  },
  {
    about: 'no word from the authority for 61 s: a kill may be on its way',
    step: 20,
    expected: 'manifest_stale',
    place: 'age',
    question: { manifest_age_seconds: 61 },
  },
]

/** What else is worth a try, by provider; without a reason it is accepted. */
const others: readonly (Change & {
  readonly about: string
  readonly issuer: string
  readonly step?: number
  readonly expected?: Reason
  readonly tenant?: string
})[] = [
  {
    about: 'another tenant of the list',
    issuer: 'entra',
    claims: { iss: `${microsoft}/${tenantB}/v2.0`, tid: tenantB },
    tenant: tenantB,
  },
  {
    about: 'bound to a key that was proven',
    issuer: 'entra',
    claims: { cnf: { jkt } },
    question: { confirmation: { jkt }, binding_required: true },
  },
  {
    about: 'no authority is followed',
    issuer: 'entra',
    question: { manifest_age_seconds: undefined },
  },
  {
    about: 'a block of another provider, and of another cloud, that calls its key the same',
    issuer: 'entra',
    question: {
      blocked: [
        'https://acme.okta.com/oauth2/default',
        `https://login.microsoftonline.us/${tenantA}/v2.0`,
      ].map((iss) => ({ iss, kid: kids.entra, at: now - 60, reason: 'stolen', by: 'olga' })),
    },
  },
  {
    about: 'cutoffs of another tenant, of another person, and of before the token',
    issuer: 'entra',
    question: {
      cutoffs: [
        { iss: template, tenant: tenantB, before: now + 1 },
        { iss: `${microsoft}/${tenantA}/v2.0`, sub: 'another', before: now + 1 },
        { iss: template, before: now },
      ],
    },
  },
  {
    about: 'expired within the tolerance',
    issuer: 'entra',
    claims: { iat: now - 3600, nbf: now - 3600, exp: now - 4 },
  },
  {
    about: 'personal accounts, which nobody named, by their own key',
    issuer: 'entra',
    key: 'consumer',
    claims: { iss: `${microsoft}/${consumerTenant}/v2.0`, tid: consumerTenant },
    step: 12,
    expected: 'tenant_mismatch',
  },
  {
    about: 'a kid that stands in the set twice',
    issuer: 'entra',
    key: 'okta',
    header: { kid: 'twice' },
    step: 8,
    expected: 'unknown_key',
  },
  {
    about: 'a key for encryption',
    issuer: 'entra',
    key: 'google',
    header: { kid: 'for-encryption' },
    step: 8,
    expected: 'unknown_key',
  },
  { about: 'no kid', issuer: 'entra', header: { kid: undefined }, step: 8, expected: 'unknown_key' },
  {
    about: 'HS256 by the public key',
    issuer: 'entra',
    token: (token) => hmac(token, JSON.stringify(shown('entra'))),
    step: 3,
    expected: 'alg_not_allowed',
  },
  {
    about: '2023 again, where personal accounts are named too',
    issuer: 'entra with personal accounts',
    claims: { iss: `${microsoft}/${tenantA}/v2.0`, tid: tenantA },
    step: 11,
    expected: 'issuer_mismatch',
  },
  {
    about: 'a key of another directory',
    issuer: 'entra-1.0',
    key: 'consumer',
    step: 11,
    expected: 'issuer_mismatch',
  },
  {
    about: 'a token of version 2.0',
    issuer: 'entra-1.0',
    claims: { ver: '2.0' },
    step: 6,
    expected: 'type_mismatch',
  },
  {
    about: 'another organization',
    issuer: 'auth0',
    claims: { org_id: 'org_other' },
    step: 12,
    expected: 'tenant_mismatch',
  },
  {
    about: 'no organization',
    issuer: 'auth0',
    claims: { org_id: undefined },
    step: 6,
    expected: 'tenant_mismatch',
  },
  {
    about: 'an ID token',
    issuer: 'auth0',
    claims: { azp: undefined, nonce: 'n-0S6' },
    step: 6,
    expected: 'type_mismatch',
  },
  {
    about: 'a refresh token',
    issuer: 'keycloak',
    claims: { typ: 'Refresh' },
    step: 6,
    expected: 'type_mismatch',
  },
  {
    about: 'a signature of ES256',
    issuer: 'keycloak',
    header: { alg: 'ES256' },
    step: 9,
    expected: 'key_out_of_scope',
  },
  {
    about: 'an ID token',
    issuer: 'okta',
    claims: { cid: undefined, scp: undefined },
    step: 6,
    expected: 'type_mismatch',
  },
  { about: 'scopes as a text', issuer: 'okta', claims: { scp: 'openid' }, step: 6, expected: 'malformed' },
  {
    about: 'an ID token',
    issuer: 'cognito',
    claims: { token_use: 'id' },
    step: 6,
    expected: 'type_mismatch',
  },
  {
    about: 'another client',
    issuer: 'cognito',
    claims: { client_id: 'another' },
    step: 13,
    expected: 'audience_mismatch',
  },
  {
    about: 'a mail address of the domain, and another domain',
    issuer: 'google',
    claims: { hd: 'evil.example' },
    step: 12,
    expected: 'tenant_mismatch',
  },
  {
    about: 'a mail address of the domain alone',
    issuer: 'google',
    claims: { hd: undefined },
    step: 6,
    expected: 'tenant_mismatch',
  },
  {
    about: 'no client',
    issuer: 'oidc',
    claims: { client_id: undefined },
    step: 6,
    expected: 'type_mismatch',
  },
  { about: 'typ JWT', issuer: 'oidc', header: { typ: 'JWT' }, step: 5, expected: 'type_mismatch' },
  {
    about: 'a key of an algorithm that is not known here',
    issuer: 'oidc',
    key: 'stranger',
    header: { kid: 'key-2' },
    step: 8,
    expected: 'unknown_key',
  },
  { about: 'a SET', issuer: 'oidc', claims: { events: {} }, step: 6, expected: 'type_mismatch' },
]

function hmac(token: string, secret: string): string {
  const [, payload = ''] = token.split('.')
  const input = `${encodePayload({ alg: 'HS256', typ: 'JWT', kid: kids.entra })}.${payload}`
  return `${input}.${encode(createHmac('sha256', secret).update(input).digest())}`
}

/** A token and its question, with every change laid over. */
function make(
  name: string,
  ...changes: readonly Change[]
): Pick<Vector, 'issuer' | 'key_set' | 'token' | 'question'> {
  const provider = providers[name] as Provider
  const laid = <Name extends 'header' | 'claims' | 'question'>(member: Name): object =>
    Object.assign({}, ...changes.map((change) => change[member]))
  const by = changes.findLast(({ key }) => key !== undefined)?.key ?? provider.key
  const { algorithm, privateKey }: TestKey = keys[by]
  const token = signAs(
    { algorithm, privateKey, kid: kids[by] },
    { ...provider.header, ...laid('header') },
    { ...provider.claims, ...laid('claims') },
  )
  return {
    issuer: name,
    key_set: changes.some(({ noKeySet }) => noKeySet) ? null : provider.keySet,
    token: changes.reduce((text, change) => change.token?.(text) ?? text, token),
    question: { audience, now, manifest_age_seconds: 0, ...provider.question, ...laid('question') },
  }
}

function accepted(name: string, another?: string): Pick<Vector, 'tenant' | 'subject' | 'realm'> {
  const { claims, tenant, realm = claims['iss'] } = providers[name] as Provider
  return { tenant: another ?? tenant, subject: claims['sub'] as string, realm: realm as string }
}

function makeVectors(): readonly Vector[] {
  return [
    ...Object.keys(providers).map((name): Vector => {
      return { about: 'a token as it is made', ...make(name), expected: 'accepted', ...accepted(name) }
    }),
    ...defects.map((defect): Vector => {
      const { about, expected, step } = defect
      return { about, ...make('entra', defect), expected, ...(step !== undefined && { step }) }
    }),
    ...others.map(({ about, issuer, step, expected, tenant, ...change }): Vector => {
      const made = { about, ...make(issuer, change) }
      if (step === undefined || expected === undefined)
        return { ...made, expected: 'accepted', ...accepted(issuer, tenant) }
      return { ...made, expected, step }
    }),
  ]
}

const world = createTestWorld({ now })
const running = new Map<string, Promise<FakeProvider>>()
const validators = new Map<string, Promise<ForeignValidator>>()
after(async () => {
  for (const validator of validators.values()) (await validator).stop()
  for (const provider of running.values()) await (await provider).stop()
})

const presets: Readonly<Record<string, (options: never) => ForeignIssuer>> = {
  entra,
  auth0,
  keycloak,
  okta,
  cognito,
  google,
  oidc: ({ issuer, ...options }: { readonly issuer: string }) => oidc(issuer, options),
}

type Asked = Pick<Vector, 'issuer' | 'key_set' | 'token' | 'question'>
type Outcome = Pick<Vector, 'expected' | 'tenant' | 'subject' | 'realm'>

async function decide(asked: Asked): Promise<Outcome> {
  const { issuer, key_set: keySet, token, question } = asked
  const id = JSON.stringify([issuer, keySet, question])
  const validator = await remember(validators, id, () => start(asked))
  const decision = validator.decide(token, { confirmation: question.confirmation })
  if (!decision.accepted) return { expected: decision.refusal.reason }
  const { tenant, subject, realm } = decision.token
  return { expected: 'accepted', tenant, subject, realm }
}

async function start({ issuer, key_set: keySet, question }: Asked): Promise<ForeignValidator> {
  const { preset, options, metadata } = file.issuers[issuer] as Configuration
  const provider = await remember(running, JSON.stringify([issuer, keySet]), async () => {
    const place = new URL(metadata.url).pathname
    const it = await startFakeProvider({
      issuer: metadata.issuer,
      metadataPath: place,
      keySet: metadata.jwks_uri,
    })
    if (keySet === null) it.answer(place, (_, response) => response.writeHead(503).end())
    else it.keys = file.key_sets[keySet]?.keys ?? []
    return it
  })
  const { manifest_age_seconds: age, blocked = [], cutoffs = [] } = question
  const foreign = readForeignDenials(
    new Members({ blocked: [...blocked], cutoffs: [...cutoffs], lifted: [] }, 'foreign'),
  )
  const denials = openDenials({ now: () => question.now })
  for (const denial of question.denials ?? []) await denials.add(denial)
  const state = world.publish(() => ({ foreign }))
  const open = presets[preset] as (options: object) => ForeignIssuer
  const validator = createValidator({
    issuers: [open({ ...options, [fetchFromLoopback]: provider.origin })],
    audience: question.audience,
    [acceptWithoutReceipt]: 'the providers of these vectors log nothing',
    ...(question.token_type && { tokenType: question.token_type }),
    ...(age !== undefined && { trust: { state, ageSeconds: () => age } }),
    ...(question.binding_required && { requireBinding: true }),
    denials,
    now: () => question.now,
  })
  if (keySet !== null) await validator.ready()
  return validator
}

function remember<Value>(
  known: Map<string, Promise<Value>>,
  id: string,
  make: () => Promise<Value>,
): Promise<Value> {
  const value = known.get(id) ?? make()
  known.set(id, value)
  return value
}

interface Vectors {
  readonly about: string
  readonly issuers: Readonly<Record<string, Configuration>>
  readonly key_sets: Readonly<Record<string, { readonly keys: readonly JsonObject[] }>>
  readonly vectors: readonly Vector[]
}

function makeFile(): string {
  const content: Vectors = {
    about:
      'Verdicts over tokens of other issuers, at least one for each step of spec/verdict.md, Foreign issuers. Times are seconds since the epoch.',
    issuers: Object.fromEntries(
      Object.entries(providers).map(([name, { preset, options, metadata }]) => [
        name,
        { preset, options, metadata },
      ]),
    ),
    key_sets: keySets,
    vectors: makeVectors(),
  }
  return `${JSON.stringify(content, undefined, 2)}\n`
}

const path = new URL('../../spec/vectors/foreign.json', import.meta.url)
if (process.env['COUNTERSIGN_WRITE_VECTORS'] !== undefined) writeFileSync(path, makeFile())
const text = readFileSync(path, 'utf8')
const file: Vectors = JSON.parse(text)

test('the vectors of spec/vectors/foreign.json are judged as they say', async () => {
  for (const vector of file.vectors) {
    const { expected, tenant, subject, realm } = vector
    const read = expected === 'accepted' ? { tenant, subject, realm } : {}
    assert.deepEqual(await decide(vector), { expected, ...read }, `${vector.issuer}: ${vector.about}`)
  }
})

test('the vectors are the same, byte for byte, when they are made again', () => {
  assert.equal(text, makeFile())
})

test('F1 F2 T032 T084: the vectors have 2023, and each reason of each step of the reference page, and no other', () => {
  const page = readFileSync(new URL('../../spec/verdict.md', import.meta.url), 'utf8')
  const [, section = ''] = page.split(/^## Foreign issuers$/m)
  const rows = [...section.matchAll(/^\| (\d+) +\| ((?:`\w+`(?:, )?)+) +\|/gm)]
  const said = rows.flatMap(([, step, words = '']) =>
    [...words.matchAll(/\w+/g)].map(([reason]) => `${step} ${reason}`),
  )
  const tried = file.vectors.flatMap(({ step, expected }) =>
    step === undefined ? [] : [`${step} ${expected}`],
  )
  assert.deepEqual([...new Set(tried)].sort(), [...said].sort())
  assert.equal(rows.length, 20)
  const attack = file.vectors.find(({ about }) => about.startsWith('2023: '))
  assert.equal(attack?.expected, 'issuer_mismatch')
})

for (const [at, first] of defects.entries()) {
  test(`${first.about}: ${first.expected}, before whatever comes later in the order`, async () => {
    for (const second of defects.slice(at)) {
      const isAlone = second === first
      if (!isAlone && (first.place === second.place || (first.step === second.step && first.step !== 18)))
        continue
      const { expected } = await decide(make('entra', second, first))
      assert.equal(expected, first.expected, `beside ${second.about}`)
    }
  })
}
