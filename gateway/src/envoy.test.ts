/**
 * Goal: Envoy hears by gRPC what `/auth` would have said. Method: the service on loopback, asked by a gRPC client with the
 * messages that Envoy sends; and one message in bytes, as Envoy's own definition has it.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createTestWorld, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import {
  authorization,
  type CheckRequest,
  type CheckResponse,
  type EnvoyServer,
  serveEnvoy,
} from './envoy.ts'
import { type EnvoyClient, openEnvoyClient } from './envoy-client.ts'
import { createGate } from './gate.ts'

const world = createTestWorld()
const networks: (string | undefined)[] = []
const validator = createValidator({
  realm: 'consumer',
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
  onSighting: ({ network }) => networks.push(network),
})
const routes = [
  { path: '/', scopes: [] },
  { path: '/admin', scopes: ['mail.admin'] },
  { host: 'other.example', path: '/only', scopes: [] },
]
let server: EnvoyServer
let client: EnvoyClient

before(async () => {
  const gate = createGate({ scopes: [], routes }, { validatorFor: () => validator })
  server = await serveEnvoy(0, () => gate)
  client = openEnvoyClient(`127.0.0.1:${server.port}`)
})
after(async () => {
  client.close()
  await server.stop()
})

test('T249 a good token passes, and who it is overwrites what the client sent', async () => {
  const answer = await check({
    authorization: `Bearer ${world.issue()}`,
    'x-auth-subject': 'root',
    ':path': '/',
  })
  assert.equal(answer.status.code, 0)
  const headers = answer.ok_response?.headers ?? []
  assert.deepEqual(Object.fromEntries(headers.map(({ header }) => [header.key, header.value])), {
    'x-auth-subject': 'user-1',
    'x-auth-tenant': '11111111-1111-4111-8111-111111111111',
    'x-auth-issuer': 'https://login.consumer.example',
    'x-auth-client': 'client-1',
    'x-auth-scope': 'mail.read',
  })
  for (const { append_action, keep_empty_value } of headers)
    assert.deepEqual([append_action, keep_empty_value], [2, true])
  assert.equal(networks.at(-1), '203.0.113.7')
})

test('T063 T064 T250 what is hostile is refused with 401 or 403, a challenge and a reason', async () => {
  const good = world.issue()
  const hostile: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    token_missing: {},
    malformed: { authorization: `Bearer ${good},Bearer ${good}` },
    oversized: { authorization: `Bearer ${'a'.repeat(64 * 1024)}` },
    receipt_missing: { authorization: `Bearer ${world.issue({ receipt: null })}` },
    expired: {
      authorization: `Bearer ${world.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } })}`,
    },
  }
  for (const [reason, headers] of Object.entries(hostile)) {
    const { status, denied_response: denied } = await check(headers)
    assert.deepEqual([status.code, denied?.status.code], [16, 401], reason)
    const header = (name: string) => denied?.headers.find(({ header }) => header.key === name)?.header.value
    assert.equal(header('x-countersign-reason'), reason)
    assert.match(header('www-authenticate') ?? '', /^Bearer/)
    assert.equal(JSON.parse(denied?.body ?? '').reason, reason)
  }
})

test('T064 raw headers are read each for itself', async () => {
  const raw = `Bearer ${world.issue()}`
  const headers = [{ key: 'authorization', raw_value: Buffer.from(raw) }]
  assert.equal((await checkHttp({ method: 'GET', path: '/', header_map: { headers } })).status.code, 0)
  const twice = await checkHttp({
    method: 'GET',
    path: '/',
    header_map: { headers: [...headers, ...headers] },
  })
  assert.equal(twice.denied_response?.status.code, 401)
})

test('T248 routes go by what Envoy says of the request', async () => {
  const authorized = { authorization: `Bearer ${world.issue()}` }
  const codeOf = async (http: object): Promise<number> =>
    (await checkHttp({ method: 'GET', headers: authorized, ...http })).denied_response?.status.code ?? 200
  assert.equal(await codeOf({ path: '/x' }), 200)
  assert.equal(await codeOf({ path: '/admin' }), 403)
  assert.equal(await codeOf({ path: '/x/..%2fadmin' }), 403)
  assert.equal(await codeOf({ path: '/only', host: 'other.example' }), 200)
  assert.equal(await codeOf({ path: '/', host: 'other.example' }), 403)
  assert.equal(await codeOf({}), 403)
})

test('a message in bytes, as Envoy has it, is read as it is meant, and one with nothing in it is refused', async () => {
  const { Check } = authorization.service
  const field = (number: number, ...parts: (Buffer | string)[]): Buffer => {
    const content = Buffer.concat(parts.map((part) => Buffer.from(part)))
    return Buffer.concat([Buffer.from([(number << 3) | 2, content.length]), content])
  }
  const entry = field(3, field(1, 'authorization'), field(2, 'Bearer x'))
  const http = Buffer.concat([
    field(1, 'an id'),
    field(2, 'GET'),
    entry,
    field(4, '/p'),
    field(5, 'h'),
    field(10, 'HTTP/2'),
  ])
  const address = field(1, Buffer.from([8, 0]), field(2, '203.0.113.7'), Buffer.from([24, 80]))
  const bytes = field(
    1,
    field(1, field(1, address)),
    field(4, field(2, http)),
    field(10, field(1, 'a'), field(2, 'b')),
  )
  const read = Check?.requestDeserialize(bytes) as CheckRequest
  const { method, headers, path, host } = read.attributes?.request?.http ?? {}
  assert.deepEqual([method, headers, path, host], ['GET', { authorization: 'Bearer x' }, '/p', 'h'])
  assert.equal(read.attributes?.source?.address?.socket_address?.address, '203.0.113.7')
  const empty = await client.check({})
  assert.equal(empty.denied_response?.status.code, 403)
})

test('T254 a token that passed is refused at the next request once its key is revoked', async () => {
  const headers = { authorization: `Bearer ${world.issue()}` }
  assert.equal((await check(headers)).status.code, 0)
  world.setState(world.keys.consumer.kid, 'revoked')
  assert.equal((await check(headers)).denied_response?.status.code, 401)
})

function check(headers: Readonly<Record<string, string>>): Promise<CheckResponse> {
  return checkHttp({ method: 'GET', path: '/mail', host: 'mail.example', headers })
}

function checkHttp(http: object): Promise<CheckResponse> {
  const source = { address: { socket_address: { address: '203.0.113.7' } } }
  return client.check({ attributes: { source, request: { http } } })
}
