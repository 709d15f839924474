/**
 * What the gateway bench asks: a gateway of ours beside a running system, which decides by the system's own trust, and the
 * least that anybody would write with `jose`. Each is a process of its own.
 * @module
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RunningSystem } from '@countersign/cli/client'
import type { BareGatewayOptions } from './bare-gateway.ts'

export interface GatewayProcess {
  /** What a proxy asks. */
  readonly url: string
  /** Seconds of processor time so far; undefined where this machine does not say. */
  processorSeconds(): number | undefined
  stop(): Promise<void>
}

const gatewayMain = fileURLToPath(import.meta.resolve('@countersign/gateway/client')).replace(
  'client.ts',
  'main.ts',
)

/** It warns that bearer tokens pass in the sample, as whoever started it knows. */
const quiet = { COUNTERSIGN_LOG_LEVEL: 'error', NODE_NO_WARNINGS: '1' }

/**
 * The gateway with the configuration that it has in the system, but for `more`, where it listens and where its sightings go: it
 * makes and sends them all, and they are taken without a look, since a sentinel has a machine of its own.
 */
export async function startGateway(
  { data }: RunningSystem,
  more: { readonly workers: number; readonly pushed_roots: boolean },
): Promise<GatewayProcess> {
  const sink = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(204).end())
  }).listen(0, '127.0.0.1')
  await once(sink, 'listening')
  const config = JSON.parse(readFileSync(join(data, 'config', 'gateway.json'), 'utf8')) as object
  const folder = join(data, `bench-gateway-${more.workers}`)
  mkdirSync(folder, { mode: 0o700 })
  const file = join(folder, 'config.json')
  const sentinel = `http://127.0.0.1:${(sink.address() as AddressInfo).port}`
  writeFileSync(file, JSON.stringify({ ...config, ...more, listen: { port: 0 }, state: folder, sentinel }))
  const child = fork(gatewayMain, ['--config', file], { env: quiet })
  const [{ ready }] = (await once(child, 'message')) as [{ ready: { url: string } }]
  return running(child, ready.url, () => {
    sink.close()
    sink.closeAllConnections()
  })
}

/** A bare gateway over `jose` that takes the tokens of the consumer realm. */
export async function startBareGateway({ ready }: RunningSystem, workers: number): Promise<GatewayProcess> {
  const { issuer, jwks_uri } = ready.realms.consumer
  const jwks = (await (await fetch(jwks_uri)).json()) as BareGatewayOptions['jwks']
  const options: BareGatewayOptions = { workers, jwks, issuer, audience: ready.gateway.audience }
  const child = fork(fileURLToPath(new URL('./bare-gateway.ts', import.meta.url)), [JSON.stringify(options)])
  const [url] = (await once(child, 'message')) as [string]
  return running(child, url)
}

function running(child: ChildProcess, origin: string, after: () => void = () => {}): GatewayProcess {
  return {
    url: `${origin}/auth`,
    processorSeconds: () => processorSecondsOf(child.pid ?? 0),
    stop: async () => {
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
      after()
    },
  }
}

const TICKS_PER_SECOND = 100

/**
 * Of a process and what it started, proc(5): user and system time are the 14th and 15th field of `stat`; the second is a name in
 * brackets, with anything in it.
 */
function processorSecondsOf(pid: number): number | undefined {
  try {
    const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, 'utf8')
    const fields = read('stat').split(') ').at(-1)?.split(' ') ?? []
    const own = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
    const children = read(`task/${pid}/children`).trim().split(' ').filter(Boolean)
    return children.reduce((sum, child) => sum + (processorSecondsOf(Number(child)) ?? 0), own)
  } catch {
    return undefined
  }
}
