/**
 * The witness's countersignature on a subtree of its log, with the path that proves one entry inside. Format and
 * rules: spec/receipt.md.
 *
 *     uint8 version = 1; uint8 key_id[4]; varint serial; varint start; varint size; varint offset;
 *     opaque path[32 * n]; opaque signature[64];
 *
 * A varint is unsigned LEB128 in its shortest form; `n` follows from size and offset. A lone token has a subtree of
 * one; a batch shares one signature, which is verified once and then only hashed towards.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { encodeUtf8, sha256 } from '#platform'
import { decode } from './base64url.ts'
import { concat, readUint32 } from './bytes.ts'
import { BoundedCache } from './cache.ts'
import { signInput, verifySignature } from './jws.ts'
import type { ManifestLog } from './manifest.ts'
import { Refusal } from './refusal.ts'
import { HASH_BYTES, inclusionPathLength, isSubtree, nodeHash, type Range } from './tree.ts'

/** Longer paths would outgrow the header that a receipt travels in. */
export const SUBTREE_SIZE_MAX = 32

const VERSION = 1
const SIGNATURE_BYTES = 64

export interface Receipt {
  /** Names the log and the key: first four bytes of a hash, as in a signed note. */
  readonly keyId: number
  /** The entry's serial, which the token itself does not carry. */
  readonly serial: number
  /** The subtree [start, start + size), at most `SUBTREE_SIZE_MAX` leaves. */
  readonly start: number
  readonly size: number
  /** The entry's place in the subtree; its index in the log is `start` + `offset`. */
  readonly offset: number
  readonly path: readonly Uint8Array[]
  readonly signature: Uint8Array
}

/** Subtree roots that a log is known to have countersigned, so that no signature over them has to be verified. */
export interface RootSource {
  /** Whether the subtree [start, start + size) of the log has this root, by the witness's own word. No I/O. */
  has(log: ManifestLog, start: number, size: number, root: Uint8Array): boolean
  /** Hears of a root that it did not have and over which the receipt's own signature is good: of one range there is one. */
  compare?(log: ManifestLog, start: number, size: number, signed: SignedRoot): void
}

/** A subtree's root with the signature over it. */
export interface SignedRoot {
  readonly root: Uint8Array
  readonly signature: Uint8Array
}

/**
 * Throws `Refusal('receipt_invalid')` unless the log countersigned a subtree that holds this leaf where the receipt
 * says. Give the same `verified` each time, and a batch costs one signature check and a hash or two for each entry.
 */
export function verifyReceipt(
  receipt: Receipt,
  leaf: Uint8Array,
  log: ManifestLog,
  verified?: VerifiedRoots,
  known?: RootSource,
): void {
  const { start, size, signature } = receipt
  if (receipt.keyId !== log.receiptKeyId) throw invalid()
  // Another entry of the batch has been here: the signature stands for all of them.
  if (verified?.subtreeOf(log, receipt)?.climb(leaf, receipt) === 'known') return
  const subtree = new Subtree(log, receipt)
  const root = subtree.climb(leaf, receipt)
  if (typeof root !== 'object') throw invalid()
  if (!known?.has(log, start, size, root)) {
    const message = countersignedMessage(log.witness, log.origin, { start, end: start + size }, root)
    if (!verifySignature('ES256', log.receiptKey, message, signature)) throw invalid()
    known?.compare?.(log, start, size, { root, signature })
  }
  if (size > 1) verified?.add(receipt, subtree)
}

/** Countersigns a subtree: what makes its entries issued. */
export function countersign(
  witness: string,
  origin: string,
  subtree: Range,
  root: Uint8Array,
  privateKey: KeyObject,
): Uint8Array {
  return signInput('ES256', privateKey, countersignedMessage(witness, origin, subtree, root))
}

/** C2SP `cosigned_message` (tlog-cosignature): what is signed for a subtree, or with a time for a whole tree. */
export function countersignedMessage(
  witness: string,
  origin: string,
  { start, end }: Range,
  root: Uint8Array,
  timestamp = 0,
): Uint8Array {
  return concat(
    encodeUtf8('subtree/v1\n\0'),
    vector(witness),
    uint64(timestamp),
    vector(origin),
    uint64(start),
    uint64(end),
    root,
  )
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value))
  return bytes
}

/** A text after its length, which has one byte. */
function vector(text: string): Uint8Array {
  const bytes = encodeUtf8(text)
  if (bytes.length > 255) throw new RangeError('a name is too long to be signed')
  return concat(Uint8Array.of(bytes.length), bytes)
}

/** What receipts name a log and its key by: SHA-256(origin || "\n" || 0xff || name of the format || point), 4 bytes. */
export function receiptKeyId(origin: string, receiptKey: KeyObject): number {
  const { x = '', y = '' } = receiptKey.export({ format: 'jwk' })
  const named = concat(
    encodeUtf8(`${origin}\n`),
    Uint8Array.of(0xff),
    encodeUtf8('countersign/receipt/es256\x04'),
    decode(x),
    decode(y),
  )
  return readUint32(sha256(named))
}

export function encodeReceipt(receipt: Receipt): Uint8Array {
  const head = [VERSION, 0, 0, 0, 0]
  for (const value of [receipt.serial, receipt.start, receipt.size, receipt.offset]) pushVarint(head, value)
  const bytes = Uint8Array.from(head)
  new DataView(bytes.buffer).setUint32(1, receipt.keyId)
  return concat(bytes, ...receipt.path, receipt.signature)
}

