/**
 * Goal: mail reaches its owner and nobody else, and a message cannot act on the page that shows it.
 * Method: a webmail over a world of trust in memory, with mailboxes of two realms and three tenants, where subjects and
 * message ids are alike and one message is an attack.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import { dpop } from '@countersign/validator/dpop'
import { mtls } from '@countersign/validator/mtls'
import { createTestCertificate, type TestCertificate } from '@countersign/validator/test-certificate'
import { createTestHolder } from '@countersign/validator/test-proof'
import { createTestWorld, issuers, mailAudience, tenants } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { openAccessRecord } from './access.ts'
import { webmailConfig } from './config.ts'
import { serveMail } from './mail.ts'
import { type Mailbox, openMailboxes, readMailboxes } from './mailbox.ts'

const attack = '<img src=//evil.example/a onerror=alert(1)>"\'&</details><script>alert(2)</script>'
const enterprise = (tenant: string): string => issuers.enterprise.replace('{tenantid}', tenant)
const mailboxes: readonly Mailbox[] = [
  mailbox(issuers.consumer, 'user-1', 'home'),
  mailbox(issuers.consumer, 'user-2', 'neighbour'),
  mailbox(enterprise(tenants.fabrikam), 'user-1', 'fabrikam'),
  mailbox(enterprise(tenants.northwind), 'user-1', 'northwind'),
]
const folder = mkdtempSync(join(tmpdir(), 'countersign-webmail-'))
const file = join(folder, 'mailboxes.json')
writeFileSync(file, JSON.stringify(mailboxes))

const world = createTestWorld()
const realm = ['consumer', 'enterprise']
const validator = createValidator({ realm, audience: mailAudience, trust: world.trust, now: () => world.now })
const http = createHttp(createLog('webmail'))
const accesses = openAccessRecord(join(folder, 'accesses.jsonl'))
const opened = openMailboxes(file, (problem) => {
  throw problem
})
serveMail(http, { validator, mailboxes: opened, accesses })
after(async () => {
  await http.close()
  opened.close()
  accesses.close()
  rmSync(folder, { recursive: true })
})

test('T066 T150: a bound token opens the mailbox with its proof, and a session that then stands for both', async () => {
  const bound = createHttp(createLog('webmail'))
  const base = 'https://mail.example'
  const bindings = [dpop({ base, now: () => world.now })]
  serveMail(bound, { validator, bindings, mailboxes: opened, accesses })
  const holder = createTestHolder()
  const token = world.issue({ claims: { cnf: { jkt: holder.jkt } } })
  const send = (method: 'GET' | 'POST', url: string, headers: object) =>
    bound.inject({ method, url, headers: { ...headers } })
  const proven = (method: 'GET' | 'POST', path: string): { authorization: string; dpop: string } => {
    const proof = holder.prove({ method, url: `${base}${path}`, token, now: world.now })
    return { authorization: `DPoP ${token}`, dpop: proof }
  }
  const once = proven('GET', '/api/messages')
  assert.equal((await send('GET', '/api/messages', once)).statusCode, 200)
  assert.equal((await send('GET', '/api/messages', once)).headers['x-countersign-reason'], 'sender_mismatch')
  assert.equal((await send('GET', '/api/messages', proven('POST', '/api/messages'))).statusCode, 401)
  const bearer = { authorization: `Bearer ${token}` }
  assert.equal(
    (await send('GET', '/api/messages', bearer)).headers['x-countersign-reason'],
    'sender_mismatch',
  )
  assert.equal((await send('POST', '/session', bearer)).statusCode, 401)
  const session = await send('POST', '/session', proven('POST', '/session'))
  assert.equal(session.statusCode, 204)
  const [cookie] = String(session.headers['set-cookie']).split(';')
  assert.equal((await send('GET', '/api/messages', { cookie })).statusCode, 200)
  await bound.close()
})

test('T066 T158 T159 T195: a token that is bound to a certificate opens the mailbox with it, and so does its cookie', async () => {
  const bound = createHttp(createLog('webmail'))
  const [own, twin] = [createTestCertificate('client.example'), createTestCertificate('client.example')]
  const holder = createTestHolder()
  const { client_certificate: from } = webmailConfig
    .pick({ client_certificate: true })
    .parse({ client_certificate: { header: 'client-cert', format: 'rfc9440' } })
  assert.ok(from)
  const bindings = [dpop({ base: 'https://mail.example', now: () => world.now }), mtls({ from })]
  serveMail(bound, { validator, bindings, mailboxes: opened, accesses })
  const send = (
    method: 'GET' | 'POST',
    url: string,
    headers: object,
    certificate?: TestCertificate,
    remoteAddress = '127.0.0.1',
  ) => {
    const shown = certificate && { 'client-cert': `:${certificate.der.toString('base64')}:` }
    return bound.inject({ method, url, headers: { ...headers, ...shown }, remoteAddress })
  }
  const reasonOf = async (...asked: Parameters<typeof send>): Promise<unknown> =>
    (await send(...asked)).headers['x-countersign-reason']
  const authorization = `Bearer ${world.issue({ claims: { cnf: { 'x5t#S256': own.thumbprint } } })}`
  assert.equal((await send('GET', '/api/messages', { authorization }, own)).statusCode, 200)
  const without: readonly [TestCertificate?, string?][] = [[], [twin], [own, '10.0.0.1']]
  for (const each of without)
    assert.equal(await reasonOf('GET', '/api/messages', { authorization }, ...each), 'sender_mismatch')
  assert.equal(await reasonOf('POST', '/session', { authorization }, twin), 'sender_mismatch')
  const session = await send('POST', '/session', { authorization }, own)
  const [cookie] = String(session.headers['set-cookie']).split(';')
  for (const url of ['/api/messages', '/']) {
    assert.equal((await send('GET', url, { cookie }, own)).statusCode, 200)
    for (const each of without)
      assert.equal(await reasonOf('GET', url, { cookie }, ...each), 'sender_mismatch')
  }
  // Bound to both: the proof was for one request, the certificate is for each.
  const both = world.issue({ claims: { cnf: { jkt: holder.jkt, 'x5t#S256': own.thumbprint } } })
  const dpopOf = (): string =>
    holder.prove({ method: 'POST', url: 'https://mail.example/session', token: both, now: world.now })
  const proven = (): object => ({ authorization: `DPoP ${both}`, dpop: dpopOf() })
  assert.equal(await reasonOf('POST', '/session', proven()), 'sender_mismatch')
  const opening = await send('POST', '/session', proven(), own)
  assert.equal(opening.statusCode, 204)
  const [strict] = String(opening.headers['set-cookie']).split(';')
  assert.equal((await send('GET', '/', { cookie: strict }, own)).statusCode, 200)
  assert.equal(await reasonOf('GET', '/', { cookie: strict }), 'sender_mismatch')
  await bound.close()
})

test('a good token opens its own mailbox', async () => {
  const token = world.issue()
  const list = await get('/api/messages', token)
  assert.equal(list.statusCode, 200)
  assert.equal(list.headers['cache-control'], 'no-store')
  assert.equal(list.json().address, 'home@mail.example')
  assert.deepEqual(
    list.json().messages.map(({ id }: { id: string }) => id),
    ['shared', 'home-1'],
  )
  const message = await get('/api/messages/home-1', token)
  assert.equal(message.json().text, attack)
})

test('T258 T087: the same subject and the same message id at another issuer is another mailbox', async () => {
  for (const [name, tenant] of Object.entries({ fabrikam: tenants.fabrikam, northwind: tenants.northwind })) {
    const token = world.issue({ realm: 'enterprise', claims: { tid: tenant, iss: enterprise(tenant) } })
    assert.equal((await get('/api/messages', token)).json().address, `${name}@mail.example`)
    assert.equal((await get('/api/messages/shared', token)).json().subject, `about ${name}`)
  }
})

test('T258 T233: a message of another mailbox is as absent as one that never was', async () => {
  const token = world.issue({ realm: 'enterprise', claims: { tid: tenants.fabrikam } })
  const absent = await get('/api/messages/no-such-message', token)
  assert.equal(absent.statusCode, 404)
  for (const id of [
    'home-1',
    'northwind-1',
    'neighbour-1',
    '../messages/home-1',
    '..%2Fhome-1',
    '__proto__',
    '',
  ]) {
    const answer = await get(`/api/messages/${id}`, token)
    assert.notEqual(answer.statusCode, 200, id)
    assert.ok(!answer.body.includes('evil.example'))
  }
  assert.equal((await get('/api/messages/home-1', token)).body, absent.body)
})

test('T088: an address in the token opens nothing', async () => {
  const claims = { sub: 'stranger', email: 'home@mail.example', preferred_username: 'home@mail.example' }
  assert.equal((await get('/api/messages', world.issue({ claims }))).statusCode, 404)
})

test('T084 F1 F2: a consumer key opens no enterprise mailbox', async () => {
  const { consumer } = world.keys
  const claims = { iss: enterprise(tenants.fabrikam), tid: tenants.fabrikam }
  for (const receipt of [undefined, null]) {
    const order = {
      realm: 'enterprise' as const,
      key: consumer,
      claims,
      ...(receipt === null && { receipt }),
    }
    const answer = await get('/api/messages', world.issue(order))
    assert.equal(answer.statusCode, 403)
    assert.equal(answer.headers['x-countersign-reason'], 'issuer_mismatch')
    assert.ok(!answer.body.includes('fabrikam'))
  }
})

test('T261: every address of the application asks the validator', async () => {
  const forged = world.issue({ receipt: null })
  for (const url of [
    '/',
    '/api/messages',
    '/api/messages/shared',
    '/api/messages/no-such-message',
    '/api/accesses',
    '/events',
  ]) {
    const refused = await get(url, forged)
    assert.equal(refused.statusCode, 401, url)
    assert.equal(refused.headers['x-countersign-reason'], 'receipt_missing')
    assert.match(String(refused.headers['www-authenticate']), /^Bearer error="invalid_token"/)
    if (url !== '/') assert.equal((await http.inject({ url })).statusCode, 401, url)
  }
})

test('T065: a token in the query opens nothing', async () => {
  const token = world.issue()
  assert.equal((await http.inject({ url: `/api/messages?access_token=${token}` })).statusCode, 401)
  assert.ok(!(await http.inject({ url: `/?access_token=${token}` })).body.includes('home@mail.example'))
})

test('T257 T232: what a message says is shown, and does nothing', async () => {
  const page = await get('/', world.issue(), { accept: 'text/html' })
  assert.equal(page.statusCode, 200)
  const [shown = ''] = /<main>.*<\/main>/s.exec(page.body) ?? []
  assert.ok(
    shown.includes('&#60;img src=//evil.example/a onerror=alert(1)&#62;&#34;&#39;&#38;&#60;/details&#62;'),
  )
  assert.doesNotMatch(shown, /<(?!\/?(main|h1|details|summary|b|span|time|p)\b)/)
})

test('T257 T176: the policy of each page lets nothing load, run, frame or send but its own', async () => {
  for (const page of [
    await get('/', world.issue()),
    await http.inject({ url: '/' }),
    await get('/', 'a.b.c'),
  ]) {
    const policy = String(page.headers['content-security-policy'])
    assert.match(policy, /default-src 'none'/)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.match(policy, /form-action 'none'/)
    assert.doesNotMatch(policy, /unsafe|\*|https?:/)
    assert.equal(page.headers['x-content-type-options'], 'nosniff')
    assert.equal(page.headers['cache-control'], 'no-store')
    for (const source of [/<style>(.*?)<\/style>/s, /<script>(.*?)<\/script>/s]) {
      const [, text = ''] = source.exec(page.body) ?? []
      const digest = await crypto.subtle.digest('SHA-256', Buffer.from(text))
      assert.ok(policy.includes(`'sha256-${Buffer.from(digest).toString('base64')}'`))
    }
  }
})

test('without a token the page explains, with a bad one it says why', async () => {
  const welcome = await http.inject({ url: '/' })
  assert.equal(welcome.statusCode, 200)
  assert.match(welcome.body, /Authorization/)
  const refused = await get('/', 'a.b.c')
  assert.equal(refused.statusCode, 401)
  assert.match(refused.body, /<code>malformed<\/code>: the token is not a compact JWS/)
  const stranger = await get('/', world.issue({ claims: { sub: 'a-program' } }))
  assert.equal(stranger.statusCode, 404)
})

test('T259 F10: its owner, and nobody else, sees which message was shown, by which token of the log', async () => {
  const reader = { sub: 'user-2', client_id: 'a-client' }
  const token = world.issue({ claims: reader })
  const place = validator.validate(token).receipt
  await get('/api/messages', token)
  await get('/api/messages/neighbour-1', token)
  await get('/api/messages/home-1', token)
  await get('/', token)
  const shown = (await get('/api/accesses', world.issue({ claims: reader }))).json()
  assert.deepEqual(
    shown.map(({ message }: { message: string }) => message),
    ['neighbour-1', 'shared', 'neighbour-1'],
  )
  const { at, ...first } = shown[2]
  assert.ok(Math.abs(at - Date.now()) < 60_000)
  assert.deepEqual(first, {
    iss: issuers.consumer,
    sub: 'user-2',
    message: 'neighbour-1',
    client: 'a-client',
    network: '127.0.0.1',
    kid: world.keys.consumer.kid,
    origin: place?.origin,
    index: place?.index,
  })
  const other = world.issue({ realm: 'enterprise', claims: { ...reader, tid: tenants.fabrikam } })
  assert.deepEqual((await get('/api/accesses', other)).json(), [])
})

test('T268: what cannot be recorded is not shown', async () => {
  const failing = createHttp(createLog('webmail'))
  const add = (): never => {
    throw new Error('the disk is full')
  }
  serveMail(failing, { validator, mailboxes: opened, accesses: { ...accesses, add } })
  for (const url of ['/', '/api/messages/home-1']) {
    const answer = await failing.inject({ url, headers: { authorization: `Bearer ${world.issue()}` } })
    assert.equal(answer.statusCode, 500)
    assert.ok(!answer.body.includes('evil.example'))
  }
})

test('two mailboxes for one person are refused at start', () => {
  const [first] = mailboxes
  const other = join(folder, 'twice.json')
  writeFileSync(other, JSON.stringify([first, first]))
  assert.throws(() => readMailboxes(other), /two mailboxes/)
})

function get(url: string, token: string, headers: Record<string, string> = {}) {
  return http.inject({ url, headers: { authorization: `Bearer ${token}`, ...headers } })
}

function mailbox(issuer: string, subject: string, name: string): Mailbox {
  const message = (id: string, text: string) => ({
    id,
    from: 'someone@mail.example',
    subject: `about ${name}`,
    date: '2026-11-02T08:00:00Z',
    text,
  })
  const address = `${name}@mail.example`
  return { issuer, subject, address, messages: [message('shared', name), message(`${name}-1`, attack)] }
}
