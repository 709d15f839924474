/**
 * The guard as middleware of Express 5:
 *
 *     app.use(protect(guard))                                                   // everything below needs a good token
 *     app.get('/me', protect(guard, (request, response) => response.json(request.token.claims)))
 *
 * `request.token` is there for handlers that are given to `protect`, and for no other: without it they do not compile.
 * @module
 */

import type { NextFunction, Request, Response } from 'express'
import type { Guard } from './guard.ts'
import { admitOrRefuse, type Guarded } from './incoming.ts'

export type { Guarded } from './incoming.ts'

/** What fails, in the handler or in here, goes to the application's error handler. */
export function protect<Asked extends Request = Request, Answer extends Response = Response>(
  guard: Guard,
  handler: (request: Guarded<Asked>, response: Answer, next: NextFunction) => unknown = (
    _request,
    _response,
    next,
  ) => next(),
): (request: Asked, response: Answer, next: NextFunction) => Promise<unknown> {
  return async (request, response, next) => {
    // `url` is what is left of it in a router that is mounted somewhere; `ip` follows the setting `trust proxy`.
    const known = { target: request.originalUrl, network: request.ip }
    const guarded = await admitOrRefuse(guard, request, response, known)
    // Given back, so that Express awaits it.
    return guarded && handler(guarded, response, next)
  }
}
