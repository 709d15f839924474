/**
 * Goal: however entries fall into batches, each gets a receipt that a validator takes, one signature for all of a batch
 * in one window, and a lone entry one of its own. Method: random batches over a growing log, judged by the validator.
 * @module
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { decodeReceipt, receiptKeyId, SUBTREE_SIZE_MAX, verifyReceipt } from '@countersign/validator/receipt'
import { coveringStart, leafHash } from '@countersign/validator/tree'
import fc from 'fast-check'
import { countersignBatch, windowStart } from './countersign.ts'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const log = {
  origin: 'witness.test/1',
  witness: 'witness.test',
  receiptKeyId: receiptKeyId('witness.test/1', publicKey),
  receiptKey: publicKey,
  state: 'open',
} as const
const countersigner = { ...log, keyId: log.receiptKeyId, privateKey }
const leaves = Array.from({ length: 400 }, (_, index) => leafHash(Buffer.from(`${index}`)))

function receiptsFor(first: number, count: number) {
  const serials = Array.from({ length: count }, (_, at) => 1000 + first + at)
  const { receipts } = countersignBatch(countersigner, {
    first,
    serials,
    leaves: leaves.slice(windowStart(first), first + count),
  })
  return receipts.map(decodeReceipt)
}

test('every entry of every batch has a receipt that verifies', () => {
  fc.assert(
    fc.property(fc.nat(200), fc.integer({ min: 1, max: 150 }), (first, count) => {
      const receipts = receiptsFor(first, count)
      assert.equal(receipts.length, count)
      for (const [at, receipt] of receipts.entries()) {
        const index = first + at
        assert.deepEqual([receipt.start + receipt.offset, receipt.serial], [index, 1000 + index])
        assert.ok(receipt.size <= SUBTREE_SIZE_MAX)
        verifyReceipt(receipt, leaves[index] as Uint8Array, log)
      }
    }),
    { seed: 32, numRuns: 25 },
  )
})

test('a batch shares one signature in each window of 32, over the smallest subtree that holds it', () => {
  for (const [first, count] of [
    [0, 32],
    [5, 2],
    [30, 40],
    [33, 31],
    [64, 100],
    [95, 2],
  ] as const) {
    const receipts = receiptsFor(first, count)
    const signatures = new Set(receipts.map(({ signature }) => Buffer.from(signature).toString('hex')))
    assert.equal(signatures.size, windowStart(first + count - 1) / 32 - windowStart(first) / 32 + 1)
    for (const { start, size, offset } of receipts) {
      const from = Math.max(first, windowStart(start + offset))
      if (size > 1) assert.equal(start, coveringStart(from, start + size))
    }
  }
})

test('a lone entry has a subtree of its own, also at the edge of a batch', () => {
  for (const [first, count, lone] of [
    [7, 1, 7],
    [31, 9, 31],
    [20, 13, 32],
  ] as const) {
    const receipt = receiptsFor(first, count)[lone - first]
    assert.deepEqual([receipt?.start, receipt?.size, receipt?.path.length], [lone, 1, 0])
  }
})
