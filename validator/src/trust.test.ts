/**
 * Goal: trust only moves forward: no older version, no second content under one version, no key back from its end, and
 * no clock that makes old trust look young. Method: a test world plays the authority, honest and not; both clocks are
 * variables.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { approveCharter } from './charter.ts'
import { type DocumentFlaw, DocumentRefusal, encodePayload, readPayload } from './document.ts'
import { encodeEntry } from './entry.ts'
import { signFreshness } from './freshness.ts'
import { type ManifestDocument, manifestEntry, manifestSha256, signManifest } from './manifest.ts'
import { createTestKey, createTestWorld, type TestWorld } from './testing.ts'
import { SplitView, Trust } from './trust.ts'

interface Scene {
  readonly world: TestWorld
  readonly trust: Trust
  /** What the two clocks of the validator say. */
  readonly clock: { now: number; monotonicSeconds: number }
}

/** A validator that has the first manifest of a world. */
function begin(): Scene {
  const world = createTestWorld()
  const clock = { now: world.now, monotonicSeconds: 1000 }
  const trust = new Trust(world.trustAnchor, {
    now: () => clock.now,
    monotonic: () => clock.monotonicSeconds * 1000,
  })
  trust.accept(world.manifestDocument, world.charterDocuments)
  return { world, trust, clock }
}

function pass(scene: Scene, seconds: number): void {
  scene.world.now += seconds
  scene.clock.now += seconds
  scene.clock.monotonicSeconds += seconds
}

/** Leaves a key out of the next manifest, as people approved it. */
function prune(world: TestWorld, kid: string): void {
  const document = world.approve({ op: 'prune', kids: [kid] })
  world.publish(({ keys, pruned }) => ({
    keys: keys.filter((key) => key.kid !== kid),
    pruned: [...pruned, document],
  }))
}

function refuses(act: () => unknown, flaw: DocumentFlaw): void {
  assert.throws(act, (error) => error instanceof DocumentRefusal && error.flaw === flaw)
}

/** Another manifest of the same version, properly logged and signed: what only the authority's key can make. */
function fork(world: TestWorld): ManifestDocument {
  const payload = readPayload(world.manifestDocument.payload)
  const segment = encodePayload({ ...payload, keys: [] })
  const entry = encodeEntry(manifestEntry(segment, world.manifestKey.kid))
  const [receipt] = world.witness.append([entry], payload['version'] as number)
  return signManifest(segment, receipt as Uint8Array, world.manifestKey.privateKey)
}

test('a first manifest is taken with the charters from the first on', () => {
  const { world, trust } = begin()
  assert.equal(trust.state?.manifest.version, 1)
  assert.equal(trust.ageSeconds(), 0)
  assert.deepEqual(trust.documents?.charters, world.charterDocuments)
})

test('without a charter nothing is taken', () => {
  const world = createTestWorld()
  refuses(() => new Trust(world.trustAnchor).accept(world.manifestDocument), 'version_mismatch')
  const stranger = createTestWorld()
  refuses(
    () => new Trust(stranger.trustAnchor).accept(world.manifestDocument, world.charterDocuments),
    'signature_invalid',
  )
})

test('each newer version replaces the state whole', () => {
  const { world, trust } = begin()
  const first = trust.state
  world.setState(world.keys.consumer.kid, 'blocked')
  assert.equal(trust.accept(world.manifestDocument), 'newer')
  assert.notEqual(trust.state, first)
  assert.equal(trust.state?.manifest.keys.get(world.keys.consumer.kid)?.state, 'blocked')
  assert.equal(trust.accept(world.manifestDocument), 'same')
})

test('T102 F12: a key that a manifest leaves out is gone, if people approved it', () => {
  const { world, trust } = begin()
  const { kid } = world.keys.consumer
  world.setState(kid, 'retired')
  trust.accept(world.manifestDocument)
  prune(world, kid)
  trust.accept(world.manifestDocument)
  assert.equal(trust.state?.manifest.keys.has(kid), false)
})

