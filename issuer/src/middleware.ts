/**
 * What stands in front of oidc-provider's own routes: the realm's keys, and one way to answer what goes wrong in ours.
 * @module
 */

import { KEY_SET_SECONDS } from '@countersign/validator/key-set'
import { errors, type Provider } from 'oidc-provider'
import { errorPage, pageHeaders, type Scene } from './pages.ts'
import { routes } from './provider.ts'

export type Middleware = Parameters<Provider['use']>[0]
export type Context = Parameters<Middleware>[0]

/** People get a page, clients the JSON of RFC 6749; neither learns what broke inside, which `onFault` does. */
export function answerErrors(scene: Scene, onFault: (fault: Error) => void): Middleware {
  return async (ctx, next) => {
    ctx.set('x-content-type-options', 'nosniff')
    try {
      await next()
    } catch (thrown) {
      const error = thrown instanceof errors.OIDCProviderError ? thrown : fault
      // Whoever left in the middle of a request waits for no answer, and nothing is wrong here.
      if (error === fault && ctx.req.readableAborted) return
      if (error === fault) onFault(thrown as Error)
      ctx.status = error.statusCode
      if (ctx.path.startsWith('/interaction/')) {
        ctx.set(pageHeaders())
        ctx.type = 'html'
        ctx.body = errorPage(scene, error, error)
      } else {
        ctx.body = { error: error.error, error_description: error.error_description }
      }
    }
  }
}

const fault = Object.assign(new errors.OIDCProviderError(500, 'server_error'), {
  error_description: 'something went wrong here; try again later',
})

/** In place of oidc-provider's, whose key set is as old as this process. */
export function serveKeySet(keySet: () => object): Middleware {
  return async (ctx, next) => {
    // Its router takes capitals and a slash at the end for the same.
    if (ctx.path.toLowerCase().replace(/\/$/, '') !== routes.jwks) return next()
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') return next()
    ctx.set('cache-control', `public, max-age=${KEY_SET_SECONDS}`)
    ctx.set('access-control-allow-origin', '*')
    ctx.type = 'application/jwk-set+json'
    ctx.body = JSON.stringify(keySet())
  }
}
