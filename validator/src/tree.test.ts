/**
 * Goal: every hash and proof of `tree.ts` is that of RFC 6962 and of Merkle Tree Certificates, and nothing else passes.
 * Method: a naive recursion straight from the definitions is the judge, for all small trees and for random ones; each
 * hash of each proof is corrupted in turn, and lengths, indices and sizes are bent.
 * @module
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './base64url.ts'
import {
  consistencyProof,
  coveringStart,
  emptyRoot,
  GrowingTree,
  inclusionPathLength,
  inclusionProof,
  isSubtree,
  leafHash,
  nodeHash,
  peakRanges,
  proveEach,
  type Range,
  rootFromInclusion,
  subtreeRoot,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
} from './tree.ts'

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
const leaves = Array.from({ length: 300 }, (_, index) => leafHash(Buffer.from(`leaf ${index}`)))

/** MTH of RFC 6962, section 2.1, over leaf hashes. */
function naiveRoot(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return sha256()
  if (hashes.length === 1) return hashes[0] as Uint8Array
  const split = naiveSplit(hashes.length)
  return sha256(Buffer.of(1), naiveRoot(hashes.slice(0, split)), naiveRoot(hashes.slice(split)))
}

/** PATH of RFC 6962, section 2.1.1. */
function naivePath(index: number, hashes: readonly Uint8Array[]): Uint8Array[] {
  if (hashes.length <= 1) return []
  const split = naiveSplit(hashes.length)
  return index < split
    ? [...naivePath(index, hashes.slice(0, split)), naiveRoot(hashes.slice(split))]
    : [...naivePath(index - split, hashes.slice(split)), naiveRoot(hashes.slice(0, split))]
}

/** SUBTREE_SUBPROOF of Merkle Tree Certificates, section 4.4; with start 0 it is SUBPROOF of RFC 6962. */
function naiveConsistency(
  start: number,
  end: number,
  hashes: readonly Uint8Array[],
  known = true,
): Uint8Array[] {
  if (start === 0 && end === hashes.length) return known ? [] : [naiveRoot(hashes)]
  const split = naiveSplit(hashes.length)
  const [left, right] = [hashes.slice(0, split), hashes.slice(split)]
  if (end <= split) return [...naiveConsistency(start, end, left, known), naiveRoot(right)]
  if (start >= split) {
    return [...naiveConsistency(start - split, end - split, right, known), naiveRoot(left)]
  }
  return [...naiveConsistency(0, end - split, right, false), naiveRoot(left)]
}

function naiveSplit(count: number): number {
  let split = 1
  while (split * 2 < count) split *= 2
  return split
}

/** Node hashes as a log's tiles would give them, computed anew each time. */
const read = async (level: number, index: number): Promise<Uint8Array> =>
  naiveRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))

const flip = (bytes: Uint8Array): Uint8Array =>
  Uint8Array.from(bytes, (byte, at) => (at === 7 ? byte ^ 1 : byte))

function corruptions(proof: readonly Uint8Array[]): (readonly Uint8Array[])[] {
  return [
    ...proof.map((_, at) => proof.map((each, other) => (other === at ? flip(each) : each))),
    ...proof.map((_, at) => proof.filter((_, other) => other !== at)),
    [...proof, emptyRoot],
    ...(proof.length > 0 ? [[...proof.slice(0, -1), (proof.at(-1) as Uint8Array).subarray(1)]] : []),
  ]
}

test('roots are those of the definition, whole, grown leaf by leaf and from tiles', async () => {
  const tree = new GrowingTree()
  for (let size = 0; size <= 130; size++) {
    const expected = naiveRoot(leaves.slice(0, size))
    assert.deepEqual(Buffer.from(tree.root()), Buffer.from(expected))
    assert.equal(tree.size, size)
    assert.deepEqual(await subtreeRoot({ start: 0, end: size }, read), expected)
    tree.append(leaves[size] as Uint8Array)
  }
})

test('a tree continues from its whole subtrees as if it had never stopped', async () => {
  for (let size = 0; size <= 40; size++) {
    const peaks = await Promise.all(peakRanges(size).map((range) => subtreeRoot(range, read)))
    const tree = GrowingTree.continue(size, peaks)
    for (const leaf of leaves.slice(size, size + 9)) tree.append(leaf)
    assert.deepEqual(Buffer.from(tree.root()), Buffer.from(naiveRoot(leaves.slice(0, size + 9))))
  }
})

