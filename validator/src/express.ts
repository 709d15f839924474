/**
 * The guard as middleware of Express, 5 or 4:
 *
 *     app.use(protect(guard))                                                   // everything below needs a good token
 *     app.get('/me', protect(guard, (request, response) => response.json(request.token.claims)))
 *
 * `request.token` is there, when the program runs, for whatever comes behind `protect`. The compiler knows of it in handlers that are
 * given to `protect`, and in no others: what needs a token and has no guard in front does not compile.
 *
 * Who is refused is answered here. An application whose error handler answers everything takes `protectOrNext` in its place.
 * @module
 */

import type { NextFunction, Request, Response } from 'express'
import type { Denial } from './bearer.ts'
import type { Guard } from './guard.ts'
import { addHeaders, admitOrRefuse, type Guarded, readIncoming } from './incoming.ts'

export type { Guarded } from './incoming.ts'

type Handler<Asked, Answer> = (request: Guarded<Asked>, response: Answer, next: NextFunction) => unknown
type Middleware<Asked, Answer> = (request: Asked, response: Answer, next: NextFunction) => Promise<unknown>

/** What fails, in the handler or in here, goes to the application's error handler. */
export function protect<Asked extends Request = Request, Answer extends Response = Response>(
  guard: Guard,
  handler: Handler<Asked, Answer> = goOn,
): Middleware<Asked, Answer> {
  return passingOn(async (request, response, next) => {
    const guarded = await admitOrRefuse(guard, request, response, known(request))
    return guarded && handler(guarded, response, next)
  })
}

/**
 * As `protect`, but nothing is answered: who is refused goes to the application's error handler too, as a `RequestRefused`. Without a
 * handler that knows better, Express answers with its status and headers.
 */
export function protectOrNext<Asked extends Request = Request, Answer extends Response = Response>(
  guard: Guard,
  handler: Handler<Asked, Answer> = goOn,
): Middleware<Asked, Answer> {
  return passingOn(async (request, response, next) => {
    const admission = await guard.admit(readIncoming(request, known(request)))
    if (!admission.admitted) return next(new RequestRefused(admission.denial))
    addHeaders(admission, response)
    return handler(Object.assign(request, { token: admission.token }), response, next)
  })
}

/** Why a request is refused, and what `protect` would have answered. Its message may be shown; that of its cause is for the log. */
export class RequestRefused extends Error {
  readonly status: 401 | 403
  /** Of the table of refusals, or `token_missing`, `insufficient_scope` or `insufficient_user_authentication`. */
  readonly reason: string
  /** The challenge among them. */
  readonly headers: Readonly<Record<string, string>>
  /** As it would have been sent as JSON. */
  readonly body: Readonly<Record<string, string>>
  constructor({ status, reason, headers, body, refusal }: Denial) {
    super(body['error_description'] ?? reason, { cause: refusal })
    this.name = 'RequestRefused'
    this.status = status
    this.reason = reason
    this.headers = headers
    this.body = body
  }
}

/** Express 4 waits for nobody, and to either a failure that is nothing is none. */
function passingOn<Asked, Answer>(serve: Middleware<Asked, Answer>): Middleware<Asked, Answer> {
  return async (request, response, next) => {
    try {
      return await serve(request, response, next)
    } catch (error) {
      return next(error || new Error('a handler failed without saying how'))
    }
  }
}

function goOn(_request: unknown, _response: unknown, next: NextFunction): void {
  next()
}

/** `url` is what is left of it in a router that is mounted somewhere; `ip` follows the setting `trust proxy`. */
function known({ originalUrl, ip }: Request): {
  readonly target: string
  readonly network: string | undefined
} {
  return { target: originalUrl, network: ip }
}
