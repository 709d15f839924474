/**
 * Which port each service listens on. Issuer URLs stand in the charter and in every token, so a data folder keeps its
 * ports for good.
 * @module
 */

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

export const listeners = [
  'consumer',
  'enterprise',
  'authority',
  'witness',
  'gateway',
  'webmail',
  'sentinel',
] as const
export type Listener = (typeof listeners)[number]
export type Ports = Readonly<Record<Listener, number>>

/** `first` and those after it, or free ones where `first` is 0. */
export async function choosePorts(first: number): Promise<Ports> {
  const ports = first === 0 ? await freePorts(listeners.length) : listeners.map((_, index) => first + index)
  return Object.fromEntries(listeners.map((listener, index) => [listener, ports[index]])) as Ports
}

/** The ports of `ports` that somebody else holds at the moment. */
export async function takenPorts(ports: Ports): Promise<number[]> {
  const probes = listeners.map(async (listener) => ((await isFree(ports[listener])) ? [] : [ports[listener]]))
  return (await Promise.all(probes)).flat()
}

/** All are held open at once, so that no two are the same. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    await once(server.close(), 'close')
    return true
  } catch {
    return false
  }
}
