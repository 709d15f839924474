/**
 * Goal: a gateway takes tokens of identity providers that are not ours by its configuration file alone, on every way that it is
 * asked; what was stolen in 2023 buys nothing, and a key of theirs dies when our authority says so. Method: the gateway as a
 * process, in front of providers on loopback that are what the real ones are.
 */

import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eventually } from '@countersign/validator/eventually'
import { gatewayConfig } from '../gateway/src/config.ts'
import type { CheckResponse } from '../gateway/src/envoy.ts'
import { openEnvoyClient } from '../gateway/src/envoy-client.ts'
import { root } from '../tools/source.ts'
import {
  createProviderKey,
  type FakeProvider,
  signAs,
  startFakeProvider,
} from '../validator/src/fake-provider.ts'
import { noForeignDenials } from '../validator/src/foreign-denials.ts'
import { consumerTenant } from '../validator/src/issuers.ts'
import { mailAudience } from '../validator/src/testing.ts'
import { ask, bearer, type Edge, startEdge, startGatewayProcess } from './edge.ts'

// Refusals are what people are after who ask for more words.
process.env['COUNTERSIGN_LOG_LEVEL'] = 'info'

const microsoft = 'https://login.microsoftonline.com'
const tenant = '8eaef023-2b34-4da1-9baa-8bc8c9d6a490'
const reason = 'they log nothing'
const secret = 'a secret'
const clients = [{ client_id: 'api', secret_sha256: hash('sha256', secret, 'base64url') }]

interface Scene {
  readonly edge: Edge
  readonly entra: FakeProvider
  readonly keycloak: FakeProvider
}

const keys = {
  entra: createProviderKey('enterprise-1', 'RS256', { issuer: `${microsoft}/${tenant}/v2.0` }),
  /** As in 2023: in the same set, and of personal accounts. */
  consumer: createProviderKey('consumer-1', 'RS256', { issuer: `${microsoft}/${consumerTenant}/v2.0` }),
  keycloak: createProviderKey('staff-1'),
}

async function begin(t: TestContext, config: object = {}): Promise<Scene> {
  const entra = await startFakeProvider({
    issuer: `${microsoft}/${tenant}/v2.0`,
    metadataPath: `/${tenant}/v2.0/.well-known/openid-configuration`,
    keySet: `${microsoft}/${tenant}/discovery/v2.0/keys`,
  })
  entra.keys = [keys.entra.shown, keys.consumer.shown]
  const keycloak = await startFakeProvider({
    issuer: 'https://id.example/realms/staff',
    metadataPath: '/realms/staff/.well-known/openid-configuration',
    keySet: 'https://id.example/realms/staff/certs',
  })
  keycloak.keys = [keys.keycloak.shown]
  const edge = await startEdge({
    clients,
    config: {
      issuers: [
        { preset: 'entra', tenants: [tenant], fetch_from_loopback: entra.origin },
        {
          preset: 'keycloak',
          url: 'https://id.example',
          realm: 'staff',
          fetch_from_loopback: keycloak.origin,
        },
      ],
      accept_without_receipt: reason,
      original_request: { method: 'x-original-method', uri: 'x-original-uri' },
      routes: [{ path: '/' }, { path: '/billing', audience: 'api://billing', scopes: ['bills.read'] }],
      envoy: { port: 0 },
      ...config,
    },
  })
  t.after(() => Promise.all([edge.stop(), entra.stop(), keycloak.stop()]))
  return { edge, entra, keycloak }
}

function entraToken(claims: object = {}, key = keys.entra): string {
  const iat = Math.floor(Date.now() / 1000)
  return signAs(
    key,
    { typ: 'JWT' },
    {
      iss: `${microsoft}/${tenant}/v2.0`,
      aud: mailAudience,
      tid: tenant,
      sub: 'person-1',
      azp: 'app-1',
      scp: 'bills.read mail.read',
      ver: '2.0',
      uti: 'u',
      iat,
      nbf: iat,
      exp: iat + 3600,
      ...claims,
    },
  )
}

function keycloakToken(claims: object = {}): string {
  const iat = Math.floor(Date.now() / 1000)
  const iss = 'https://id.example/realms/staff'
  return signAs(
    keys.keycloak,
    { typ: 'JWT' },
    {
      iss,
      aud: mailAudience,
      typ: 'Bearer',
      sub: 's',
      azp: 'cli',
      jti: 'j',
      scope: 'mail.read',
      iat,
      exp: iat + 300,
      ...claims,
    },
  )
}

async function askAuth({ gateway }: Edge, token: string, uri = '/') {
  const answer = await ask(
    gateway.port,
    [...bearer(token), 'X-Original-Method', 'GET', 'X-Original-URI', uri],
    { path: '/auth' },
  )
  return { reason: answer.headers['x-countersign-reason'] ?? answer.statusCode, headers: answer.headers }
}

