/**
 * How long a key lives on after an operator blocked it: until the last of a thousand connected validators has acknowledged
 * the manifest that says so, each with a stream and a signed acknowledgement of its own. They live in processes of their
 * own, on the same cores as the system that kills. Then some are cut off, and must be those that the kill names as silent.
 * @module
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  agree,
  connectCrowd,
  fetchAcks,
  operate,
  type System,
  waitForAcknowledgements,
} from '@countersign/cli/client'
import type { Follower } from '@countersign/validator/follow'
import type { KeyState } from '@countersign/validator/manifest'
import type { Row } from './table.ts'

/** In each process; the last is the one that is cut off. */
const CROWDS = [475, 475, 50] as const
const VALIDATORS = CROWDS.reduce((sum, count) => sum + count, 0)
const KILLS = 15
const PATIENCE_MILLISECONDS = 5000

export async function measureKill({ authority }: System): Promise<Row[]> {
  const crowds = CROWDS.map((count, index) => startCrowd(authority, count, `crowd-${index}`))
  const [watcher] = await connectCrowd(authority, 1)
  try {
    await Promise.all(crowds.map((crowd) => once(crowd, 'message')))
    const kills: number[] = []
    const acknowledgements: number[] = []
    for (let count = 0; count < KILLS; count++) {
      const kid = await freshKey(authority, watcher)
      const [givenAt, startedAt] = [Date.now(), performance.now()]
      const { silent, version } = await operate(authority, { op: 'block', kid, reason: 'bench' })
      // A machine that is busy with something else may need more than the patience of an operator.
      if (silent.length > 0) await waitForAcknowledgements(authority.url, version)
      kills.push(performance.now() - startedAt)
      acknowledgements.push(...(await delaysOf(authority, version, givenAt)))
    }
    const cutOff = await killWhileCutOff(authority, watcher, crowds.at(-1) as ChildProcess)
    return [
      { label: `kill to the last of ${VALIDATORS} validators, p50`, value: at(kills, 0.5) },
      { label: `the slowest of ${KILLS} kills`, value: at(kills, 1) },
      { label: 'kill to an acknowledgement, p50', value: at(acknowledgements, 0.5) },
      { label: 'kill to an acknowledgement, p99', value: at(acknowledgements, 0.99) },
      ...cutOff,
    ]
  } finally {
    await watcher?.stop()
    await Promise.all(crowds.map(stopCrowd))
  }
}

function startCrowd(authority: System['authority'], count: number, prefix: string): ChildProcess {
  const file = fileURLToPath(new URL('./crowd.ts', import.meta.url))
  return fork(file, [JSON.stringify(authority), String(count), prefix])
}

async function stopCrowd(crowd: ChildProcess): Promise<void> {
  if (crowd.exitCode !== null) return
  const exited = once(crowd, 'exit')
  crowd.send('stop')
  await exited
}

/** A process that does not run reads and answers nothing, as behind a line that is cut without a word. */
async function killWhileCutOff(
  authority: System['authority'],
  watcher: Follower | undefined,
  crowd: ChildProcess,
): Promise<Row[]> {
  const kid = await freshKey(authority, watcher)
  crowd.kill('SIGSTOP')
  try {
    const { silent, version } = await operate(authority, { op: 'block', kid, reason: 'bench' })
    const prefix = `crowd-${CROWDS.length - 1}-`
    const strangers = silent.filter((name) => !name.startsWith(prefix)).length
    const isRight = strangers === 0 && silent.length === CROWDS.at(-1)
    crowd.kill('SIGCONT')
    const { silent: still } = await waitForAcknowledgements(authority.url, version)
    return [
      { label: `${CROWDS.at(-1)} cut off: named as silent`, value: `${silent.length}` },
      { label: 'and only they', value: isRight ? 'yes' : `no, ${strangers} others` },
      { label: 'silent once they are back', value: `${still.length}` },
    ]
  } finally {
    crowd.kill('SIGCONT')
  }
}

/** After the command, until the authority had each acknowledgement, by the clock of this machine. */
async function delaysOf(
  authority: System['authority'],
  version: number,
  givenAt: number,
): Promise<readonly number[]> {
  const { validators } = await fetchAcks(authority.url)
  return validators
    .filter((validator) => validator.version === version && validator.name.startsWith('crowd-'))
    .map(({ acknowledged_at }) => (acknowledged_at ?? 0) * 1000 - givenAt)
}

/** The value that a share of them stays below. */
function at(milliseconds: readonly number[], share: number): string {
  const sorted = milliseconds.toSorted((a, b) => a - b)
  return `${Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? 0)} ms`
}

/** The key that the realm signs access tokens with, as a follower knows it. */
export function activeKey(follower: Follower | undefined, realm: string): string {
  const kid = keyInState(follower, realm, 'active')
  if (kid === undefined) throw new Error(`${realm} has no active key`)
  return kid
}

/** Lets the next key of the realm sign, by two operators, and everybody know of it. */
async function freshKey(authority: System['authority'], follower: Follower | undefined): Promise<string> {
  const kid = await nextKeyOf(follower, 'consumer')
  const { version } = await agree(authority, { op: 'activate', kid }, 'bench')
  await follower?.waitForVersion(version, PATIENCE_MILLISECONDS)
  // A new next key follows by itself, a moment later: what it costs is no part of the kill.
  await nextKeyOf(follower, 'consumer')
  await waitForAcknowledgements(authority.url, follower?.state?.manifest.version ?? 0)
  return kid
}

/** Settles once a next key stands ready: one that takes over is followed by another. */
async function nextKeyOf(follower: Follower | undefined, realm: string): Promise<string> {
  for (;;) {
    const kid = keyInState(follower, realm, 'published')
    if (kid !== undefined) return kid
    const version = follower?.state?.manifest.version ?? 0
    await follower?.waitForVersion(version + 1, PATIENCE_MILLISECONDS)
  }
}

function keyInState(follower: Follower | undefined, realm: string, state: KeyState): string | undefined {
  const keys = [...(follower?.state?.manifest.keys.values() ?? [])]
  const isMeant = (key: (typeof keys)[number]): boolean =>
    key.realm === realm && key.state === state && key.tokenTypes.includes('access')
  return keys.find(isMeant)?.kid
}
