/**
 * Goal: a handler that needs a `ValidatedToken` does not compile without a guard in front of it, in any framework. Method:
 * the frameworks' own types, held against the adapters' by the compiler, which runs before the tests; each line that must not
 * compile says so, and would fail the check if it did. Running this file shows that the good ones register.
 */

import { createServer, type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import express, { type Request, type Response } from 'express'
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { type Context, Hono } from 'hono'
import Koa from 'koa'
import { type WebSocket, WebSocketServer } from 'ws'
import * as forExpress from './express.ts'
import * as forFastify from './fastify.ts'
import { createGuard } from './guard.ts'
import * as forHono from './hono.ts'
import * as forKoa from './koa.ts'
import * as forNode from './node.ts'
import { respondEvents, streamEvents } from './sse.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator, type ValidatedToken } from './validator.ts'
import * as forSockets from './websocket.ts'

const world = createTestWorld()
const guard = createGuard(createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust }))

/** What a protected service is made of. */
const openMailbox = (token: ValidatedToken): { readonly of: string } => ({ of: token.subject })

test('Express: what needs a token takes it from a guarded request alone', () => {
  const { protect } = forExpress
  const app = express()
  const router = express.Router()
  app.use(protect(guard))
  app.use('/api', express.json(), protect(guard), router)
  app.get(
    '/mail/:id',
    protect(guard, (request, response) => {
      response.json({ id: request.params['id'], ...openMailbox(request.token) })
    }),
  )
  app.get(
    '/mail/:id',
    protect(guard, (request: forExpress.Guarded<Request<{ id: string }>>, response) => {
      const id: string = request.params.id
      response.json({ id, ...openMailbox(request.token) })
    }),
  )
  router.post(
    '/mail',
    protect(guard.requiring({ scopes: 'mail.send' }), async (request, response, next) => {
      if (request.body === undefined) return next()
      response.status(201).json(openMailbox(request.token))
    }),
  )
  const named = (request: forExpress.Guarded<Request>, response: Response): void =>
    void response.json(openMailbox(request.token))
  app.get('/named', protect(guard, named))
  // @ts-expect-error a handler that needs a token, without a guard
  app.get('/open', named)
  app.get('/open', (request, response) => {
    // @ts-expect-error no guard, no token
    response.json(openMailbox(request.token))
  })
  // @ts-expect-error a guard somewhere before is not one that the compiler sees
  app.get('/after', protect(guard), named)
  app.use(forExpress.protectOrNext(guard))
  app.get('/next', forExpress.protectOrNext(guard, named))
})

test('Fastify: what needs a token takes it from a guarded request alone', async () => {
  const { protect } = forFastify
  const app = fastify()
  app.addHook('onRequest', protect(guard))
  app.get(
    '/mail',
    protect(guard, async (request) => openMailbox(request.token)),
  )
  app.get(
    '/reply',
    protect(guard, function (request, reply) {
      reply.send({ ...openMailbox(request.token), version: this.version })
    }),
  )
  app.post('/send', {
    schema: { body: { type: 'object' } },
    ...protect(guard.requiring({ scopes: ['mail.send'] }), async (request) => openMailbox(request.token)),
  })
  interface Draft {
    Body: { readonly text: string }
  }
  app.post<Draft>(
    '/draft',
    protect(guard, async ({ body, token }: forFastify.Guarded<FastifyRequest<Draft>>) => ({
      text: body.text,
      ...openMailbox(token),
    })),
  )
  const named = async (request: forFastify.Guarded<FastifyRequest>, _reply: FastifyReply) =>
    openMailbox(request.token)
  app.get('/named', protect(guard, named))
  app.route({ method: 'GET', url: '/route', ...protect(guard, named) })
  // @ts-expect-error a handler that needs a token, without a guard
  app.get('/open', named)
  // @ts-expect-error no guard, no token
  app.get('/unguarded', async (request) => openMailbox(request.token))
  await app.ready()
})

test('Hono: what needs a token takes it as an argument', () => {
  const { protect } = forHono
  const app = new Hono()
  app.use('/api/*', protect(guard))
  app.get(
    '/mail/:id',
    protect(guard, (c, token) => c.json({ id: c.req.param('id'), ...openMailbox(token) })),
  )
  app.get(
    '/next',
    protect(guard, async (_c, _token, next) => next()),
    (c) => c.text('next'),
  )
  const named = (c: Context, token: ValidatedToken): globalThis.Response => c.json(openMailbox(token))
  app.get('/named', protect(guard, named))
  // @ts-expect-error a handler that needs a token, without a guard
  app.get('/open', named)
  // @ts-expect-error no guard, no token
  app.get('/unguarded', (c) => c.json(openMailbox(c.get('token'))))
})

test('Koa: what needs a token takes it as an argument', () => {
  const { protect } = forKoa
  const app = new Koa()
  app.use(protect(guard))
  app.use(
    protect(guard, (ctx, token) => {
      ctx.body = openMailbox(token)
    }),
  )
  app.use(protect(guard, async (_ctx, _token, next) => next()))
  const named = (ctx: Koa.Context, token: ValidatedToken): void => {
    ctx.body = openMailbox(token)
  }
  app.use(protect(guard, named))
  // @ts-expect-error a handler that needs a token, without a guard
  app.use(named)
  const typed = new Koa<{ readonly started: number }>()
  typed.use(
    protect(guard, (ctx, token) => {
      ctx.body = { ...openMailbox(token), at: ctx.state['started'] }
    }),
  )
})

test('node:http, WebSocket and events: what needs a token takes it from a guarded request alone', () => {
  createServer(
    forNode.protect(guard, (request, response) => {
      response.end(openMailbox(request.token).of)
    }),
  )
  const named = (request: forNode.Guarded<IncomingMessage>): void => void openMailbox(request.token)
  createServer(forNode.protect(guard, named))
  // @ts-expect-error a handler that needs a token, without a guard
  createServer(named)

  const sockets = new WebSocketServer({ noServer: true })
  const talk = (socket: WebSocket, request: forSockets.Guarded<IncomingMessage>): void =>
    socket.send(openMailbox(request.token).of)
  const server = createServer()
  server.on('upgrade', forSockets.protect(guard, sockets, talk))
  server.on(
    'upgrade',
    forSockets.protect(guard, sockets, (socket, { token }) => socket.send(openMailbox(token).of)),
  )
  // @ts-expect-error no guard, no token
  sockets.on('connection', (socket, request) => talk(socket, request))

  createServer((request, response) => {
    // @ts-expect-error no guard, no token
    const { token } = request
    streamEvents(guard, token, response)
  })
  // @ts-expect-error claims are no proof that they were checked
  const claims: ValidatedToken = { subject: 'user-1', scopes: [] }
  new Hono().get('/events', () => respondEvents(guard, claims).response)
})
