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
import { consumerTenant } from './issuers.ts'
import type { JsonObject } from './json.ts'
import { Members } from './members.ts'
import type { Reason } from './refusal.ts'
import { createNamedKey } from './test-key.ts'
import {
  microsoft,
  openProvider,
  type ProviderConfiguration,
  type ProviderName,
  providerAudience,
  providerNow,
  providers,
  type TestProvider,
  tenantA,
  tenantB,
} from './test-providers.ts'
import { createTestWorld } from './testing.ts'
import { acceptWithoutReceipt, createValidator, type ForeignValidator } from './validator.ts'

const now = providerNow
const audience = providerAudience
const template = `${microsoft}/{tenantid}/v2.0`
const stranger = '11111111-1111-4111-8111-111111111111'
const jkt = 'A'.repeat(43)

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
  readonly issuer: ProviderName
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
  'entra 2.0': { keys: microsoftKeys },
  'entra 1.0': {
    keys: [shown('entra'), shown('consumer', { issuer: `https://sts.windows.net/${tenantB}/` })],
  },
  auth0: { keys: [shown('auth0', { alg: 'RS256', x5t: 'NzE5' })] },
  keycloak: { keys: [shown('keycloak', { alg: 'EdDSA' })] },
  okta: { keys: [shown('okta', { alg: 'RS256' })] },
  cognito: { keys: [shown('cognito', { alg: 'RS256' })] },
  google: { keys: [shown('google', { alg: 'RS256' })] },
  oidc: { keys: [shown('oidc', { alg: 'EdDSA' }), shown('stranger', { alg: 'RS512', kid: 'key-2' })] },
}

