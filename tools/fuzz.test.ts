/**
 * Goal: nothing odd gets past what reads tokens before their signature was checked, and the fuzzer would see it if it did.
 * Method: a fixed part of what `npm run fuzz` tries; then readers that are careless in one way each, which must be found out. And
 * hostile tokens of every kind, whose cost is bounded and whose memory comes back.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { decodeReceipt } from '@countersign/validator/receipt'
import { Refusal } from '@countersign/validator/refusal'
import { fuzz, inputOf, measureCost, type Targets, targets } from './fuzz.ts'

const SEED = 1
const COUNT = 40_000

test('T048 T049 T050 T051 T056 odd tokens and receipts of a fixed seed: refused, or good to the letter', () => {
  const { findings, reached } = fuzz(SEED, COUNT)
  assert.deepEqual(findings, [])
  // Inputs that all fall at the first check would try nothing behind it.
  const least = { token: 20_000, receipt: 20_000, read: 2000, decoded: 4000, accepted: 50, countersigned: 50 }
  for (const [stage, count] of Object.entries(least))
    assert.ok(reached[stage as keyof typeof least] >= count, `${stage}: ${JSON.stringify(reached)}`)
})

test('an input is the same each time, and another under another seed', () => {
  assert.deepEqual(inputOf(SEED, 4711), inputOf(SEED, 4711))
  const others = Array.from({ length: 100 }, (_, index) => index)
  assert.ok(others.filter((index) => isDeepStrictEqual(inputOf(1, index), inputOf(2, index))).length < 10)
})

const careless: Readonly<Record<string, Partial<Targets>>> = {
  'a reader that skips what is no base64url': {
    read: (token) => {
      const segments = token.split('.')
      if (segments.length !== 3) throw new Refusal('malformed')
      return segments
    },
  },
  'a reader that throws what JSON throws': {
    read: (token) => {
      JSON.parse(Buffer.from(token.split('.', 1)[0] ?? '', 'base64url').toString())
      return targets.read(token)
    },
  },
  'a verdict that looks at two segments': {
    accepts: (token) => targets.accepts(token) || token.split('.').length === 4,
  },
  'a decoder that reads past what it was given': {
    decodeReceipt: (bytes) => {
      new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(1)
      return decodeReceipt(bytes)
    },
  },
  'a decoder that takes what is left over': {
    decodeReceipt: (bytes) => {
      for (const end of [bytes.length, bytes.length - 1, bytes.length - 2]) {
        try {
          return decodeReceipt(bytes.subarray(0, end))
        } catch {}
      }
      throw new Refusal('receipt_invalid')
    },
  },
}

for (const [name, change] of Object.entries(careless)) {
  test(`the fuzzer finds ${name}`, () => {
    const { findings } = fuzz(SEED, 4000, { ...targets, ...change })
    assert.notEqual(findings.length, 0)
  })
}

test('T050 T059 hostile tokens cost little before their signature is looked at, and leave nothing behind', () => {
  const heaps: number[] = []
  const costs = measureCost(12_000, (bytes) => void heaps.push(bytes))
  for (const { kind, microseconds } of costs) {
    console.log(`${microseconds.toFixed(1).padStart(8)} µs  ${kind}`)
    // Ten times what the worst of them takes when nothing else runs: this is for what grows with more than the length.
    assert.ok(microseconds < 5000, kind)
  }
  const [first = 0] = heaps
  assert.ok(Math.max(...heaps) - first < 8 * 2 ** 20, `the heap grew: ${heaps.join(' ')}`)
})
