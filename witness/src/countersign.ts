/**
 * Receipts for a batch of new entries: one signature for all of them that stand in one window of the log, so that
 * under load a signature is shared by up to 32 tokens; a lone entry gets one of its own.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { countersign, encodeReceipt, SUBTREE_SIZE_MAX } from '@countersign/validator/receipt'
import type { CountersignedSubtree } from '@countersign/validator/roots'
import { coveringStart, proveEach } from '@countersign/validator/tree'

/** Whose log it is, and the key that countersigns. */
export interface Countersigner {
  readonly witness: string
  readonly origin: string
  readonly keyId: number
  readonly privateKey: KeyObject
}

export interface Batch {
  /** Index of the batch's first entry. */
  readonly first: number
  readonly serials: readonly number[]
  /** Leaf hashes from the start of the first entry's window up to the batch's last entry. */
  readonly leaves: readonly Uint8Array[]
}

export interface Countersigned {
  /** Encoded, one for each entry of the batch. */
  readonly receipts: readonly Uint8Array[]
  /** What they are over, in the order of the log. */
  readonly subtrees: readonly CountersignedSubtree[]
}

export function countersignBatch(
  countersigner: Countersigner,
  { first, serials, leaves }: Batch,
): Countersigned {
  const { witness, origin, keyId, privateKey } = countersigner
  const base = windowStart(first)
  const end = first + serials.length
  const receipts: Uint8Array[] = []
  const subtrees: CountersignedSubtree[] = []
  for (let from = first; from < end; ) {
    const to = Math.min(end, windowStart(from) + SUBTREE_SIZE_MAX)
    const start = to - from === 1 ? from : coveringStart(from, to)
    const { root, paths } = proveEach(leaves.slice(start - base, to - base))
    const signature = countersign(witness, origin, { start, end: to }, root, privateKey)
    subtrees.push({ start, size: to - start, root })
    for (let index = from; index < to; index++) {
      const [serial = 0, path = []] = [serials[index - first], paths[index - start]]
      receipts.push(
        encodeReceipt({ keyId, serial, start, size: to - start, offset: index - start, path, signature }),
      )
    }
    from = to
  }
  return { receipts, subtrees }
}

/** Windows are aligned, so that the window's whole is a subtree, and any part of it lies in one. */
export function windowStart(index: number): number {
  return index - (index % SUBTREE_SIZE_MAX)
}
