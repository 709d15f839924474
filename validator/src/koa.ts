/**
 * The guard as middleware of Koa:
 *
 *     app.use(protect(guard))                                                   // everything below needs a good token
 *     router.get('/me', protect(guard, (ctx, token) => { ctx.body = { subject: token.subject } }))
 *
 * The token is an argument, since a handler may claim of Koa's context whatever it likes: without `protect` it does not
 * compile. Further down the chain it is `ctx.state.token`.
 * @module
 */

import type { Context, Next } from 'koa'
import { toAnswer } from './bearer.ts'
import type { Guard } from './guard.ts'
import { readIncoming } from './incoming.ts'
import type { ValidatedToken } from './validator.ts'

/** What fails, in the handler or in here, goes to Koa's error handling. */
export function protect<Asked extends Context = Context>(
  guard: Guard,
  handler: (context: Asked, token: ValidatedToken, next: Next) => unknown = (_context, _token, next) =>
    next(),
): (context: Asked, next: Next) => Promise<unknown> {
  return async (context, next) => {
    // `ip` follows the setting `app.proxy`.
    const { req, originalUrl, ip } = context
    const admission = await guard.admit(readIncoming(req, { target: originalUrl, network: ip }))
    if (!admission.admitted) {
      const { status, headers, text } = toAnswer(admission.denial)
      context.status = status
      context.body = text
      context.set(headers)
      return undefined
    }
    context.set({ ...admission.headers })
    context.state['token'] = admission.token
    return handler(context, admission.token, next)
  }
}
