/**
 * Goal: a clock that is wrong makes a validator refuse what is good, never accept what is not. Method: validators whose clocks
 * are up to five minutes off, asked about one token from before its issue until long after its end.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestWorld, mailAudience, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

const LIFE_SECONDS = 300
const TOLERANCE_SECONDS = 5
/** A manifest from further ahead than this shows a validator that its own clock is behind. */
const BEHIND_SECONDS_MAX = 60

const world = createTestWorld()
const issuedAt = world.now
const token = world.issue({ claims: { exp: issuedAt + LIFE_SECONDS } })

/** What a validator whose clock is so far ahead says, so long after the issue. */
function verdictAt(aheadSeconds: number, afterSeconds: number): string {
  // The authority's word is as new as can be, and its clock is right.
  world.now = issuedAt + afterSeconds
  world.publish(() => ({}))
  const now = (): number => world.now + aheadSeconds
  return verdictOf(
    createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust, now }).decide(token),
  )
}

test('T272: nodes up to five minutes apart accept nothing long after its end, and whoever is far behind nothing at all', () => {
  const accepted = new Set<number>()
  for (let ahead = -300; ahead <= 300; ahead += 20) {
    for (let after = 0; after <= LIFE_SECONDS + 400; after += 20) {
      const verdict = verdictAt(ahead, after)
      if (verdict === 'accepted') accepted.add(ahead)
      const where = `${ahead} s ahead, ${after} s after the issue: ${verdict}`
      const told = after + ahead
      if (told >= LIFE_SECONDS + TOLERANCE_SECONDS) assert.equal(verdict, 'expired', where)
      else if (told < -TOLERANCE_SECONDS) assert.equal(verdict, 'not_yet_valid', where)
      else assert.equal(verdict, ahead < -BEHIND_SECONDS_MAX ? 'manifest_stale' : 'accepted', where)
      if (verdict === 'accepted')
        assert.ok(after < LIFE_SECONDS + TOLERANCE_SECONDS + BEHIND_SECONDS_MAX, where)
    }
  }
  assert.deepEqual([Math.min(...accepted), Math.max(...accepted)], [-60, 300])
})

test('T272: a kill does not ask what time it is', () => {
  for (const ahead of [-60, 0, 290]) {
    world.now = issuedAt
    const { kid } = world.keys.consumer
    const now = (): number => world.now + ahead
    const validator = createValidator({
      realm: 'consumer',
      audience: mailAudience,
      trust: world.trust,
      now,
    })
    world.setState(kid, 'blocked')
    assert.equal(verdictOf(validator.decide(token)), 'key_blocked')
    world.setState(kid, 'active')
  }
})
