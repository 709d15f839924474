/**
 * The guard as middleware of Hono:
 *
 *     app.use('/api/*', protect(guard))                                         // everything below needs a good token
 *     app.get('/me', protect(guard, (c, token) => c.json({ subject: token.subject })))
 *
 * The token is an argument, since a handler may claim of Hono's context variables whatever it likes: without `protect` it
 * does not compile. Further down the chain it is the variable `token`.
 * @module
 */

import type { IncomingMessage } from 'node:http'
import type { Context, Next } from 'hono'
import { toAnswer } from './bearer.ts'
import type { Guard, GuardedRequest } from './guard.ts'
import { readIncoming } from './incoming.ts'
import type { ValidatedToken } from './validator.ts'

type Handler<Context, Result> = (context: Context, token: ValidatedToken, next: Next) => Result

/** What fails, in the handler or in here, goes to the application's `onError`. */
export function protect<Asked extends Context = Context>(
  guard: Guard,
): (context: Asked, next: Next) => Promise<Response | undefined>
export function protect<Result, Asked extends Context = Context>(
  guard: Guard,
  handler: Handler<Asked, Result>,
): (context: Asked, next: Next) => Promise<Awaited<Result> | Response>
export function protect(
  guard: Guard,
  handler: Handler<Context, unknown> = (_context, _token, next) => next(),
): (context: Context, next: Next) => Promise<unknown> {
  return async (context, next) => {
    const admission = await guard.admit(readContext(context))
    if (!admission.admitted) {
      const { status, headers, text } = toAnswer(admission.denial)
      return new Response(text, { status, headers })
    }
    for (const [name, value] of Object.entries(admission.headers)) context.header(name, value)
    context.set('token', admission.token)
    return handler(context, admission.token, next)
  }
}

function readContext({ req: { raw }, env }: Context): GuardedRequest {
  // `@hono/node-server` puts Node's request here, as it arrived.
  const incoming: unknown = env?.incoming
  if (isIncoming(incoming)) return readIncoming(incoming)
  return {
    source: raw,
    // Fetch joins what came twice by a comma, which no credential has in it.
    rawHeaders: [...raw.headers].flat(),
    method: raw.method,
    target: raw.url.replace(/^[a-z+.-]+:\/\/[^/?#]*/i, ''),
  }
}

function isIncoming(value: unknown): value is IncomingMessage {
  return typeof value === 'object' && value !== null && 'rawHeaders' in value && 'socket' in value
}
