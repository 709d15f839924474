/**
 * How the log's resources are named (C2SP tlog-tiles) and where each lies in the files that the log keeps. A tile is
 * 256 hashes of one level, a bundle 256 entries; both are stretches of files that only grow, so nothing is stored
 * twice and a partial tile is the beginning of the full one.
 *
 *     tile/<level>/<index>[.p/<width>]      tile/entries/<index>[.p/<width>]      index 1234067 is x001/x234/067
 * @module
 */

import { ENTRY_BYTES } from '@countersign/validator/entry'
import { GrowingTree, HASH_BYTES, type ReadNode } from '@countersign/validator/tree'

export const TILE_WIDTH = 256
/** A tile of level L holds hashes of whole subtrees of 2^(8 * L) leaves. */
export const TILE_HEIGHT = 8
/** In a bundle, a big-endian uint16 length stands before each entry. */
export const RECORD_BYTES = 2 + ENTRY_BYTES

/** What a tile holds: hashes of a level, or the entries themselves. */
export type TileKind = number | 'entries'

export interface TileName {
  readonly kind: TileKind
  readonly index: number
  /** 256 for a full tile. */
  readonly width: number
}

export function tilePath({ kind, index, width }: TileName): string {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.{3}/g) ?? []
  const elements = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group))
  return `tile/${kind}/${elements.join('/')}${width < TILE_WIDTH ? `.p/${width}` : ''}`
}

/** Undefined for any other spelling than the one that `tilePath` writes. */
export function parseTilePath(path: string): TileName | undefined {
  const match =
    /^tile\/(entries|[0-9]|[1-5][0-9]|6[0-3])\/((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path)
  if (match === null) return undefined
  const [, kind = '', groups = '', width] = match
  const name: TileName = {
    kind: kind === 'entries' ? kind : Number(kind),
    index: Number(groups.replace(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  }
  return Number.isSafeInteger(name.index) && tilePath(name) === path ? name : undefined
}

/** How many hashes (or entries) a level has in a tree of `size` leaves. */
export function levelLength(kind: TileKind, size: number): number {
  return kind === 'entries' ? size : Math.floor(size / TILE_WIDTH ** kind)
}

/** How many levels of tiles a tree of `size` leaves has. */
export function levelCount(size: number): number {
  let count = 0
  while (levelLength(count, size) > 0) count++
  return count
}

/** The tile that holds what stands at `position` of a level, as wide as it is in a tree of `size` leaves. */
export function tileAt(kind: TileKind, position: number, size: number): TileName {
  const index = Math.floor(position / TILE_WIDTH)
  return { kind, index, width: Math.min(TILE_WIDTH, levelLength(kind, size) - index * TILE_WIDTH) }
}

/** Where a tile's bytes lie in the file of its level. */
export function tileSlice({ kind, index, width }: TileName): { offset: number; length: number } {
  const unit = kind === 'entries' ? RECORD_BYTES : HASH_BYTES
  return { offset: index * TILE_WIDTH * unit, length: width * unit }
}

/** Reads nodes of a tree of `size` leaves from its tiles: those between two levels of tiles are hashed anew. */
export function nodesOfTiles(size: number, readTile: (tile: TileName) => Promise<Uint8Array>): ReadNode {
  return async (level, index) => {
    const count = 2 ** (level % TILE_HEIGHT)
    const first = index * count
    const tile = tileAt(Math.floor(level / TILE_HEIGHT), first, size)
    const hashes = hashesOf(await readTile(tile)).slice(first % TILE_WIDTH, (first % TILE_WIDTH) + count)
    if (hashes.length < count) throw new RangeError(`${tilePath(tile)} is too short`)
    const tree = new GrowingTree()
    for (const each of hashes) tree.append(each)
    return tree.root()
  }
}

/** The hashes of a tile. */
export function hashesOf(tile: Uint8Array): readonly Uint8Array[] {
  return slices(tile, HASH_BYTES)
}

/** The entries of a bundle, not yet decoded; undefined when it is not whole records of the right length. */
export function entriesOf(bundle: Uint8Array): readonly Uint8Array[] | undefined {
  const records = slices(bundle, RECORD_BYTES)
  if (records.some((record) => record.length < RECORD_BYTES || record[0] !== 0 || record[1] !== ENTRY_BYTES))
    return undefined
  return records.map((record) => record.subarray(2))
}

/** Entries as they stand in a bundle, each behind its length. */
export function recordsOf(entries: readonly Uint8Array[]): Uint8Array {
  const records = new Uint8Array(entries.length * RECORD_BYTES)
  for (const [at, entry] of entries.entries()) {
    records[at * RECORD_BYTES + 1] = entry.length
    records.set(entry, at * RECORD_BYTES + 2)
  }
  return records
}

function slices(bytes: Uint8Array, length: number): readonly Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / length) }, (_, at) =>
    bytes.subarray(at * length, (at + 1) * length),
  )
}
