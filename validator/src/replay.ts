/**
 * Proofs of possession that were shown, so that none counts twice. One cache for one process; several processes that serve
 * the same URLs share one behind the same interface, for example a Redis with `SET id 1 NX EXAT expiresAt`.
 * @module
 */

import { decode } from './base64url.ts'

/** A proof that is good in itself and came with a good token. */
export interface ShownProof {
  /** Names the proof: SHA-256 of its key's thumbprint and its `jti`, base64url. */
  readonly id: string
  /** Thumbprint of its key. */
  readonly jkt: string
  /** Seconds since the epoch: from then on it is refused anyway, and may be forgotten. */
  readonly expiresAt: number
}

/** Remembers proofs, so that none counts twice. Several processes may share one, behind this interface. */
export interface ReplayCache {
  /**
   * Remembers a proof and says whether it is new, in one step: of two that come at the same moment, one is. A cache that
   * cannot remember says that it is not.
   */
  add(proof: ShownProof): boolean | Promise<boolean>
}

/** How much a cache of this process may remember. */
export interface ReplayCacheOptions {
  /** Most proofs that are remembered at a time. Each takes about 40 bytes. */
  readonly proofsMax?: number | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

const PROOFS_MAX = 500_000
/** What one key may take of it, so that one client cannot shut out the others. */
const SHARE_OF_ONE_KEY = 1 / 8

/**
 * In memory, and never more than `proofsMax`. Two generations: the older is dropped when everything in it has expired. When
 * both are full, or one key has more than its share, no further proof is new: a cache that forgot would let one be
 * replayed by whoever fills it. Throws `TypeError` where `proofsMax` is no number.
 */
export function createReplayCache({
  proofsMax = PROOFS_MAX,
  now = () => Date.now() / 1000,
}: ReplayCacheOptions = {}): ReplayCache {
  if (!(Number.isSafeInteger(proofsMax) && proofsMax > 0))
    throw new TypeError('proofsMax is not a number of proofs')
  const generationMax = Math.ceil(proofsMax / 2)
  const shareMax = Math.ceil(generationMax * SHARE_OF_ONE_KEY)
  let [newer, older] = [emptyGeneration(), emptyGeneration()]

  return {
    add: ({ id, jkt, expiresAt }) => {
      if (older.expiresAt <= now()) [newer, older] = [emptyGeneration(), newer]
      const name = shorten(id)
      if (newer.proofs.has(name) || older.proofs.has(name)) return false
      const key = shorten(jkt)
      const count = newer.countOf.get(key) ?? 0
      if (newer.proofs.size >= generationMax || count >= shareMax) return false
      newer.proofs.add(name)
      newer.countOf.set(key, count + 1)
      newer.expiresAt = Math.max(newer.expiresAt, expiresAt)
      return true
    },
  }
}

interface Generation {
  /** By 48 bits of the name: a number is small, and a new one is taken for one of half a million once in 500 million times. */
  readonly proofs: Set<number>
  readonly countOf: Map<number, number>
  /** When the last of them expires. */
  expiresAt: number
}

function emptyGeneration(): Generation {
  return { proofs: new Set(), countOf: new Map(), expiresAt: 0 }
}

/** The first bytes of what is a hash. */
function shorten(hash: string): number {
  const { buffer, byteOffset } = decode(hash.slice(0, 8))
  const view = new DataView(buffer, byteOffset)
  return view.getUint16(0) * 2 ** 32 + view.getUint32(2)
}
