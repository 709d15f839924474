/**
 * `countersign key` and `countersign cutoff`: what one operator can do to a key, and who has acknowledged it.
 * @module
 */

import { createPrivateKey, type JsonWebKeyInput } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type Command, fetchAcks, sendCommand } from '@countersign/authority/client'
import { publicHalf } from '@countersign/validator/document'
import { readJson } from './files.ts'
import { locate, readSystem, withManifest } from './system.ts'
import type { System } from './up.ts'

/** How long a command waits for the last acknowledgement before it names who is silent. */
const ACKNOWLEDGE_MILLISECONDS_MAX = 5000
const ACKNOWLEDGE_POLL_MILLISECONDS = 25

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

/** Signs a command as an operator, sends it, and waits until every validator has acknowledged what came of it. */
async function give(op: Command['op'], args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const { ready, operator, reason, ...target } = values
  const system = readSystem(ready)
  if (reason === undefined && op !== 'rotate') throw new Error('--reason TEXT: the record says why')
  const startedAt = performance.now()
  const signer = operatorKey(system, operator)
  const { version } = await sendCommand(
    system.authority.url,
    { op, reason: reason ?? 'by hand', ...target },
    signer,
  )
  const silent = await acknowledged(system.authority.url, version)
  const milliseconds = Math.round(performance.now() - startedAt)
  if (silent.length === 0) print(`version ${version}, acknowledged by all after ${milliseconds} ms`)
  else print(`version ${version}, still silent after ${milliseconds} ms: ${silent.join(', ')}`)
}

function operatorKey(system: System, id: string | undefined): ReturnType<typeof readOperatorKey> {
  const { operators } = system.authority
  const operator = id === undefined ? operators[0] : operators.find((known) => known.id === id)
  if (operator === undefined)
    throw new Error(`no operator ${id}; there are ${operators.map(({ id }) => id).join(', ')}`)
  return readOperatorKey(operator.key_file)
}

function readOperatorKey(file: string) {
  const privateKey = createPrivateKey({ key: readJson<JsonWebKeyInput['key']>(file), format: 'jwk' })
  return { kid: publicHalf(privateKey).kid, privateKey }
}

/** The validators that have not acknowledged `version`, once there are none or the time is over. */
async function acknowledged(authority: string, version: number): Promise<readonly string[]> {
  const late = performance.now() + ACKNOWLEDGE_MILLISECONDS_MAX
  for (;;) {
    const { validators } = await fetchAcks(authority)
    const behind = validators
      .filter((validator) => (validator.version ?? 0) < version)
      .map(({ name }) => name)
    if (behind.length === 0 || performance.now() > late) return behind
    await new Promise((resolve) => setTimeout(resolve, ACKNOWLEDGE_POLL_MILLISECONDS))
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
