/**
 * Goal: a validator that is cut off from its authority decides by what it holds exactly as long as it may, and by nothing
 * afterwards. Method: a real follower on a real connection, with the clocks in the test's hand.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startFakeAuthority } from './fake-authority.ts'
import { followManifest } from './follow.ts'
import { createTestWorld, mailAudience, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

test('T121 R1 V5: cut off, it accepts at max_stale and refuses manifest_stale beyond, until it hears again', async (context) => {
  const world = createTestWorld()
  const authority = await startFakeAuthority(world)
  let milliseconds = 0
  const follower = followManifest({
    authority: authority.url,
    trustAnchor: world.trustAnchor,
    now: () => world.now,
    monotonic: () => milliseconds,
    retryMilliseconds: 1,
  })
  context.after(async () => {
    await follower.stop()
    await authority.stop()
  })
  await follower.ready()
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: follower,
    maxStaleSeconds: 60,
    now: () => world.now,
  })
  const token = world.issue({ claims: { exp: world.now + 3600 } })
  const verdict = (): string => {
    return verdictOf(validator.decide(token))
  }
  const { signal } = validator.hold(validator.validate(token))

  // Nothing comes through any more, by stream or by question; a kill meanwhile is not heard.
  authority.answer('/', (request) => request.socket.destroy())
  authority.disconnect()
  world.setState(world.keys.consumer.kid, 'blocked')
  milliseconds = 60_000
  assert.equal(verdict(), 'accepted')
  milliseconds = 60_001
  assert.equal(verdict(), 'manifest_stale')
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
  assert.equal(signal.reason.reason, 'manifest_stale')

  // A wall clock that is set back brings nothing back.
  world.now -= 5
  assert.equal(verdict(), 'manifest_stale')
  world.now += 5

  authority.answer('/', undefined)
  await follower.waitForVersion(world.draft.version, 5000)
  assert.equal(verdict(), 'key_blocked')
})
