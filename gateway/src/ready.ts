/**
 * What a gateway shows to whoever started it.
 * @module
 */

import type { GatewayConfig } from './config.ts'
import type { Places } from './front.ts'

/** Longer than this the start does not wait for the authority; tokens are refused until it is there. */
export const READY_MILLISECONDS_MAX = 5000

export function readyOf({ audience }: GatewayConfig, { port, envoyPort }: Places): Record<string, string> {
  return {
    url: `http://127.0.0.1:${port}`,
    audience,
    ...(envoyPort !== undefined && { envoy: `127.0.0.1:${envoyPort}` }),
  }
}
