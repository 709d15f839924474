/**
 * Goal: the witness takes a new charter from the operators alone, in time for the first manifest under it, and forgets
 * the old manifest key only once somebody can follow the new one. Method: a test world's charters, in and out of order,
 * and once the real witness.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { type Charter, verifyCharter } from '@countersign/validator/charter'
import { createTestKey, createTestWorld, type TestWorld } from '@countersign/validator/testing'
import { KnownCharters } from './charters.ts'

/** A world whose second charter names another manifest key; `state` is still that of the first. */
function twoCharters(): { world: TestWorld; first: Charter; known: KnownCharters; follow: () => void } {
  const world = createTestWorld()
  let state = world.state
  const first = world.charter
  const known = new KnownCharters(first, {
    get state() {
      return state
    },
  })
  return {
    world,
    first,
    known,
    follow: () => {
      state = { ...world.state, charter: world.charter }
    },
  }
}

/** Approves the next charter of the world without a manifest under it. */
function amend(world: TestWorld, change: object): void {
  try {
    world.amend(() => change)
  } catch {
    // A world that has replaced its manifest key cannot make the manifest; the charter is there.
  }
}

test('T113: a charter that was shown counts beside the one in force, until a manifest under it is followed', () => {
  const { world, first, known, follow } = twoCharters()
  assert.deepEqual([known.inForce, known.version], [[first], 1])
  const next = createTestKey('ES256')
  amend(world, { manifest_keys: [next.jwk] })
  known.show(world.charterDocuments)
  assert.deepEqual(
    known.inForce.map(({ version }) => version),
    [1, 2],
  )
  assert.equal(known.version, 2)
  follow()
  assert.deepEqual(known.inForce, [world.charter])
})

test('a charter that is not approved, or does not follow, is refused and changes nothing', () => {
  const { world, first, known } = twoCharters()
  amend(world, { block_keys: [] })
  amend(world, { block_keys: [world.blockKey.jwk] })
  const [, second, third] = world.charterDocuments
  assert.ok(second !== undefined && third !== undefined)
  assert.throws(() => known.show([third]), { flaw: 'version_mismatch' })
  const alone = { ...second, signatures: second.signatures.slice(0, 1) }
  assert.throws(() => known.show([alone]), { flaw: 'not_approved' })
  const stranger = createTestWorld()
  amend(stranger, { block_keys: [] })
  assert.throws(() => known.show(stranger.charterDocuments), { flaw: 'signature_invalid' })
  assert.throws(() => known.show([second, { payload: '', signatures: [] }]))
  assert.deepEqual(known.inForce, [first])
  known.show([second, third])
  assert.equal(known.version, 3)
  assert.equal(verifyCharter(third, verifyCharter(second, first)).version, known.inForce[1]?.version)
})
