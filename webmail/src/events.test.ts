/**
 * Goal: a session of the webmail is worth what its token is worth at that moment, an open page gets its own new mail and
 * nobody else's, and a kill ends both at once. Method: a webmail on loopback over a world of trust in memory; mail arrives
 * as it does in earnest, by a new file of mailboxes.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import { createEventParser, type ServerEvent } from '@countersign/validator/event-stream'
import { eventually } from '@countersign/validator/eventually'
import { createTestWorld, issuers, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { openAccessRecord } from './access.ts'
import { serveMail } from './mail.ts'
import { type Mailbox, openMailboxes } from './mailbox.ts'
import { createSessions, type KeptToken } from './session.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-webmail-'))
const file = join(folder, 'mailboxes.json')
const problems: Error[] = []
const world = createTestWorld()
const listeners = new Set<() => void>()
const trust = {
  get state() {
    return world.state
  },
  ageSeconds: () => 0,
  onNews: (listener: () => void) => {
    listeners.add(listener)
    return () => void listeners.delete(listener)
  },
}
const validator = createValidator({ realm: 'consumer', audience: mailAudience, trust, now: () => world.now })
const http = createHttp(createLog('webmail'))
const accesses = openAccessRecord(join(folder, 'accesses.jsonl'))
let mailboxes: ReturnType<typeof openMailboxes>
let url = ''

before(async () => {
  deliver(['ada', 1], ['ben', 1])
  mailboxes = openMailboxes(file, (problem) => problems.push(problem))
  serveMail(http, { validator, mailboxes, accesses })
  await http.listen({ host: '127.0.0.1', port: 0 })
  url = `http://127.0.0.1:${(http.server.address() as AddressInfo).port}`
})
after(async () => {
  await http.close()
  mailboxes.close()
  accesses.close()
  rmSync(folder, { recursive: true })
})

test('T194 T195: a session cookie is closed to scripts, other sites and other hosts, and is no token', async () => {
  const token = tokenOf('ada')
  const { headers, status } = await send('POST', '/session', { authorization: `Bearer ${token}` })
  assert.equal(status, 204)
  const cookie = headers.get('set-cookie') ?? ''
  assert.match(cookie, /^__Host-webmail=[\w-]{22}; Path=\/; Secure; HttpOnly; SameSite=Strict; Max-Age=\d+$/)
  assert.ok(!cookie.includes(token.slice(-20)))
  assert.equal((await get('/api/messages', cookie)).status, 200)
  const planted = `${cookie.split(';')[0]}; __Host-webmail=${'x'.repeat(22)}`
  assert.equal((await get('/api/messages', planted)).status, 401, 'two of one name')
  for (const opener of [undefined, `Bearer ${tokenOf('ada', { receipt: null })}`])
    assert.equal(
      (await send('POST', '/session', opener === undefined ? {} : { authorization: opener })).status,
      401,
    )
  assert.equal((await send('POST', '/session', { cookie })).status, 401, 'a session opens no session')
})

test('a session that was closed, or never was, opens nothing; a header beside it decides alone', async () => {
  const cookie = await signIn('ada')
  const headers = { cookie, authorization: `Bearer ${tokenOf('ben')}` }
  assert.equal(
    (await json<{ address: string }>(send('GET', '/api/messages', headers))).address,
    'ben@mail.example',
  )
  const forged = { cookie, authorization: `Bearer ${tokenOf('ben', { receipt: null })}` }
  assert.equal((await send('GET', '/api/messages', forged)).status, 401)
  await send('DELETE', '/session', { cookie })
  assert.equal((await get('/api/messages', cookie)).headers.get('x-countersign-reason'), 'token_missing')
  assert.equal((await get('/api/messages', '__Host-webmail=guessed')).status, 401)
})

test('sessions end with their tokens, and the oldest first where there are too many', () => {
  let now = 100
  const sessions = createSessions(() => now)
  const keep = (text: string): KeptToken => ({ text, confirmation: undefined })
  const token = (subject: string, expiresAt = 300) => ({ issuer: 'i', subject, expiresAt }) as never
  const first = sessions.open(keep('first'), token('ada', 200))
  assert.equal(sessions.find(first.split(';')[0])?.text, 'first')
  now = 200
  const [second, third] = [sessions.open(keep('2'), token('ada')), sessions.open(keep('3'), token('ben'))]
  assert.equal(sessions.find(first.split(';')[0]), undefined)
  for (let more = 0; more < 100; more++) sessions.open(keep('more'), token('ada'))
  assert.equal(sessions.find(second.split(';')[0]), undefined)
  assert.equal(sessions.find(third.split(';')[0])?.text, '3', 'nobody else’s ends by that')
  for (let more = 0; more < 10_000; more++) sessions.open(keep('more'), token(`person ${more}`))
  assert.equal(sessions.find(third.split(';')[0]), undefined)
})

test('nobody takes the streams of all others', async () => {
  const cookie = await signIn('ada')
  const streams = []
  for (let nth = 0; nth < 20; nth++) streams.push(await open(cookie))
  const refused = await get('/events', cookie)
  assert.deepEqual([refused.status, await refused.json()], [503, { error: 'too_many_streams' }])
  streams.push(await open(await signIn('ben')))
  for (const stream of streams) stream.close()
  await eventually(() => listeners.size === 0)
  const again = await open(cookie)
  again.close()
  await eventually(() => listeners.size === 0)
})

test('T258 T259: new mail comes to the open page of its owner alone, recorded, after what the page has', async () => {
  const [ada, ben] = [await open(await signIn('ada')), await open(await signIn('ben'))]
  deliver(['ada', 2], ['ben', 1])
  const arrived = await ada.next()
  assert.deepEqual([arrived.type, arrived.id, JSON.parse(arrived.data).subject], ['mail', 'ada-2', 'ada 2'])
  deliver(['ada', 2], ['ben', 2])
  assert.equal((await ben.next()).id, 'ben-2')
  const list = await json<{ message: string }[]>(get('/api/accesses', await signIn('ada')))
  assert.deepEqual(
    list.map(({ message }) => message),
    ['ada-2'],
  )
  ada.close()
  ben.close()
  const late = await open(await signIn('ada'), '?after=ada-1')
  assert.equal((await late.next()).id, 'ada-2', 'what came in between')
  late.close()
})

test('a file of mailboxes that cannot be read leaves what was there', async () => {
  const stream = await open(await signIn('ada'))
  write('{')
  await eventually(() => problems.length > 0)
  assert.equal((await get('/api/messages', await signIn('ada'))).status, 200)
  deliver(['ada', 3], ['ben', 2])
  assert.equal((await stream.next()).id, 'ada-3')
  stream.close()
})

test('T195 T252 T254 R3: a kill refuses the cookie and ends the open stream with its reason; a lift brings the cookie back', async () => {
  const cookie = await signIn('ada')
  const stream = await open(cookie)
  assert.equal((await get('/api/messages', cookie)).status, 200)
  for (const [state, reason] of [
    ['blocked', 'key_blocked'],
    ['revoked', 'key_revoked'],
  ] as const) {
    world.setState(world.keys.consumer.kid, state)
    tell()
    for (const path of ['/', '/api/messages', '/events']) {
      const answer = await get(path, cookie)
      assert.equal(answer.status, 401, path)
      assert.equal(answer.headers.get('x-countersign-reason'), reason)
    }
  }
  const { type, data } = await stream.next()
  assert.deepEqual([type, data], ['end', '{"reason":"key_blocked"}'])
  await assert.rejects(stream.next(), /the stream ended/)
  assert.equal(listeners.size, 0)
  world.setState(world.keys.consumer.kid, 'active')
  assert.equal((await get('/api/messages', cookie)).status, 200)
})

test('T252: a stream that its reader left is watched no more', async () => {
  const stream = await open(await signIn('ada'))
  assert.equal(listeners.size, 1)
  stream.close()
  await eventually(() => listeners.size === 0)
})

function tell(): void {
  for (const listener of listeners) listener()
}

function tokenOf(sub: string, order: { receipt?: null } = {}): string {
  return world.issue({ claims: { sub }, ...order })
}

async function signIn(sub: string): Promise<string> {
  const { headers } = await send('POST', '/session', { authorization: `Bearer ${tokenOf(sub)}` })
  return (headers.get('set-cookie') ?? '').split(';')[0] ?? ''
}

function send(method: string, path: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${url}${path}`, { method, headers })
}

function get(path: string, cookie: string): Promise<Response> {
  return send('GET', path, { cookie })
}

async function json<Answer>(response: Promise<Response>): Promise<Answer> {
  return (await response).json() as Answer
}

async function open(cookie: string, query = '') {
  const ending = new AbortController()
  const response = await fetch(`${url}/events${query}`, { headers: { cookie }, signal: ending.signal })
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  const parse = createEventParser(10_000)
  const waiting: ServerEvent[] = []
  return {
    next: async (): Promise<ServerEvent> => {
      for (;;) {
        const event = waiting.shift()
        if (event !== undefined) return event
        const { value, done } = await reader.read()
        if (done) throw new Error('the stream ended')
        waiting.push(...parse(decoder.decode(value, { stream: true })))
      }
    },
    close: () => ending.abort(),
  }
}

function deliver(...boxes: readonly (readonly [name: string, messages: number])[]): void {
  const content: Mailbox[] = boxes.map(([name, count]) => ({
    issuer: issuers.consumer,
    subject: name,
    address: `${name}@mail.example`,
    messages: Array.from({ length: count }, (_, index) => ({
      id: `${name}-${index + 1}`,
      from: 'someone@mail.example',
      subject: `${name} ${index + 1}`,
      date: '2026-11-02T08:00:00Z',
      text: 'text',
    })),
  }))
  write(JSON.stringify(content))
}

/** Whole, as a mail server would put it there. */
function write(text: string): void {
  writeFileSync(`${file}.next`, text)
  renameSync(`${file}.next`, file)
}