async function introspect({ gateway }: Edge, token: string): Promise<Record<string, unknown>> {
  const response = await fetch(`http://127.0.0.1:${gateway.port}/introspect`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`api:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ token }),
  })
  return (await response.json()) as Record<string, unknown>
}

async function askEnvoy(address: string, token: string): Promise<CheckResponse> {
  const client = openEnvoyClient(address)
  const http = { method: 'GET', path: '/', headers: { authorization: `Bearer ${token}` } }
  return client.check({ attributes: { request: { http } } }).finally(client.close)
}

for (const workers of [1, 2]) {
  test(`other issuers beside our own, each way, with ${workers} worker${workers === 1 ? '' : 's'}`, async (t) => {
    const { edge, entra } = await begin(t, { workers })
    const { headers } = await askAuth(edge, entraToken())
    assert.deepEqual(
      ['subject', 'issuer', 'tenant', 'client', 'scope'].map((name) => headers[`x-auth-${name}`]),
      ['person-1', `${microsoft}/${tenant}/v2.0`, tenant, 'app-1', 'bills.read mail.read'],
    )
    assert.equal((await askAuth(edge, keycloakToken())).headers['x-auth-tenant'], 'staff')
    assert.equal((await askAuth(edge, edge.issue())).reason, 200)
    assert.equal(
      (await askAuth(edge, edge.issue({ receipt: null }))).reason,
      'receipt_missing',
      'ours need theirs',
    )
    assert.match(edge.gateway.log, /without receipt: they log nothing/)

    // What is wrong with it is for whoever runs the gateway, and no word of it is the token's.
    const unnamed = await askAuth(edge, keycloakToken({ sub: undefined, jti: 'a word of theirs' }))
    assert.equal(unnamed.reason, 'malformed')
    await eventually(() => /"why":"[^"]*\bsub\b/.test(edge.gateway.log))
    assert.doesNotMatch(edge.gateway.log + JSON.stringify(unnamed.headers), /a word of theirs/)
    assert.doesNotMatch(JSON.stringify(unnamed.headers), /\bsub\b/)

    const { envoy } = edge.gateway.ready as { envoy: string }
    for (let n = 0; n < 4; n++) assert.equal((await askEnvoy(envoy, keycloakToken())).status.code, 0)
    assert.equal((await askEnvoy(envoy, entraToken({}, keys.consumer))).denied_response?.status.code, 403)

    const shown = await introspect(edge, entraToken())
    assert.deepEqual(
      [shown['active'], shown['client_id'], shown['scope'], shown['tid']],
      [true, 'app-1', 'bills.read mail.read', tenant],
    )
    assert.equal((await introspect(edge, entraToken({ aud: 'api://billing' })))['active'], false)

    // A route's audience asks nobody for keys anew.
    const fetched = entra.requests.length
    assert.equal((await askAuth(edge, entraToken(), '/billing')).reason, 'audience_mismatch')
    assert.equal((await askAuth(edge, entraToken({ aud: 'api://billing' }), '/billing')).reason, 200)
    assert.equal(
      (await askAuth(edge, entraToken({ aud: 'api://billing', scp: 'x' }), '/billing')).reason,
      'insufficient_scope',
    )
    assert.equal((await askAuth(edge, entraToken({ aud: 'api://billing' }))).reason, 'audience_mismatch')
    assert.equal(entra.requests.length, fetched)
  })

  test(`F1 F2 T032 T084: 2023 at a gateway of ${workers}: a consumer key opens no enterprise`, async (t) => {
    const { edge } = await begin(t, { workers })
    const forged = entraToken({}, keys.consumer)
    assert.equal((await askAuth(edge, forged)).reason, 'issuer_mismatch')
    assert.deepEqual(await introspect(edge, forged), { active: false })
    const personal = entraToken(
      { iss: `${microsoft}/${consumerTenant}/v2.0`, tid: consumerTenant },
      keys.consumer,
    )
    assert.equal((await askAuth(edge, personal)).reason, 'tenant_mismatch')
  })

  test(`T118: key block --iss --kid ends a foreign key at a gateway of ${workers}`, async (t) => {
    const { edge } = await begin(t, { workers })
    await edge.authority.acknowledged(1)
    assert.equal((await askAuth(edge, keycloakToken())).reason, 200)
    const iss = 'https://id.example/realms/staff'
    const acknowledged = edge.authority.acknowledged(2)
    edge.world.publish(() => ({
      foreign: {
        ...noForeignDenials,
        blocked: [{ issuer: iss, kid: 'staff-1', at: edge.world.now, reason: 'stolen', by: 'olga' }],
      },
    }))
    edge.authority.push()
    const pushedAt = performance.now()
    await acknowledged
    t.diagnostic(`acknowledged after ${(performance.now() - pushedAt).toFixed(0)} ms`)
    for (let n = 0; n < 4; n++) {
      assert.equal((await askAuth(edge, keycloakToken({ jti: `after-${n}` }))).reason, 'key_blocked')
      assert.deepEqual(await introspect(edge, keycloakToken()), { active: false })
    }
    assert.equal((await askAuth(edge, entraToken())).reason, 200)
  })
}

test('in the place of realms: then tokens of ours are none', async (t) => {
  const { edge } = await begin(t, { realms: [] })
  assert.equal((await askAuth(edge, entraToken())).reason, 200)
  assert.equal((await askAuth(edge, edge.issue())).reason, 'issuer_mismatch')
})

test('SIGHUP: routes change while issuers stay, and another issuer needs a new start', async (t) => {
  const { edge, entra } = await begin(t)
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const fetched = entra.requests.length
  const routes = [{ path: '/' }, { path: '/new', audience: 'api://new' }]
  writeFileSync(edge.configFile, JSON.stringify({ ...usual, routes }))
  edge.gateway.process.kill('SIGHUP')
  await eventually(async () => (await askAuth(edge, entraToken({ aud: 'api://new' }), '/new')).reason === 200)
  assert.equal(entra.requests.length, fetched)
  for (const change of [{ issuers: usual.issuers.slice(0, 1) }, { accept_without_receipt: 'another' }]) {
    const before = edge.gateway.log.length
    writeFileSync(edge.configFile, JSON.stringify({ ...usual, ...change }))
    edge.gateway.process.kill('SIGHUP')
    await eventually(() => edge.gateway.log.slice(before).includes('needs a new start'))
  }
  assert.equal((await askAuth(edge, keycloakToken())).reason, 200)
})

test('T239 what is left open about other issuers, or is of no use, stops the start by file and line', async (t) => {
  const { edge } = await begin(t)
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const file = join(edge.folder, 'wrong.json')
  const [first] = usual.issuers
  const wrong: readonly (readonly [change: object, member: string])[] = [
    [{ accept_without_receipt: undefined }, 'issuers'],
    [{ accept_without_receipt: '' }, 'accept_without_receipt'],
    [{ issuers: undefined }, 'accept_without_receipt'],
    [{ issuers: undefined, accept_without_receipt: undefined, realms: [] }, 'realms'],
    [{ issuers: [{ ...first, tenants: ['contoso'] }] }, 'issuers.0'],
    [{ issuers: [{ ...first, tenant: tenant }] }, 'issuers.0'],
    [{ issuers: [{ ...first, preset: 'azure' }] }, 'issuers.0.preset'],
    [{ issuers: [{ ...first, refresh_seconds: 3600 }] }, 'issuers.0'],
    [{ issuers: [{ preset: 'oidc', issuer: 'http://login.example' }] }, 'issuers.0'],
    [{ issuers: [{ preset: 'google' }] }, 'issuers.0.preset'],
    [{ token_type: 'id' }, 'token_type'],
    [{ workers: 0 }, 'workers'],
  ]
  for (const [change, member] of wrong) {
    writeFileSync(file, JSON.stringify({ ...usual, ...change }, undefined, 2))
    const error = await startGatewayProcess(file).then(
      (gateway) => gateway.stop().then(() => ''),
      (failure: Error) => failure.message,
    )
    const named = [...error.matchAll(/\\n {2}line \d+: ([\w.]+): /g)].map(([, path]) => path)
    assert.ok(named.includes(member), `${JSON.stringify(change)}: ${error}`)
  }
  writeFileSync(
    file,
    JSON.stringify({ ...usual, state: join(edge.folder, 'other'), issuers: [first, first] }),
  )
  await assert.rejects(startGatewayProcess(file), /named twice/)
})

test('the settings that the page shows are settings that a gateway takes', () => {
  for (const page of ['docs/foreign-issuers.md', 'gateway/README.md']) {
    const blocks = readFileSync(join(root, page), 'utf8').matchAll(/^```json\n(.*?)^```/gms)
    const all = [...blocks]
      .map(([, text = '']) => JSON.parse(text))
      .filter(({ issuers }) => issuers !== undefined)
    assert.equal(all.length, 1, page)
    const rest = {
      listen: { port: 0 },
      audience: mailAudience,
      authority: 'https://authority.example',
      trust_anchor: 'a',
      state: 's',
      enrolment: { name: 'n', key: 'k' },
    }
    const read = gatewayConfig.safeParse({ ...rest, ...all[0] })
    assert.ok(read.success, `${page}: ${read.error}`)
  }
})
