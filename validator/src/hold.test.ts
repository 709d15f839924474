/**
 * Goal: what was opened by a token does not outlive it, whatever ends it, and ends for no other reason. Method: a world of
 * trust whose clock, age and news the test moves; timers that run when the test says so.
 */

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import type { Refusal } from './refusal.ts'
import { createTestKey, createTestWorld, mailAudience, tenants, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

/** A validator that hears news, over a world of its own. */
function start() {
  const world = createTestWorld()
  const listeners = new Set<() => void>()
  let age = 0
  const trust = {
    get state() {
      return world.state
    },
    ageSeconds: () => age,
    onNews: (listener: () => void) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  const validator = createValidator({
    realm: ['consumer', 'enterprise'],
    audience: mailAudience,
    trust,
    now: () => world.now,
  })
  const open = (order: Parameters<typeof world.issue>[0] = {}) => {
    const hold = validator.hold(validator.validate(world.issue({ realm: 'enterprise', ...order })))
    return { hold, reason: () => (hold.signal.reason as Refusal | undefined)?.reason }
  }
  return {
    world,
    validator,
    listeners,
    open,
    setAge: (seconds: number) => {
      age = seconds
    },
    tell: () => {
      for (const listener of listeners) listener()
    },
  }
}

/** Lets what was begun in this turn of the event loop go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('T252 R3: a kill ends what is held before the validator acknowledges it, and leaves the rest', async () => {
  const { world, open, tell, listeners } = start()
  const [killed, other] = [open(), open({ realm: 'consumer' })]
  await settle()
  world.setState(world.keys.enterprise.kid, 'blocked')
  tell()
  assert.equal(killed.reason(), 'key_blocked')
  assert.equal(other.hold.signal.aborted, false)
  world.setState(world.keys.consumer.kid, 'revoked')
  tell()
  assert.equal(other.reason(), 'key_revoked')
  assert.equal(listeners.size, 0)
})

for (const [name, cutoff] of Object.entries({
  realm: { realm: 'enterprise' },
  tenant: { tenant: tenants.fabrikam },
  subject: { realm: 'enterprise', subject: 'user-1' },
})) {
  test(`T252 R3: a cutoff by ${name} ends what is held, and nobody else's`, async () => {
    const { world, open, tell } = start()
    const [meant, other] = [open(), open({ realm: 'consumer', claims: { sub: 'user-2', tid: tenants.home } })]
    await settle()
    world.publish(() => ({ cutoffs: [{ ...cutoff, before: world.now + 1 }] }))
    tell()
    assert.equal(meant.reason(), 'issued_before_cutoff')
    assert.equal(other.hold.signal.aborted, false)
    other.hold.release()
  })
}

test('T252: it ends when the token expires, without news', async (context) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  context.after(() => mock.timers.reset())
  const { world, open } = start()
  const { hold, reason } = open({ claims: { exp: world.now + 10 } })
  await settle()
  const step = (seconds: number): void => {
    world.now += seconds
    mock.timers.tick(seconds * 1000 + 1)
  }
  for (let second = 0; second < 14; second++) step(1)
  assert.equal(hold.signal.aborted, false, 'the tolerance of five seconds is not over')
  step(1)
  assert.equal(reason(), 'expired')
})

test('T121 V5: it ends once the manifest is stale, one moment after the limit and not before', async (context) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  context.after(() => mock.timers.reset())
  const { open, setAge } = start()
  const { hold, reason } = open()
  await settle()
  setAge(60)
  mock.timers.tick(1001)
  assert.equal(hold.signal.aborted, false)
  setAge(60.001)
  mock.timers.tick(2)
  assert.equal(reason(), 'manifest_stale')
})

test('a source of trust that tells no news is looked at every second', async (context) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  context.after(() => mock.timers.reset())
  const world = createTestWorld()
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
  })
  const { signal } = validator.hold(validator.validate(world.issue()))
  await settle()
  world.setState(world.keys.consumer.kid, 'blocked')
  mock.timers.tick(1001)
  assert.equal((signal.reason as Refusal).reason, 'key_blocked')
})

test('what is dead when it is held ends at once, and what was released never', async () => {
  const { world, validator, open, tell, listeners } = start()
  const token = validator.validate(world.issue({ realm: 'enterprise' }))
  const released = open()
  released.hold.release()
  world.setState(world.keys.enterprise.kid, 'blocked')
  const { signal } = validator.hold(token)
  assert.equal(signal.aborted, false)
  await settle()
  assert.equal((signal.reason as Refusal).reason, 'key_blocked')
  tell()
  assert.equal(released.hold.signal.aborted, false)
  assert.equal(listeners.size, 0)
})

test('T201 R3: a token falls with the key and the cutoffs of what it was exchanged for, held or shown', async () => {
  const { world, validator, open, tell } = start()
  const earlier = createTestKey('ES256')
  world.publish(({ keys }) => ({
    keys: [...keys, world.draftKey(earlier, 'enterprise', { state: 'retiring' })],
  }))
  const claims = { via: [{ kid: earlier.kid, iat: world.now - 100 }] }
  const exchanged = world.issue({ realm: 'enterprise', claims })
  const verdict = (): string => {
    return verdictOf(validator.decide(exchanged))
  }
  const { hold, reason } = open({ claims })
  await settle()
  assert.equal(verdict(), 'accepted')
  world.publish(() => ({ cutoffs: [{ kid: earlier.kid, before: world.now - 100 }] }))
  assert.equal(verdict(), 'accepted', 'a cutoff that lies before it')
  world.publish(() => ({ cutoffs: [{ kid: earlier.kid, before: world.now - 99 }] }))
  assert.equal(verdict(), 'issued_before_cutoff')
  world.publish(() => ({ cutoffs: [] }))
  assert.equal(verdict(), 'accepted', 'a lift brings it back')
  world.setState(earlier.kid, 'blocked')
  tell()
  assert.equal(verdict(), 'key_blocked')
  assert.equal(reason(), 'key_blocked')
  hold.release()
})

test('T201: ancestors that are unknown, of another realm or badly written refuse the token', () => {
  const { world, validator } = start()
  const reasons = [
    [{ kid: 'unknown', iat: 1 }],
    [{ kid: world.keys.consumer.kid, iat: world.now }],
    [],
    {},
    [{ kid: world.keys.enterprise.kid }],
    [{ kid: world.keys.enterprise.kid, iat: world.now, more: 1 }],
    Array.from({ length: 9 }, () => ({ kid: world.keys.enterprise.kid, iat: world.now })),
  ].map((via) => {
    return verdictOf(validator.decide(world.issue({ realm: 'enterprise', claims: { via } })))
  })
  assert.deepEqual(reasons, ['unknown_key', 'key_out_of_scope', ...Array(5).fill('malformed')])
})
