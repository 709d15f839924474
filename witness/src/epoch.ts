/**
 * The log of one epoch on disk. Only `entries` decides what the log holds; the rest follows from it.
 *
 *     entries     every entry behind its length: bundle after bundle, appended and synced before anything is released
 *     mark        how far receipts may have been released, written after each sync; see `mark.ts`
 *     tiles-<L>   the hashes of level L, tile after tile, written when a checkpoint is
 *
 * After a crash, what lies beyond mark and checkpoint was never released: whole entries stay (each becomes an entry
 * without a token), a torn one is cut off. Anything wrong before that is no crash, and the log does not open.
 * @module
 */

import { decodeEntry, type Entry, leafHash } from '@countersign/validator/entry'
import { Refusal } from '@countersign/validator/refusal'
import { GrowingTree, HASH_BYTES, peakRanges, sameHash, subtreeRoot } from '@countersign/validator/tree'
import { type Batch, windowStart } from './countersign.ts'
import type { Disk, DiskFile } from './disk.ts'
import { LogFault } from './fault.ts'
import { emptyHead, type Head, Mark } from './mark.ts'
import {
  entriesOf,
  levelCount,
  levelLength,
  nodesOfTiles,
  RECORD_BYTES,
  recordsOf,
  TILE_HEIGHT,
  TILE_WIDTH,
  type TileName,
  tilePath,
  tileSlice,
} from './tiles.ts'

export class EpochLog {
  readonly #disk: Disk
  readonly #folder: string
  readonly #entries: DiskFile
  readonly #mark: Mark
  readonly #levels: DiskFile[] = []
  /** Hashes of each level that are not in its file yet. */
  readonly #pending: Uint8Array[][] = []
  #tree = new GrowingTree()
  /** Leaf hashes since the start of the window that the next entry falls in. */
  #window: readonly Uint8Array[] = []
  #released = emptyHead
  /** How many leaves the files of the levels account for. */
  #storedSize = 0

  private constructor(disk: Disk, folder: string, entries: DiskFile, mark: Mark) {
    this.#disk = disk
    this.#folder = folder
    this.#entries = entries
    this.#mark = mark
  }

  /** Makes the files of a new epoch. Empty ones of an attempt that was cut short will do; others are a fault. */
  static async create(disk: Disk, folder: string): Promise<void> {
    await disk.create(`${folder}/entries`)
    if ((await disk.read(`${folder}/entries`))?.length !== 0) {
      throw new LogFault('state_missing', `${folder}/entries holds what no state accounts for`)
    }
    await Mark.create(disk, `${folder}/mark`)
  }