/** Which key signs for a provider; each set is named after its own. */
const keysOf: Readonly<Record<ProviderName, readonly [key: KeyName, keySet: string]>> = {
  'entra 2.0': ['entra', 'entra 2.0'],
  'entra 2.0 with personal accounts': ['consumer', 'entra 2.0'],
  'entra 1.0': ['entra', 'entra 1.0'],
  auth0: ['auth0', 'auth0'],
  'auth0 with the profile of RFC 9068': ['auth0', 'auth0'],
  keycloak: ['keycloak', 'keycloak'],
  okta: ['okta', 'okta'],
  cognito: ['cognito', 'cognito'],
  google: ['google', 'google'],
  oidc: ['oidc', 'oidc'],
  'oidc without a profile': ['oidc', 'oidc'],
}
const names = Object.keys(providers) as ProviderName[]

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
  readonly issuer: ProviderName
  readonly step?: number
  readonly expected?: Reason
  readonly tenant?: string
})[] = [
  {
    about: 'another tenant of the list',
    issuer: 'entra 2.0',
    claims: { iss: `${microsoft}/${tenantB}/v2.0`, tid: tenantB },
    tenant: tenantB,
  },
  {
    about: 'bound to a key that was proven',
    issuer: 'entra 2.0',
    claims: { cnf: { jkt } },
    question: { confirmation: { jkt }, binding_required: true },
  },
  {
    about: 'no authority is followed',
    issuer: 'entra 2.0',
    question: { manifest_age_seconds: undefined },
  },
  {
    about: 'a block of another provider, and of another cloud, that calls its key the same',
    issuer: 'entra 2.0',
    question: {
      blocked: [
        'https://acme.okta.com/oauth2/default',
        `https://login.microsoftonline.us/${tenantA}/v2.0`,
      ].map((iss) => ({ iss, kid: kids.entra, at: now - 60, reason: 'stolen', by: 'olga' })),
    },
  },
  {
    about: 'cutoffs of another tenant, of another person, and of before the token',
    issuer: 'entra 2.0',
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
    issuer: 'entra 2.0',
    claims: { iat: now - 3600, nbf: now - 3600, exp: now - 4 },
  },
  {
    about: 'personal accounts, which nobody named, by their own key',
    issuer: 'entra 2.0',
    key: 'consumer',
    claims: { iss: `${microsoft}/${consumerTenant}/v2.0`, tid: consumerTenant },
    step: 12,
    expected: 'tenant_mismatch',
  },
  {
    about: 'a kid that stands in the set twice',
    issuer: 'entra 2.0',
    key: 'okta',
    header: { kid: 'twice' },
    step: 8,
    expected: 'unknown_key',
  },
  {
    about: 'a key for encryption',
    issuer: 'entra 2.0',
    key: 'google',
    header: { kid: 'for-encryption' },
    step: 8,
    expected: 'unknown_key',
  },
  { about: 'no kid', issuer: 'entra 2.0', header: { kid: undefined }, step: 8, expected: 'unknown_key' },
  {
    about: 'HS256 by the public key',
    issuer: 'entra 2.0',
    token: (token) => hmac(token, JSON.stringify(shown('entra'))),
    step: 3,
    expected: 'alg_not_allowed',
  },
  {
    about: '2023 again, where personal accounts are named too',
    issuer: 'entra 2.0 with personal accounts',
    claims: { iss: `${microsoft}/${tenantA}/v2.0`, tid: tenantA },
    step: 11,
    expected: 'issuer_mismatch',
  },
  {
    about: 'its own issuer, and the tenant of an enterprise that counts too, by a key for personal accounts',
    issuer: 'entra 2.0 with personal accounts',
    claims: { tid: tenantA },
    step: 12,
    expected: 'tenant_mismatch',
  },
  {
    about: 'a key of another directory',
    issuer: 'entra 1.0',
    key: 'consumer',
    step: 11,
    expected: 'issuer_mismatch',
  },
  {
    about: 'a token of version 2.0',
    issuer: 'entra 1.0',
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

type Asked = Pick<Vector, 'issuer' | 'key_set' | 'token' | 'question'>

/** A token and its question, with every change laid over. */
function make(issuer: ProviderName, ...changes: readonly Change[]): Asked {
  const provider: TestProvider = providers[issuer]
  const [usual, keySet] = keysOf[issuer]
  const laid = <Name extends 'header' | 'claims' | 'question'>(member: Name): object =>
    Object.assign({}, ...changes.map((change) => change[member]))
  const by = changes.findLast(({ key }) => key !== undefined)?.key ?? usual
  const token = signAs(
    { ...keys[by], kid: kids[by] },
    { ...provider.header, ...laid('header') },
    { ...provider.claims, ...laid('claims') },
  )
  const { tokenType } = provider
  return {
    issuer,
    key_set: changes.some(({ noKeySet }) => noKeySet) ? null : keySet,
    token: changes.reduce((text, change) => change.token?.(text) ?? text, token),
    question: {
      audience,
      ...(tokenType && { token_type: tokenType }),
      now,
      manifest_age_seconds: 0,
      ...laid('question'),
    },
  }
}

function accepted(issuer: ProviderName, another?: string): Pick<Vector, 'tenant' | 'subject' | 'realm'> {
  const { claims, expected }: TestProvider = providers[issuer]
  return { tenant: another ?? expected.tenant, subject: claims.sub, realm: expected.realm ?? claims.iss }
}

function makeVectors(): readonly Vector[] {
  return [
    ...names.map((name): Vector => {
      return { about: 'a token as it is made', ...make(name), expected: 'accepted', ...accepted(name) }
    }),
    ...defects.map((defect): Vector => {
      const { about, expected, step } = defect
      return { about, ...make('entra 2.0', defect), expected, ...(step !== undefined && { step }) }
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
  const { metadata, ...configuration } = file.issuers[issuer] as ProviderConfiguration
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
  const validator = createValidator({
    issuers: [openProvider(configuration, provider.origin)],
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
  readonly issuers: Readonly<Record<string, ProviderConfiguration>>
  readonly key_sets: Readonly<Record<string, { readonly keys: readonly JsonObject[] }>>
  readonly vectors: readonly Vector[]
}

function makeFile(): string {
  const content: Vectors = {
    about:
      'Verdicts over tokens of other issuers, at least one for each step of spec/verdict.md, Foreign issuers. Times are seconds since the epoch.',
    issuers: Object.fromEntries(
      names.map((name) => {
        const { preset, options, metadata } = providers[name]
        return [name, { preset, options, metadata }]
      }),
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
      const { expected } = await decide(make('entra 2.0', second, first))
      assert.equal(expected, first.expected, `beside ${second.about}`)
    }
  })
}
