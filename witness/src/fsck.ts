/**
 * Proves a whole log from its public files alone: every entry is well-formed, every serial rises, every tile is what the
 * entries make it, and the checkpoint is signed and says what they come to.
 * @module
 */

import { openCheckpoint, parseCheckpoint, verifierOf } from '@countersign/validator/checkpoint'
import { formatVkey, NoteRefusal, type NoteVerifier, parseNote, parseVkey } from '@countersign/validator/note'
import { GrowingTree, sameHash } from '@countersign/validator/tree'
import { LogMisbehavior } from './misbehavior.ts'
import { Serials } from './serials.ts'
import { folderSource, httpSource, type LogSource, readEntries, readTile, systemSeconds } from './source.ts'
import { TILE_HEIGHT, TILE_WIDTH, tileAt, tilePath } from './tiles.ts'

export type FsckOptions = (
  | { readonly url: string }
  | { readonly folder: string }
  | { readonly source: LogSource }
) & {
  /**
   * Verifier keys, of which the log's own must have signed, or what verifies the log that has this origin. Left out: the log is
   * proven whole, but not whose it is.
   */
  readonly vkey?: string | readonly string[] | ((origin: string) => NoteVerifier) | undefined
}

export interface FsckReport {
  readonly origin: string
  readonly size: number
  /** Base64, as in the checkpoint. */
  readonly root: string
  readonly bundleCount: number
  readonly tileCount: number
  /** How many keys signed what is logged; manifests count as one. */
  readonly keyCount: number
  /** Whose signatures on the checkpoint were verified; empty when no key was given. */
  readonly signedBy: readonly string[]
}

/** Rejects with `LogMisbehavior` at the first thing that is wrong, and with another error where there is nothing to prove. */
export async function fsck(options: FsckOptions): Promise<FsckReport> {
  const source = sourceOf(options)
  const note = await source.read('checkpoint')
  // Nothing is there that could be held against anybody: a name mistyped looks the same.
  if (note === undefined) throw new Error('there is no log: it has no checkpoint')
  const { vkey = [] } = options
  const verifiers = typeof vkey === 'function' ? vkey : [vkey].flat().map(verifierOf)
  const { checkpoint, signedBy } = openNoteWith(note, verifiers)
  const { origin, size, root } = checkpoint
  const levels = new Levels(source, size)
  const serials = new Serials()
  const tree = new GrowingTree()
  const bundles = readAhead(Math.ceil(size / TILE_WIDTH), (index) =>
    readTile(source, tileAt('entries', index * TILE_WIDTH, size)),
  )
  for await (const bundle of bundles) {
    for (const { index, entry, leafHash } of readEntries(bundle, tree.size)) {
      if (!serials.take(entry)) {
        throw new LogMisbehavior('serial_repeated', `the serial of entry ${index} does not rise`)
      }
      tree.append(leafHash, levels.expect)
    }
    await levels.compareFull()
  }
  await levels.compareRest()
  if (!sameHash(tree.root(), root)) {
    throw new LogMisbehavior('root_mismatch', 'the entries do not come to the root of the checkpoint', [
      Buffer.from(note).toString(),
    ])
  }
  return {
    origin,
    size,
    root: Buffer.from(root).toString('base64'),
    bundleCount: Math.ceil(size / TILE_WIDTH),
    tileCount: levels.comparedCount,
    keyCount: serials.keyCount,
    signedBy,
  }
}

/** For the log of whichever epoch of a witness: all of them sign with the key of this one. Throws `NoteRefusal`. */
export function anyEpochOf(vkey: string): (origin: string) => NoteVerifier {
  const { name, ...key } = parseVkey(vkey)
  return (origin) =>
    verifierOf(formatVkey({ ...key, name: witnessOf(origin) === witnessOf(name) ? origin : name }))
}

function witnessOf(origin: string): string {
  return origin.slice(0, origin.lastIndexOf('/'))
}

/** What the tiles of each level should hold, compared as soon as one is complete. */
class Levels {
  readonly #source: LogSource
  readonly #size: number
  /** Per level: how many hashes have been compared, and those that are still to be. */
  readonly #expected: { compared: number; hashes: Uint8Array[] }[] = []
  comparedCount = 0

  constructor(source: LogSource, size: number) {
    this.#source = source
    this.#size = size
  }

  readonly expect = (level: number, hash: Uint8Array): void => {
    if (level % TILE_HEIGHT !== 0) return
    const tileLevel = level / TILE_HEIGHT
    const expected = this.#expected[tileLevel] ?? { compared: 0, hashes: [] }
    this.#expected[tileLevel] = expected
    expected.hashes.push(hash)
  }

  async compareFull(): Promise<void> {
    for (const [level, { hashes }] of this.#expected.entries()) {
      if (hashes.length >= TILE_WIDTH) await this.#compare(level)
    }
  }

  async compareRest(): Promise<void> {
    for (const [level, { hashes }] of this.#expected.entries())
      if (hashes.length > 0) await this.#compare(level)
  }

  async #compare(level: number): Promise<void> {
    const expected = this.#expected[level] ?? { compared: 0, hashes: [] }
    const tile = tileAt(level, expected.compared, this.#size)
    const bytes = await readTile(this.#source, tile)
    if (!sameHash(bytes, Buffer.concat(expected.hashes.slice(0, tile.width)))) {
      throw new LogMisbehavior('tile_altered', `${tilePath(tile)} is not what the entries make it`)
    }
    expected.hashes.splice(0, tile.width)
    expected.compared += tile.width
    this.comparedCount++
  }
}

function openNoteWith(
  note: Uint8Array,
  verifiers: readonly NoteVerifier[] | ((origin: string) => NoteVerifier),
) {
  try {
    const claimed = parseCheckpoint(parseNote(note).text)
    const { origin } = claimed
    const ofLog = typeof verifiers === 'function' ? [verifiers(origin)] : verifiers
    if (ofLog.length === 0) return { checkpoint: claimed, signedBy: [] }
    const checkpoint = openCheckpoint(note, origin, ofLog, systemSeconds())
    return { checkpoint, signedBy: checkpoint.signatures.map(({ name }) => name) }
  } catch (error) {
    if (!(error instanceof NoteRefusal)) throw error
    throw new LogMisbehavior('checkpoint_invalid', error.message, [Buffer.from(note).toString('latin1')])
  }
}

function sourceOf(options: FsckOptions): LogSource {
  if ('url' in options) return httpSource(options.url)
  return 'folder' in options ? folderSource(options.folder) : options.source
}

/** Reads the next while the caller works on this one. */
async function* readAhead<Item>(count: number, read: (index: number) => Promise<Item>): AsyncGenerator<Item> {
  const begin = (index: number): Promise<Item> => {
    const reading = read(index)
    // Heard when its turn comes; a caller that stops before leaves it.
    reading.catch(() => {})
    return reading
  }
  let next = count > 0 ? begin(0) : undefined
  for (let index = 1; next !== undefined; index++) {
    const item = await next
    next = index < count ? begin(index) : undefined
    yield item
  }
}
