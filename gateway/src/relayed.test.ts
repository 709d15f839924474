/**
 * Goal: a worker believes its primary no more than an authority: what it is told is verified down to the trust anchor, an older
 * manifest and a recorded statement change nothing, and what it hears no more of grows old. Method: the documents of a test world,
 * and those of another one in their place.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestWorld } from '@countersign/validator/testing'
import { createRelayed } from './relayed.ts'

const seconds = (): number => Math.floor(Date.now() / 1000)

function begin() {
  const world = createTestWorld({ now: seconds() - 5 })
  const problems: Error[] = []
  const relayed = createRelayed({
    trustAnchor: world.trustAnchor,
    pushedRoots: false,
    onProblem: (problem) => problems.push(problem),
  })
  const first = { charters: world.charterDocuments, manifest: world.manifestDocument }
  return { world, relayed, problems, first }
}

test('each state is verified, told of at once, and answered with its version', () => {
  const { world, relayed, first } = begin()
  let news = 0
  const leave = relayed.onNews(() => news++)
  assert.deepEqual([relayed.state, relayed.ageSeconds()], [undefined, Number.POSITIVE_INFINITY])
  assert.equal(relayed.take(first), 1)
  assert.equal(relayed.take(first), 1, 'once more, as after a restart of its primary')
  world.setState(world.keys.consumer.kid, 'blocked')
  assert.equal(relayed.take({ charters: [], manifest: world.manifestDocument }), 2)
  assert.equal(relayed.state?.manifest.keys.get(world.keys.consumer.kid)?.state, 'blocked')
  assert.equal(news, 2)
  leave()
})

test('T112 T113: somebody else in the place of its primary is not believed, and an older manifest is refused', () => {
  const { world, relayed, first } = begin()
  const other = createTestWorld({ now: seconds() })
  assert.throws(() => relayed.take({ charters: other.charterDocuments, manifest: other.manifestDocument }))
  assert.equal(relayed.ageSeconds(), Number.POSITIVE_INFINITY)
  relayed.take(first)
  world.setState(world.keys.consumer.kid, 'blocked')
  const newer = { charters: [], manifest: world.manifestDocument }
  relayed.take(newer)
  assert.throws(() => relayed.take({ ...first, charters: [] }), { flaw: 'rolled_back' })
  assert.throws(() => relayed.take({ charters: [], manifest: other.manifestDocument }))
  assert.equal(relayed.state?.manifest.version, 2)
})

test('T115: only a newer statement makes it younger, and a bad one is complained about', () => {
  const { world, relayed, problems, first } = begin()
  relayed.take(first)
  const recorded = world.freshness()
  const before = relayed.ageSeconds()
  assert.ok(before >= 5 && before < 10, `${before}`)
  world.now = seconds()
  relayed.renew(world.freshness())
  assert.ok(relayed.ageSeconds() < before)
  const after = relayed.ageSeconds()
  relayed.renew(recorded)
  assert.ok(relayed.ageSeconds() >= after)
  relayed.renew(createTestWorld({ now: seconds() }).freshness())
  assert.equal(problems.length, 1)
})

test('whoever waits for it is told when something was vouched for, or when it ends', async () => {
  const { relayed, first } = begin()
  const ready = relayed.ready()
  relayed.take(first)
  await ready
  const other = begin().relayed
  const ended = other.ready()
  await other.stop()
  await ended
})
