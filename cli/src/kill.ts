/**
 * `countersign key block|revoke` and `countersign cutoff`: a kill, given until the authority has published it, and what
 * the operator has to know afterwards.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import {
  type AuthorityError,
  type CanaryResult,
  type Command,
  fetchProofs,
} from '@countersign/authority/client'
import { describeRefusals, doubtName, watchRefusals } from './foreign.ts'
import { type Operated, operate } from './operate.ts'
import type { System } from './ready.ts'
import { formatNames, formatTable } from './table.ts'

export interface KillOptions {
  readonly operator?: string | undefined
  /** Lets the next key take over in the same breath. */
  readonly replace?: boolean | undefined
  /** Prints one JSON object instead of sentences. */
  readonly json?: boolean | undefined
}

const INCOMPLETE_EXIT = 1
/** Longer than the authority waits for the slowest gateway. */
const CANARIES_MILLISECONDS_MAX = 12_000
const POLL_MILLISECONDS = 20

/** Gives the command, shows what came of it, and sets the exit code. */
export async function kill(
  { authority, sentinel }: System,
  command: Command,
  { operator, replace = false, json = false }: KillOptions,
): Promise<void> {
  const since = Date.now()
  const killed = await operate(authority, command, operator, complainOnce(authority.url))
  if (!json) showOperated(killed)
  // Of somebody else's key nobody here can sign a canary, and nothing of ours takes its place.
  const { iss } = command
  if (iss !== undefined) return showDenied(sentinel.url, { ...command, iss }, killed, { since, json })
  const kid = command.op === 'cutoff' ? undefined : command.kid
  const replaced = kid !== undefined && replace ? await letNextTakeOver(authority, kid, operator) : undefined
  const canaries = kid === undefined ? undefined : await waitForCanaries(authority.url, killed.version, kid)
  if (json) {
    const result = { op: command.op, ...killed, ...(replaced && { replaced }), ...(canaries && { canaries }) }
    print(JSON.stringify(result, undefined, 2))
  } else {
    if (canaries !== undefined) showCanaries(canaries)
    if (replaced !== undefined) showReplaced(replaced)
    else if (kid !== undefined)
      print(`nothing takes over by itself: countersign key rotate --kid ${kid}, or --replace with the kill`)
  }
  const isProven =
    canaries?.every(({ outcome }) => outcome === 'refused' || outcome === 'unreachable') ?? true
  if (killed.silent.length > 0 || replaced?.error !== undefined || !isProven)
    process.exitCode = INCOMPLETE_EXIT
}

async function showDenied(
  sentinel: string,
  denied: Command & { readonly iss: string },
  killed: Operated,
  { since, json }: { readonly since: number; readonly json: boolean },
): Promise<void> {
  const refused = await watchRefusals(sentinel, denied, since)
  const doubt = refused?.length === 0 ? await doubtName(sentinel, denied) : undefined
  const result = { op: denied.op, ...killed, canary: null, refused: refused ?? null, doubt: doubt ?? null }
  if (json) print(JSON.stringify(result, undefined, 2))
  else for (const line of describeRefusals(denied, refused)) print(line)
  if (!json && doubt !== undefined) complain(doubt)
  if (killed.silent.length > 0) process.exitCode = INCOMPLETE_EXIT
}

/** What the gateways made of the killed key. Throws where the authority does not say in time. */
async function waitForCanaries(
  authority: string,
  version: number,
  kid: string,
): Promise<readonly CanaryResult[]> {
  const endsAt = performance.now() + CANARIES_MILLISECONDS_MAX
  for (;;) {
    const proof = (await fetchProofs(authority)).find((each) => each.kid === kid && each.version === version)
    if (proof?.state === 'done') return proof.results
    if (performance.now() > endsAt)
      throw new Error('the key is killed, and what its canaries met is not known')
    await delay(POLL_MILLISECONDS)
  }
}

function showCanaries(results: readonly CanaryResult[]): void {
  if (results.length === 0) return
  const rows = results.map(({ name, outcome, reason, milliseconds, is_real }) => [
    name,
    outcome === 'accepted' || outcome === 'unproven' ? outcome.toUpperCase() : outcome,
    reason ?? '',
    `${milliseconds} ms`,
    is_real ? 'signed' : 'unsigned',
  ])
  print(formatTable(['gateway', 'canary', 'reason', 'after', 'it was'], rows))
}

export function showOperated({ version, changed, milliseconds, silent, absent }: Operated): void {
  const done = changed ? '' : 'nothing left to do; '
  const acknowledged =
    silent.length === 0
      ? 'acknowledged by all that are connected'
      : `not acknowledged by ${formatNames(silent)}`
  print(`${done}manifest ${version}, ${acknowledged}, after ${Math.round(milliseconds)} ms`)
  if (absent.length > 0) print(`not connected, so stale within a minute: ${formatNames(absent)}`)
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
