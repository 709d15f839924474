/**
 * Goal: introspection tells those who may ask what a good token says, and tells nobody anything about another.
 * Method: a gateway in memory, asked with right, wrong and missing credentials about tokens of every fate.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import { createTestKey, createTestWorld, mailAudience, tenants } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { importJWK, jwtVerify } from 'jose'
import { readClients, serveIntrospection } from './introspect.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-gateway-'))
const clientsFile = join(folder, 'clients.json')
const world = createTestWorld()
const http = createHttp(createLog('gateway'))
const signer = { issuer: 'https://gateway.example', privateKey: createTestKey('EdDSA').privateKey }

before(async () => {
  const clients = [
    { client_id: 'calendar', secret_sha256: sha256('a good secret') },
    { client_id: 'with space & sign', secret_sha256: sha256('100%:ü') },
    { client_id: 'northwind-only', secret_sha256: sha256('another'), tenants: [tenants.northwind] },
  ]
  writeFileSync(clientsFile, JSON.stringify({ clients }), { mode: 0o600 })
  const realm = ['consumer', 'enterprise']
  const validator = createValidator({
    realm,
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
  })
  const introspection = { clients: readClients(clientsFile), signer }
  await serveIntrospection(http, validator, () => introspection)
})
after(async () => {
  await http.close()
  rmSync(folder, { recursive: true })
})

test('a good token is described as RFC 7662 says', async () => {
  const answer = await introspect(world.issue({ claims: { jti: 'an-id-of-a-token' } }))
  assert.equal(answer.statusCode, 200)
  assert.equal(answer.headers['cache-control'], 'no-store')
  assert.deepEqual(answer.json(), {
    active: true,
    token_type: 'Bearer',
    iss: 'https://login.consumer.example',
    sub: 'user-1',
    aud: mailAudience,
    client_id: 'client-1',
    scope: 'mail.read',
    tid: tenants.home,
    iat: world.now,
    exp: world.now + 300,
    jti: 'an-id-of-a-token',
  })
})

test('T066: of a bound token it says to what, and leaves the proof to whoever asks', async () => {
  for (const [cnf, tokenType] of [
    [{ jkt: world.keys.consumer.kid }, 'DPoP'],
    [{ 'x5t#S256': world.keys.consumer.kid }, 'Bearer'],
  ] as const) {
    const answer = (await introspect(world.issue({ claims: { cnf } }))).json()
    assert.deepEqual([answer.active, answer.token_type, answer.cnf], [true, tokenType, cnf])
  }
  for (const cnf of [{}, { jwk: {} }, { jkt: 7 }])
    assert.deepEqual((await introspect(world.issue({ claims: { cnf } }))).json(), { active: false })
})

test('T204: a refused token is inactive, and nothing that it claims is echoed', async () => {
  const forged = [
    world.issue({ receipt: null }),
    world.issue({ claims: { exp: world.now - 10, iat: world.now - 100 } }),
    world.issue({ claims: { iss: 'https://evil.example' } }),
    'not.a.token',
    'x',
  ]
  for (const token of forged) {
    const answer = await introspect(token)
    assert.equal(answer.statusCode, 200)
    assert.deepEqual(answer.json(), { active: false })
    assert.ok(answer.headers['x-countersign-reason'])
  }
})

test('T202: without credentials that are right, no token is looked at', async () => {
  const token = world.issue()
  const wrong = [
    '',
    'Basic',
    basic('calendar', ''),
    basic('calendar', 'a wrong secret'),
    basic('nobody', 'a good secret'),
    basic('', ''),
    `Bearer ${token}`,
    `${basic('calendar', 'a good secret')}, ${basic('calendar', 'a good secret')}`,
    basic('calendar', sha256('a good secret')),
  ]
  for (const authorization of wrong) {
    const answer = await introspect(token, authorization)
    assert.equal(answer.statusCode, 401, authorization)
    assert.equal(answer.headers['x-countersign-reason'], undefined)
    assert.match(String(answer.headers['www-authenticate']), /^Basic /)
  }
})

test('credentials are form-encoded before they are base64 (RFC 6749, section 2.3.1)', async () => {
  const answer = await introspect(world.issue(), basic('with space & sign', '100%:ü'))
  assert.equal(answer.json().active, true)
})

test('T206: a client that is for one tenant learns nothing about the tokens of another', async () => {
  const authorization = basic('northwind-only', 'another')
  const own = world.issue({ realm: 'enterprise', claims: { tid: tenants.northwind } })
  const other = world.issue({ realm: 'enterprise', claims: { tid: tenants.fabrikam } })
  assert.equal((await introspect(own, authorization)).json().active, true)
  assert.deepEqual((await introspect(other, authorization)).json(), { active: false })
})

test('T203: a token is inactive at the next call once its key is blocked', async () => {
  const key = world.keys.enterprise
  const token = world.issue({ realm: 'enterprise' })
  assert.equal((await introspect(token)).json().active, true)
  world.setState(key.kid, 'blocked')
  const answer = await introspect(token)
  assert.deepEqual(answer.json(), { active: false })
  assert.equal(answer.headers['x-countersign-reason'], 'key_blocked')
})

test('T174 T065: one way to authenticate, one token, in the body alone', async () => {
  const token = world.issue()
  const bodies = ['', 'token=', `token=${token}&token=${token}`, `token=${token}&client_secret=a+good+secret`]
  for (const payload of bodies) {
    const answer = await http.inject({
      method: 'POST',
      url: `/introspect?token=${token}`,
      headers: form(),
      payload,
    })
    assert.equal(answer.statusCode, 400, payload)
  }
  assert.equal((await http.inject({ url: `/introspect?token=${token}`, headers: form() })).statusCode, 404)
})

test('T207: an answer is signed for who asks for that, in the name of the gateway, for one client alone', async () => {
  const ask = (token: string, accept: string) =>
    http.inject({
      method: 'POST',
      url: '/introspect',
      headers: { ...form(), accept },
      payload: new URLSearchParams({ token }).toString(),
    })
  const key = await importJWK((await http.inject('/introspect/jwks')).json().keys[0], 'EdDSA')
  const expected = {
    issuer: 'https://gateway.example',
    audience: 'calendar',
    typ: 'token-introspection+jwt',
    algorithms: ['EdDSA'],
  }
  for (const token of [world.issue(), 'no.good.token']) {
    const signed = await ask(token, 'application/token-introspection+jwt')
    assert.equal(signed.headers['content-type'], 'application/token-introspection+jwt')
    const { payload } = await jwtVerify(signed.body, key, expected)
    assert.deepEqual(payload['token_introspection'], (await ask(token, 'application/json')).json())
    // Neither is it a token, nor of one's own: RFC 9701, section 5.
    for (const member of ['sub', 'exp', 'client_id']) assert.equal(payload[member], undefined)
    await assert.rejects(jwtVerify(signed.body, key, { ...expected, audience: 'northwind-only' }))
  }
  const plain = await ask(world.issue(), 'application/token-introspection+jwtx, application/json')
  assert.match(String(plain.headers['content-type']), /^application\/json/)
})

test('T237 T239: the file of clients must be private, and says nothing that is not understood', () => {
  chmodSync(clientsFile, 0o640)
  assert.throws(() => readClients(clientsFile), /0600/)
  chmodSync(clientsFile, 0o600)
  writeFileSync(
    clientsFile,
    JSON.stringify({ clients: [{ client_id: 'a', secret_sha256: sha256('b'), tenant: 'c' }] }),
  )
  assert.throws(() => readClients(clientsFile), /clients\.0.*tenant/s)
  const client = { client_id: 'a', secret_sha256: sha256('b') }
  writeFileSync(clientsFile, JSON.stringify({ clients: [client, { ...client, secret_sha256: sha256('c') }] }))
  assert.throws(() => readClients(clientsFile), /clients\.1\.client_id: is that of a client before it/)
})

test('T237 what is wrong in the file of clients is told by its place, and nothing of a secret with it', () => {
  const secret = 'once-in-a-log-it-is-none'
  for (const content of [
    `{"clients": [{"client_id": "a", "kick": {"api_key": ${secret}}}]}`,
    `{"clients": [{"client_id": "a", "secret_sha256": "${secret}"}]}`,
    secret,
  ]) {
    writeFileSync(clientsFile, content)
    assert.throws(
      () => readClients(clientsFile),
      ({ message }: Error) => message.startsWith(clientsFile) && !message.includes(secret.slice(0, 4)),
    )
  }
})

function introspect(token: string, authorization = basic('calendar', 'a good secret')) {
  const payload = new URLSearchParams({ token, token_type_hint: 'access_token' }).toString()
  return http.inject({ method: 'POST', url: '/introspect', headers: form(authorization), payload })
}

function form(authorization = basic('calendar', 'a good secret')): Record<string, string> {
  return {
    'content-type': 'application/x-www-form-urlencoded',
    ...(authorization !== '' && { authorization }),
  }
}

function basic(id: string, secret: string): string {
  const encode = (text: string): string => new URLSearchParams({ text }).toString().slice('text='.length)
  return `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