test('a growing tree tells of each whole subtree once, in order', () => {
  const tree = new GrowingTree()
  const heard = new Map<number, number>()
  for (const leaf of leaves) {
    tree.append(leaf, (level, hash) => {
      const index = heard.get(level) ?? 0
      assert.deepEqual(Buffer.from(hash), naiveBuffer(level, index))
      heard.set(level, index + 1)
    })
  }
  for (let level = 0; 2 ** level <= leaves.length; level++) {
    assert.equal(heard.get(level), Math.floor(leaves.length / 2 ** level))
  }
})

function naiveBuffer(level: number, index: number): Buffer {
  return Buffer.from(naiveRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level)))
}

test('T130: inclusion proofs are the definition, and none that is bent passes', async () => {
  for (let size = 1; size <= 40; size++) {
    const root = naiveRoot(leaves.slice(0, size))
    for (let index = 0; index < size; index++) {
      const leaf = leaves[index] as Uint8Array
      const path = await inclusionProof(index, { start: 0, end: size }, read)
      assert.deepEqual(path.map(hex), naivePath(index, leaves.slice(0, size)).map(hex))
      assert.equal(path.length, inclusionPathLength(index, size))
      assert.ok(verifyInclusion(leaf, index, size, path, root))
      for (const bent of corruptions(path)) assert.ok(!verifyInclusion(leaf, index, size, bent, root))
      for (const other of [index - 1, index + 1, size, -1]) {
        assert.ok(!verifyInclusion(leaf, other, size, path, root), `${index} passes as ${other} of ${size}`)
      }
      assert.ok(!verifyInclusion(flip(leaf), index, size, path, root))
    }
  }
})

test('T130: no leaf is in a tree of size 0, whatever its root', () => {
  assert.equal(rootFromInclusion(leaves[0] as Uint8Array, 0, 0, []), undefined)
})

test('T131: a node does not pass as a leaf, nor a leaf as a node', () => {
  const [one, other] = leaves as [Uint8Array, Uint8Array]
  const pair = Buffer.concat([one, other])
  assert.notDeepEqual(leafHash(pair), nodeHash(one, other))
  assert.deepEqual(leafHash(pair), sha256(Buffer.of(0), pair))
  assert.ok(!verifyInclusion(leafHash(pair), 0, 1, [], nodeHash(one, other)))
})

test('consistency proofs are the definition, for subtrees too, and none that is bent passes', async () => {
  for (let size = 1; size <= 33; size++) {
    const root = naiveRoot(leaves.slice(0, size))
    for (const range of subtreesWithin(size)) {
      const proof = await consistencyProof(range, size, read)
      assert.deepEqual(
        proof.map(hex),
        naiveConsistency(range.start, range.end, leaves.slice(0, size)).map(hex),
      )
      const inner = naiveRoot(leaves.slice(range.start, range.end))
      assert.ok(verifySubtreeConsistency(range, inner, size, root, proof))
      for (const bent of corruptions(proof)) {
        assert.ok(!verifySubtreeConsistency(range, inner, size, root, bent))
      }
      assert.ok(!verifySubtreeConsistency(range, flip(inner), size, root, proof))
      assert.ok(!verifySubtreeConsistency(range, inner, size, flip(root), proof))
      if (range.start === 0) assert.ok(verifyConsistency(range.end, inner, size, root, proof))
    }
  }
})

test('T135: a smaller tree is not a continuation of a larger, nor another tree of the same size', async () => {
  const [seven, nine] = [naiveRoot(leaves.slice(0, 7)), naiveRoot(leaves.slice(0, 9))]
  const proof = await consistencyProof({ start: 0, end: 7 }, 9, read)
  assert.ok(verifyConsistency(7, seven, 9, nine, proof))
  assert.ok(!verifyConsistency(9, nine, 7, seven, proof))
  assert.ok(verifyConsistency(9, nine, 9, nine, []))
  assert.ok(!verifyConsistency(9, seven, 9, nine, []))
})

test('anything continues the empty tree, without proof, and only the empty tree is that', () => {
  const root = naiveRoot(leaves.slice(0, 5))
  assert.ok(verifyConsistency(0, emptyRoot, 5, root, []))
  assert.ok(!verifyConsistency(0, root, 5, root, []))
  assert.ok(!verifyConsistency(0, emptyRoot, 5, root, [root]))
})

