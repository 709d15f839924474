/**
 * How long a key lives on after an operator blocked it: until the last of the connected validators has acknowledged
 * the manifest that says so, each with a stream and a signed acknowledgement of its own.
 * @module
 */

import { connectCrowd, operate, type System } from '@countersign/cli/client'
import type { Follower } from '@countersign/validator/follow'
import type { KeyState } from '@countersign/validator/manifest'
import type { Row } from './table.ts'

const VALIDATORS = 100
const KILLS = 25
const PATIENCE_MILLISECONDS = 5000

export async function measureKill({ authority }: System): Promise<Row[]> {
  const crowd = await connectCrowd(authority, VALIDATORS)
  const milliseconds: number[] = []
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      await nextKeyOf(crowd[0], 'consumer')
      await operate(authority, { op: 'rotate', realm: 'consumer', reason: 'bench' })
      const kid = activeKey(crowd[0], 'consumer')
      const killed = await operate(authority, { op: 'block', kid, reason: 'bench' })
      if (killed.silent.length > 0) throw new Error(`${killed.silent.length} validators did not acknowledge`)
      milliseconds.push(killed.milliseconds)
    }
  } finally {
    await Promise.all(crowd.map((follower) => follower.stop()))
  }
  milliseconds.sort((a, b) => a - b)
  const at = (share: number): string => `${Math.round(milliseconds[Math.ceil(share * KILLS) - 1] ?? 0)} ms`
  return [
    { label: `last of ${VALIDATORS} validators, median`, value: at(0.5) },
    { label: `p99 of ${KILLS} kills`, value: at(0.99) },
  ]
}

/** The key that the realm signs with, as a follower knows it. */
export function activeKey(follower: Follower | undefined, realm: string): string {
  const kid = keyInState(follower, realm, 'active')
  if (kid === undefined) throw new Error(`${realm} has no active key`)
  return kid
}

/** Settles once a next key stands ready: a rotation takes it, and the authority then publishes another. */
async function nextKeyOf(follower: Follower | undefined, realm: string): Promise<void> {
  while (keyInState(follower, realm, 'published') === undefined) {
    const version = follower?.state?.manifest.version ?? 0
    await follower?.waitForVersion(version + 1, PATIENCE_MILLISECONDS)
  }
}

function keyInState(follower: Follower | undefined, realm: string, state: KeyState): string | undefined {
  const keys = [...(follower?.state?.manifest.keys.values() ?? [])]
  return keys.find((key) => key.realm === realm && key.state === state)?.kid
}
