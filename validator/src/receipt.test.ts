/**
 * Goal: a receipt counts for one leaf at one place in one log, and for nothing else; a batch costs one signature check.
 * Method: vectors of a second implementation; every byte of a good receipt changed, cut and added; receipts of other
 * logs, keys and entries; a key that counts how often it is asked.
 * @module
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './base64url.ts'
import { importPublicJwk } from './jws.ts'
import type { ManifestLog } from './manifest.ts'
import {
  countersign,
  decodeReceipt,
  encodeReceipt,
  type Receipt,
  receiptKeyId,
  SUBTREE_SIZE_MAX,
  VerifiedRoots,
  verifyReceipt,
} from './receipt.ts'
import { Refusal } from './refusal.ts'
import { coveringStart, leafHash, proveEach } from './tree.ts'

interface Vectors {
  readonly log: {
    readonly witness: string
    readonly origin: string
    readonly receipt_key: object
    readonly key_id: string
  }
  readonly cases: readonly {
    readonly name: string
    readonly leaf: number
    readonly serial: number
    readonly start: number
    readonly size: number
    readonly receipt: string
  }[]
  readonly refused: readonly { readonly name: string; readonly leaf: number; readonly receipt: string }[]
}

const vectors = JSON.parse(
  readFileSync(new URL('../../spec/vectors/receipt.json', import.meta.url), 'utf8'),
) as Vectors
const receiptInvalid = { name: 'Refusal', reason: 'receipt_invalid' }
const leafAt = (index: number): Uint8Array => leafHash(Buffer.from(`leaf ${index}`))

function logOf(witness: string, origin: string, receiptKey: ManifestLog['receiptKey']): ManifestLog {
  return { witness, origin, receiptKey, receiptKeyId: receiptKeyId(origin, receiptKey), state: 'open' }
}

const { witness, origin, receipt_key, key_id } = vectors.log
const vectorLog = logOf(witness, origin, importPublicJwk(receipt_key).key)

test('the key id is that of the second implementation', () => {
  assert.equal(vectorLog.receiptKeyId, Number.parseInt(key_id, 16))
})

for (const { name, leaf, serial, start, size, receipt } of vectors.cases) {
  test(`receipt vector: ${name}`, () => {
    const read = decodeReceipt(decode(receipt))
    assert.deepEqual(
      [read.serial, read.start, read.size, read.start + read.offset],
      [serial, start, size, leaf],
    )
    verifyReceipt(read, leafAt(leaf), vectorLog)
    assert.equal(encode(encodeReceipt(read)), receipt)
  })
}

for (const { name, leaf, receipt } of vectors.refused) {
  test(`T126 T128 T130: receipt vector, refused: ${name}`, () => {
    assert.throws(
      () => verifyReceipt(decodeReceipt(decode(receipt)), leafAt(leaf), vectorLog),
      receiptInvalid,
    )
  })
}

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const log = logOf('witness.test', 'witness.test/1', keys.publicKey)

/** That log as another object, and how many signatures were checked by it. */
function countedLog(): { readonly log: ManifestLog; checks: number } {
  const counted = {
    checks: 0,
    log: {
      ...log,
      get receiptKey() {
        counted.checks++
        return keys.publicKey
      },
    },
  }
  return counted
}

/** Receipts for the leaves from `first` up to `end`, as a witness makes them. */
function receiptsFor(first: number, end: number): Receipt[] {
  const start = end - first === 1 ? first : coveringStart(first, end)
  const { root, paths } = proveEach(Array.from({ length: end - start }, (_, at) => leafAt(start + at)))
  const signature = countersign(log.witness, log.origin, { start, end }, root, keys.privateKey)
  return paths.map((path, offset) => {
    return { keyId: log.receiptKeyId, serial: 5, start, size: end - start, offset, path, signature }
  })
}

test('T130: no byte of a receipt can be changed, cut or added, but in the serial', () => {
  const [receipt] = receiptsFor(5, 8).slice(-1) as [Receipt]
  const [good, leaf] = [encodeReceipt(receipt), leafAt(receipt.start + receipt.offset)]
  verifyReceipt(decodeReceipt(good), leaf, log)
  const serialAt = 5
  for (let at = 0; at < good.length; at++) {
    for (const bits of [1, 0x80, 0xff]) {
      const bent = Uint8Array.from(good, (byte, position) => (position === at ? byte ^ bits : byte))
      if (at === serialAt && bits === 1) continue
      assert.throws(() => verifyReceipt(decodeReceipt(bent), leaf, log), receiptInvalid, `byte ${at}`)
    }
    assert.throws(() => verifyReceipt(decodeReceipt(good.subarray(0, at)), leaf, log), receiptInvalid)
  }
  assert.throws(() => decodeReceipt(Buffer.concat([good, Buffer.of(0)])), receiptInvalid)
})

test('no bytes make the reader fail in another way than by refusing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        const receipt = decodeReceipt(Uint8Array.from([1, ...bytes]))
        assert.deepEqual(encodeReceipt(receipt), Buffer.from([1, ...bytes]))
      } catch (error) {
        assert.ok(error instanceof Refusal && error.reason === 'receipt_invalid')
      }
    }),
    { seed: 170, numRuns: 2000 },
  )
})

