/**
 * Goal: no framework makes a guard decide differently, lets a request past it, answers twice, or keeps an error to itself.
 * Method: one application, written once for each framework as its users would, on loopback; one table of requests, sent to
 * every one of them; and each answer compared with the table as a whole.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import { createAdaptorServer } from '@hono/node-server'
import express, { type ErrorRequestHandler } from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import Koa from 'koa'
import { WebSocketServer } from 'ws'
import { dpop } from './dpop.ts'
import * as forExpress from './express.ts'
import * as forFastify from './fastify.ts'
import { createGuard, type Guard } from './guard.ts'
import * as forHono from './hono.ts'
import * as forKoa from './koa.ts'
import * as forNode from './node.ts'
import { Refusal } from './refusal.ts'
import type { Sighting } from './sighting.ts'
import { streamEvents } from './sse.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld } from './testing.ts'
import { createValidator, type ValidatedToken } from './validator.ts'
import * as forSockets from './websocket.ts'

/** What the application answers with, to a good token. */
interface Opened {
  readonly subject: string
  readonly scopes: readonly string[]
}

const open = ({ subject, scopes }: ValidatedToken): Opened => ({ subject, scopes })
const headersMax = { maxHeaderSize: 64 * 1024 }
const second = 'urn:countersign:acr:second-factor'

/** What guards the application's paths, the same in every framework. */
interface Guards {
  readonly any: Guard
  readonly send: Guard
  readonly admin: Guard
}

interface App {
  readonly server: Server
  /** Waits for what the framework's own error handling hears next. */
  nextError(): Promise<unknown>
  close(): Promise<unknown>
}

