/**
 * Which port each service listens on. Issuer URLs stand in the charter and in every token, so a data folder keeps its
 * ports for good.
 * @module
 */

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { readJson } from './files.ts'

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

const PORT_DEFAULT = 8400
const PORT_MAX = 65_535

/** Written at the first start. */
export const portsFileIn = (data: string): string => join(data, 'ports.json')

/**
 * The ports of an earlier start, or those asked for now: a first one, or `0` for free ones. Throws when a port is no
 * port, when another was asked for than the folder was made with, and when somebody else holds one.
 */
export async function findPorts(data: string, asked: string | undefined): Promise<Ports> {
  const first = asked === undefined ? undefined : readPort(asked)
  const file = portsFileIn(data)
  const known = existsSync(file) ? readJson<Ports>(file) : undefined
  if (known !== undefined && first !== undefined && first !== 0 && first !== known.consumer) {
    throw new Error(`${data} was made with port ${known.consumer}, which its charter and its tokens name`)
  }
  const ports = known ?? (await choosePorts(first ?? PORT_DEFAULT))
  const taken = await takenPorts(ports)
  if (taken.length > 0) {
    const advice = known === undefined ? '--port 0 picks free ones' : `${data} keeps its ports for good`
    throw new Error(`in use already: port ${taken.join(', ')}; ${advice}`)
  }
  return ports
}

function readPort(text: string): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port <= PORT_MAX - listeners.length + 1) return port
  throw new Error(`--port takes 0, or the first of ${listeners.length} ports in a row, not ${text}`)
}

/** `first` and those after it, or free ones where `first` is 0. */
async function choosePorts(first: number): Promise<Ports> {
  const ports = first === 0 ? await freePorts(listeners.length) : listeners.map((_, index) => first + index)
  return Object.fromEntries(listeners.map((listener, index) => [listener, ports[index]])) as Ports
}

/** The ports of `ports` that somebody else holds at the moment. */
async function takenPorts(ports: Ports): Promise<number[]> {
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