test('T105: a first manifest may be without keys: nothing verifies', () => {
  const world = createTestWorld()
  world.publish(() => ({ keys: [] }))
  const trust = new Trust(world.trustAnchor)
  trust.accept(world.manifestDocument, world.charterDocuments)
  assert.equal(trust.state?.manifest.keys.size, 0)
})

test('T112: an older manifest is refused, and versions may be skipped', () => {
  const { world, trust } = begin()
  const first = world.manifestDocument
  world.publish()
  const second = world.manifestDocument
  world.publish()
  trust.accept(world.manifestDocument)
  for (const old of [first, second]) refuses(() => trust.accept(old), 'rolled_back')
  assert.equal(trust.state?.manifest.version, 3)
})

test('T112: a higher version with an earlier time is refused', () => {
  const { world, trust } = begin()
  world.now -= 1
  world.publish()
  refuses(() => trust.accept(world.manifestDocument), 'rolled_back')
})

test('T114: two contents of one version are proof that the authority lied', () => {
  const { world, trust } = begin()
  const other = fork(world)
  assert.throws(
    () => trust.accept(other),
    (error) => {
      assert.ok(error instanceof SplitView)
      assert.equal(error.version, 1)
      // Either can be verified by anybody who pins the same anchor.
      assert.deepEqual([error.held, error.shown], [world.manifestDocument, other])
      return true
    },
  )
  assert.equal(trust.state?.manifest.keys.size, 4)
})

test('T114: freshness for another content of the same version is proof as well', () => {
  const { world, trust } = begin()
  const sha256 = manifestSha256(fork(world))
  const lie = signFreshness(
    { version: 1, manifestSha256: sha256, issuedAt: world.now + 1 },
    world.manifestKey.privateKey,
  )
  assert.throws(
    () => trust.refresh(lie),
    (error) => error instanceof SplitView && error.shown === lie,
  )
})

test('the same content signed anew is no lie', () => {
  const { world, trust } = begin()
  const { payload } = world.manifestDocument
  const [receipt] = world.witness.append([encodeEntry(manifestEntry(payload, world.manifestKey.kid))], 1)
  const again = signManifest(payload, receipt as Uint8Array, world.manifestKey.privateKey)
  assert.equal(trust.accept(again), 'same')
})

test('R5: nothing brings a revoked key back', () => {
  const { world, trust } = begin()
  const { kid } = world.keys.consumer
  world.setState(kid, 'revoked')
  trust.accept(world.manifestDocument)
  for (const state of ['active', 'published', 'retiring', 'retired', 'blocked'] as const) {
    world.setState(kid, state)
    refuses(() => trust.accept(world.manifestDocument), 'key_revived')
  }
  assert.equal(trust.state?.manifest.keys.get(kid)?.state, 'revoked')
})

test('R5: a revoked key that was pruned does not come back either', () => {
  const { world, trust } = begin()
  const { kid } = world.keys.consumer
  const before = world.draft.keys
  world.setState(kid, 'revoked')
  trust.accept(world.manifestDocument)
  prune(world, kid)
  trust.accept(world.manifestDocument)
  assert.throws(() => world.publish(() => ({ keys: before })), /a key is listed that was pruned/)
  world.publish(() => ({ keys: before, pruned: [] }))
  refuses(() => trust.accept(world.manifestDocument), 'rolled_back')
})

test('T093 F4: a retired key may be revoked, and is never active again', () => {
  const { world, trust } = begin()
  const { kid } = world.keys.consumer
  world.setState(kid, 'retired')
  trust.accept(world.manifestDocument)
  world.setState(kid, 'active')
  refuses(() => trust.accept(world.manifestDocument), 'key_revived')
  world.setState(kid, 'revoked')
  trust.accept(world.manifestDocument)
  world.setState(kid, 'retired')
  refuses(() => trust.accept(world.manifestDocument), 'key_revived')
})

test('a blocked key may be active again', () => {
  const { world, trust } = begin()
  world.setState(world.keys.consumer.kid, 'blocked')
  trust.accept(world.manifestDocument)
  world.setState(world.keys.consumer.kid, 'active')
  assert.equal(trust.accept(world.manifestDocument), 'newer')
})

