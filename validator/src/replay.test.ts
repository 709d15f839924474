/**
 * Goal: no proof counts twice while it could, and a flood takes bounded room and shuts out nobody else. Method: a million
 * proofs at one moment and over time, against a clock that the test moves.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createReplayCache, type ShownProof } from './replay.ts'

let count = 0
const GREEDY = 7

test('T150: a proof is new once, until it has expired', () => {
  const place = { now: 1000 }
  const cache = createReplayCache({ now: () => place.now })
  const proof = another(GREEDY, 1060)
  assert.equal(cache.add(proof), true)
  for (const now of [1000, 1030, 1059]) {
    place.now = now
    for (let more = 0; more < 10; more++) cache.add(another(GREEDY, now + 60))
    assert.equal(cache.add(proof), false, `at ${now}`)
  }
})

test('T271: a million proofs in a moment do not grow the memory, and what has no room is not new', () => {
  const cache = createReplayCache({ proofsMax: 20_000, now: () => 1000 })
  const first = another(0, 1060)
  cache.add(first)
  let added = 0
  const before = heapBytes()
  for (let nth = 0; nth < 1_000_000; nth++) if (cache.add(another(nth % 1000, 1060))) added++
  assert.ok(heapBytes() - before < 4_000_000, `${heapBytes() - before} bytes more`)
  assert.equal(added, 10_000)
  assert.equal(cache.add(first), false, 'what came first is still known')
})

test('T271: no setting makes a cache without an end, or one in which nothing is new', () => {
  for (const proofsMax of [Number.NaN, Number.POSITIVE_INFINITY, 0, -1, 1.5, '5' as unknown as number])
    assert.throws(() => createReplayCache({ proofsMax }), TypeError, String(proofsMax))
})

test('T271: a million proofs over an hour are all taken, and the memory stays what it was', () => {
  const place = { now: 1000 }
  const cache = createReplayCache({ proofsMax: 80_000, now: () => place.now })
  const before = heapBytes()
  for (let nth = 0; nth < 1_000_000; nth++) {
    place.now = 1000 + nth * 0.0036
    assert.equal(cache.add(another(nth % 20, place.now + 60)), true, `the ${nth}th`)
  }
  assert.ok(heapBytes() - before < 6_000_000, `${heapBytes() - before} bytes more`)
})

test('T271: one key cannot shut out the others', () => {
  const cache = createReplayCache({ proofsMax: 20_000, now: () => 1000 })
  let added = 0
  for (let nth = 0; nth < 50_000; nth++) if (cache.add(another(GREEDY, 1060))) added++
  assert.ok(added <= 2500, `${added} of one key`)
  assert.equal(cache.add(another(1, 1060)), true)
})

/** A proof that was never shown, by one of several keys. */
function another(key: number, expiresAt: number): ShownProof {
  return { id: hashLike(count++), jkt: hashLike(-1 - key), expiresAt }
}

function hashLike(value: number): string {
  const bytes = Buffer.alloc(32)
  bytes.writeDoubleBE(Math.sin(value + 0.5))
  return bytes.subarray(2).toString('base64url').padEnd(43, 'A')
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

function heapBytes(): number {
  collect()
  return process.memoryUsage().heapUsed
}
