/**
 * Where a log is read from: its URL, or a folder that holds a copy of its public files under the same names.
 * @module
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type OpenedCheckpoint, openCheckpoint } from '@countersign/validator/checkpoint'
import { decodeEntry, type Entry, leafHash } from '@countersign/validator/entry'
import { NoteRefusal, type NoteVerifier } from '@countersign/validator/note'
import { Refusal } from '@countersign/validator/refusal'
import { LogMisbehavior } from './misbehavior.ts'
import { entriesOf, RECORD_BYTES, TILE_WIDTH, type TileName, tilePath, tileSlice } from './tiles.ts'

export interface LogSource {
  /** A resource by its path below the log's prefix, such as `checkpoint`; undefined when the log has none. */
  read(path: string): Promise<Uint8Array | undefined>
}

/** A log that has not answered by then is away. */
const ANSWER_MILLISECONDS_MAX = 10_000
/** No tile, bundle or checkpoint of ours is larger. */
const RESOURCE_BYTES_MAX = 1024 * 1024

export function httpSource(url: string): LogSource {
  const base = url.endsWith('/') ? url : `${url}/`
  return {
    read: async (path) => {
      const response = await fetch(new URL(path, base), {
        signal: AbortSignal.timeout(ANSWER_MILLISECONDS_MAX),
        redirect: 'error',
      }).catch((cause) => {
        throw new Error(`${url} does not answer`, { cause })
      })
      if (response.status === 404) {
        await response.body?.cancel()
        return undefined
      }
      if (!response.ok) throw new Error(`${url} answers ${response.status}`)
      return readBounded(response)
    },
  }
}

/** The log of one epoch of a witness, wherever a later epoch has begun: by its origin, `name/epoch`. */
export function epochSource(witnessUrl: string, origin: string): LogSource {
  const base = witnessUrl.endsWith('/') ? witnessUrl : `${witnessUrl}/`
  return httpSource(new URL(`epochs/${origin.slice(origin.lastIndexOf('/') + 1)}`, base).href)
}

export function folderSource(folder: string): LogSource {
  return {
    read: (path) =>
      readFile(join(folder, path)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
        throw error
      }),
  }
}

/** A log as whoever reads it knows it beforehand. */
export interface KnownLog {
  readonly source: LogSource
  readonly origin: string
  readonly verifiers: readonly NoteVerifier[]
  /** Seconds since the epoch; the machine's clock when left out. */
  readonly now?: () => number
}

export interface SignedCheckpoint extends OpenedCheckpoint {
  /** The note as it was served: it proves, should the log contradict it. */
  readonly note: string
}

/** The log's checkpoint, verified. Throws `LogMisbehavior` for one that is not what it should be. */
export async function readCheckpoint(log: KnownLog): Promise<SignedCheckpoint> {
  const { source, origin, verifiers, now = systemSeconds } = log
  const bytes = await source.read('checkpoint')
  if (bytes === undefined) throw new Error('the log has no checkpoint')
  try {
    return { ...openCheckpoint(bytes, origin, verifiers, now()), note: Buffer.from(bytes).toString() }
  } catch (error) {
    if (!(error instanceof NoteRefusal)) throw error
    throw new LogMisbehavior('checkpoint_invalid', error.message, [Buffer.from(bytes).toString('latin1')])
  }
}

/**
 * Reads a tile or bundle that a checkpoint asks for. A log may drop a partial one once it is full, so the beginning of
 * the full one will do. Throws `LogMisbehavior` when neither is there, whole.
 */
export async function readTile(source: LogSource, tile: TileName): Promise<Uint8Array> {
  const { length } = tileSlice(tile)
  const exact = await source.read(tilePath(tile))
  if (exact?.length === length) return exact
  const full =
    tile.width < TILE_WIDTH ? await source.read(tilePath({ ...tile, width: TILE_WIDTH })) : undefined
  if (full !== undefined && full.length >= length) return full.subarray(0, length)
  const code = tile.kind === 'entries' ? 'bundle_missing' : 'tile_missing'
  throw new LogMisbehavior(code, `the log has no whole ${tilePath(tile)}`)
}

/** The entries of a bundle, well-formed. Throws `LogMisbehavior`. */
export function readEntries(bundle: Uint8Array, firstIndex: number): readonly LoggedEntry[] {
  const entries = entriesOf(bundle) ?? []
  if (entries.length * RECORD_BYTES !== bundle.length) throw malformed(firstIndex)
  return entries.map((bytes, at) => {
    const index = firstIndex + at
    try {
      return { index, bytes, entry: decodeEntry(bytes), leafHash: leafHash(bytes) }
    } catch (error) {
      if (error instanceof Refusal) throw malformed(index)
      throw error
    }
  })
}

export interface LoggedEntry {
  readonly index: number
  readonly bytes: Uint8Array
  readonly entry: Entry
  readonly leafHash: Uint8Array
}

export function systemSeconds(): number {
  return Math.floor(Date.now() / 1000)
}

function malformed(index: number): LogMisbehavior {
  return new LogMisbehavior('entry_malformed', `entry ${index} is malformed`)
}

async function readBounded(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > RESOURCE_BYTES_MAX) throw new Error('a resource of the log is larger than any can be')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