test('T104 T111: a document that is refused leaves everything as it was', () => {
  const { world, trust } = begin()
  const before = [trust.state, trust.documents, trust.manifestSha256]
  const [signature] = world.manifestDocument.signatures
  for (const document of [
    undefined,
    null,
    {},
    [],
    { payload: '', signatures: [] },
    { payload: 'e30', signatures: [signature] },
  ]) {
    assert.throws(() => trust.accept(document), DocumentRefusal)
  }
  assert.deepEqual([trust.state, trust.documents, trust.manifestSha256], before)
  assert.equal(trust.accept(world.manifestDocument), 'same')
})

test('a manifest under a later charter comes with the charters in between', () => {
  const { world, trust } = begin()
  world.amend()
  world.amend(() => ({ threshold: 3 }))
  const [, second, third] = world.charterDocuments
  refuses(() => trust.accept(world.manifestDocument), 'version_mismatch')
  refuses(() => trust.accept(world.manifestDocument, [third]), 'version_mismatch')
  assert.equal(trust.state?.charter.version, 1)
  trust.accept(world.manifestDocument, [second, third])
  assert.equal(trust.state?.charter.version, 3)
  assert.equal(trust.documents?.charters.length, 3)
})

test('T112: after a later charter, a manifest of the earlier one is refused', () => {
  const { world, trust } = begin()
  world.amend()
  trust.accept(world.manifestDocument, world.charterDocuments.slice(1))
  const old = createTestWorld()
  refuses(() => trust.accept(old.manifestDocument), 'signature_invalid')
  const payload = readPayload(world.manifestDocument.payload)
  const segment = encodePayload({ ...payload, version: 9, charter_version: 1 })
  const [receipt] = world.witness.append([encodeEntry(manifestEntry(segment, world.manifestKey.kid))], 9)
  refuses(
    () => trust.accept(signManifest(segment, receipt as Uint8Array, world.manifestKey.privateKey)),
    'version_mismatch',
  )
})

test('a charter that the operators did not approve is not walked over', () => {
  const { world, trust } = begin()
  const charter = readPayload(world.charterDocuments[0]?.payload ?? '')
  const own = approveCharter({ ...charter, version: 2 }, createTestKey('EdDSA').privateKey)
  world.amend()
  refuses(() => trust.accept(world.manifestDocument, [own]), 'signature_invalid')
})

test('T121: trust ages, and only a newer word of the authority makes it younger', () => {
  const scene = begin()
  const { world, trust } = scene
  pass(scene, 7)
  assert.equal(trust.ageSeconds(), 7)
  const word = world.freshness()
  assert.equal(trust.refresh(word), 'renewed')
  assert.equal(trust.ageSeconds(), 0)
  pass(scene, 30)
  // T122: a cache, or whoever recorded the word, plays it again.
  assert.equal(trust.refresh(word), 'known')
  assert.equal(trust.ageSeconds(), 30)
})

test('T122: a word that was under way for long is as old as it is', () => {
  const scene = begin()
  pass(scene, 10)
  const word = scene.world.freshness()
  pass(scene, 50)
  scene.trust.refresh(word)
  assert.equal(scene.trust.ageSeconds(), 50)
})

test('a word about a newer version does not prolong the one that is held', () => {
  const scene = begin()
  const { world, trust } = scene
  pass(scene, 20)
  world.publish()
  assert.equal(trust.refresh(world.freshness()), 'behind')
  assert.equal(trust.ageSeconds(), 20)
})

test('T112: a word about an older version is refused', () => {
  const { world, trust } = begin()
  const old = world.freshness()
  world.publish()
  trust.accept(world.manifestDocument)
  refuses(() => trust.refresh(old), 'rolled_back')
})

