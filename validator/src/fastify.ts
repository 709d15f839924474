/**
 * The guard in a route of Fastify, 5 or 4, or in front of all of them:
 *
 *     app.addHook('onRequest', protect(guard))                                  // everything here needs a good token
 *     app.get('/me', protect(guard, async (request) => ({ subject: request.token.subject })))
 *     app.post('/send', { schema, ...protect(guard.requiring({ scopes: 'mail.send' }), send) })
 *
 * It decides in `onRequest`: whoever has no good token has no body read, parsed or checked. `request.token` is there, when the program
 * runs, for whatever comes behind that. The compiler knows of it in handlers that are given to `protect`, and in no others: what needs
 * a token and has no guard in front does not compile.
 * @module
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { toAnswer } from './bearer.ts'
import type { Guard } from './guard.ts'
import { type Guarded, readIncoming } from './incoming.ts'

export type { Guarded } from './incoming.ts'

type Hook<Request, Reply> = (request: Request, reply: Reply) => Promise<unknown>
type Handler<Request, Reply, Result> = (this: FastifyInstance, request: Request, reply: Reply) => Result

/** What is to be known of a route besides its method and path. */
export interface ProtectedRoute<Request, Reply, Result> {
  readonly onRequest: Hook<Request, Reply>
  readonly handler: Handler<Request, Reply, Result>
}

/** What fails, in the handler or in here, goes to the error handler of the instance. */
export function protect(guard: Guard): Hook<FastifyRequest, FastifyReply>
export function protect<Result>(
  guard: Guard,
  handler: Handler<Guarded<FastifyRequest>, FastifyReply, Result>,
): ProtectedRoute<FastifyRequest, FastifyReply, Result>
/** For a handler that says what its route takes: `(request: Guarded<FastifyRequest<{ Body: Order }>>) => …`. */
export function protect<Result, Request extends FastifyRequest, Reply extends FastifyReply>(
  guard: Guard,
  handler: Handler<Guarded<Request>, Reply, Result>,
): ProtectedRoute<Request, Reply, Result>
export function protect<Result, Request extends FastifyRequest, Reply extends FastifyReply>(
  guard: Guard,
  handler?: Handler<Guarded<Request>, Reply, Result>,
): Hook<Request, Reply> | ProtectedRoute<Request, Reply, Result> {
  const admitted = new WeakMap<Request, Guarded<Request>>()

  async function onRequest(request: Request, reply: Reply): Promise<unknown> {
    // `ip` follows the option `trustProxy`.
    const { raw, originalUrl, ip } = request
    const admission = await guard.admit(readIncoming(raw, { target: originalUrl, network: ip }))
    // Somebody else may have answered meanwhile, because it took too long for example.
    if (reply.sent) return reply
    if (!admission.admitted) {
      const { status, headers, text } = toAnswer(admission.denial)
      return reply.code(status).headers(headers).send(text)
    }
    reply.headers({ ...admission.headers })
    admitted.set(request, Object.assign(request, { token: admission.token }))
    return undefined
  }

  if (handler === undefined) return onRequest
  return {
    onRequest,
    handler(request, reply) {
      const guarded = admitted.get(request)
      // The handler was put into a route without its hook.
      if (guarded === undefined) throw new Error('a protected handler was reached past its guard')
      return handler.call(this, guarded, reply)
    },
  }
}
