/**
 * Ports for what tests start.
 * @module
 */

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** A port that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  return port
}