/** Throws `Refusal('receipt_invalid')` for anything that `encodeReceipt` would not have written for a valid subtree. */
export function decodeReceipt(bytes: Uint8Array): Receipt {
  if (bytes[0] !== VERSION || bytes.length < HEAD_BYTES_MIN + SIGNATURE_BYTES) throw invalid()
  const keyId = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1)
  const cursor = { at: 5 }
  const serial = readVarint(bytes, cursor)
  const start = readVarint(bytes, cursor)
  const size = readVarint(bytes, cursor)
  const offset = readVarint(bytes, cursor)
  const end = start + size
  if (size > SUBTREE_SIZE_MAX || offset >= size || !Number.isSafeInteger(end)) throw invalid()
  if (!isSubtree({ start, end })) throw invalid()
  const pathEnd = cursor.at + inclusionPathLength(offset, size) * HASH_BYTES
  if (bytes.length !== pathEnd + SIGNATURE_BYTES) throw invalid()
  const path: Uint8Array[] = []
  for (let at = cursor.at; at < pathEnd; at += HASH_BYTES) path.push(bytes.subarray(at, at + HASH_BYTES))
  return { keyId, serial, start, size, offset, path, signature: bytes.subarray(pathEnd) }
}

/** Version, key id and four varints. */
const HEAD_BYTES_MIN = 9

/** Subtrees whose root is known to be the witness's word. Bounded: see cache.ts. */
export class VerifiedRoots {
  readonly #subtrees: BoundedCache<Subtree>

  constructor(subtreesMax = 2048) {
    this.#subtrees = new BoundedCache(subtreesMax)
  }

  /** None for another signature, nor for another object that stands for the log: a new manifest starts anew. */
  subtreeOf(log: ManifestLog, receipt: Receipt): Subtree | undefined {
    const subtree = this.#subtrees.get(nameOf(receipt))
    return subtree?.isUnder(log, receipt) ? subtree : undefined
  }

  add(receipt: Receipt, subtree: Subtree): void {
    this.#subtrees.set(nameOf(receipt), subtree)
  }
}

function nameOf({ keyId, start, size }: Receipt): string {
  return `${keyId}+${start}+${size}`
}

/** A subtree by what receipts have shown of it: the nodes on their paths, up to the root. */
class Subtree {
  readonly #log: ManifestLog
  readonly #signature: Uint8Array
  /** Room for the leaves, half as much for the level above them, and so on. */
  readonly #nodes: Uint8Array
  readonly #room: number
  readonly #isKnown: boolean[] = []

  constructor(log: ManifestLog, { size, signature }: Receipt) {
    this.#log = log
    this.#signature = Uint8Array.from(signature)
    this.#room = 2 << (32 - Math.clz32(size - 1))
    this.#nodes = new Uint8Array(this.#room * HASH_BYTES)
  }

  isUnder(log: ManifestLog, { signature }: Receipt): boolean {
    return log === this.#log && isSame(signature, this.#signature, 0, SIGNATURE_BYTES)
  }

  /**
   * Goes up the path from a leaf as `rootFromInclusion` does, but hashes only as far as to a node that is known; from there on
   * the path has to be known too. Gives the root where no node was, and undefined where the path leads elsewhere or nowhere.
   */
  climb(leaf: Uint8Array, { offset, size, path }: Receipt): Uint8Array | 'known' | undefined {
    const met: [number, Uint8Array][] = []
    let node: Uint8Array | 'known' = leaf
    let [at, last, level] = [offset, size - 1, 0]
    for (let height = 0; ; height++, level++, at >>= 1, last >>= 1) {
      for (; at === last && at % 2 === 0 && last > 0; at >>= 1, last >>= 1) level++
      const [own, sibling] = [this.#placeOf(level, at), path[height]]
      if (node !== 'known' && this.#isKnown[own]) {
        if (!this.#has(own, node)) return undefined
        node = 'known'
      }
      if (node !== 'known') met.push([own, node])
      if (last === 0 || sibling === undefined) {
        if (at + last > 0 || sibling !== undefined) return undefined
        for (const [place, hash] of met) this.#note(place, hash)
        return node
      }
      const other = this.#placeOf(level, at ^ 1)
      if (node === 'known') {
        if (!this.#has(other, sibling)) return undefined
      } else {
        met.push([other, sibling])
        node = at % 2 === 1 ? nodeHash(sibling, node) : nodeHash(node, sibling)
      }
    }
  }

  #placeOf(level: number, at: number): number {
    return this.#room - (this.#room >> level) + at
  }

  #has(place: number, hash: Uint8Array): boolean {
    return this.#isKnown[place] === true && isSame(hash, this.#nodes, place * HASH_BYTES, HASH_BYTES)
  }

  #note(place: number, hash: Uint8Array): void {
    this.#nodes.set(hash, place * HASH_BYTES)
    this.#isKnown[place] = true
  }
}

/** By hand: to call the runtime takes longer than so few bytes do. */
function isSame(bytes: Uint8Array, among: Uint8Array, from: number, length: number): boolean {
  for (let at = 0; at < length; at++) if (bytes[at] !== among[from + at]) return false
  return true
}

export function pushVarint(bytes: number[], value: number): void {
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  bytes.push(rest)
}

export function readVarint(bytes: Uint8Array, cursor: { at: number }): number {
  let value = 0
  for (let scale = 1; ; scale *= 0x80) {
    const byte = bytes[cursor.at++]
    if (byte === undefined) throw invalid()
    value += (byte & 0x7f) * scale
    if (!Number.isSafeInteger(value)) throw invalid()
    if (byte >= 0x80) continue
    // A zero in the last place would give one number two encodings.
    if (byte === 0 && scale > 1) throw invalid()
    return value
  }
}

function invalid(): Refusal {
  return new Refusal('receipt_invalid')
}
