/**
 * How the drill, the bench and the tests start a whole system of their own, by the very command that people use, and
 * operate it.
 * @module
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { System } from './ready.ts'

export { fetchAcks } from '@countersign/authority/client'
export { agree } from './agree.ts'
export { connectCrowd } from './crowd.ts'
export { type Load, startLoad } from './load.ts'
export { type Operated, operate, waitForAcknowledgements } from './operate.ts'
export type { System }

export interface RunningSystem {
  /** What the ready file holds. */
  readonly ready: System
  readonly data: string
  /** `countersign up` itself. */
  readonly process: ChildProcess
  /** Settles with its exit code, however it ends. */
  readonly exited: Promise<number | null>
  /** Ends it by SIGTERM, and gives the exit code. */
  stop(): Promise<number | null>
}

export interface StartOptions {
  /** Further arguments of `countersign up`. */
  readonly args?: readonly string[]
  /** Hears what it writes, to either stream. Left out, only complaints are passed on, to ours. */
  readonly onOutput?: (text: string) => void
  /** From which level on services write events; `warn` unless the environment says otherwise. */
  readonly logLevel?: 'trace' | 'error'
}

/** Starts `countersign up` in `data` on ports of the folder or free ones. Rejects when it ends before it is ready. */
export async function startSystem(
  data: string,
  { args = [], onOutput, logLevel }: StartOptions = {},
): Promise<RunningSystem> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const output = onOutput === undefined ? (['ignore', 'inherit'] as const) : (['pipe', 'pipe'] as const)
  // A group of its own: whoever starts it decides when it ends, also on a Ctrl-C that reaches the whole terminal.
  const child = fork(main, ['up', '--data', data, '--port', '0', ...args], {
    detached: true,
    stdio: ['ignore', ...output, 'ipc'],
    env: { ...process.env, ...(logLevel && { COUNTERSIGN_LOG_LEVEL: logLevel }) },
  })
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', onOutput ?? (() => {}))
  const exit = once(child, 'exit') as Promise<[code: number | null]>
  const early = exit.then(([code]) => {
    throw new Error(`countersign up ended at its start (exit ${code})`)
  })
  // Only awaited below; that it ends later, when it is asked to, is no fault.
  early.catch(() => {})
  const [{ ready }] = (await Promise.race([once(child, 'message'), early])) as [{ ready: System }]
  const exited = exit.then(([code]) => code)
  const stop = (): Promise<number | null> => {
    child.kill('SIGTERM')
    return exited
  }
  return { ready, data, process: child, exited, stop }
}

/** The same in a temporary folder, which is gone after `stop`. Whoever attacks or measures it expects what it warns of. */
export async function startTemporarySystem(): Promise<RunningSystem> {
  const data = await mkdtemp(join(tmpdir(), 'countersign-'))
  const remove = (): Promise<void> => rm(data, { recursive: true, force: true })
  try {
    const system = await startSystem(data, { logLevel: 'error' })
    const stop = async (): Promise<number | null> => system.stop().finally(remove)
    return { ...system, stop }
  } catch (error) {
    await remove()
    throw error
  }
}
