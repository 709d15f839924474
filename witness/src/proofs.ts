/**
 * Single entries of a log, each proven to stand where it is said to, from the tiles alone.
 * @module
 */

import { inclusionProof, sameHash, verifyInclusion } from '@countersign/validator/tree'
import { LogMisbehavior } from './misbehavior.ts'
import {
  type KnownLog,
  type LoggedEntry,
  readCheckpoint,
  readEntries,
  readTile,
  type SignedCheckpoint,
} from './source.ts'
import { hashesOf, nodesOfTiles, TILE_WIDTH, tileAt } from './tiles.ts'

/** What proves a leaf: `verifyInclusion(leafHash, index, checkpoint.size, path, checkpoint.root)`. */
export interface Inclusion {
  readonly index: number
  readonly leafHash: Uint8Array
  readonly path: readonly Uint8Array[]
  readonly checkpoint: SignedCheckpoint
}

/** Undefined when the log is not that large yet. Throws `LogMisbehavior` when the tiles do not lead to the root. */
export async function fetchInclusion(log: KnownLog, index: number): Promise<Inclusion | undefined> {
  const checkpoint = await readCheckpoint(log)
  const { size, root, note } = checkpoint
  if (index < 0 || index >= size) return undefined
  const read = nodesOfTiles(size, (tile) => readTile(log.source, tile))
  const leafHash = hashesOf(await readTile(log.source, tileAt(0, index, size)))[index % TILE_WIDTH]
  const path = await inclusionProof(index, { start: 0, end: size }, read)
  if (leafHash === undefined || !verifyInclusion(leafHash, index, size, path, root)) {
    throw new LogMisbehavior('root_mismatch', 'the tiles do not come to the root of the checkpoint', [note])
  }
  return { index, leafHash, path, checkpoint }
}

/** The entry at an index with what proves it. */
export async function fetchEntry(
  log: KnownLog,
  index: number,
): Promise<(LoggedEntry & Inclusion) | undefined> {
  const inclusion = await fetchInclusion(log, index)
  if (inclusion === undefined) return undefined
  const tile = tileAt('entries', index, inclusion.checkpoint.size)
  const entries = readEntries(await readTile(log.source, tile), tile.index * TILE_WIDTH)
  const logged = entries[index % TILE_WIDTH]
  if (logged === undefined || !sameHash(logged.leafHash, inclusion.leafHash)) {
    throw new LogMisbehavior('entry_altered', `entry ${index} is not what its leaf says`, [
      inclusion.checkpoint.note,
    ])
  }
  return { ...logged, ...inclusion }
}
