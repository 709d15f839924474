/**
 * Merkle trees of RFC 6962 over SHA-256, and the subtrees of them that Merkle Tree Certificates define
 * (draft-ietf-plants-merkle-tree-certs, section 4): their hashes, their proofs, and a tree that grows by one leaf at a
 * time. Sizes and indices are numbers below 2^53; nothing here reads or stores anything.
 * @module
 */

import { sameBytes, sha256 } from '#platform'

export const HASH_BYTES = 32

/** Hash of the tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Uint8Array = sha256('')

/** Leaf hash, RFC 6962 section 2.1: SHA-256(0x00 || leaf). */
export function leafHash(leaf: Uint8Array): Uint8Array {
  const prefixed = new Uint8Array(1 + leaf.length)
  prefixed.set(leaf, 1)
  return sha256(prefixed)
}

/** One buffer for every node: a receipt costs up to five of these hashes, and no allocation but their results. */
const node = new Uint8Array(1 + 2 * HASH_BYTES).fill(1, 0, 1)

/** Node hash, RFC 6962 section 2.1: SHA-256(0x01 || left || right). The prefix keeps a node from passing as a leaf. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  node.set(left, 1)
  node.set(right, 1 + HASH_BYTES)
  return sha256(node)
}

/** How many hashes prove the leaf at `index` in a tree of `size` leaves. */
export function inclusionPathLength(index: number, size: number): number {
  let length = 0
  for (let last = size - 1, at = index; last > 0; last = half(last), at = half(at)) {
    if (at % 2 === 1 || at < last) length++
  }
  return length
}

/**
 * The root of a tree of `size` leaves that holds `leaf` at `index`, if `path` is its proof (RFC 9162, section 2.1.3.2).
 * Undefined where the path is too long, too short, or the index lies outside; the caller compares the root.
 */
export function rootFromInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
): Uint8Array | undefined {
  if (index < 0 || index >= size) return undefined
  let root = leaf
  let last = size - 1
  let at = index
  for (const sibling of path) {
    // A node without a right sibling moves up unhashed until it is one itself.
    while (at === last && at % 2 === 0 && last > 0) {
      last = half(last)
      at = half(at)
    }
    if (last === 0 || sibling.length !== HASH_BYTES) return undefined
    root = at % 2 === 1 ? nodeHash(sibling, root) : nodeHash(root, sibling)
    last = half(last)
    at = half(at)
  }
  return last === 0 ? root : undefined
}

/** Whether `path` proves that the leaf stands at `index` in the tree of `size` leaves with this root. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  const computed = rootFromInclusion(leaf, index, size, path)
  return computed !== undefined && sameBytes(computed, root)
}

/** Whether `proof` shows that the tree of `oldSize` leaves with `oldRoot` is the beginning of the newer one. */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (oldSize === 0) return proof.length === 0 && sameBytes(oldRoot, emptyRoot)
  return verifySubtreeConsistency({ start: 0, end: oldSize }, oldRoot, newSize, newRoot, proof)
}

/** The leaves from `start` up to but without `end`. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Whether the range is a subtree: not empty, and `start` a multiple of the smallest power of two that holds it. */
export function isSubtree({ start, end }: Range): boolean {
  return start >= 0 && start < end && start % powerAtLeast(end - start) === 0
}

/** Where the smallest subtree that holds `first` and ends at `end` starts. */
export function coveringStart(first: number, end: number): number {
  let start = first
  while (!isSubtree({ start, end })) start--
  return start
}

/** Whether `proof` shows that the subtree with `subtreeHash` is part of the tree of `size` leaves with this root. */
export function verifySubtreeConsistency(
  range: Range,
  subtreeHash: Uint8Array,
  size: number,
  root: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!isSubtree(range) || range.end > size) return false
  if (proof.some((each) => each.length !== HASH_BYTES)) return false
  let used = 0
  const next = (): Uint8Array => proof[used++] ?? emptyRoot
  /** Both hashes, rebuilt: of the subtree, and of the `count` leaves from the point where the walk has got to. */
  const rebuild = (start: number, end: number, count: number, known: boolean): [Uint8Array, Uint8Array] => {
    if (start === 0 && end === count) {
      const whole = known ? subtreeHash : next()
      return [whole, whole]
    }
    const split = powerBelow(count)
    if (end <= split) {
      const [inner, outer] = rebuild(start, end, split, known)
      return [inner, nodeHash(outer, next())]
    }
    if (start >= split) {
      const [inner, outer] = rebuild(start - split, end - split, count - split, known)
      return [inner, nodeHash(next(), outer)]
    }
    const [inner, outer] = rebuild(0, end - split, count - split, false)
    const left = next()
    return [nodeHash(left, inner), nodeHash(left, outer)]
  }
  const [inner, outer] = rebuild(range.start, range.end, size, true)
  return used === proof.length && sameBytes(inner, subtreeHash) && sameBytes(outer, root)
}

/** Hash of the whole subtree of 2^`level` leaves that starts at leaf `index` * 2^`level`. */
export type ReadNode = (level: number, index: number) => Promise<Uint8Array>

