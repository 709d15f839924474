/**
 * What becomes of a verdict that is cached, asked for at full speed, when the key behind it is killed: how often the token is
 * still accepted afterwards. Beside it a verifier that caches what it found and gets its keys from a function, as whoever
 * can take keys away has to: it asks for no key while the verdict is cached.
 * @module
 */

import { createPublicKey } from 'node:crypto'
import { createValidator } from '@countersign/validator'
import { createTestWorld, issuers, mailAudience, type TestWorld } from '@countersign/validator/testing'
import { createVerifier } from 'fast-jwt'
import { type Row, thousands } from './table.ts'

const KILLS = 10
const TOKENS = 64
/** So long before a kill, and so long after. */
const MILLISECONDS = 50

/** What is asked of each of the two. */
interface Asked {
  /** Whether the token is accepted. */
  accepts(token: string): boolean | Promise<boolean>
  /** The key of the tokens dies. */
  kill(): void
}

/** Kills so many keys, each in a world of its own. */
export async function killWhileCached(): Promise<Row[]> {
  const ours = await killAll((world) => {
    const validator = createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust })
    return {
      accepts: (token) => validator.decide(token).accepted,
      kill: () => void world.setState(world.keys.consumer.kid, 'blocked'),
    }
  })
  const theirs = await killAll(cachingVerifier)
  return [
    { label: 'countersign, calls before a kill', value: thousands(ours.before) },
    { label: 'accepted after it', value: thousands(ours.after) },
    { label: 'fast-jwt, calls before a kill', value: thousands(theirs.before) },
    { label: 'accepted after it, in the same time', value: thousands(theirs.after) },
    { label: 'and on, a token of 5 minutes', value: `${await lastAccepted(300)} s`, note: 'until its exp' },
    {
      label: 'and on, a token of an hour',
      value: `${await lastAccepted(3600)} s`,
      note: 'until the cache lets go of it',
    },
  ]
}

/** Medians would hide the one kill that failed, so what was accepted after a kill is summed. */
async function killAll(start: (world: TestWorld) => Asked): Promise<{ before: number; after: number }> {
  const sum = { before: 0, after: 0 }
  for (let kill = 0; kill < KILLS; kill++) {
    const world = createTestWorld({ now: seconds() })
    const tokens = world.issueBatch(Array.from({ length: TOKENS }, () => ({})))
    const asked = start(world)
    for (const token of tokens) if (!(await asked.accepts(token))) throw new Error('a good token was refused')
    const before = await countAccepted(asked, tokens)
    asked.kill()
    sum.before += before
    sum.after += await countAccepted(asked, tokens)
  }
  return sum
}

async function countAccepted({ accepts }: Asked, tokens: readonly string[]): Promise<number> {
  const endsAt = performance.now() + MILLISECONDS
  let accepted = 0
  while (performance.now() < endsAt) {
    for (const token of tokens) {
      const answer = accepts(token)
      if (answer === true || (answer !== false && (await answer))) accepted++
    }
  }
  return accepted
}

function cachingVerifier({ keys }: TestWorld): Asked {
  const { kid, jwk } = keys.consumer
  const pem = createPublicKey({ key: { ...jwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const keySet = new Map([[kid, String(pem)]])
  const verify = createVerifier({
    key: async ({ header }: { header: { kid?: string } }) => {
      const key = keySet.get(header.kid ?? '')
      if (key === undefined) throw new Error('no such key')
      return key
    },
    algorithms: ['ES256'],
    allowedIss: issuers.consumer,
    allowedAud: mailAudience,
    cache: TOKENS * 2,
  })
  return {
    accepts: (token) =>
      verify(token).then(
        () => true,
        () => false,
      ),
    kill: () => keySet.clear(),
  }
}

/** How many seconds after the kill it still accepts a token of this lifetime, by a clock that is put forward. */
async function lastAccepted(lifetimeSeconds: number): Promise<number> {
  const world = createTestWorld({ now: seconds() })
  const token = world.issue({ claims: { exp: world.now + lifetimeSeconds } })
  const { accepts, kill } = cachingVerifier(world)
  await accepts(token)
  kill()
  const { now } = Date
  const killedAt = now()
  try {
    // It has no clock of its own that could be moved.
    for (let later = 1; ; later++) {
      Date.now = () => killedAt + later * 1000
      if (!(await accepts(token))) return later - 1
    }
  } finally {
    Date.now = now
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000)
}
