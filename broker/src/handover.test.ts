/**
 * Goal: no valid token is refused because its key is newer than what a validator has heard, and nothing that narrows
 * trust waits for that. Method: manifests of a test world, each a step from the one before; a clock that the test turns.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Manifest, ManifestDraft } from '@countersign/validator/manifest'
import { createTestKey, createTestWorld } from '@countersign/validator/testing'
import { createHandover, mayWait } from './handover.ts'

type DraftKey = ManifestDraft['keys'][number]

/** A world in which the consumer key has been handed over, or in which `change` has happened to that. */
function handOver(change: (keys: readonly DraftKey[]) => Partial<ManifestDraft> = (keys) => ({ keys })) {
  const world = createTestWorld()
  const { kid: old } = world.keys.consumer
  const next = createTestKey('ES256')
  const named = world.publish(({ keys }) => ({
    keys: [...keys, world.draftKey(next, 'consumer', { state: 'published' })],
  })).manifest
  const handed = world.publish(({ keys }) => {
    const changed = keys.map((key): DraftKey => {
      if (key.kid === old) return { ...key, state: 'retiring' }
      return key.kid === next.kid ? { ...key, state: 'active' } : key
    })
    return change(changed)
  }).manifest
  return { world, named, handed, old, next: next.kid }
}

test('F13: a manifest that only hands over may wait, one that names a next key changes nothing for signers', () => {
  const { named, handed } = handOver()
  assert.equal(mayWait(named, handed), true)
  assert.equal(mayWait(undefined, handed), false, 'the first')
  assert.equal(mayWait(handed, handed), false)
})

test('R1 T118: nothing that takes trust away waits, not even beside a hand-over', () => {
  const blocked = { at: 1, reason: 'stolen', by: 'olga' }
  const changing = (kids: (key: DraftKey) => boolean, state: Partial<DraftKey>) =>
    handOver((keys) => ({ keys: keys.map((key) => (kids(key) ? { ...key, ...state } : key)) }))
  const isRetiring = ({ state }: DraftKey): boolean => state === 'retiring'
  const isElsewhere = ({ realm, state }: DraftKey): boolean => realm === 'enterprise' && state === 'active'
  const revoked = { at: 1, reason: 'stolen' }
  const harsher = {
    'the key before is blocked': changing(isRetiring, { state: 'blocked', blocked }),
    'the key before is revoked': changing(isRetiring, { state: 'revoked', revoked }),
    'the key before is gone': handOver((keys) => ({ keys: keys.filter((key) => !isRetiring(key)) })),
    'a key of another realm is blocked': changing(isElsewhere, { state: 'blocked', blocked }),
    'something is cut off': handOver((keys) => ({ keys, cutoffs: [{ realm: 'consumer', before: 5 }] })),
  }
  for (const [what, { named, handed }] of Object.entries(harsher)) {
    assert.equal(mayWait(named, handed), false, what)
  }
})

test('a hand-over is brought a moment later, and whatever comes meanwhile and may not wait brings both at once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { world, named, handed, next } = handOver()
  let times = 0
  const handover = createHandover(() => times++, 1000)
  handover.take(named)
  assert.equal(times, 1)
  handover.take(handed)
  t.mock.timers.tick(999)
  assert.equal(times, 1)
  t.mock.timers.tick(1)
  assert.equal(times, 2)

  const other = createHandover(() => times++, 1000)
  other.take(named)
  other.take(handed)
  assert.equal(times, 3)
  other.take(world.setState(next, 'blocked').manifest as Manifest)
  assert.equal(times, 4, 'a kill')
  t.mock.timers.tick(5000)
  assert.equal(times, 4, 'once')
  handover.stop()
  other.stop()
})