/** Hash of a subtree (the tree itself is the one that starts at 0). */
export async function subtreeRoot({ start, end }: Range, read: ReadNode): Promise<Uint8Array> {
  const size = end - start
  if (size === 0) return emptyRoot
  if (powerAtLeast(size) === size) return read(Math.log2(size), start / size)
  const middle = start + powerBelow(size)
  return nodeHash(
    await subtreeRoot({ start, end: middle }, read),
    await subtreeRoot({ start: middle, end }, read),
  )
}

/** Proof that the leaf at `index` is in the subtree; `verifyInclusion` takes index and size relative to its start. */
export async function inclusionProof(
  index: number,
  { start, end }: Range,
  read: ReadNode,
): Promise<readonly Uint8Array[]> {
  if (end - start === 1) return []
  const middle = start + powerBelow(end - start)
  const [left, right] = [
    { start, end: middle },
    { start: middle, end },
  ]
  const [inside, sibling] = index < middle ? [left, right] : [right, left]
  return [...(await inclusionProof(index, inside, read)), await subtreeRoot(sibling, read)]
}

/** Proof that a subtree is part of the tree of `size` leaves; from 0, the consistency proof of RFC 6962. */
export async function consistencyProof(
  subtree: Range,
  size: number,
  read: ReadNode,
): Promise<readonly Uint8Array[]> {
  const walk = async (within: Range, known: boolean): Promise<readonly Uint8Array[]> => {
    if (subtree.start <= within.start && subtree.end === within.end) {
      return known ? [] : [await subtreeRoot(within, read)]
    }
    const middle = within.start + powerBelow(within.end - within.start)
    const [left, right] = [
      { start: within.start, end: middle },
      { start: middle, end: within.end },
    ]
    if (subtree.end <= middle) return [...(await walk(left, known)), await subtreeRoot(right, read)]
    const whole = subtree.start >= middle && known
    return [...(await walk(right, whole)), await subtreeRoot(left, read)]
  }
  return subtree.end === 0 ? [] : walk({ start: 0, end: size }, true)
}

/** The root over a few leaves in memory, and the inclusion path of each, for the price of the root alone. */
export function proveEach(leaves: readonly Uint8Array[]): {
  readonly root: Uint8Array
  readonly paths: readonly (readonly Uint8Array[])[]
} {
  const paths: Uint8Array[][] = leaves.map(() => [])
  const grow = (from: number, to: number): Uint8Array => {
    if (to - from <= 1) return leaves[from] ?? emptyRoot
    const middle = from + powerBelow(to - from)
    const left = grow(from, middle)
    const right = grow(middle, to)
    for (let at = from; at < to; at++) paths[at]?.push(at < middle ? right : left)
    return nodeHash(left, right)
  }
  return { root: grow(0, leaves.length), paths }
}

/**
 * A tree that only grows, in the memory of one hash per bit of its size: the hashes of the whole subtrees that its
 * leaves make, largest first. Whoever feeds it every entry needs no consistency proof: its root is the proof.
 */
export class GrowingTree {
  #size = 0
  /** Whole subtrees, one for each bit that is set in the size, largest first. */
  readonly #peaks: Uint8Array[] = []

  /** Continues a tree whose whole subtrees are known, in the order that `peakRanges` names them. */
  static continue(size: number, peaks: readonly Uint8Array[]): GrowingTree {
    const tree = new GrowingTree()
    tree.#size = size
    tree.#peaks.push(...peaks)
    return tree
  }

  get size(): number {
    return this.#size
  }

  /** What `continue` goes on from. */
  get peaks(): readonly Uint8Array[] {
    return this.#peaks
  }

  /** Adds a leaf by its hash. `completed` hears each whole subtree that it completes, from the leaf itself upwards. */
  append(leaf: Uint8Array, completed?: (level: number, hash: Uint8Array) => void): void {
    let whole = leaf
    completed?.(0, whole)
    for (let level = 1, rest = this.#size; rest % 2 === 1; level++, rest = half(rest)) {
      whole = nodeHash(this.#peaks.pop() ?? emptyRoot, whole)
      completed?.(level, whole)
    }
    this.#peaks.push(whole)
    this.#size++
  }

  root(): Uint8Array {
    return (
      this.#peaks.reduceRight<Uint8Array | undefined>(
        (right, left) => (right === undefined ? left : nodeHash(left, right)),
        undefined,
      ) ?? emptyRoot
    )
  }
}

/** The whole subtrees that a tree of `size` leaves consists of, largest first. */
export function peakRanges(size: number): readonly Range[] {
  const ranges: Range[] = []
  for (let start = 0; start < size; ) {
    const end = start + powerAtMost(size - start)
    ranges.push({ start, end })
    start = end
  }
  return ranges
}

export { sameBytes as sameHash }

function half(value: number): number {
  return Math.floor(value / 2)
}

/** Largest power of two that is at most `value`, for `value` >= 1. */
function powerAtMost(value: number): number {
  // Bit operations reach 32 bits only; a logarithm would round at the top of the range.
  if (value < 2 ** 31) return 1 << (31 - Math.clz32(value))
  return 2 ** 31 * powerAtMost(Math.floor(value / 2 ** 31))
}

/** Largest power of two below `value`, for `value` >= 2: where RFC 6962 splits a tree. */
function powerBelow(value: number): number {
  return powerAtMost(value - 1)
}

/** Smallest power of two that is at least `value`, for `value` >= 1. */
function powerAtLeast(value: number): number {
  return value === 1 ? 1 : 2 * powerBelow(value)
}
