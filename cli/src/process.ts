/**
 * Our services as child processes: started, known to answer before anyone counts on them, and stopped together.
 * @module
 */

import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { formatEvent, messageOf } from './events.ts'

export type ServiceName = 'witness' | 'authority' | 'broker' | 'issuer' | 'gateway' | 'webmail' | 'sentinel'

export interface ServicesOptions {
  /** Folder for what Node compiled, so that the second process with the same code, and the second start, are faster. */
  readonly cache: string
  /** A line that a service wrote to its standard error. */
  readonly onLine: (label: string, line: string) => void
  /** A service that answered before has ended, and nobody had asked it to. */
  readonly onEnd: (label: string, how: string) => void
}

/** A service that does not answer by then never will: it may wait half of it for a signer, on a machine that is busy. */
const START_MILLISECONDS_MAX = 60_000
/** Enough of what a service wrote before it failed to tell why. */
const COMPLAINT_LINES_MAX = 20

export class Services {
  readonly #options: ServicesOptions
  readonly #running = new Map<string, ChildProcess>()
  #isStopping = false

  constructor(options: ServicesOptions) {
    this.#options = options
  }

  /** Of those that are there at the moment. */
  get pids(): readonly number[] {
    return [...this.#running.values()].map(({ pid }) => pid ?? 0)
  }

  /** Starts a service and waits until it says that it answers. Rejects with what it wrote when it ends before that. */
  async start(name: ServiceName, label: string, configFile: string): Promise<void> {
    if (this.#isStopping) throw new Error('everything is being stopped')
    const { cache, onEnd } = this.#options
    // Its own process group, so that a Ctrl-C in the terminal reaches only `up`, which then stops all in order.
    const child = fork(mainOf(name), ['--config', configFile], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: cache },
    })
    this.#running.set(label, child)
    const ended = once(child, 'exit').then(([code, signal]) => {
      this.#running.delete(label)
      return String(signal ?? `exit ${code}`)
    })
    const complaint = this.#listen(label, child)
    const silent = once(child, 'close')
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, START_MILLISECONDS_MAX)
    const outcome = await Promise.race([once(child, 'message').then(() => undefined), ended])
    clearTimeout(late)
    if (outcome !== undefined) {
      const why = isLate ? `did not answer within ${START_MILLISECONDS_MAX / 1000} s` : `ended (${outcome})`
      await silent
      throw new Error([`${label} ${why} at its start`, ...complaint].join('\n'))
    }
    void ended.then((how) => {
      if (!this.#isStopping) onEnd(label, how)
    })
  }

  /** Asks every service to stop, those that are still starting too, and waits until each has; then kills what is left. */
  async stop(patienceMilliseconds: number): Promise<void> {
    this.#isStopping = true
    const children = [...this.#running.values()]
    const gone = Promise.all(children.map((child) => once(child, 'exit')))
    for (const child of children) child.kill('SIGTERM')
    const late = setTimeout(() => {
      for (const child of children) child.kill('SIGKILL')
    }, patienceMilliseconds)
    await gone
    clearTimeout(late)
  }

  /** Passes the lines on, and keeps the last ones, as they are shown. */
  #listen(label: string, child: ChildProcess): readonly string[] {
    const last: string[] = []
    if (child.stderr === null) return last
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#options.onLine(label, line)
      last.push(formatEvent(label, line))
      if (last.length > COMPLAINT_LINES_MAX) last.shift()
    })
    return last
  }
}

/** Runs `init` of a service or signer and returns what it printed: its public keys. */
export async function initService(
  name: ServiceName | 'signer',
  cache: string,
  args: readonly string[],
): Promise<unknown> {
  try {
    return await runMain(name, ['init', ...args], { NODE_COMPILE_CACHE: cache })
  } catch (error) {
    throw new Error(`${name} could not make its keys: ${(error as Error).message}`)
  }
}

/** Runs a program of ours that prints JSON and ends. Rejects with what it complained of. */
export async function runMain(
  name: ServiceName | 'signer',
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<unknown> {
  const env = { ...process.env, ...environment }
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [mainOf(name), ...args], { env })
    return JSON.parse(stdout)
  } catch (error) {
    const { stderr, message } = error as Error & { readonly stderr?: string }
    throw new Error(stderr?.trim().split('\n').map(messageOf).join('\n') || message)
  }
}

function mainOf(name: ServiceName | 'signer'): string {
  return fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url))
}
