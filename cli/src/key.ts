/**
 * `countersign key` and `countersign cutoff`: what one operator can do to a key, and who has acknowledged it.
 * @module
 */

import { parseArgs } from 'node:util'
import { type Command, fetchAcks, namesOf } from '@countersign/authority/client'
import { dryRun } from './dry-run.ts'
import { dryRunForeign } from './foreign.ts'
import { kill, showOperated } from './kill.ts'
import { migrate } from './migrate.ts'
import { operate } from './operate.ts'
import { locate, readSystem, withManifest } from './system.ts'
import { formatNames, formatTable } from './table.ts'
import { widenKey } from './widen.ts'

const options = {
  ready: { type: 'string' },
  operator: { type: 'string' },
  iss: { type: 'string' },
  realm: { type: 'string' },
  kid: { type: 'string' },
  tenant: { type: 'string' },
  sub: { type: 'string' },
  reason: { type: 'string' },
  replace: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  hours: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** Longer ago nothing is kept of what was seen. */
const HOURS_MAX = 24 * 180

/** They take trust away, whatever else goes wrong. */
const kills: readonly Command['op'][] = ['block', 'revoke', 'cutoff']

export async function key(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  switch (operation) {
    case 'list':
      return list(rest)
    case 'rotate':
    case 'block':
    case 'revoke':
    case 'retire':
      return give(operation, rest)
    case 'migrate':
      return migrate(rest)
    case 'lift':
    case 'activate':
    case 'prune':
      return widenKey(operation, rest)
    default:
      throw new Error(
        `key takes list, rotate, block, revoke, retire, lift, activate, prune or migrate, not ${operation ?? 'nothing'}`,
      )
  }
}

export async function cutoff(args: readonly string[]): Promise<void> {
  await give('cutoff', args)
}

/** A row per key of the manifest, and the validators that are behind. */
async function list(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { ready: options.ready } })
  const where = await locate(values)
  const { manifest, acks } = await withManifest(where, async ({ state }) => ({
    manifest: state?.manifest,
    acks: await fetchAcks(where.authority),
  }))
  const rows = [...(manifest?.keys.values() ?? [])].map((key) => [
    key.kid,
    key.realm,
    key.state,
    key.algorithm,
    minute(key.signUntil),
    minute(key.verifyUntil),
  ])
  print(formatTable(['kid', 'realm', 'state', 'alg', 'signs until', 'verifies until'], rows))
  const foreign = manifest?.foreign.blocked.map(({ kid, issuer, at }) => [kid, issuer, minute(at)]) ?? []
  if (foreign.length > 0)
    print(`\n${formatTable(['blocked key', 'of an issuer that is not ours', 'since'], foreign)}`)
  const behind =
    acks.silent.length === 0 ? 'acknowledged by all' : `not acknowledged by ${formatNames(acks.silent)}`
  print(`\nmanifest ${acks.version}, ${behind}`)
}

/** Gives a command and shows how long it took until every validator had acknowledged what came of it. */
async function give(op: Command['op'], args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const { ready, operator, reason, replace, 'dry-run': isDry, hours = '24', json = false, ...target } = values
  checkNames(op, target)
  const isKill = kills.includes(op)
  if (json && !isKill) throw new Error(`${op} has no --json`)
  if (replace && (!isKill || op === 'cutoff')) throw new Error(`${op} has no --replace`)
  if (isDry) {
    if (!isKill) throw new Error(`${op} has no --dry-run`)
    const options = { ready, hours: readHours(hours), json }
    const { iss } = target
    if (iss !== undefined) return dryRunForeign(readSystem(ready), { op, ...target, iss }, options)
    return dryRun(readSystem(ready), { op, ...target }, options)
  }
  if (!reason && op !== 'rotate') throw new Error('--reason TEXT: the record says why')
  if (replace && target.iss !== undefined)
    throw new Error('nothing of ours takes the place of a key of others')
  const command = { op, reason: reason || 'by hand', ...target }
  const system = readSystem(ready)
  if (isKill) return kill(system, command, { operator, replace, json })
  showOperated(await operate(system.authority, command, operator))
}

/** Before anything is asked or done: a name that has no meaning here would be taken to narrow what is done. */
function checkNames(op: Command['op'], target: Readonly<Partial<Record<string, string>>>): void {
  const { needed, taken, ofOthers } = namesOf[op]
  const isOfOthers = target['iss'] !== undefined && ofOthers !== undefined
  const allowed: readonly string[] = isOfOthers ? ['iss', ...ofOthers] : taken
  const surplus = Object.keys(target).find((name) => !allowed.includes(name))
  if (surplus !== undefined) throw new Error(`${op}${isOfOthers ? ' with --iss' : ''} takes no --${surplus}`)
  if (needed.every((name) => target[name] === undefined))
    throw new Error(`${op} needs ${needed.map((name) => `--${name} ${name.toUpperCase()}`).join(' or ')}`)
}

function readHours(text: string): number {
  const hours = Number(text)
  if (hours > 0 && hours <= HOURS_MAX) return hours
  throw new Error(`--hours takes a number up to ${HOURS_MAX}, not ${text}`)
}

function minute(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16)}Z`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
