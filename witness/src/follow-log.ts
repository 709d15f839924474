/**
 * Reads a log as it grows: every entry once, in order, each checkpoint proven to continue the one before by growing
 * the tree along. Whoever keeps a `LogPosition` goes on where it stopped, and a log that has changed its past since is
 * found out.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Checkpoint } from '@countersign/validator/checkpoint'
import { consistencyProof, GrowingTree, sameHash, verifyConsistency } from '@countersign/validator/tree'
import { LogMisbehavior } from './misbehavior.ts'
import {
  type KnownLog,
  type LoggedEntry,
  readCheckpoint,
  readEntries,
  readTile,
  type SignedCheckpoint,
} from './source.ts'
import { nodesOfTiles, TILE_WIDTH, tileAt } from './tiles.ts'

export interface FollowLogOptions extends KnownLog {
  /** Where to go on; left out, at the first entry. */
  readonly position?: LogPosition | undefined
  readonly pollMilliseconds?: number
  /** Ends the following. */
  readonly signal?: AbortSignal
  /** The log did not answer; it is asked again. */
  readonly onProblem?: (problem: Error) => void
}

/** How far a log has been read, and the tree up to there: plain JSON. */
export interface LogPosition {
  readonly size: number
  /** Base64. */
  readonly peaks: readonly string[]
  /** The checkpoint that it was read under, and the newest time that a cosigner gave there. */
  readonly note: string
  readonly signedAt: number
}

/** New entries, perhaps none, that a new checkpoint is proven to hold. */
export interface LogGrowth {
  readonly entries: readonly LoggedEntry[]
  readonly checkpoint: SignedCheckpoint
  /** After these entries. Its `signedAt` tells when the log was last known to be alive. */
  readonly position: LogPosition
}

const POLL_MILLISECONDS = 500
/** How many entries are handed out at once: whoever was away for long reads a large log in parts. */
const GROWTH_ENTRIES_MAX = 16 * TILE_WIDTH

/**
 * Hands out what the log grows by. An older checkpoint than the last is passed over: to whoever follows, a log that
 * shows nothing newer has fallen silent. Throws `LogMisbehavior` with the notes that prove it; ends when told to.
 */
export async function* followLog(options: FollowLogOptions): AsyncGenerator<LogGrowth> {
  const { pollMilliseconds = POLL_MILLISECONDS, signal, onProblem = () => {} } = options
  let { position } = options
  const isEnded = (): boolean => signal?.aborted === true
  while (!isEnded()) {
    let growth: LogGrowth | undefined
    try {
      growth = await readGrowth(options, position)
    } catch (error) {
      if (error instanceof LogMisbehavior) throw error
      if (!isEnded()) onProblem(error as Error)
    }
    if (growth !== undefined) {
      position = growth.position
      yield growth
    }
    if (growth === undefined || position?.size === growth.checkpoint.size) {
      await delay(pollMilliseconds, undefined, signal && { signal }).catch(() => {})
    }
  }
}

/** Undefined when there is nothing newer. */
async function readGrowth(log: KnownLog, before: LogPosition | undefined): Promise<LogGrowth | undefined> {
  const checkpoint = await readCheckpoint(log)
  const { size, root, note } = checkpoint
  const signedAt = Math.max(0, ...checkpoint.signatures.map((each) => each.signedAt ?? 0))
  const notes = [...(before === undefined ? [] : [before.note]), note]
  const tree = treeAt(before)
  if (size === tree.size && !sameHash(tree.root(), root)) {
    throw new LogMisbehavior('forked', 'two checkpoints of one size have different roots', notes)
  }
  if (before !== undefined) {
    if (size < before.size && signedAt > before.signedAt) {
      throw new LogMisbehavior('rolled_back', 'a later checkpoint has fewer entries', notes)
    }
    if (size < before.size || signedAt < before.signedAt) return undefined
    if (note === before.note && size === before.size) return undefined
  }
  const entries = await readNext(log, tree, size)
  if (!(await isBeginning(log, tree, checkpoint))) {
    throw new LogMisbehavior('forked', 'the entries do not lead from one checkpoint to the next', notes)
  }
  const peaks = tree.peaks.map((peak) => Buffer.from(peak).toString('base64'))
  return { entries, checkpoint, position: { size: tree.size, peaks, note, signedAt } }
}

/** Reads the entries that follow the tree, and grows it by them. */
async function readNext({ source }: KnownLog, tree: GrowingTree, size: number): Promise<LoggedEntry[]> {
  const entries: LoggedEntry[] = []
  const end = Math.min(size, tree.size + GROWTH_ENTRIES_MAX)
  while (tree.size < end) {
    const tile = tileAt('entries', tree.size, size)
    const bundle = await readTile(source, tile)
    for (const logged of readEntries(bundle, tile.index * TILE_WIDTH)) {
      if (logged.index !== tree.size) continue
      tree.append(logged.leafHash)
      entries.push(logged)
    }
  }
  return entries
}

async function isBeginning(
  { source }: KnownLog,
  tree: GrowingTree,
  { size, root }: Checkpoint,
): Promise<boolean> {
  if (tree.size === size) return sameHash(tree.root(), root)
  const read = nodesOfTiles(size, (tile) => readTile(source, tile))
  const proof = await consistencyProof({ start: 0, end: tree.size }, size, read)
  return verifyConsistency(tree.size, tree.root(), size, root, proof)
}

function treeAt(position: LogPosition | undefined): GrowingTree {
  const { size = 0, peaks = [] } = position ?? {}
  return GrowingTree.continue(
    size,
    peaks.map((peak) => Buffer.from(peak, 'base64')),
  )
}
