/**
 * Goal: nothing leaves that only the provider's own key could have signed, and nothing that was not asked for. Method: a
 * provider in memory with a client of each kind, before a broker that the test plays, honest or not.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LineError } from '@countersign/lines'
import type { JsonObject } from '@countersign/validator/json'
import { createTestWorld } from '@countersign/validator/testing'
import { type Client, type ClientMetadata, Provider } from 'oidc-provider'
import type { Issue } from './broker.ts'
import { findPlace } from './place.ts'
import { type PlaceholderAlgorithm, placeholderKeys } from './placeholder.ts'
import { issueThroughBroker } from './provider.ts'

const issuer = 'https://login.example'
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const signed = (claims: object): string => `${encode({ alg: 'ES256' })}.${encode(claims)}.c2lnbmVk`
const honest: Issue = async (_type, claims) => signed({ jti: 'x'.repeat(22), ...claims })

function open(issue: Issue, metadata: Partial<ClientMetadata> = {}) {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'shop',
        client_secret: 's'.repeat(32),
        redirect_uris: ['https://shop.example/'],
        ...metadata,
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    jwks: placeholderKeys(['ES256', 'RS256']),
    enabledJWA: {
      idTokenSigningAlgValues: ['ES256', 'RS256', 'HS256'],
      userinfoSigningAlgValues: ['RS256', 'HS256'],
      idTokenEncryptionAlgValues: ['A128KW'],
      idTokenEncryptionEncValues: ['A128GCM'],
    },
    features: {
      devInteractions: { enabled: false },
      encryption: { enabled: true },
      jwtUserinfo: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      jwtResponseModes: { enabled: true },
    },
  })
  issueThroughBroker(provider, {
    tenant: 'home',
    issue,
    validateHint: () => {
      throw new Error('no hint is given here')
    },
  })
  const issueIdToken = async (use: string, extra: JsonObject = {}): Promise<JsonObject> => {
    const client = (await provider.Client.find('shop')) as Client
    const made = new provider.IdToken({ sub: 'ada' }, { client, ctx: undefined as never })
    for (const [name, value] of Object.entries(extra)) made.set(name, value)
    const token = await (made as unknown as { issue(options: object): Promise<string> }).issue({ use })
    return JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as JsonObject
  }
  const issueAccessToken = async (): Promise<string> => {
    const client = (await provider.Client.find('shop')) as Client
    const resourceServer = new provider.ResourceServer('https://mail.example', {
      scope: 'read',
      accessTokenFormat: 'jwt',
    })
    const token = new provider.ClientCredentials({ client, scope: 'read' } as never)
    Object.assign(token, { resourceServer })
    return token.save()
  }
  return { issueIdToken, issueAccessToken }
}

test('the claims are the provider’s, with the tenant, and a name only where it is long enough for a signer', async () => {
  const asked: [string, JsonObject, string][] = []
  const { issueIdToken, issueAccessToken } = open((type, claims, alg) => {
    asked.push([type, claims, alg])
    return honest(type, claims, alg)
  })
  await issueIdToken('idtoken')
  await issueIdToken('logout', { jti: 'short', sid: 'session' })
  await issueAccessToken()
  assert.deepEqual(
    asked.map(([type, { iss, tid, jti, sid }, alg]) => [type, iss, tid, String(jti).length, sid, alg]),
    [
      ['id', issuer, 'home', 'undefined'.length, undefined, 'ES256'],
      ['logout', issuer, 'home', 'undefined'.length, 'session', 'ES256'],
      ['access', issuer, 'home', 22, undefined, 'ES256'],
    ],
  )
  assert.ok(!('jti' in (asked[0]?.[1] ?? {})))
})

test('T126: a broker that answers with a token of other claims is not believed', async () => {
  for (const lie of [
    { sub: 'mallory' },
    { aud: 'https://other.example' },
    { exp: 9_999_999_999 },
    { admin: true },
    { tid: 'elsewhere' },
  ]) {
    const issue: Issue = async (_type, claims) => signed({ jti: 'x'.repeat(22), ...claims, ...lie })
    const { issueIdToken, issueAccessToken } = open(issue)
    await assert.rejects(issueIdToken('idtoken'), /other claims/)
    await assert.rejects(issueAccessToken(), /other claims/)
  }
  await open(honest).issueAccessToken()
  const renamed: Issue = async (_type, claims) => signed({ ...claims, jti: 'y'.repeat(22) })
  await assert.rejects(open(renamed).issueAccessToken(), /other claims/)
})

test('what no signer of ours signs is refused, whatever the client was registered for', async () => {
  for (const [use, metadata] of [
    ['idtoken', { id_token_signed_response_alg: 'HS256' }],
    ['logout', { id_token_signed_response_alg: 'HS256' }],
    ['idtoken', { id_token_encrypted_response_alg: 'A128KW', id_token_encrypted_response_enc: 'A128GCM' }],
    ['userinfo', { userinfo_signed_response_alg: 'RS256' }],
    ['introspection', { introspection_signed_response_alg: 'RS256' }],
    ['authorization', { authorization_signed_response_alg: 'RS256' }],
  ] as const) {
    const { issueIdToken } = open(async () => assert.fail('the broker was asked'), metadata as never)
    await assert.rejects(issueIdToken(use), /are not made here/, use)
  }
  const { issueIdToken } = open(async () => assert.fail('the broker was asked'), {
    userinfo_signed_response_alg: 'HS256',
  })
  assert.equal((await issueIdToken('userinfo'))['aud'], 'shop')
})

test('a client is told to come again where that helps, and only there', async () => {
  const fail =
    (retryable: boolean): Issue =>
    () =>
      Promise.reject(new LineError('why', 'why', { retryable }))
  await assert.rejects(open(fail(true)).issueAccessToken(), {
    error: 'temporarily_unavailable',
    statusCode: 503,
  })
  await assert.rejects(open(fail(false)).issueAccessToken(), { message: 'no token was made: why' })
})

test('where a provider stands follows from its issuer, and one that the charter does not name has no place', () => {
  const { charter } = createTestWorld()
  assert.equal(findPlace('https://login.consumer.example', charter, undefined).realm, 'consumer')
  const fabrikam = '22222222-2222-4222-8222-222222222222'
  const { realm, tenant } = findPlace(`https://login.enterprise.example/${fabrikam}/v2.0`, charter, undefined)
  assert.deepEqual([realm, tenant], ['enterprise', fabrikam])
  for (const stranger of ['https://login.consumer.example/', 'http://login.consumer.example', issuer])
    assert.throws(() => findPlace(stranger, charter, undefined), /names no realm/)
  assert.throws(() => findPlace('https://login.consumer.example', charter, fabrikam), /no tenant/)
  assert.throws(() => findPlace(issuer, undefined, undefined), /names no realm/)
})

test('there is a placeholder for every algorithm that a realm may have, and no two are the same', () => {
  const algorithms: readonly PlaceholderAlgorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
  const { keys } = placeholderKeys([...algorithms, 'ES256'])
  assert.deepEqual(
    keys.map(({ alg }) => alg),
    [...algorithms, 'ES256'],
  )
  assert.equal(new Set(keys.map((key) => JSON.stringify(key))).size, 5)
})
