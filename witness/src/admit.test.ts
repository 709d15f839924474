/**
 * Goal: the witness countersigns for a key only what the manifest lets that key sign, now, whatever broker and signer
 * say. Method: a test world's manifests, each property of key and entry bent alone, and each bound on both sides.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { decode } from '@countersign/validator/base64url'
import type { Entry } from '@countersign/validator/entry'
import type { TrustSource } from '@countersign/validator/manifest'
import { createTestKey, createTestWorld, type TestWorld } from '@countersign/validator/testing'
import { checkEntry, EntryRefusal, type Grounds } from './admit.ts'
import { testEntry } from './testing.ts'

function entryIn(world: TestWorld, change: Partial<Entry> = {}): Entry {
  return testEntry(1, {
    keyThumbprint: decode(world.keys.consumer.kid),
    issuedAt: world.now,
    expiresAt: world.now + 300,
    ...change,
  }).entry
}

function codeOf(world: TestWorld, change: Partial<Entry> = {}, grounds: Partial<Grounds> = {}): string {
  try {
    checkEntry(entryIn(world, change), {
      charters: [world.charter],
      trust: world.trust,
      nowSeconds: world.now,
      ...grounds,
    })
    return 'admitted'
  } catch (error) {
    assert.ok(error instanceof EntryRefusal)
    return error.code
  }
}

test('an entry in scope is admitted, for each kind of token of its key', () => {
  const world = createTestWorld()
  for (const tokenType of ['access', 'id', 'logout', 'set'] as const) {
    assert.equal(codeOf(world, { tokenType }), 'admitted')
  }
})

test('T145 F4: a key in any state but active and retiring gets nothing', () => {
  const world = createTestWorld()
  const codes = {
    published: 'key_not_active',
    active: 'admitted',
    retiring: 'admitted',
    blocked: 'key_blocked',
    retired: 'key_retired',
    revoked: 'key_revoked',
  } as const
  for (const [state, code] of Object.entries(codes)) {
    world.setState(world.keys.consumer.kid, state as keyof typeof codes)
    assert.equal(codeOf(world), code, state)
  }
})

test('a key that no manifest names gets nothing, and none signs manifests but the charter’s', () => {
  const world = createTestWorld()
  const strange = decode(createTestKey('ES256').kid)
  assert.equal(codeOf(world, { keyThumbprint: strange }), 'unknown_key')
  assert.equal(codeOf(world, { keyThumbprint: strange, tokenType: 'manifest' }), 'unknown_key')
  assert.equal(codeOf(world, { tokenType: 'manifest' }), 'unknown_key')
  const manifestKey = decode(world.manifestKey.kid)
  assert.equal(codeOf(world, { keyThumbprint: manifestKey, tokenType: 'manifest' }), 'admitted')
  assert.equal(codeOf(world, { keyThumbprint: manifestKey }), 'unknown_key')
})

test('a kind of token that the key does not sign is out of its scope', () => {
  const world = createTestWorld()
  world.publish(({ keys }) => ({
    keys: keys.map((key) =>
      key.kid === world.keys.consumer.kid
        ? world.draftKey(world.keys.consumer, 'consumer', { tokenTypes: ['access'] })
        : key,
    ),
  }))
  assert.equal(codeOf(world, { tokenType: 'access' }), 'admitted')
  assert.equal(codeOf(world, { tokenType: 'id' }), 'key_out_of_scope')
})

test('times: within 60 s of now, within the window of the key, no longer than the key may give', () => {
  const world = createTestWorld()
  const { now } = world
  const at = (issuedAt: number, seconds = 300): string =>
    codeOf(world, { issuedAt, expiresAt: issuedAt + seconds })
  assert.deepEqual([at(now - 60), at(now - 61)], ['admitted', 'clock_off'])
  assert.deepEqual([at(now + 60), at(now + 61)], ['admitted', 'clock_off'])
  assert.deepEqual([at(now, 3600), at(now, 3601)], ['admitted', 'lifetime_too_long'])
  assert.deepEqual([at(now, 0), at(now, -1)], ['admitted', 'malformed'])
  const draft = (window: object) =>
    world.publish(({ keys }) => ({
      keys: keys.map((key) => (key.kid === world.keys.consumer.kid ? { ...key, ...window } : key)),
    }))
  draft({ notBefore: now - 10, signUntil: now + 10, verifyUntil: now + 3610 })
  assert.deepEqual([at(now - 10), at(now - 11)], ['admitted', 'issued_outside_key_window'])
  assert.deepEqual([at(now + 10), at(now + 11)], ['admitted', 'issued_outside_key_window'])
})

test('without a manifest, or with one that is too old, only manifests are admitted', () => {
  const world = createTestWorld()
  const manifest = { keyThumbprint: decode(world.manifestKey.kid), tokenType: 'manifest' } as const
  const none: TrustSource = { state: undefined, ageSeconds: () => Number.POSITIVE_INFINITY }
  const old: TrustSource = { state: world.state, ageSeconds: () => 61 }
  const fresh: TrustSource = { state: world.state, ageSeconds: () => 60 }
  for (const [trust, code] of [
    [none, 'manifest_stale'],
    [old, 'manifest_stale'],
    [fresh, 'admitted'],
  ] as const) {
    assert.equal(codeOf(world, {}, { trust }), code)
    assert.equal(codeOf(world, manifest, { trust }), 'admitted')
  }
})
