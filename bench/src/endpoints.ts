/**
 * The two token endpoints of the grants bench, each in processes of its own.
 * @module
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { System } from '@countersign/cli/client'
import type { TokenEndpoint } from './grants.ts'

export interface Bare {
  readonly endpoint: TokenEndpoint
  stop(): void
}

/** A plain `oidc-provider`. */
export async function startBare(): Promise<Bare> {
  const child = fork(fileURLToPath(new URL('./bare.ts', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  const [endpoint] = (await once(child, 'message')) as [TokenEndpoint]
  return { endpoint, stop: () => void child.kill() }
}

/** The consumer realm's endpoint, with its service client. */
export async function endpointOf({ realms: { consumer } }: System): Promise<TokenEndpoint> {
  const metadata = await fetch(`${consumer.issuer}/.well-known/openid-configuration`)
  const { token_endpoint: url } = (await metadata.json()) as { token_endpoint: string }
  const client = consumer.clients.find(({ grant_types }) => grant_types.includes('client_credentials'))
  if (client === undefined) throw new Error('the sample world has no service client')
  return { url, client_id: client.client_id, client_secret: client.client_secret }
}
