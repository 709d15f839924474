/**
 * `countersign key` and `countersign cutoff`: what one operator can do to a key, and who has acknowledged it.
 * @module
 */

import { parseArgs } from 'node:util'
import { type Command, fetchAcks } from '@countersign/authority/client'
import { operate } from './operate.ts'
import { locate, readSystem, withManifest } from './system.ts'

const options = {
  ready: { type: 'string' },
  operator: { type: 'string' },
  realm: { type: 'string' },
  kid: { type: 'string' },
  tenant: { type: 'string' },
  sub: { type: 'string' },
  reason: { type: 'string' },
} as const

const operations = ['rotate', 'block', 'revoke', 'retire'] as const

export async function key(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  if (operation === 'list') return list(rest)
  const known = operations.find((name) => name === operation)
  if (known === undefined) throw new Error(`list, ${operations.join(', ')}; not ${operation ?? 'nothing'}`)
  await give(known, rest)
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
  for (const { kid, realm, state, algorithm, signUntil } of manifest?.keys.values() ?? []) {
    const until = new Date(signUntil * 1000).toISOString().slice(0, 16)
    print(`${kid}  ${realm.padEnd(12)} ${state.padEnd(10)} ${algorithm.padEnd(10)} signs until ${until}Z`)
  }
  const silent = acks.silent.length === 0 ? 'acknowledged by all' : `silent: ${acks.silent.join(', ')}`
  print(`\nversion ${manifest?.version}, ${silent}`)
}

/** Gives a command and shows how long it took until every validator had acknowledged what came of it. */
async function give(op: Command['op'], args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const { ready, operator, reason, ...target } = values
  if (reason === undefined && op !== 'rotate') throw new Error('--reason TEXT: the record says why')
  const command = { op, reason: reason ?? 'by hand', ...target }
  const { version, changed, milliseconds, silent, absent } = await operate(
    readSystem(ready).authority,
    command,
    operator,
  )
  const done = changed ? '' : 'nothing left to do; '
  const acknowledged =
    silent.length === 0 ? 'acknowledged by all that are connected' : `silent: ${silent.join(', ')}`
  print(`${done}version ${version}, ${acknowledged}, after ${Math.round(milliseconds)} ms`)
  if (absent.length > 0) print(`not connected, so stale within a minute: ${absent.join(', ')}`)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
