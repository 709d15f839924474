/**
 * Every entry of the package, used once: what a stranger imports is there, has its types, and fits the frameworks' own.
 * @module
 */

import { createServer } from 'node:http'
import {
  acceptWithoutReceipt,
  createValidator,
  type Decision,
  Refusal,
  type Validator,
} from '@countersign/validator'
import { decideAll } from '@countersign/validator/bulk'
import { connectValidator } from '@countersign/validator/connect'
import { dpop } from '@countersign/validator/dpop'
import { createEdgeGuard, createEdgeTrust, createEdgeValidator } from '@countersign/validator/edge'
import * as forExpress from '@countersign/validator/express'
import * as forFastify from '@countersign/validator/fastify'
import { followManifest } from '@countersign/validator/follow'
import { createGuard } from '@countersign/validator/guard'
import * as forHono from '@countersign/validator/hono'
import { oidc } from '@countersign/validator/issuers'
import * as forKoa from '@countersign/validator/koa'
import { mtls } from '@countersign/validator/mtls'
import * as forNode from '@countersign/validator/node'
import { createNonces } from '@countersign/validator/nonces'
import { createReplayCache } from '@countersign/validator/replay'
import { streamEvents } from '@countersign/validator/sse'
import * as ssf from '@countersign/validator/ssf'
import { createTestWorld, mailAudience } from '@countersign/validator/testing'
import * as forSockets from '@countersign/validator/websocket'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { WebSocketServer } from 'ws'
import { openMailbox } from './mailbox.ts'

const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const validator: Validator = createValidator({
  realm: 'consumer',
  audience: mailAudience,
  trust: world.trust,
})
const foreign = createValidator({
  issuers: [oidc('https://id.example')],
  audience: mailAudience,
  [acceptWithoutReceipt]: 'this provider logs nothing',
})
foreign.stop()
const replay = createReplayCache()
const guard = createGuard(validator, {
  scopes: ['mail.read'],
  bindings: [
    dpop({ base: 'https://mail.example', replay, nonces: createNonces({ secrets: [Buffer.alloc(32, 7)] }) }),
    mtls({ from: 'connection' }),
  ],
})

const app = express().get(
  '/mail',
  forExpress.protect(guard, (request, response) => {
    response.json(openMailbox(request.token))
  }),
)
const instance = fastify()
instance.get(
  '/mail',
  forFastify.protect(guard, async (request) => openMailbox(request.token)),
)
const edge = new Hono().get(
  '/mail',
  forHono.protect(guard, (c, token) => c.json(openMailbox(token))),
)
const koa = new Koa().use(
  forKoa.protect(guard, (ctx, token) => {
    ctx.body = openMailbox(token)
  }),
)
const sockets = new WebSocketServer({ noServer: true })
const server = createServer(
  forNode.protect(guard, (request, response) => void streamEvents(guard, request.token, response)),
)
server.on(
  'upgrade',
  forSockets.protect(guard, sockets, (socket, { token }) => socket.send(openMailbox(token).of)),
)

const atEdge = createEdgeValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust })
const edgeGuard = createEdgeGuard(atEdge, { scopes: 'mail.read' })

/** The same, where the runtime answers later: by a request, and for many tokens in a row. */
async function decideLater(tokens: readonly string[]): Promise<readonly string[]> {
  const words: string[] = []
  for (const token of tokens) {
    const request = new Request('https://mail.example/mail', {
      headers: { authorization: `Bearer ${token}` },
    })
    const admission = await edgeGuard.admit(request)
    words.push(admission.admitted ? openMailbox(admission.token).of : String(admission.response.status))
  }
  for await (const decision of decideAll(validator, tokens))
    words.push(decision.accepted ? openMailbox(decision.token).of : decision.refusal.reason)
  return words
}

/** Whether a good token is accepted and one without a receipt is not, and why. */
function decide(token: string): string {
  const decision: Decision = validator.decide(token)
  return decision.accepted ? openMailbox(decision.token).of : decision.refusal.reason
}

/** For whoever runs this file: what was decided, and that everything is there. */
console.log(
  JSON.stringify({
    decided: [decide(world.issue()), decide(world.issue({ receipt: null })), decide('a.b.c')],
    thrown: (() => {
      try {
        validator.validate('')
        return undefined
      } catch (error) {
        return error instanceof Refusal && error.reason
      }
    })(),
    made: [app, instance, edge, koa, server].every((each) => each !== undefined),
    later: await decideLater([world.issue(), world.issue({ receipt: null })]),
    entries: [connectValidator, followManifest, createEdgeTrust, ssf.createReceiver].map(
      (each) => typeof each,
    ),
  }),
)