/** The application in each framework: `/mail`, `/send` and `/admin` behind a guard each, and `/fail`, which fails. */
const frameworks: Readonly<Record<string, (guards: Guards) => Promise<App>>> = {
  express: (guards) => serveExpress(guards, forExpress.protect),
  'express by next(error)': (guards) => serveExpress(guards, forExpress.protectOrNext),
  'express as of 4': (guards) => serveExpress(guards, awaitedByNobody(forExpress.protect)),
  'express as of 4 by next(error)': (guards) =>
    serveExpress(guards, awaitedByNobody(forExpress.protectOrNext)),
  fastify: async ({ any, send, admin }) => {
    const { protect } = forFastify
    const app = fastify({ http: headersMax })
    const errors = new EventEmitter()
    app.addHook('onRequest', protect(any))
    app.get(
      '/mail',
      protect(any, async (asked) => open(asked.token)),
    )
    app.get(
      '/send',
      protect(send, (asked, reply) => void reply.send(open(asked.token))),
    )
    app.route({ method: 'GET', url: '/admin', ...protect(admin, async (asked) => open(asked.token)) })
    app.get('/fail', protect(any, fail))
    app.get('/fail-late', protect(any, failLate))
    app.setErrorHandler((error, _request, reply) => {
      errors.emit('failed', error)
      return reply.code(500).send()
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    return { server: app.server, nextError: nextOf(errors), close: () => app.close() }
  },
  hono: async ({ any, send, admin }) => {
    const { protect } = forHono
    const app = new Hono()
    const errors = new EventEmitter()
    app.use('*', protect(any))
    app.get(
      '/mail',
      protect(any, (c, token) => c.json(open(token))),
    )
    app.get(
      '/send',
      protect(send, async (c, token) => c.json(open(token))),
    )
    app.get(
      '/admin',
      protect(admin, (_c, _token, next) => next()),
      (c) => c.json(open(c.get('token' as never) as ValidatedToken)),
    )
    app.get('/fail', protect(any, fail))
    app.get('/fail-late', protect(any, failLate))
    app.onError((error, c) => {
      errors.emit('failed', error)
      return c.body(null, 500)
    })
    const server = createAdaptorServer({ fetch: app.fetch, serverOptions: headersMax }) as Server
    return listening(server, errors)
  },
  koa: async ({ any, send, admin }) => {
    const { protect } = forKoa
    const app = new Koa()
    const errors = new EventEmitter()
    const on = (path: string, handler: Koa.Middleware) =>
      app.use((ctx, next) => (ctx.path === path ? handler(ctx, next) : next()))
    app.use(protect(any))
    on(
      '/mail',
      protect(any, (ctx, token) => void Object.assign(ctx, { body: open(token) })),
    )
    on(
      '/send',
      protect(send, async (ctx, token) => void Object.assign(ctx, { body: open(token) })),
    )
    on('/admin', protect(admin))
    on('/admin', (ctx) => void Object.assign(ctx, { body: open(ctx.state['token']) }))
    on('/fail', protect(any, fail))
    on('/fail-late', protect(any, failLate))
    app.on('error', (error) => errors.emit('failed', error))
    return listening(createServer(headersMax, app.callback()), errors)
  },
  node: async (guards) =>
    serveNode(guards, (asked, answer) => void answer.end(JSON.stringify(open(asked.token)))),
  /** The first event is the answer. */
  sse: async (guards) =>
    serveNode(guards, (asked, answer) => {
      const events = streamEvents(guards.any, asked.token, answer)
      events.send({ data: open(asked.token) })
      events.close()
    }),
  /** The first message is the answer; the handshake is the request. */
  websocket: async ({ any, send, admin }) => {
    const errors = new EventEmitter()
    const sockets = new WebSocketServer({ noServer: true })
    const { protect } = forSockets
    const listeners: Readonly<Record<string, ReturnType<typeof protect>>> = {
      '/mail': protect(any, sockets, (socket, { token }) => socket.send(JSON.stringify(open(token)))),
      '/send': protect(send, sockets, (socket, { token }) => socket.send(JSON.stringify(open(token)))),
      '/admin': protect(admin, sockets, (socket, { token }) => socket.send(JSON.stringify(open(token)))),
      '/fail': protect(any, sockets, fail),
      '/fail-late': protect(any, sockets, failLate),
    }
    const server = createServer(headersMax)
    server.on('upgrade', (message: IncomingMessage, stream, head) => {
      const listener = listeners[pathOf(message)]
      listener?.(message, stream, head).catch((error) => errors.emit('failed', error))
    })
    const app = await listening(server, errors)
    return {
      ...app,
      close: () => {
        for (const socket of sockets.clients) socket.terminate()
        return app.close()
      },
    }
  },
}

test('Express: without an error handler of its own, what is refused by next(error) is answered with status and challenge', async () => {
  const world = createTestWorld()
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
  })
  const heard: unknown[] = []
  const app = express()
  app.use(forExpress.protectOrNext(createGuard(validator)))
  app.use(((error, _request, _response, next) => {
    heard.push(error)
    next(error)
  }) satisfies ErrorRequestHandler)
  // Or Express writes the error to the output.
  app.set('env', 'test')
  const { server, close } = await listening(createServer(app), new EventEmitter())
  after(close)
  const { port } = server.address() as AddressInfo
  const expired = world.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } })
  const answer = await ask('express', port, '/mail', ['Authorization', `Bearer ${expired}`])
  assert.deepEqual(
    [answer.status, answer.headers['www-authenticate'], answer.headers['cache-control']],
    [401, 'Bearer error="invalid_token", error_description="the token has expired"', 'no-store'],
  )
  const [error] = heard
  assert.ok(error instanceof forExpress.RequestRefused)
  assert.deepEqual([error.reason, error.message], ['expired', 'the token has expired'])
  assert.ok(error.cause instanceof Refusal && error.cause.reason === 'expired')
  await ask('express', port, '/mail', [])
  assert.equal((heard[1] as Error).message, 'token_missing')
})

const failure = new Error('the handler failed')
function fail(): never {
  throw failure
}
async function failLate(): Promise<never> {
  await new Promise(setImmediate)
  throw failure
}

const pathOf = ({ url = '' }: IncomingMessage): string => url.replace(/\?.*/, '')

