/**
 * Goal: a proxy lets a request pass for a good token in the one place where a token may stand, and for nothing else.
 * Method: a gateway on loopback over a world of trust in memory, asked as proxies ask, with what clients can do to it.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import type { Sighting } from '@countersign/validator/sighting'
import { createTestWorld, mailAudience, tenants } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import fc from 'fast-check'
import { serveAuth } from './auth.ts'
import { createGate } from './gate.ts'
import { HEADER_BYTES_MAX, refuseUnreadable } from './oversize.ts'

const world = createTestWorld()
const sightings: Sighting[] = []
let ageSeconds = 0
const validator = createValidator({
  realm: ['consumer', 'enterprise'],
  audience: mailAudience,
  trust: {
    get state() {
      return world.state
    },
    ageSeconds: () => ageSeconds,
  },
  now: () => world.now,
  onSighting: (sighting) => sightings.push(sighting),
})
const http = createHttp(createLog('gateway'), {
  headerBytesMax: HEADER_BYTES_MAX,
  onUnreadable: refuseUnreadable,
})
let port = 0

before(async () => {
  const gate = createGate(
    { scopes: [], network_header: 'x-real-ip', fingerprint_header: 'x-ja4' },
    { validatorFor: () => validator },
  )
  serveAuth(http, () => gate)
  await http.listen({ host: '127.0.0.1', port: 0 })
  port = (http.server.address() as AddressInfo).port
})
after(() => http.close())

test('a good token passes, and the headers say who it is', async () => {
  const answer = await ask(['Authorization', `Bearer ${world.issue()}`])
  assert.equal(answer.statusCode, 200)
  assert.deepEqual(identityOf(answer), {
    'x-auth-subject': 'user-1',
    'x-auth-tenant': tenants.home,
    'x-auth-issuer': 'https://login.consumer.example',
    'x-auth-client': 'client-1',
    'x-auth-scope': 'mail.read',
  })
  assert.equal(answer.headers['cache-control'], 'no-store')
})

test('no credentials: 401 with a challenge that names no error (RFC 6750, section 3.1)', async () => {
  const answer = await ask([])
  assert.equal(answer.statusCode, 401)
  assert.equal(answer.headers['www-authenticate'], 'Bearer')
  assert.equal(answer.headers['x-countersign-reason'], 'token_missing')
  assert.deepEqual(identityOf(answer), {})
})

test('T064: the scheme is read in any case, with any number of spaces', async () => {
  for (const scheme of ['bearer', 'BEARER', 'bEaReR'])
    assert.equal((await ask(['authorization', `${scheme} ${world.issue()}`])).statusCode, 200)
  assert.equal((await ask(['AUTHORIZATION', `Bearer   ${world.issue()}`])).statusCode, 200)
})

test('T064 T063: several credentials are refused, not chosen from', async () => {
  const [good, other] = [world.issue(), world.issue()]
  const twice: readonly (readonly string[])[] = [
    ['Authorization', `Bearer ${good}`, 'Authorization', `Bearer ${good}`],
    ['Authorization', `Bearer ${good}`, 'authorization', 'Basic YTpi'],
    ['Authorization', `Bearer ${good}, Bearer ${other}`],
    ['Authorization', `Bearer ${good},${other}`],
    ['Authorization', `Bearer ${good} ${other}`],
    ['Authorization', `Bearer ${Array.from({ length: 100 }, () => 'a.b.c').join(' ')}`],
    ['Authorization', `Bearer\t${good}`],
    ['Authorization', `Bearer="${good}"`],
    ['Authorization', `Basic ${good}`],
    ['Authorization', `DPoP ${good}`],
    ['Authorization', good],
    ['Authorization', 'Bearer'],
    ['Authorization', ''],
  ]
  for (const headers of twice) {
    const answer = await ask(headers)
    assert.equal(answer.statusCode, 401, headers.join(' '))
    assert.equal(answer.headers['x-countersign-reason'], 'malformed')
    assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer error="invalid_token"/)
  }
})

test('T065: a token in query, body or cookie is not looked for', async () => {
  const token = world.issue()
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const elsewhere = [
    await ask([], { path: `/auth?access_token=${token}&authorization=Bearer%20${token}` }),
    await ask(['Cookie', `access_token=${token}; authorization=Bearer ${token}`]),
    await ask(Object.entries(form).flat(), { method: 'POST', body: `access_token=${token}` }),
    await ask(['X-Forwarded-Authorization', `Bearer ${token}`, 'Proxy-Authorization', `Bearer ${token}`]),
  ]
  for (const answer of elsewhere) {
    assert.equal(answer.statusCode, 401)
    assert.equal(answer.headers['x-countersign-reason'], 'token_missing')
  }
  const bad = await ask(['Authorization', 'Bearer a.b.c', 'Cookie', `access_token=${token}`], {
    path: `/auth?access_token=${token}`,
  })
  assert.equal(bad.headers['x-countersign-reason'], 'malformed')
})

test('T066: a bound token shown as a bearer token is refused', async () => {
  const bound = world.issue({ claims: { cnf: { jkt: world.keys.consumer.kid } } })
  const answer = await ask(['Authorization', `Bearer ${bound}`])
  assert.equal(answer.statusCode, 401)
  assert.equal(answer.headers['x-countersign-reason'], 'sender_mismatch')
})

test('T063: what is too large is refused by name, not by the HTTP parser', async () => {
  for (const characters of [17 * 1024, 60 * 1024, 64 * 1024, 80 * 1024, 1024 * 1024]) {
    const answer = await ask(['Authorization', `Bearer ${'a'.repeat(characters)}`])
    assert.equal(answer.statusCode, 401)
    assert.equal(answer.headers['x-countersign-reason'], 'oversized')
  }
})

test('T251: every refusal is 401 or 403, since nginx takes any other status for a fault', async () => {
  const wrong = {
    signature_invalid: tamper(world.issue()),
    receipt_missing: world.issue({ receipt: null }),
    expired: world.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } }),
    audience_mismatch: world.issue({ claims: { aud: 'https://calendar.example' } }),
    issuer_mismatch: world.issue({ claims: { iss: 'https://login.enterprise.example' } }),
    unknown_key: world.issue({ header: { kid: 'A'.repeat(43) } }),
    type_mismatch: world.issue({ type: 'id' }),
  }
  for (const [reason, token] of Object.entries(wrong)) {
    const answer = await ask(['Authorization', `Bearer ${token}`])
    assert.equal(answer.headers['x-countersign-reason'], reason)
    assert.ok([401, 403].includes(answer.statusCode ?? 0), `${reason}: ${answer.statusCode}`)
    assert.match(
      answer.headers['www-authenticate'] ?? '',
      /^Bearer error="invalid_token", error_description="[^"]+"$/,
    )
    assert.deepEqual(identityOf(answer), {})
  }
})

test('T250 F12: without word from the authority it fails closed, with 401', async () => {
  const token = world.issue()
  assert.equal((await ask(['Authorization', `Bearer ${token}`])).statusCode, 200)
  ageSeconds = 61
  const answer = await ask(['Authorization', `Bearer ${token}`])
  ageSeconds = 0
  assert.equal(answer.statusCode, 401)
  assert.equal(answer.headers['x-countersign-reason'], 'manifest_stale')
})

test('T254: a token that passed is refused at the next request once its key is revoked', async () => {
  const doomed = createTestWorld()
  const gateway = createHttp(createLog('gateway'))
  const options = { realm: 'consumer', audience: mailAudience, trust: doomed.trust, now: () => doomed.now }
  const gate = createGate({ scopes: [] }, { validatorFor: () => createValidator(options) })
  serveAuth(gateway, () => gate)
  const headers = { authorization: `Bearer ${doomed.issue()}` }
  assert.equal((await gateway.inject({ url: '/auth', headers })).statusCode, 200)
  doomed.setState(doomed.keys.consumer.kid, 'revoked')
  const answer = await gateway.inject({ url: '/auth', headers })
  assert.equal(answer.statusCode, 401)
  assert.equal(answer.headers['x-countersign-reason'], 'key_revoked')
})

test('T250 T253: any method, any body, any type: the body belongs to the resource and is not read', async () => {
  const headers = ['Authorization', `Bearer ${world.issue()}`, 'Content-Type', 'application/json']
  for (const method of [
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'PROPFIND',
    'REPORT',
    'LOCK',
  ]) {
    const body = ['GET', 'HEAD'].includes(method) ? undefined : '{"not": json'
    assert.equal((await ask(headers, { method, body })).statusCode, 200, method)
    assert.equal((await ask([], { method, body })).statusCode, 401, method)
  }
  const large = await ask([...headers, 'Content-Length', String(100 * 1024 * 1024)], {
    method: 'POST',
    body: 'begun',
  })
  assert.equal(large.statusCode, 200)
})

test('T248: the path behind /auth/ decides nothing, however it is written', async () => {
  const authorized = ['Authorization', `Bearer ${world.issue()}`]
  for (const path of ['/auth/mail', '/auth/..%2fhealthz', '/auth//evil', '/auth/%2e%2e/healthz']) {
    assert.equal((await ask(authorized, { path })).statusCode, 200, path)
    assert.equal((await ask([], { path })).statusCode, 401, path)
  }
  for (const path of ['/authx', '/AUTH', '/%61uth/../x', '/auth%00'])
    assert.notEqual((await ask([], { path })).statusCode, 200, path)
})

test('a scope that is asked for is needed, and a query can only ask for more', async () => {
  const headers = ['Authorization', `Bearer ${world.issue({ claims: { scope: 'mail.read profile' } })}`]
  for (const path of [
    '/auth?scope=mail.read',
    '/auth?scope=mail.read%20profile',
    '/auth?scope=',
    '/auth?scope=mail.read&scope=profile',
  ])
    assert.equal((await ask(headers, { path })).statusCode, 200, path)
  for (const path of [
    '/auth?scope=mail.write',
    '/auth?scope=mail',
    '/auth?scope=mail.read&scope=mail.write',
    '/auth?scope=MAIL.READ',
  ]) {
    const answer = await ask(headers, { path })
    assert.equal(answer.statusCode, 403, path)
    assert.equal(answer.headers['x-countersign-reason'], 'insufficient_scope')
  }
  const denied = await ask(headers, { path: '/auth?scope=mail.write' })
  assert.equal(denied.headers['www-authenticate'], 'Bearer error="insufficient_scope", scope="mail.write"')
  const injected = await ask(headers, { path: '/auth?scope=a%22,x%0d%0ax-auth-subject:%20root' })
  assert.equal(injected.statusCode, 403)
  assert.deepEqual(identityOf(injected), {})
})

test('behind /auth/ the query is between the client and the application', async () => {
  for (const path of ['/auth/search?scope=all', '/auth/?scope=all'])
    assert.equal((await ask(['Authorization', `Bearer ${world.issue()}`], { path })).statusCode, 200, path)
})

test('T249: headers that a client sent do not become the answer, and each one is always overwritten', async () => {
  const token = world.issue({ claims: { client_id: undefined, scope: undefined } })
  const spoofed = ['x-auth-subject', 'root', 'x-auth-scope', 'admin', 'x-auth-client', 'operator']
  const answer = await ask([...spoofed, 'Authorization', `Bearer ${token}`])
  assert.equal(answer.headers['x-auth-subject'], 'user-1')
  assert.equal(answer.headers['x-auth-scope'], '')
  assert.equal(answer.headers['x-auth-client'], '')
})

test('T027 T249: no subject can split a header, nor be read as another subject', async () => {
  const names = fc.array(
    fc.oneof(
      fc.constantFrom(' ', '%', '%20', '\r\n', '\0', 'é', 'a', ',', '😀'),
      fc.string({ unit: 'binary' }),
    ),
    { minLength: 1, maxLength: 6 },
  )
  const seen = new Map<string, string>()
  await fc.assert(
    fc.asyncProperty(
      names.map((parts) => parts.join('')).filter((name) => name !== ''),
      async (sub) => {
        const answer = await ask(['Authorization', `Bearer ${world.issue({ claims: { sub } })}`])
        assert.equal(answer.statusCode, 200)
        const header = String(answer.headers['x-auth-subject'])
        assert.match(header, /^[\x21-\x7e]+$/)
        assert.equal(decodeURIComponent(header), sub)
        assert.equal(seen.get(header) ?? sub, sub)
        seen.set(header, sub)
      },
    ),
    { seed: 4, numRuns: 100 },
  )
})

test('the address that the proxy names reaches the sighting, and only if it is one', async () => {
  const token = world.issue({ receipt: null })
  await ask(['Authorization', `Bearer ${token}`, 'X-Real-IP', '203.0.113.7'])
  assert.equal(sightings.at(-1)?.network, '203.0.113.7')
  await ask(['Authorization', `Bearer ${token}`, 'X-Real-IP', 'evil\u00a0text'])
  assert.equal(sightings.at(-1)?.network, undefined)
})

test('what the sender runs reaches the sighting, as a hash and as the proxy names it; the same sender is no news', async () => {
  const token = ['Authorization', `Bearer ${world.issue()}`]
  const ja4 = 't13d1516h2_8daaf6152771_02713d6af862'
  const from = (agent: string, fingerprint: string) =>
    ask([...token, 'User-Agent', agent, 'X-JA4', fingerprint])
  const before = sightings.length
  for (let n = 0; n < 3; n++) await from('curl/8', ja4)
  await from('curl/8', 'not one <b>')
  await from('Thief/1.0', ja4)
  const seen = sightings.slice(before)
  const agentOf = (text: string): string =>
    createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
  assert.deepEqual(
    seen.map(({ verdict, agent, fingerprint }) => [verdict, agent, fingerprint]),
    [
      ['accepted', agentOf('curl/8'), ja4],
      ['accepted', agentOf('curl/8'), undefined],
      ['accepted', agentOf('Thief/1.0'), ja4],
    ],
  )
})

test('T253: a request that two parsers could read differently reaches no verdict', async () => {
  const token = world.issue()
  const smuggled = [
    `GET /auth HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer ${token}\r\n\r\n`,
    `GET /auth HTTP/1.1\r\nHost: a\r\nX: y\r\n\tAuthorization: Bearer ${token}\r\n\r\n`,
    `POST /auth HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    `POST /auth HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer ${token}\r\n\r\n0\r\n\r\n`,
  ]
  for (const bytes of smuggled) {
    const socket = connect(port, '127.0.0.1')
    socket.end(bytes)
    assert.doesNotMatch(await text(socket), /^HTTP\/1.1 200/, bytes)
  }
})

function tamper(token: string): string {
  return token.slice(0, -8) + (token.endsWith('AAAAAAAA') ? 'BBBBBBBB' : 'AAAAAAAA')
}

function identityOf({ headers }: IncomingMessage): object {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('x-auth-')))
}

async function ask(
  headers: readonly string[],
  {
    path = '/auth',
    method = 'GET',
    body,
  }: { path?: string; method?: string; body?: string | undefined } = {},
): Promise<IncomingMessage> {
  const framing =
    body === undefined || headers.includes('Content-Length') ? [] : ['Content-Length', String(body.length)]
  const all = ['Host', 'gateway', ...headers, ...framing]
  const outgoing = request({ host: '127.0.0.1', port, path, method, agent: false, headers: all })
  // A body that is announced and never comes must not be waited for.
  if (headers.includes('Content-Length')) outgoing.write(body)
  else outgoing.end(body)
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  outgoing.on('error', () => {}).destroy()
  return answer
}