test('subtrees are those of Merkle Tree Certificates', () => {
  for (let start = 0; start < 70; start++) {
    for (let end = start; end < 70; end++) {
      let power = 1
      while (power < end - start) power *= 2
      assert.equal(isSubtree({ start, end }), end > start && start % power === 0, `[${start}, ${end})`)
    }
  }
  assert.ok(isSubtree({ start: 2 ** 52, end: 2 ** 52 + 32 }))
  assert.ok(!isSubtree({ start: 2 ** 52 + 1, end: 2 ** 52 + 3 }))
})

test('the covering subtree is the smallest that holds the first leaf and ends where it must', () => {
  for (let end = 1; end <= 64; end++) {
    for (let first = end - 1; first >= 0; first--) {
      const start = coveringStart(first, end)
      assert.ok(isSubtree({ start, end }) && start <= first)
      for (let nearer = start + 1; nearer <= first; nearer++) assert.ok(!isSubtree({ start: nearer, end }))
    }
  }
})

test('all paths over a few leaves at once are the paths one by one', () => {
  for (let size = 1; size <= 32; size++) {
    const few = leaves.slice(3, 3 + size)
    const { root, paths } = proveEach(few)
    assert.deepEqual(Buffer.from(root), Buffer.from(naiveRoot(few)))
    for (const [index, path] of paths.entries())
      assert.deepEqual(path.map(hex), naivePath(index, few).map(hex))
  }
})

test('proofs hold far beyond 32 bits', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 52 }),
      fc.integer({ min: 1, max: 2 ** 52 }),
      (index, above) => {
        const size = Math.min(index + above, Number.MAX_SAFE_INTEGER)
        const path = Array.from(
          { length: inclusionPathLength(index, size) },
          (_, at) => leaves[at] as Uint8Array,
        )
        const leaf = leaves[299] as Uint8Array
        // Independent of the code: the path of a leaf, from the definition's splits alone.
        let expected = leaf
        for (const [at, right] of sidesFromDefinition(index, size).entries()) {
          const sibling = path[at] as Uint8Array
          expected = right ? nodeHash(expected, sibling) : nodeHash(sibling, expected)
        }
        assert.deepEqual(rootFromInclusion(leaf, index, size, path), expected)
      },
    ),
    { seed: 6962, numRuns: 200 },
  )
})

/** For each level from the leaf up: whether the sibling stands to the right. */
function sidesFromDefinition(index: number, size: number): boolean[] {
  if (size === 1) return []
  let split = 1n
  while (split * 2n < BigInt(size)) split *= 2n
  const left = Number(split)
  return index < left
    ? [...sidesFromDefinition(index, left), true]
    : [...sidesFromDefinition(index - left, size - left), false]
}

function subtreesWithin(size: number): Range[] {
  const ranges: Range[] = []
  for (let start = 0; start < size; start++) {
    for (let end = start + 1; end <= size; end++) if (isSubtree({ start, end })) ranges.push({ start, end })
  }
  return ranges
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

interface Vectors {
  readonly roots: readonly { readonly size: number; readonly root: string }[]
  readonly inclusion: readonly (Range & { readonly index: number; readonly path: readonly string[] })[]
  readonly consistency: readonly (Range & { readonly size: number; readonly proof: readonly string[] })[]
  readonly subtrees: readonly (Range & { readonly valid: boolean })[]
}

test('the vectors of spec/vectors/tree.json are judged as they say', () => {
  const file = new URL('../../spec/vectors/tree.json', import.meta.url)
  const { roots, inclusion, consistency, subtrees } = JSON.parse(readFileSync(file, 'utf8')) as Vectors
  const rootOf = (start: number, end: number): Uint8Array => proveEach(leaves.slice(start, end)).root
  for (const { size, root } of roots) assert.equal(encode(rootOf(0, size)), root)
  for (const { index, start, end, path } of inclusion) {
    const leaf = leaves[index] as Uint8Array
    assert.ok(verifyInclusion(leaf, index - start, end - start, path.map(decode), rootOf(start, end)))
  }
  for (const { start, end, size, proof } of consistency) {
    const subtree = rootOf(start, end)
    assert.ok(verifySubtreeConsistency({ start, end }, subtree, size, rootOf(0, size), proof.map(decode)))
  }
  for (const { start, end, valid } of subtrees) assert.equal(isSubtree({ start, end }), valid)
})
