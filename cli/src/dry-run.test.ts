/**
 * Goal: whoever is about to kill a key reads who would notice, and is not told of others. Method: the pure parts, with a
 * world's manifest and usage made up.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KeyUsage } from '@countersign/sentinel/client'
import { createTestWorld, tenants } from '@countersign/validator/testing'
import { describe, foresee, keysReached } from './dry-run.ts'

const world = createTestWorld()
const { manifest } = world.state
const { kid } = world.keys.enterprise
const next = [...manifest.keys.values()].find(
  (key) => key.realm === 'enterprise' && key.state === 'published',
)

function usage(change: Partial<KeyUsage> = {}): KeyUsage {
  return {
    kid,
    hours: 24,
    validators: [{ name: 'gateway', accepted: 2, refused: 1, last_seen_ms: 5000 }],
    tenants: [
      { tenant: tenants.fabrikam, accepted: 1, last_seen_ms: 4000 },
      { tenant: tenants.northwind, accepted: 1, last_seen_ms: 5000 },
    ],
    clients: [{ client: 'web', tenant: tenants.fabrikam, tokens: 7, last_issued_ms: 3000 }],
    live_tokens: 3,
    live_until: 100,
    ...change,
  }
}

test('R6 F13: a dry run names the successor, when it may sign, and the sign-ins that end', () => {
  const keys = keysReached(manifest, { op: 'block', kid })
  const foresight = foresee(manifest, { op: 'block', kid }, keys, [usage()], 24)
  assert.deepEqual(foresight.successor, { kid: next?.kid, from: next?.notBefore })
  assert.equal(foresight.sign_ins_since, keys[0]?.notBefore)
  const text = describe(foresight, world.now)
  for (const part of [
    kid,
    'gateway',
    tenants.northwind,
    'web',
    'tokens that are good now: 3',
    next?.kid ?? '',
  ])
    assert.ok(text.includes(part), part)
  assert.match(text, /--replace lets it take over/)
  assert.match(
    describe({ ...foresight, successor: { kid: 'next', from: world.now + 60 } }, world.now),
    /may sign from/,
  )
})

test('T118 R6: killing the only key is told before', () => {
  const only = { keys: new Map([...manifest.keys].filter(([, { state }]) => state !== 'published')) }
  const keys = keysReached(only, { op: 'revoke', kid })
  const foresight = foresee(only, { op: 'revoke', kid }, keys, [usage()], 24)
  assert.equal(foresight.successor, null)
  assert.match(describe(foresight, world.now), /the realm would sign nothing/)
  assert.throws(() => keysReached(only, { op: 'block', kid: 'unknown' }), /no manifest names/)
})

test('R6: a cutoff adds up what it reaches, and shows the tenant that it names alone', () => {
  const command = { op: 'cutoff', tenant: tenants.fabrikam } as const
  const keys = keysReached(manifest, command)
  assert.deepEqual(
    keys.map((key) => key.kid),
    [kid],
  )
  const later = usage({
    validators: [{ name: 'gateway', accepted: 1, refused: 0, last_seen_ms: 9000 }],
    live_until: null,
    live_tokens: 0,
  })
  const foresight = foresee(manifest, command, keys, [usage(), later], 24)
  assert.deepEqual(foresight.validators, [{ name: 'gateway', accepted: 3, refused: 1, last_seen_ms: 9000 }])
  assert.deepEqual(
    foresight.tenants.map(({ tenant, accepted }) => [tenant, accepted]),
    [[tenants.fabrikam, 2]],
  )
  assert.deepEqual(
    foresight.clients.map(({ client, tokens }) => [client, tokens]),
    [['web', 14]],
  )
  assert.deepEqual([foresight.live_tokens, foresight.live_until], [3, 100])
  assert.equal('successor' in foresight, false)
  assert.equal(keysReached(manifest, { op: 'cutoff', realm: 'consumer' }).length, 1)
})

test('a key that nobody used says so', () => {
  const nobody = { validators: [], tenants: [], clients: [], live_tokens: 0, live_until: null }
  const keys = keysReached(manifest, { op: 'block', kid })
  const text = describe(foresee(manifest, { op: 'block', kid }, keys, [usage(nobody)], 1), world.now)
  assert.match(text, /in the last 1 h: none/)
  assert.match(text, /none in the log/)
})