async function serveExpress({ any, send, admin }: Guards, protect: typeof forExpress.protect): Promise<App> {
  const app = express()
  const errors = new EventEmitter()
  // A guard in front of all, and one in a router that is mounted elsewhere: a request meets both.
  app.use(protect(any))
  const router = express.Router()
  app.use(router)
  app.use('/deep', router)
  router.get(
    '/mail',
    protect(any, (asked, answer) => void answer.json(open(asked.token))),
  )
  router.get(
    '/send',
    protect(send, (asked, answer) => void answer.json(open(asked.token))),
  )
  router.get(
    '/admin',
    protect(admin, async (asked, answer) => void answer.json(open(asked.token))),
  )
  router.get('/fail', protect(any, fail))
  router.get('/fail-late', protect(any, failLate))
  const onError: ErrorRequestHandler = (error, _request, response, _next) => {
    if (error instanceof forExpress.RequestRefused) {
      const { status, headers, body } = error
      return void response.status(status).set(headers).json(body)
    }
    errors.emit('failed', error)
    response.status(500).end()
  }
  app.use(onError)
  return listening(createServer(headersMax, app), errors)
}

/** Express 4 drops the promise that middleware gives back. */
function awaitedByNobody(protect: typeof forExpress.protect): typeof forExpress.protect {
  return (guard, handler) => {
    const middleware = protect(guard, handler)
    return async (asked, answer, next) => void middleware(asked, answer, next)
  }
}

async function serveNode(
  { any, send, admin }: Guards,
  answer: Parameters<typeof forNode.protect>[1],
): Promise<App> {
  const { protect } = forNode
  const errors = new EventEmitter()
  const listeners: Readonly<Record<string, ReturnType<typeof protect>>> = {
    '/mail': protect(any, answer),
    '/send': protect(send, answer),
    '/admin': protect(admin, answer),
    '/fail': protect(any, fail),
    '/fail-late': protect(any, failLate),
  }
  const listener: RequestListener = (asked, response) =>
    void listeners[pathOf(asked)]?.(asked, response).catch((error) => errors.emit('failed', error))
  return listening(createServer(headersMax, listener), errors)
}

async function listening(server: Server, errors: EventEmitter): Promise<App> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const close = (): Promise<unknown> => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  return { server, nextError: nextOf(errors), close }
}

const nextOf = (errors: EventEmitter) => async (): Promise<unknown> => (await once(errors, 'failed'))[0]

