/**
 * The processes of a running system, as the kernel knows them. Linux alone shows them like this.
 * @module
 */

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

export interface Process {
  readonly pid: number
  readonly parent: number
  readonly commandLine: string
  readonly environment: string
}

const PATIENCE_MILLISECONDS = 10_000
const POLL_MILLISECONDS = 10

/** Every process below this one. */
export function descendants(ancestor: number): Process[] {
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? readProcess(Number(name)) : []))
  const below = (pid: number): Process[] =>
    all.filter(({ parent }) => parent === pid).flatMap((process) => [process, ...below(process.pid)])
  return below(ancestor)
}

/** Settles once none of them is there any more; rejects, naming the rest, when that takes too long. */
export async function allGone(processes: readonly Process[]): Promise<void> {
  const endsAt = performance.now() + PATIENCE_MILLISECONDS
  for (;;) {
    // A number may have been given to another process since.
    const left = processes.filter(({ pid, commandLine }) =>
      readProcess(pid).some((process) => process.commandLine === commandLine),
    )
    if (left.length === 0) return
    if (performance.now() > endsAt) {
      throw new Error(`still there: ${left.map(({ commandLine }) => commandLine).join('; ')}`)
    }
    await delay(POLL_MILLISECONDS)
  }
}

/** None when there is no such process. */
function readProcess(pid: number): Process[] {
  const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, 'latin1')
  try {
    // The name of the program stands in brackets, and may hold any character.
    const [state, parent] = read('stat')
      .replace(/^.*\) /s, '')
      .split(' ')
    if (state === 'Z') return []
    const commandLine = read('cmdline').replaceAll('\0', ' ')
    return [{ pid, parent: Number(parent), commandLine, environment: read('environ') }]
  } catch {
    return []
  }
}