test('T119: freshness counts only from a manifest key of the charter, and only as what it is', () => {
  const { world, trust } = begin()
  const content = { version: 1, manifestSha256: trust.manifestSha256, issuedAt: world.now + 5 }
  for (const key of [world.blockKey, world.signers.consumer, createTestKey('ES256')]) {
    refuses(() => trust.refresh(signFreshness(content, key.privateKey)), 'signature_invalid')
  }
  refuses(() => trust.refresh(world.issue()), 'type_mismatch')
  refuses(() => trust.refresh('nonsense'), 'malformed')
})

test('T115: a clock set back makes nothing younger', () => {
  const scene = begin()
  pass(scene, 100)
  scene.clock.now -= 100
  assert.equal(scene.trust.ageSeconds(), 100)
  scene.clock.now -= 1e6
  assert.equal(scene.trust.ageSeconds(), 100)
})

test('T115: a clock set forward makes trust old until the next word, and back again no younger', () => {
  const scene = begin()
  scene.clock.now += 3600
  assert.equal(scene.trust.ageSeconds(), 3600)
  scene.clock.now -= 3600
  pass(scene, 5)
  assert.equal(scene.trust.ageSeconds(), 5)
})

test('T115: hours that a suspended machine did not count are seen by the other clock', () => {
  const scene = begin()
  scene.clock.now += 7200
  scene.clock.monotonicSeconds += 1
  assert.equal(scene.trust.ageSeconds(), 7200)
})

test('T071 T115: a word from the future is not stored up', () => {
  const scene = begin()
  const { world, trust, clock } = scene
  world.now += 61
  refuses(() => trust.refresh(world.freshness()), 'issued_in_future')
  world.now -= 1
  assert.equal(trust.refresh(world.freshness()), 'renewed')
  clock.monotonicSeconds += 90
  clock.now += 90
  assert.equal(trust.ageSeconds(), 90)
})

test('T115: a manifest from the future is in force, and not fresh', () => {
  const world = createTestWorld()
  const trust = new Trust(world.trustAnchor, { now: () => world.now - 61, monotonic: () => 0 })
  trust.accept(world.manifestDocument, world.charterDocuments)
  assert.equal(trust.state?.manifest.version, 1)
  assert.equal(trust.ageSeconds(), Number.POSITIVE_INFINITY)
})

test('T112 R4: what was restored refuses what is older, and keys that had ended', () => {
  const { world, trust } = begin()
  const first = world.manifestDocument
  world.setState(world.keys.consumer.kid, 'revoked')
  trust.accept(world.manifestDocument)
  prune(world, world.keys.consumer.kid)
  trust.accept(world.manifestDocument)
  const record = trust.record
  assert.ok(record)
  const again = Trust.restore(record, world.trustAnchor)
  assert.equal(again.state?.manifest.version, 3)
  refuses(() => again.accept(first), 'rolled_back')
  const shown = trust.documents?.charters ?? []
  const forgetful = new Trust(world.trustAnchor)
  forgetful.accept(first, shown)
  world.publish(({ keys }) => ({
    keys: [...keys, world.draftKey(world.keys.consumer, 'consumer')],
    pruned: [],
  }))
  // Whoever never saw the end takes it, and whoever started anew from the record does not.
  assert.equal(forgetful.accept(world.manifestDocument), 'newer')
  refuses(() => again.accept(world.manifestDocument), 'rolled_back')
})

test('T115 T116: what was restored is not fresh, whatever the clock says, until the authority vouches anew', () => {
  const { world, trust } = begin()
  const record = trust.record
  assert.ok(record)
  for (const now of [world.now, world.now + 1, world.now - 1e6]) {
    const again = Trust.restore(record, world.trustAnchor, { now: () => now, monotonic: () => 0 })
    assert.equal(again.ageSeconds(), Number.POSITIVE_INFINITY)
    assert.equal(again.accept(world.manifestDocument), 'same')
    assert.equal(again.ageSeconds(), Number.POSITIVE_INFINITY)
  }
  const again = Trust.restore(record, world.trustAnchor, { now: () => world.now, monotonic: () => 0 })
  assert.equal(again.refresh(world.freshness()), 'renewed')
  assert.equal(again.ageSeconds(), 0)
})
