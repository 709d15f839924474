/**
 * Goal: each service is told where everything is, once, in files that only this user reads. Method: write the
 * configurations of a folder and look at them; that every service accepts its own is seen whenever a system starts.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { configSchema, seedSchema } from '@countersign/issuer/client'
import { type Wishes, wishesSchema } from './config.ts'
import { readJson } from './files.ts'
import { checkDepth, keepSeed, type Layout, layOut, probesOf, writeConfigs } from './layout.ts'
import { hasSecret, planWorld } from './world.ts'

const ports = {
  consumer: 8400,
  enterprise: 8401,
  authority: 8402,
  witness: 8403,
  gateway: 8404,
  webmail: 8405,
  sentinel: 8406,
}
const folder = mkdtempSync(join(tmpdir(), 'countersign-layout-'))
after(() => rmSync(folder, { recursive: true }))

function write(layout: Layout, wishes: Wishes = {}) {
  const seeds = {
    consumer: keepSeed(layout, 'consumer', wishes),
    enterprise: keepSeed(layout, 'enterprise', wishes),
  }
  writeConfigs(layout, planWorld(wishes), seeds, wishes)
  return seeds
}

test('every file that is written here is closed to others, and a second start writes the same', () => {
  const layout = layOut(join(folder, 'one'), ports)
  const seeds = write(layout)
  const files = readdirSync(layout.data, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  assert.ok(files.length > 10)
  for (const file of files) assert.equal(statSync(file).mode & 0o777, 0o600, file)
  const before = files.map((file) => readJson(file))
  assert.deepEqual(write(layout), seeds)
  assert.deepEqual(
    files.map((file) => readJson(file)),
    before,
  )
})

test('no service is told a secret in its configuration, only the file that holds it', () => {
  const layout = layOut(join(folder, 'two'), ports)
  const { consumer, enterprise } = write(layout)
  const configs = readdirSync(join(layout.data, 'config')).map((name) =>
    JSON.stringify(readJson(join(layout.data, 'config', name))),
  )
  const people = [...consumer.people, ...enterprise.people]
  const clients = [...consumer.clients, ...enterprise.clients].filter(hasSecret)
  for (const secret of [
    ...people.map(({ password }) => password),
    ...clients.map((one) => one.client_secret),
  ])
    assert.ok(!configs.join().includes(secret))
})

test('T206 the gateway answers clients about tokens of their own realm, and knows the hash of their secrets', () => {
  const layout = layOut(join(folder, 'three'), ports)
  const { enterprise } = write(layout)
  const { introspection_clients: file } = readJson<{ introspection_clients: string }>(
    layout.configFile('gateway'),
  )
  const { clients } = readJson<{ clients: Record<string, unknown>[] }>(file)
  const [first] = enterprise.clients
  assert.deepEqual(
    clients.find(({ client_id }) => client_id === first?.client_id),
    {
      client_id: first?.client_id,
      secret_sha256: createHash('sha256')
        .update(first?.client_secret ?? '')
        .digest('base64url'),
      tenants: ['22222222-2222-4222-8222-222222222222', '33333333-3333-4333-8333-333333333333'],
    },
  )
})

test('J5 a client with a certificate gets no secret, and the issuer is told where certificates come from', () => {
  const layout = layOut(join(folder, 'certificates'), ports)
  const client = {
    client_id: 'mail',
    token_endpoint_auth_method: 'tls_client_auth' as const,
    tls_client_auth_subject_dn: 'CN=mail,O=Acme',
    grant_types: ['client_credentials' as const],
  }
  const client_certificate = {
    header: 'x-client-cert',
    format: 'nginx' as const,
    peers: ['127.0.0.1'],
    client_ca: '/etc/clients.pem',
  }
  const other = { client_id: 'portal', grant_types: ['client_credentials' as const] }
  const wishes = wishesSchema.parse({
    realms: { consumer: { clients: [client, other], client_certificate } },
  })
  const { consumer } = write(layout, wishes)
  const [mail, portal] = consumer.clients
  assert.deepEqual([mail?.client_id, mail && hasSecret(mail)], ['mail', false])
  assert.deepEqual([portal?.client_id, portal && hasSecret(portal)], ['portal', true])
  const { seed, ...written } = readJson<{ seed: string; client_certificate: object }>(
    layout.configFile('consumer'),
  )
  assert.deepEqual(written.client_certificate, client_certificate)
  configSchema.parse({ seed, ...written })
  assert.deepEqual(seedSchema.parse(readJson(seed)).clients[0]?.token_endpoint_auth_method, 'tls_client_auth')
  const { introspection_clients: file } = readJson<{ introspection_clients: string }>(
    layout.configFile('gateway'),
  )
  const { clients } = readJson<{ clients: { client_id: string }[] }>(file)
  assert.deepEqual(
    clients.map(({ client_id }) => client_id).filter((id) => ['mail', 'portal'].includes(id)),
    ['portal'],
  )
  assert.deepEqual(write(layout, wishes).consumer, consumer)
})

test('a gateway asks for an audience of its own, and an issuer gives out tokens for it besides the ones of the sample', () => {
  const layout = layOut(join(folder, 'gateway'), ports)
  const written = (name: string): Record<string, unknown> => readJson(layout.configFile(name))
  write(layout)
  const sample = written('gateway')
  const audience = 'https://application.example'
  const resource = { audience, scopes: ['read'] }
  const original_request = { method: 'm', uri: 'u', host: 'h' }
  const wishes = wishesSchema.parse({
    gateway: { audience, original_request, network_header: 'x-real-ip', workers: 2 },
    realms: { consumer: { resources: [resource] } },
  })
  write(layout, wishes)
  const { workers, network_header, ...gateway } = written('gateway')
  assert.deepEqual([workers, network_header], [2, 'x-real-ip'])
  assert.deepEqual(gateway, {
    ...sample,
    audience,
    original_request,
    dpop: { base: [audience] },
    pushed_roots: false,
    scopes: [],
  })
  const audiencesOf = (realm: string): string[] =>
    (written(realm)['resources'] as { audience: string }[]).map((each) => each.audience)
  assert.deepEqual(audiencesOf('consumer'), [...audiencesOf('enterprise'), audience])
  assert.equal(probesOf(layout, wishes).get('gateway')?.audience, audience)
})

test('what is wished of the sentinel replaces what the sample has, member by member', () => {
  const layout = layOut(join(folder, 'four'), ports)
  const policyOf = (): Record<string, unknown> =>
    readJson<{ policy: Record<string, unknown> }>(layout.configFile('sentinel')).policy
  write(layout)
  const sample = policyOf()
  assert.ok((sample['auto_block'] as string[]).includes('receipt_missing'))
  const webhook = { url: 'https://alerts.example/', key: '/etc/hook' }
  write(layout, { sentinel: { silent_seconds: 5, webhook } })
  assert.deepEqual(policyOf(), { ...sample, silent_seconds: 5 })
  assert.deepEqual(readJson<{ webhook: object }>(layout.configFile('sentinel')).webhook, webhook)
  write(layout, { sentinel: { auto_block: [] } })
  assert.deepEqual(policyOf(), { ...sample, auto_block: [] })
})

test('a folder so deep that sockets in it could not be opened is refused before anything is made', () => {
  checkDepth(layOut('/var/lib/countersign', ports))
  assert.throws(
    () => checkDepth(layOut(`/${'deep/'.repeat(20)}`, ports)),
    /too deep.*choose a shorter --data/,
  )
})
