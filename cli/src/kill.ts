/**
 * `countersign key block|revoke` and `countersign cutoff`: a kill, given until the authority has published it, and what
 * the operator has to know afterwards.
 * @module
 */

import type { AuthorityError, Command } from '@countersign/authority/client'
import { type Operated, operate } from './operate.ts'
import type { System } from './ready.ts'

export interface KillOptions {
  readonly operator?: string | undefined
  /** Lets the next key take over in the same breath. */
  readonly replace?: boolean | undefined
}

const INCOMPLETE_EXIT = 1

/** Gives the command, shows what came of it, and sets the exit code. */
export async function kill(
  { authority }: System,
  command: Command,
  { operator, replace = false }: KillOptions,
): Promise<void> {
  const killed = await operate(authority, command, operator, complainOnce(authority.url))
  showOperated(killed)
  const { kid } = command
  if (command.op === 'cutoff' || kid === undefined) return
  if (replace) await letNextTakeOver(authority, kid, operator)
  else print(`nothing takes over by itself: countersign key rotate --kid ${kid}, or --replace with the kill`)
}

export function showOperated({ version, changed, milliseconds, silent, absent }: Operated): void {
  const done = changed ? '' : 'nothing left to do; '
  const acknowledged =
    silent.length === 0
      ? 'acknowledged by all that are connected'
      : `not acknowledged by ${silent.join(', ')}`
  print(`${done}manifest ${version}, ${acknowledged}, after ${Math.round(milliseconds)} ms`)
  if (absent.length > 0) print(`not connected, so stale within a minute: ${absent.join(', ')}`)
  if (silent.length > 0) process.exitCode = INCOMPLETE_EXIT
}

/** A second command, so that a kill never fails for want of a successor. */
async function letNextTakeOver(authority: System['authority'], kid: string, operator: string | undefined) {
  try {
    const reason = `replaces ${kid}`
    const { version } = await operate(authority, { op: 'rotate', kid, reason }, operator)
    print(`replaced, manifest ${version}`)
  } catch (error) {
    complain(`killed, and not replaced: ${(error as Error).message}`)
    process.exitCode = INCOMPLETE_EXIT
  }
}

/** Says, once, that the kill is not published yet and why; whoever waits must not take it for done. */
function complainOnce(authority: string): (problem: AuthorityError) => void {
  let isSaid = false
  return ({ code, message }) => {
    if (isSaid) return
    isSaid = true
    const what =
      code === 'unreachable' ? `the authority at ${authority} does not answer` : `${message} (${code})`
    complain(`NOT KILLED YET: ${what}; trying again for a minute`)
  }
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
