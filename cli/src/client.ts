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

export { connectCrowd } from './crowd.ts'
export { type Operated, operate, waitForAcknowledgements } from './operate.ts'
export type { System }

export interface RunningSystem {
  /** What the ready file holds. */
  readonly ready: System
  readonly data: string
  /** `countersign up` itself. */
  readonly process: ChildProcess
  /** Ends it by SIGTERM, and gives the exit code. */
  stop(): Promise<number | null>
}

/** Starts `countersign up` in `data` on ports of the folder or free ones. Rejects when it ends before it is ready. */
export async function startSystem(data: string, args: readonly string[] = []): Promise<RunningSystem> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  // A group of its own: whoever starts it decides when it ends, also on a Ctrl-C that reaches the whole terminal.
  const child = fork(main, ['up', '--data', data, '--port', '0', ...args], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const exit = once(child, 'exit') as Promise<[code: number | null]>
  const early = exit.then(([code]) => {
    throw new Error(`countersign up ended at its start (exit ${code})`)
  })
  // Only awaited below; that it ends later, when it is asked to, is no fault.
  early.catch(() => {})
  const [{ ready }] = (await Promise.race([once(child, 'message'), early])) as [{ ready: System }]
  const stop = async (): Promise<number | null> => {
    child.kill('SIGTERM')
    const [code] = await exit
    return code
  }
  return { ready, data, process: child, stop }
}

/** The same in a temporary folder, which is gone after `stop`. */
export async function startTemporarySystem(): Promise<RunningSystem> {
  const data = await mkdtemp(join(tmpdir(), 'countersign-'))
  const remove = (): Promise<void> => rm(data, { recursive: true, force: true })
  try {
    const system = await startSystem(data)
    const stop = async (): Promise<number | null> => system.stop().finally(remove)
    return { ...system, stop }
  } catch (error) {
    await remove()
    throw error
  }
}
