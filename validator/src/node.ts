/**
 * The guard in front of Node's own HTTP server:
 *
 *     createServer(protect(guard, (request, response) => response.end(request.token.subject)))
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Guard } from './guard.ts'
import { admitOrRefuse, type Guarded } from './incoming.ts'

export type { Guarded } from './incoming.ts'

/**
 * The handler is called with `request.token`, for good tokens alone. When it fails, whoever asked gets 500 as far as nothing
 * was sent yet, and what is given back rejects: as everywhere in Node, a failure that nobody awaits ends the process.
 */
export function protect<Request extends IncomingMessage, Response extends ServerResponse>(
  guard: Guard,
  handler: (request: Guarded<Request>, response: Response) => unknown,
): (request: Request, response: Response) => Promise<void> {
  return async (request, response) => {
    try {
      const guarded = await admitOrRefuse(guard, request, response)
      if (guarded !== undefined) await handler(guarded, response)
    } catch (error) {
      if (response.headersSent) response.destroy()
      else response.writeHead(500, { 'cache-control': 'no-store' }).end()
      throw error
    }
  }
}
