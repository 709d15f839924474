/**
 * Goal: behind a proxy too, a bound token passes with its proof and not without, whatever a client writes into the headers
 * that are the proxy's. Method: gateways on loopback, asked as nginx, Traefik and Envoy ask.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import { createTestCertificate } from '@countersign/validator/test-certificate'
import { createTestHolder } from '@countersign/validator/test-proof'
import { createTestWorld, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { z } from 'zod'
import { serveAuth } from './auth.ts'
import { readSecrets } from './bindings.ts'
import { type GatewayConfig, gatewayConfig } from './config.ts'
import { createGate } from './gate.ts'

const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const validator = createValidator({
  realm: ['consumer', 'enterprise'],
  audience: mailAudience,
  trust: world.trust,
  requireBinding: ['enterprise'],
  now: () => world.now,
})
const folder = mkdtempSync(join(tmpdir(), 'countersign-sender-'))
const running: { close(): Promise<unknown> }[] = []
after(async () => {
  await Promise.all(running.map((http) => http.close()))
  rmSync(folder, { recursive: true })
})

const holder = createTestHolder()
const token = world.issue({ realm: 'enterprise', claims: { cnf: { jkt: holder.jkt } } })
const url = 'https://mail.example/inbox/1'
const base = ['https://mail.example']

const nginx = await start({
  dpop: { base },
  original_request: { method: 'x-original-method', uri: 'x-original-uri' },
})

test('nginx: a bound token passes with a proof for the original request', async () => {
  const answer = await ask(nginx, dpop({}), {
    'X-Original-Method': 'GET',
    'X-Original-URI': '/inbox/1?page=2',
  })
  assert.equal(answer.statusCode, 200)
  assert.equal(answer.headers['x-auth-subject'], 'user-1')
})

test('T149 T158: a proof for another request does not, and what the proxy has to say comes from it once', async () => {
  const original = { 'X-Original-Method': 'GET', 'X-Original-URI': '/inbox/1' }
  const post = { ...original, 'X-Original-Method': 'POST' }
  for (const [headers, sent] of [
    [dpop({ method: 'POST' }), original],
    [dpop({ url: 'https://mail.example/inbox/2' }), original],
    [dpop({ url: 'https://mail.example/auth' }), original],
    [dpop({ url: 'http://127.0.0.1/inbox/1' }), original],
    [dpop({}), post],
    [dpop({}), {}],
    [dpop({}), { ...original, 'X-Original-URI': ['/inbox/1', '/inbox/1'] }],
    [dpop({}), { ...original, 'X-Original-URI': 'https://mail.example/inbox/1' }],
    [dpop({ url: 'https://evil.example/inbox/1' }), { ...original, Host: 'evil.example' }],
  ] as const) {
    const answer = await ask(nginx, headers, sent)
    assert.deepEqual([answer.statusCode, reasonOf(answer)], [401, 'sender_mismatch'], JSON.stringify(sent))
  }
})

test('T066 T156: bound as Bearer, unbound as DPoP, and unbound where it must be bound', async () => {
  const original = { 'X-Original-Method': 'GET', 'X-Original-URI': '/inbox/1' }
  const consumer = world.issue()
  const unbound = { authorization: `DPoP ${consumer}`, dpop: holder.prove({ url, token: consumer }) }
  const plain = world.issue({ realm: 'enterprise' })
  for (const headers of [
    { authorization: `Bearer ${token}`, dpop: holder.prove({ url, token }) },
    unbound,
    { authorization: `Bearer ${plain}` },
  ])
    assert.equal(reasonOf(await ask(nginx, headers, original)), 'sender_mismatch')
  assert.equal((await ask(nginx, { authorization: `Bearer ${consumer}` }, original)).statusCode, 200)
})

test('T150: a proof passes once', async () => {
  const original = { 'X-Original-Method': 'GET', 'X-Original-URI': '/inbox/1' }
  const headers = dpop({})
  assert.equal((await ask(nginx, headers, original)).statusCode, 200)
  assert.equal(reasonOf(await ask(nginx, headers, original)), 'sender_mismatch')
})

test('Traefik and Caddy: one gateway for several hosts, by the header that names which', async () => {
  const gateway = await start({
    dpop: { base: [...base, 'https://other.example'] },
    original_request: { method: 'x-forwarded-method', uri: 'x-forwarded-uri', host: 'x-forwarded-host' },
  })
  const forwarded = { 'X-Forwarded-Method': 'GET', 'X-Forwarded-Uri': '/inbox/1' }
  const at = async (host: string): Promise<number | undefined> =>
    (await ask(gateway, dpop({}), { ...forwarded, 'X-Forwarded-Host': host })).statusCode
  assert.equal(await at('mail.example'), 200)
  assert.equal(await at('other.example'), 401)
  assert.equal((await ask(gateway, dpop({}), forwarded)).statusCode, 401)
})

test('Envoy: method and path are those of the request itself, behind /auth', async () => {
  const gateway = await start({ dpop: { base } })
  const headers = dpop({ method: 'PUT' })
  assert.equal((await ask(gateway, headers, {}, 'PUT', '/auth/inbox/1?page=2')).statusCode, 200)
  assert.equal((await ask(gateway, dpop({}), {}, 'PUT', '/auth/inbox/1')).statusCode, 401)
  assert.equal(
    (await ask(gateway, dpop({}), { 'X-Original-URI': '/inbox/1' }, 'GET', '/auth')).statusCode,
    401,
  )
})

test('T152: a nonce is asked for where there is a file of secrets, and two gateways with it are one', async () => {
  const file = join(folder, 'nonces.json')
  writeFileSync(file, JSON.stringify({ secrets: ['A'.repeat(43)] }), { mode: 0o600 })
  const [one, two] = [
    await start({ dpop: { base, nonce_secrets: file } }),
    await start({ dpop: { base, nonce_secrets: file } }),
  ]
  const refused = await ask(one, dpop({}), {}, 'GET', '/auth/inbox/1')
  assert.match(refused.headers['www-authenticate'] ?? '', /error="use_dpop_nonce"/)
  const nonce = refused.headers['dpop-nonce']
  assert.equal((await ask(two, dpop({}, { nonce }), {}, 'GET', '/auth/inbox/1')).statusCode, 200)
})

test('T158 T249: a certificate counts as the proxy names it, once', async () => {
  const own = createTestCertificate('client.example')
  const bound = world.issue({ realm: 'enterprise', claims: { cnf: { 'x5t#S256': own.thumbprint } } })
  const authorization = `Bearer ${bound}`
  const gateway = await start({ client_certificate: { header: 'x-client-cert', format: 'nginx' } })
  const escaped = encodeURIComponent(own.pem)
  assert.equal((await ask(gateway, { authorization }, { 'X-Client-Cert': escaped })).statusCode, 200)
  for (const sent of [{}, { 'X-Client-Cert': [escaped, escaped] }, { 'Client-Cert': escaped }])
    assert.equal(reasonOf(await ask(gateway, { authorization }, sent)), 'sender_mismatch')
  // A proxy that asks from elsewhere is none.
  const elsewhere = await start({
    client_certificate: { header: 'x-client-cert', format: 'nginx', peers: ['10.0.0.1'] },
  })
  assert.equal(
    reasonOf(await ask(elsewhere, { authorization }, { 'X-Client-Cert': escaped })),
    'sender_mismatch',
  )
  // Without a setting there is no such header.
  assert.equal(reasonOf(await ask(nginx, { authorization }, { 'X-Client-Cert': escaped })), 'sender_mismatch')
})

/** As `gatewayConfig` reads it, so that its defaults count. */
async function start(wanted: {
  readonly dpop?: GatewayConfig['dpop']
  readonly original_request?: GatewayConfig['original_request']
  readonly client_certificate?: object
}): Promise<number> {
  const { dpop, original_request, client_certificate } = gatewayConfig.shape
  const shape = z.strictObject({ dpop, original_request, client_certificate })
  const http = createHttp(createLog('gateway'))
  const config = { scopes: [], network_header: undefined, ...shape.parse(wanted) }
  const secrets = config.dpop?.nonce_secrets && readSecrets(config.dpop.nonce_secrets)
  const gate = createGate(config, { validatorFor: () => validator, ...(secrets && { secrets }) })
  serveAuth(http, () => gate)
  await http.listen({ host: '127.0.0.1', port: 0 })
  running.push(http)
  return (http.server.address() as AddressInfo).port
}

function dpop(
  about: { readonly method?: string; readonly url?: string },
  claims?: Readonly<Record<string, unknown>>,
): { readonly authorization: string; readonly dpop: string } {
  return { authorization: `DPoP ${token}`, dpop: holder.prove({ url, token, ...about }, claims) }
}

function reasonOf({ headers }: IncomingMessage): unknown {
  return headers['x-countersign-reason']
}

async function ask(
  port: number,
  own: Readonly<Record<string, string>>,
  fromProxy: Readonly<Record<string, string | readonly string[]>>,
  method = 'GET',
  path = '/auth',
): Promise<IncomingMessage> {
  const headers = Object.entries({ ...own, ...fromProxy }).flatMap(([name, values]) =>
    [values].flat().flatMap((value) => [name, value as string]),
  )
  const asked = request({
    host: '127.0.0.1',
    port,
    method,
    path,
    headers: ['Host', 'mail.example', ...headers],
  })
  const [answer] = (await once(asked.end(), 'response')) as [IncomingMessage]
  answer.resume()
  return answer
}