  /**
   * Opens an epoch's log, having made sure that it continues `checkpoint` and all that was released after it. `keep`
   * hears each entry beyond the checkpoint, with its index; one that it does not want counts as torn.
   */
  static async open(
    disk: Disk,
    folder: string,
    checkpoint: Head,
    keep: (entry: Entry, index: number) => boolean,
  ): Promise<EpochLog> {
    const entries = await disk.open(`${folder}/entries`, 'append')
    if (entries === undefined) throw new LogFault('entries_missing', `${folder}/entries is gone`)
    const log = new EpochLog(disk, folder, entries, await Mark.open(disk, `${folder}/mark`))
    try {
      await log.#recover(checkpoint, keep)
      return log
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** What is durable and may have been released. */
  get released(): Head {
    return this.#released
  }

  /**
   * Appends entries and settles once they are durable, with what `whileSyncing` made of them meanwhile; only then may
   * that leave this process. Calls must not overlap. After it rejects, the log must be opened anew.
   */
  async append<Result>(
    entries: readonly Uint8Array[],
    whileSyncing: (batch: Pick<Batch, 'first' | 'leaves'>) => Result,
  ): Promise<Result> {
    const first = this.#tree.size
    await this.#entries.write(recordsOf(entries), first * RECORD_BYTES)
    const synced = this.#entries.sync()
    // Heard below; here only so that it is never unheard, should the work on the batch throw first.
    synced.catch(() => {})
    // The processor works while the disk does.
    const leaves = [...this.#window, ...entries.map(leafHash)]
    for (const leaf of leaves.slice(this.#window.length)) this.#grow(leaf)
    this.#window = leaves.slice(windowStart(this.#tree.size) - windowStart(first))
    const result = whileSyncing({ first, leaves })
    await synced
    await this.#release()
    return result
  }

  /** Brings the files of the levels up to a size that was released, and makes them durable. */
  async storeTiles(size: number): Promise<void> {
    for (let level = 0; level < levelCount(size); level++) {
      const stored = levelLength(level, this.#storedSize)
      const hashes = this.#pending[level]?.splice(0, levelLength(level, size) - stored) ?? []
      if (hashes.length === 0) continue
      const file = await this.#levelFile(level)
      await file.write(Buffer.concat(hashes), stored * HASH_BYTES)
      await file.sync()
    }
    this.#storedSize = size
  }

  async close(): Promise<void> {
    await Promise.all([this.#entries, this.#mark, ...this.#levels].map((file) => file.close()))
  }

  #grow(leaf: Uint8Array): void {
    this.#tree.append(leaf, (level, hash) => {
      if (level % TILE_HEIGHT !== 0) return
      const pending = this.#pending[level / TILE_HEIGHT] ?? []
      this.#pending[level / TILE_HEIGHT] = pending
      pending.push(hash)
    })
  }

  async #release(): Promise<void> {
    const head = { size: this.#tree.size, root: this.#tree.root() }
    // Compare and set: had anybody else written here, the file would be longer now, and nothing is released.
    if ((await this.#entries.size()) !== head.size * RECORD_BYTES) {
      throw new LogFault('another_writer', `${this.#folder}/entries was written to by someone else`)
    }
    await this.#mark.set(head)
    this.#released = head
  }

  async #recover(checkpoint: Head, keep: (entry: Entry, index: number) => boolean): Promise<void> {
    const mark = this.#mark.head
    const releasedSize = Math.max(mark.size, checkpoint.size)
    this.#tree = await this.#treeOfTiles(checkpoint)
    this.#storedSize = this.#tree.size
    const verify = (): void => {
      for (const { size, root } of [checkpoint, mark]) {
        if (size !== this.#tree.size || sameHash(root, this.#tree.root())) continue
        throw new LogFault('entries_altered', `${this.#folder}/entries is not what was released`)
      }
    }
    verify()
    for await (const record of this.#records(this.#tree.size)) {
      const entry = decodeRecord(record)
      const index = this.#tree.size
      if (entry === undefined || (index >= checkpoint.size && !keep(entry, index))) break
      this.#grow(leafHash(record.subarray(2)))
      verify()
    }
    if (this.#tree.size < releasedSize) {
      throw new LogFault('entries_missing', `${this.#folder}/entries lacks entries that were released`)
    }
    await this.#entries.truncate(this.#tree.size * RECORD_BYTES)
    await this.#entries.sync()
    await this.#release()
    await this.#mark.sync()
    await this.#truncateLevels()
    await this.#readWindow()
  }

  /** The tree at the checkpoint where the tiles lead to its root, and else an empty one: tiles can be made again. */
  async #treeOfTiles({ size, root }: Head): Promise<GrowingTree> {
    const read = nodesOfTiles(size, tileReader(this.#disk, this.#folder))
    try {
      const tree = GrowingTree.continue(
        size,
        await Promise.all(peakRanges(size).map((range) => subtreeRoot(range, read))),
      )
      if (sameHash(tree.root(), root)) return tree
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
    return new GrowingTree()
  }

  async *#records(from: number): AsyncGenerator<Uint8Array> {
    for (let offset = from * RECORD_BYTES; ; ) {
      const chunk = await this.#entries.read(offset, TILE_WIDTH * RECORD_BYTES)
      for (let at = 0; at < chunk.length; at += RECORD_BYTES) yield chunk.subarray(at, at + RECORD_BYTES)
      if (chunk.length < TILE_WIDTH * RECORD_BYTES) return
      offset += chunk.length
    }
  }

  /** A crash between the tiles and the checkpoint leaves hashes that will be written again. */
  async #truncateLevels(): Promise<void> {
    for (let level = 0; level <= levelCount(this.#tree.size); level++) {
      const file = await this.#disk.open(tilesFile(this.#folder, level), 'append')
      if (file === undefined) return
      await file.truncate(levelLength(level, this.#storedSize) * HASH_BYTES)
      this.#levels[level] = file
    }
  }

  async #readWindow(): Promise<void> {
    const first = windowStart(this.#tree.size)
    const length = (this.#tree.size - first) * RECORD_BYTES
    const entries = entriesOf(await this.#entries.read(first * RECORD_BYTES, length)) ?? []
    this.#window = entries.map(leafHash)
  }

  async #levelFile(level: number): Promise<DiskFile> {
    const path = tilesFile(this.#folder, level)
    if (this.#levels[level] === undefined) await this.#disk.create(path)
    const file = this.#levels[level] ?? (await this.#disk.open(path, 'append'))
    if (file === undefined) throw new LogFault('disk_failed', `${path} is gone`)
    this.#levels[level] = file
    return file
  }
}

/** Reads tiles and bundles of an epoch's log, open or sealed. Throws RangeError for one that is not there, or not whole. */
export function tileReader(disk: Disk, folder: string): (tile: TileName) => Promise<Uint8Array> {
  return async (tile) => {
    const file = await disk.open(
      tile.kind === 'entries' ? `${folder}/entries` : tilesFile(folder, tile.kind),
      'read',
    )
    try {
      const { offset, length } = tileSlice(tile)
      const bytes = await file?.read(offset, length)
      if (bytes?.length !== length) throw new RangeError(`there is no ${tilePath(tile)}`)
      return bytes
    } finally {
      await file?.close()
    }
  }
}

function tilesFile(folder: string, level: number): string {
  return `${folder}/tiles-${level}`
}

function decodeRecord(record: Uint8Array): Entry | undefined {
  const [entry] = entriesOf(record) ?? []
  try {
    return entry && decodeEntry(entry)
  } catch (error) {
    if (error instanceof Refusal) return undefined
    throw error
  }
}
