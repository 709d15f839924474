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
const CONNECTIONS = 96

/** A contender that keeps `CONNECTIONS` grants in flight. Throws when one is not answered with a token. */
export function grants(name: string, endpoint: TokenEndpoint): Contender {
  const ask = asker(name, endpoint)
  return {
    name,
    measure: async (milliseconds) => {
      const startedAt = performance.now()
      const count = await askFor(milliseconds, ask)
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}

/** So many tokens for an audience, asked for all at once, so that most share a receipt signature with others. */
export async function collectTokens(
  endpoint: TokenEndpoint,
  count: number,
  audience: string,
): Promise<readonly string[]> {
  const ask = asker('countersign', endpoint, { resource: audience })
  const tokens: string[] = []
  const keepAsking = async (): Promise<void> => {
    while (tokens.length < count) {
      const { access_token: token } = JSON.parse(await ask()) as { access_token: string }
      tokens.push(token)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, keepAsking))
  return tokens.slice(0, count)
}

/** How many tokens share one signature of the witness while grants come as fast as they go. */
export async function tokensPerSignature(endpoint: TokenEndpoint): Promise<number> {
  const signatures = new Set<string>()
  const ask = asker('countersign', endpoint)
  const count = await askFor(1000, async () => {
    const answer = await ask()
    const { access_token: token } = JSON.parse(answer) as { access_token: string }
    const header = Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()
    // A receipt ends with its signature, base64url of 64 bytes.
    signatures.add((JSON.parse(header) as { rcpt: string }).rcpt.slice(-80))
    return answer
  })
  return count / signatures.size
}

type Ask = () => Promise<string>

function asker(name: string, endpoint: TokenEndpoint, more: Readonly<Record<string, string>> = {}): Ask {
  const { origin, pathname } = new URL(endpoint.url)
  const pool = new Pool(origin, { connections: CONNECTIONS, pipelining: 1 })
  const credentials = Buffer.from(`${endpoint.client_id}:${endpoint.client_secret}`).toString('base64')
  const request = {
    method: 'POST' as const,
    path: pathname,
    headers: {
      authorization: `Basic ${credentials}`,
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: String(new URLSearchParams({ grant_type: 'client_credentials', scope: 'read', ...more })),
  }
  return async () => {
    const { statusCode, body } = await pool.request(request)
    const answer = await body.text()
    if (statusCode !== 200) throw new Error(`${name} answered ${statusCode}: ${answer.slice(0, 200)}`)
    return answer
  }
}

/** Keeps `CONNECTIONS` askers busy for that long, and counts the answers. */
async function askFor(milliseconds: number, ask: Ask): Promise<number> {
  const endsAt = performance.now() + milliseconds
  let count = 0
  const keepAsking = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      await ask()
      count++
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, keepAsking))
  return count
}
