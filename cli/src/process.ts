/**
 * Our services as child processes: started, known to answer before anyone counts on them, and stopped together.
 * @module
 */

import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export type ServiceName = 'witness' | 'authority' | 'broker' | 'issuer' | 'gateway' | 'webmail' | 'sentinel'

/** A service that answers. */
export interface Service {
  readonly label: string
  readonly ready: Readonly<Record<string, unknown>>
  readonly process: ChildProcess
}

/** A service that does not answer by then never will. */
const START_MILLISECONDS_MAX = 20_000

/** Starts a service and waits until it says that it answers. Rejects with what it wrote when it ends before that. */
export async function startService(name: ServiceName, label: string, configFile: string): Promise<Service> {
  // Its own process group, so that a Ctrl-C in the terminal reaches only `up`, which then stops all in order.
  const child = fork(mainOf(name), ['--config', configFile], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let complaint = ''
  const collect = (chunk: Buffer): void => {
    complaint = (complaint + chunk.toString()).slice(-4000)
  }
  child.stderr?.on('data', collect)
  const ready = await new Promise<Readonly<Record<string, unknown>>>((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${label} did not answer within ${START_MILLISECONDS_MAX / 1000} s\n${complaint}`))
    }, START_MILLISECONDS_MAX)
    child.once('message', (message: { ready: Readonly<Record<string, unknown>> }) => {
      clearTimeout(late)
      resolve(message.ready)
    })
    child.once('exit', (code, signal) => {
      clearTimeout(late)
      reject(new Error(`${label} ended at its start (${signal ?? `exit ${code}`})\n${complaint.trim()}`))
    })
  })
  child.stderr?.off('data', collect)
  child.stderr?.pipe(process.stderr)
  return { label, ready, process: child }
}

/** Runs `init` of a service or signer and returns what it printed: its public keys. */
export async function initService(name: ServiceName | 'signer', args: readonly string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [mainOf(name), 'init', ...args])
  return JSON.parse(stdout)
}

/** Asks every service to stop and waits until each has; what is left after `patience` is killed. */
export async function stopServices(
  services: readonly Service[],
  patienceMilliseconds: number,
): Promise<void> {
  const running = services
    .map(({ process: child }) => child)
    .filter((child) => child.exitCode === null && child.signalCode === null)
  const gone = Promise.all(running.map((child) => once(child, 'exit')))
  for (const child of running) child.kill('SIGTERM')
  const late = setTimeout(() => {
    for (const child of running) child.kill('SIGKILL')
  }, patienceMilliseconds)
  await gone
  clearTimeout(late)
}

function mainOf(name: ServiceName | 'signer'): string {
  return fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url))
}
