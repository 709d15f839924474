/**
 * Client-credentials grants through the real token endpoint, with signer, witness and broker behind it, beside a plain
 * `oidc-provider` with the same options that holds its key itself. One load, in this process, on the same cores.
 * @module
 */

import { Pool } from 'undici'
import type { Contender } from './rounds.ts'

export interface TokenEndpoint {
  readonly url: string
  readonly client_id: string
  readonly client_secret: string
}

/** How many grants are asked for at once: enough that no box waits for another. */
const CONNECTIONS = 48

/** A contender that keeps `CONNECTIONS` grants in flight. Throws when one is not answered with a token. */
export function grants(name: string, endpoint: TokenEndpoint): Contender {
  const { origin, pathname } = new URL(endpoint.url)
  const pool = new Pool(origin, { connections: CONNECTIONS, pipelining: 1 })
  const credentials = Buffer.from(`${endpoint.client_id}:${endpoint.client_secret}`).toString('base64')
  const request = {
    method: 'POST' as const,
    path: pathname,
    headers: { authorization: `Basic ${credentials}`, 'content-type': 'application/x-www-form-urlencoded' },
    body: 'grant_type=client_credentials&scope=read',
  }
  return {
    name,
    measure: async (milliseconds) => {
      const startedAt = performance.now()
      let count = 0
      const asker = async (): Promise<void> => {
        while (performance.now() - startedAt < milliseconds) {
          const { statusCode, body } = await pool.request(request)
          const answer = await body.text()
          if (statusCode !== 200) throw new Error(`${name} answered ${statusCode}: ${answer.slice(0, 200)}`)
          count++
        }
      }
      await Promise.all(Array.from({ length: CONNECTIONS }, asker))
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}