/** A world, its validator, and the application in one framework. */
async function start(name: string, isBound = false) {
  const world = createTestWorld()
  const sightings: Sighting[] = []
  let isBroken = false
  const validator = createValidator({
    realm: ['consumer', 'enterprise'],
    audience: mailAudience,
    trust: {
      get state() {
        if (isBroken) throw new Error('the disk is on fire')
        return world.state
      },
      ageSeconds: () => 0,
    },
    now: () => world.now,
    onSighting: (sighting) => sightings.push(sighting),
  })
  const now = (): number => world.now
  const heard: string[] = []
  const any = createGuard(validator, {
    now,
    onRefusal: ({ reason }, { target, network }) => heard.push(`${reason} ${target} ${network}`),
    bindings: isBound ? [dpop({ base: 'https://mail.example', now })] : [],
  })
  const app = await (frameworks[name] as (guards: Guards) => Promise<App>)({
    any,
    send: any.requiring({ scopes: ['mail.read', 'mail.send'] }),
    admin: any.requiring({ acr: [second], maxAgeSeconds: 60 }),
  })
  after(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return {
    world,
    app,
    sightings,
    heard,
    breakTrust: () => {
      isBroken = true
    },
    ask: (path: string, headers: readonly string[]) => ask(name, port, path, headers),
    askWith: (path: string, token: string) => ask(name, port, path, ['Authorization', `Bearer ${token}`]),
  }
}

interface Answer {
  readonly status: number
  readonly headers: OutgoingHttpHeaders
  readonly text: string
}

async function ask(name: string, port: number, path: string, headers: readonly string[]): Promise<Answer> {
  const upgrade = ['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Version', '13']
  const key = ['Sec-WebSocket-Key', Buffer.alloc(16).toString('base64')]
  const extra = name === 'websocket' ? [...upgrade, ...key] : []
  const outgoing = request({
    host: '127.0.0.1',
    port,
    path,
    agent: false,
    headers: ['Host', 'service', ...headers, ...extra],
  })
  outgoing.end()
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
  if (name !== 'websocket') return read((await answered)[0])
  // One frame of the server: text or close, and less than 126 bytes.
  const upgraded = once(outgoing, 'upgrade').then(async ([answer, stream, head]) => {
    let frame = head as Buffer
    while (frame.length < 2 || frame.length < 2 + (frame[1] as number))
      frame = Buffer.concat([frame, (await once(stream, 'data'))[0]])
    stream.destroy()
    const [opcode = 0, length = 0] = frame
    const status = opcode === 0x88 ? frame.readUInt16BE(2) : 200
    return { status, headers: answer.headers, text: frame.toString('utf8', 2, 2 + length) }
  })
  return Promise.race([answered.then(([answer]) => read(answer)), upgraded])
}

async function read(answer: IncomingMessage): Promise<Answer> {
  return { status: answer.statusCode ?? 0, headers: answer.headers, text: await text(answer) }
}

/** A request, and what has to come of it wherever it arrives. */
interface Row {
  readonly path?: string
  readonly headers?: readonly string[]
  readonly token?: string
  readonly status: number
  readonly challenge?: string
  readonly body?: object
}

const invalid = (reason: string, description: string) => ({
  challenge: `Bearer error="invalid_token", error_description="${description}"`,
  body: { error: 'invalid_token', error_description: description, reason },
})
const notCompact = invalid('malformed', 'the token is not a compact JWS with the claims that every token has')
const missing = { status: 401, challenge: 'Bearer', body: { reason: 'token_missing' } }
const opened = { subject: 'user-1', scopes: ['mail.read'] }

function table(world: TestWorld): Readonly<Record<string, Row>> {
  const { now } = world
  const good = world.issue()
  const scoped = (scope: string, claims = {}): string => world.issue({ claims: { scope, ...claims } })
  const signedIn = (claims: object): string => world.issue({ claims: { acr: second, ...claims } })
  const stepUp = {
    status: 401,
    challenge: `Bearer error="insufficient_user_authentication", acr_values="${second}", max_age="60"`,
    body: {
      error: 'insufficient_user_authentication',
      acr_values: second,
      max_age: '60',
      reason: 'insufficient_user_authentication',
    },
  }
  const narrow = {
    status: 403,
    challenge: 'Bearer error="insufficient_scope", scope="mail.read mail.send"',
    body: { error: 'insufficient_scope', scope: 'mail.read mail.send', reason: 'insufficient_scope' },
  }
  const refused = (token: string, status: number, reason: string, description: string): Row => ({
    token,
    status,
    ...invalid(reason, description),
  })
  const malformed = { status: 401, ...notCompact }
  return {
    'a good token': { token: good, status: 200, body: opened },
    'T064 the scheme in another case': {
      headers: ['authorization', `bEARER  ${good}`],
      status: 200,
      body: opened,
    },
    'no token': missing,
    'T065 a token in query and cookie': {
      path: `/mail?access_token=${good}`,
      headers: ['Cookie', `access_token=${good}`],
      ...missing,
    },
    'T064 two headers': {
      headers: ['Authorization', `Bearer ${good}`, 'Authorization', `Bearer ${good}`],
      ...malformed,
    },
    'T064 two headers, the second of another scheme': {
      headers: ['Authorization', `Bearer ${good}`, 'authorization', 'Basic YTpi'],
      ...malformed,
    },
    'T064 two tokens in one header': {
      headers: ['Authorization', `Bearer ${good}, Bearer ${good}`],
      ...malformed,
    },
    'T064 another scheme': { headers: ['Authorization', 'Basic YTpi'], ...malformed },
    'T066 a bound token under Bearer': refused(
      world.issue({ claims: { cnf: { jkt: world.keys.consumer.kid } } }),
      401,
      'sender_mismatch',
      'the sender is not whom the token is for: it is bound to a key that the request does not prove',
    ),
    'T066 the scheme DPoP where nothing checks a proof': {
      headers: ['Authorization', `DPoP ${good}`],
      ...malformed,
    },
    'T063 a token that is too large': refused(
      'a'.repeat(20 * 1024),
      401,
      'oversized',
      'the token is larger than this validator reads',
    ),
    'T001 no signature': refused(
      `${good.slice(0, good.lastIndexOf('.'))}.`,
      401,
      'signature_invalid',
      'the signature does not verify',
    ),
    'T125 no receipt': refused(
      world.issue({ receipt: null }),
      401,
      'receipt_missing',
      'no witness vouches that the token was issued',
    ),
    'T070 expired': refused(
      world.issue({ claims: { iat: now - 600, exp: now - 300 } }),
      401,
      'expired',
      'the token has expired',
    ),
    'T073 another audience': refused(
      world.issue({ claims: { aud: 'https://calendar.example' } }),
      403,
      'audience_mismatch',
      'the token is meant for another audience',
    ),
    'T084 F1 another issuer': refused(
      world.issue({ claims: { iss: 'https://login.enterprise.example' } }),
      403,
      'issuer_mismatch',
      'no key that may speak for this issuer signed it',
    ),
    'T093 a key that nobody knows': refused(
      world.issue({ key: createTestKey('ES256') }),
      401,
      'unknown_key',
      'no such key is known here',
    ),
    'T092 an ID token': refused(
      world.issue({ type: 'id' }),
      401,
      'type_mismatch',
      'the token is of another type than the one asked for',
    ),
    'both scopes': {
      path: '/send',
      token: scoped('mail.send mail.read'),
      status: 200,
      body: { subject: 'user-1', scopes: ['mail.send', 'mail.read'] },
    },
    'one scope of two': { path: '/send', token: good, ...narrow },
    'T077 scopes of which one begins like the one that is needed': {
      path: '/send',
      token: scoped('mail.read mail.sender'),
      ...narrow,
    },
    'T078 signed in well and just now': {
      path: '/admin',
      token: signedIn({ auth_time: now - 60 }),
      status: 200,
      body: opened,
    },
    'T078 signed in too weakly': {
      path: '/admin',
      token: signedIn({ acr: 'urn:countersign:acr:password', auth_time: now }),
      ...stepUp,
    },
    'T078 T180 signed in too long ago': {
      path: '/admin',
      token: signedIn({ auth_time: now - 66 }),
      ...stepUp,
    },
    'T078 signed in in the future': { path: '/admin', token: signedIn({ auth_time: now + 6 }), ...stepUp },
    'T078 no word of a sign-in': { path: '/admin', token: good, ...stepUp },
    'T078 a sign-in in other words': {
      path: '/admin',
      token: signedIn({ acr: [second], auth_time: String(now) }),
      ...stepUp,
    },
  }
}

for (const name of Object.keys(frameworks)) {
  test(`${name}: every request of the table is answered as the table says`, async () => {
    const { world, ask: send, sightings, heard } = await start(name)
    for (const [title, row] of Object.entries(table(world))) {
      const { path = '/mail', token, status, challenge, body } = row
      const headers = row.headers ?? (token === undefined ? [] : ['Authorization', `Bearer ${token}`])
      const answer = await send(path, headers)
      const shown = answer.text.replace(/^data: |\n+$/g, '')
      assert.deepEqual(
        { status: answer.status, challenge: answer.headers['www-authenticate'], body: JSON.parse(shown) },
        { status, challenge, body },
        title,
      )
      if (status === 200) continue
      const { reason } = body as { readonly reason: string }
      assert.deepEqual(heard.splice(0), [`${reason} ${path} 127.0.0.1`], title)
      // T237: whoever reads an answer, or a log of answers, learns nothing of the token.
      for (const part of token?.split('.') ?? [])
        assert.ok(part === '' || !JSON.stringify(answer).includes(part), title)
      assert.equal(answer.headers['x-countersign-reason'], reason, title)
      assert.equal(answer.headers['cache-control'], 'no-store', title)
      assert.match(String(answer.headers['content-type']), /^application\/json\b/, title)
    }
    assert.ok(sightings.length > 0 && sightings.every(({ network }) => network === '127.0.0.1'))
  })

  test(`T237 ${name}: a failing handler is heard by the framework, answered once, and no token is in it`, async () => {
    const { world, app, askWith } = await start(name)
    const token = world.issue()
    for (const path of ['/fail', '/fail-late']) {
      const [error, answer] = await Promise.all([app.nextError(), askWith(path, token)])
      assert.equal(error, failure)
      assert.equal(answer.status, name === 'websocket' ? 1011 : 500, path)
      assert.ok(!answer.text.includes(failure.message))
    }
  })

  test(`T237 ${name}: a fault is no verdict: it is heard as it is, and lets nobody in`, async () => {
    const { world, app, askWith, breakTrust } = await start(name)
    const token = world.issue()
    breakTrust()
    const answer = askWith('/mail', token).catch((error: Error) => error)
    assert.match(String(await app.nextError()), /the disk is on fire/)
    const got = await answer
    if (got instanceof Error) assert.equal(name, 'websocket', 'the handshake is cut off')
    else {
      assert.deepEqual([got.status, got.headers['www-authenticate']], [500, undefined])
      assert.doesNotMatch(got.text, /fire/)
    }
  })

  test(`${name}: of a hundred requests at once, each gets what its own token opens`, async () => {
    const { world, askWith } = await start(name)
    const tokens = Array.from({ length: 100 }, (_, n) =>
      n % 4 === 3 ? 'a.b.c' : world.issue({ claims: { sub: `user-${n}` } }),
    )
    const answers = await Promise.all(tokens.map((token) => askWith('/mail', token)))
    const subjects = answers.map(({ status, text: got }) =>
      status === 200 ? JSON.parse(got.replace(/^data: /, '')).subject : status,
    )
    assert.deepEqual(
      subjects,
      tokens.map((_, n) => (n % 4 === 3 ? 401 : `user-${n}`)),
    )
  })

  test(`T254 ${name}: a token that passed is refused at the next request once its key is blocked`, async () => {
    const { world, askWith } = await start(name)
    const token = world.issue()
    assert.equal((await askWith('/mail', token)).status, 200)
    world.setState(world.keys.consumer.kid, 'blocked')
    const answer = await askWith('/mail', token)
    assert.deepEqual([answer.status, answer.headers['x-countersign-reason']], [401, 'key_blocked'])
  })

  test(`T149 T150 ${name}: a bound token passes with a proof for this very request, once`, async () => {
    const { world, ask: send } = await start(name, true)
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    const jwk = await exportJWK(publicKey)
    const token = world.issue({ claims: { cnf: { jkt: await calculateJwkThumbprint(jwk) } } })
    const ath = createHash('sha256').update(token).digest('base64url')
    // The path is the one that was asked for, wherever the framework has mounted what answers.
    const path = name === 'express' ? '/deep/mail' : '/mail'
    const prove = (htu: string, jti: string, htm = 'GET'): Promise<string> =>
      new SignJWT({ htm, htu, jti, ath, iat: world.now })
        .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
        .sign(privateKey)
    const show = async (proof: string): Promise<unknown> => {
      const { status, headers } = await send(`${path}?page=1`, [
        'Authorization',
        `DPoP ${token}`,
        'DPoP',
        proof,
      ])
      return [status, headers['x-countersign-reason']]
    }
    const good = await prove(`https://mail.example${path}`, 'proof-1')
    assert.deepEqual(await show(good), [200, undefined], 'two guards look at one proof')
    assert.deepEqual(await show(good), [401, 'sender_mismatch'], 'shown again')
    assert.deepEqual(await show(await prove('https://mail.example/other', 'proof-2')), [
      401,
      'sender_mismatch',
    ])
    assert.deepEqual(await show(await prove(`https://mail.example${path}`, 'proof-3', 'POST')), [
      401,
      'sender_mismatch',
    ])
  })
}

for (const [name, protect] of Object.entries({
  node: (guard: Guard, served: () => void) => forNode.protect(guard, served),
  express: (guard: Guard, served: () => void, failed: ErrorRequestHandler) =>
    express().use(forExpress.protect(guard, served), failed),
  'express by next(error)': (guard: Guard, served: () => void, failed: ErrorRequestHandler) =>
    express().use(forExpress.protectOrNext(guard, served), failed),
}))
  test(`T237 ${name}: nothing fails where somebody else has answered before the guard`, async () => {
    const response = Promise.withResolvers<ServerResponse>()
    const served = Promise.withResolvers<void>()
    const token = {} as ValidatedToken
    const guard = {
      admit: async () => {
        const answer = await response.promise
        if (!answer.writableFinished) await once(answer, 'finish')
        return { admitted: true, token, headers: { 'dpop-nonce': 'the next' } }
      },
    } as unknown as Guard
    const failed: ErrorRequestHandler = (error, _asked, _answer, _next) => served.reject(error)
    const serve = protect(guard, served.resolve, failed) as RequestListener
    const server = createServer(async (asked, answer) => {
      const serving = Promise.resolve(serve(asked, answer))
      answer.writeHead(503).end()
      response.resolve(answer)
      await serving.catch(served.reject)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { status } = await ask(name, (server.address() as AddressInfo).port, '/mail', [])
    assert.equal(status, 503)
    await served.promise
    server.close()
  })

test('T250 fastify: who has no good token has no body read, and a handler without its hook lets nobody in', async () => {
  const world = createTestWorld()
  const options = { realm: 'consumer', audience: mailAudience, trust: world.trust, now: () => world.now }
  const guard = createGuard(createValidator(options))
  const app = fastify()
  const route = forFastify.protect(guard, async (asked) => open(asked.token))
  app.post('/mail', route)
  app.post('/past', route.handler as () => Promise<Opened>)
  const post = async (url: string, headers: Record<string, string>): Promise<number> => {
    const answer = await app.inject({ method: 'POST', url, payload: '{"not": json', headers })
    return answer.statusCode
  }
  const json = { 'content-type': 'application/json' }
  const authorization = `Bearer ${world.issue()}`
  assert.equal(await post('/mail', json), 401)
  assert.equal(await post('/mail', { ...json, authorization }), 400)
  assert.equal(await post('/past', { 'content-type': 'text/plain', authorization }), 500)
})

test('T064 hono: where there is no request of Node, the headers that Fetch gives are read as strictly', async () => {
  const world = createTestWorld()
  const options = { realm: 'consumer', audience: mailAudience, trust: world.trust, now: () => world.now }
  const guard = createGuard(createValidator(options))
  const app = new Hono()
  app.get(
    '/mail',
    forHono.protect(guard, (c, token) => c.json(open(token))),
  )
  const ask = async (...values: readonly string[]): Promise<unknown> => {
    const headers = new Headers()
    for (const value of values) headers.append('authorization', value)
    const answer = await app.request('/mail', { headers })
    return [answer.status, answer.headers.get('x-countersign-reason')]
  }
  const good = `Bearer ${world.issue()}`
  assert.deepEqual(await ask(good), [200, null])
  assert.deepEqual(await ask(), [401, 'token_missing'])
  assert.deepEqual(await ask(good, good), [401, 'malformed'])
})