test('T127 T128: a receipt of another epoch, another witness or another key is none here', () => {
  const [receipt] = receiptsFor(3, 4) as [Receipt]
  const strange = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  for (const other of [
    logOf('witness.test', 'witness.test/2', keys.publicKey),
    logOf('other.test', 'witness.test/1', keys.publicKey),
    logOf('witness.test', 'witness.test/1', strange),
    // A key id is short enough to be met on purpose; it only names the key, which then does not verify.
    { ...logOf('witness.test', 'witness.test/1', strange), receiptKeyId: log.receiptKeyId },
    { ...logOf('witness.test', 'witness.test/2', keys.publicKey), receiptKeyId: log.receiptKeyId },
  ]) {
    assert.throws(() => verifyReceipt(receipt, leafAt(3), other), receiptInvalid)
  }
  verifyReceipt(receipt, leafAt(3), log)
})

test('a batch costs one signature check, and a new manifest one more', () => {
  const receipts = receiptsFor(0, 32)
  const verified = new VerifiedRoots()
  for (const counted of [countedLog(), countedLog()]) {
    for (const [index, receipt] of receipts.entries()) {
      verifyReceipt(receipt, leafAt(index), counted.log, verified)
    }
    assert.equal(counted.checks, 1)
  }
})

test('what was verified covers no other leaf, subtree, signature or log', () => {
  const receipts = receiptsFor(0, 4)
  const verified = new VerifiedRoots()
  for (const [index, receipt] of receipts.entries()) verifyReceipt(receipt, leafAt(index), log, verified)
  const [first] = receipts as [Receipt]
  const flipped = Uint8Array.from(first.signature, (byte, at) => (at === 40 ? byte ^ 1 : byte))
  const path = [leafAt(2), ...first.path.slice(1)]
  assert.throws(() => verifyReceipt(first, leafAt(9), log, verified), receiptInvalid)
  assert.throws(() => verifyReceipt({ ...first, path }, leafAt(0), log, verified), receiptInvalid)
  assert.throws(
    () => verifyReceipt({ ...first, signature: flipped }, leafAt(0), log, verified),
    receiptInvalid,
  )
  assert.throws(() => verifyReceipt({ ...first, start: 4 }, leafAt(0), log, verified), receiptInvalid)
  const other = { ...log, receiptKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey }
  assert.throws(() => verifyReceipt(first, leafAt(0), other, verified), receiptInvalid)
})

test('a refused batch is not remembered as verified', () => {
  const [first] = receiptsFor(0, 4) as [Receipt]
  const verified = new VerifiedRoots()
  const forged = { ...first, signature: new Uint8Array(64).fill(1) }
  for (let attempt = 0; attempt < 2; attempt++) {
    assert.throws(() => verifyReceipt(forged, leafAt(0), log, verified), receiptInvalid)
  }
})

test('whatever has been shown of a subtree, in whatever order, exactly the true receipts are taken without a signature', () => {
  for (const size of [2, 3, 5, 8, 13, 21, SUBTREE_SIZE_MAX]) {
    const receipts = receiptsFor(0, size)
    const order = fc.shuffledSubarray(receipts, { minLength: size, maxLength: size })
    fc.assert(
      fc.property(order, (shown) => {
        const verified = new VerifiedRoots()
        const counted = countedLog()
        for (const [count, receipt] of shown.entries()) {
          verifyReceipt(receipt, leafAt(receipt.offset), counted.log, verified)
          assert.equal(counted.checks, 1, `${count} of ${size}`)
        }
      }),
      { numRuns: 4 },
    )
    const verified = new VerifiedRoots()
    for (const receipt of receipts) {
      const { offset, path } = receipt
      const refused = (bent: Partial<Receipt>, leaf = leafAt(offset)): void =>
        assert.throws(() => verifyReceipt({ ...receipt, ...bent }, leaf, log, verified), receiptInvalid)
      // Before it has been shown itself, and after.
      for (let turn = 0; turn < 2; turn++) {
        refused({}, leafAt(offset + size))
        for (const at of path.keys()) {
          refused({ path: path.with(at, leafAt(size + at)) })
          refused({ path: path.with(at, new Uint8Array()) })
          refused({ path: path.toSpliced(at, 1) })
        }
        refused({ path: [...path, leafAt(0)] })
        refused({ offset: offset + size })
        for (let other = 0; other < size; other++) if (other !== offset) refused({ offset: other })
        verifyReceipt(receipt, leafAt(offset), log, verified)
      }
    }
  }
})

test('the memory of verified batches is bounded, and keeps the ones in use', () => {
  const batches = Array.from({ length: 12 }, (_, at) => receiptsFor(2 * at, 2 * at + 2)[0] as Receipt)
  const counted = countedLog()
  const verified = new VerifiedRoots(4)
  const checksFor = (receipt: Receipt): number => {
    counted.checks = 0
    verifyReceipt(receipt, leafAt(receipt.start), counted.log, verified)
    return counted.checks
  }
  const [used, first] = batches as [Receipt, Receipt]
  assert.equal(checksFor(used), 1)
  for (const batch of batches.slice(1)) {
    assert.equal(checksFor(batch), 1)
    assert.equal(checksFor(used), 0)
  }
  assert.equal(checksFor(first), 1)
})

test('a lone receipt adds at most 170 characters to a token, one of a batch at most 450', () => {
  const member = ({ path, ...rest }: Receipt): number => {
    const largest = { ...rest, path, serial: 2 ** 35 - 1 }
    return Math.ceil((`,"rcpt":"${encode(encodeReceipt(largest))}"`.length * 4) / 3)
  }
  const far = 2 ** 33
  const [lone] = receiptsFor(far, far + 1) as [Receipt]
  assert.ok(member(lone) <= 170, `${member(lone)}`)
  for (let end = 2; end <= SUBTREE_SIZE_MAX; end++) {
    for (const receipt of receiptsFor(0, end)) {
      assert.ok(member({ ...receipt, start: far }) <= 450, `${member({ ...receipt, start: far })}`)
    }
  }
})
