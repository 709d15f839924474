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
  /** Prints one JSON object instead of sentences. */
  readonly json?: boolean | undefined
}

const INCOMPLETE_EXIT = 1

/** Gives the command, shows what came of it, and sets the exit code. */
export async function kill(
  { authority }: System,
  command: Command,
  { operator, replace = false, json = false }: KillOptions,
): Promise<void> {
  const killed = await operate(authority, command, operator, complainOnce(authority.url))
  if (!json) showOperated(killed)
  const kid = command.op === 'cutoff' ? undefined : command.kid
  const replaced = kid !== undefined && replace ? await letNextTakeOver(authority, kid, operator) : undefined
  if (json) print(JSON.stringify({ op: command.op, ...killed, ...(replaced && { replaced }) }, undefined, 2))
  else if (replaced !== undefined) showReplaced(replaced)
  else if (kid !== undefined)
    print(`nothing takes over by itself: countersign key rotate --kid ${kid}, or --replace with the kill`)
  if (killed.silent.length > 0 || replaced?.error !== undefined) process.exitCode = INCOMPLETE_EXIT
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

interface Replaced {
  readonly version?: number
  readonly error?: string
}

/** A second command, so that a kill never fails for want of a successor. */
async function letNextTakeOver(
  authority: System['authority'],
  kid: string,
  operator: string | undefined,
): Promise<Replaced> {
  try {
    const { version } = await operate(authority, { op: 'rotate', kid, reason: `replaces ${kid}` }, operator)
    return { version }
  } catch (error) {
    return { error: (error as Error).message }
  }
}

function showReplaced({ version, error }: Replaced): void {
  if (error === undefined) print(`replaced, manifest ${version}`)
  else complain(`killed, and not replaced: ${error}`)
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
