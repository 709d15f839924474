/**
 * Where sightings wait until the sentinel has taken them: in order, in batches that keep their name, and, given a folder,
 * over the death of the process. What was seen is in a file at the end of the turn of the event loop in which it was seen;
 * the disk itself is not waited for, so a loss of power may cost the last seconds.
 *
 * Each batch is a file of JSON lines: `<when it was begun>-<kind>-<id of its report>`. Once it has been sent, or is full, or
 * the process is another one, nothing is added to it any more: the same id always means the same sightings, so the sentinel
 * counts them once however often they come. Noise (see `kindOf`) stays in memory: whoever sends garbage fills no disk. What
 * cannot be read back now, since the process has no file left to open, say, is kept and tried again.
 *
 * One process alone may use a folder.
 * @module
 */

import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { encode } from './base64url.ts'
import type { JsonValue } from './json.ts'
import { isEvidence, REPORT_SIGHTINGS_MAX, readSighting, type Sighting, writeSighting } from './sighting.ts'

/** Evidence first: nothing pushes it out, and it leaves before all else. */
const kinds = ['evidence', 'acceptance', 'refusal', 'noise'] as const
type Kind = (typeof kinds)[number]

/** Of each kind, in batches. In memory about 10 MB together, on disk about 100. */
const BATCHES_MAX: Readonly<Record<'memory' | 'disk', Readonly<Record<Kind, number>>>> = {
  memory: { evidence: 32, acceptance: 64, refusal: 16, noise: 4 },
  disk: { evidence: 256, acceptance: 1024, refusal: 128, noise: 4 },
}

/** So many of a kind that are on disk stay in memory too: a sentinel that keeps up is sent what nobody had to read back. */
const BATCHES_AT_HAND_MAX = 8

/** So long acceptances gather, or until they fill a report. */
const GATHER_MILLISECONDS = 1000
/** What could not be read is tried again after so long. */
const REREAD_MILLISECONDS = 1000

/** Sightings that are reported together. */
export interface Batch {
  readonly id: string
  readonly sightings: readonly Sighting[]
}

export interface Spool {
  /** False where there is no room for it. */
  add(sighting: Sighting): boolean
  /** The batch to be sent first, of those that can be read: nothing is added to it from now on. */
  next(): Batch | undefined
  /** It has been taken, or never will be. */
  remove(batch: Pick<Batch, 'id'>): void
  /** When somebody has to look: at once, when the acceptances that gather have gathered for long enough, or to read anew. */
  readonly dueInMilliseconds: number
  /** Brings to the disk what is still in memory, and ends. */
  close(): void
}

interface Waiting {
  readonly kind: Kind
  readonly id: string
  /** When somebody has to look, by `performance.now`. */
  dueAt: number
  /** Undefined where they are in the file alone. */
  sightings: Sighting[] | undefined
  count: number
  readonly file: string | undefined
  descriptor: number | undefined
  /** So much of the file is whole lines. */
  bytes: number
  /** Lines that are not in the file yet. */
  unwritten: string
  isClosed: boolean
}

export interface SpoolOptions {
  /** Left out: everything stays in memory. Made where there is none. */
  readonly folder?: string | undefined
  /** The disk does not take what it should; it stays in memory. */
  readonly onProblem?: ((problem: Error) => void) | undefined
}

/** Takes up what a process before this one left. Throws where the folder cannot be used. */
export function createSpool({ folder, onProblem = () => {} }: SpoolOptions = {}): Spool {
  const waiting: Record<Kind, Waiting[]> = { evidence: [], acceptance: [], refusal: [], noise: [] }
  const limits = BATCHES_MAX[folder === undefined ? 'memory' : 'disk']
  const unwritten = new Set<Waiting>()
  let last = 0
  let writing: NodeJS.Immediate | undefined
  if (folder !== undefined) for (const batch of readFolder(folder)) waiting[batch.kind].push(batch)

  function add(sighting: Sighting): boolean {
    const kind = kindOf(sighting)
    const batch = openBatch(kind)
    if (batch === undefined) return false
    batch.sightings?.push(sighting)
    batch.count++
    if (batch.file !== undefined) {
      batch.unwritten += `${JSON.stringify(writeSighting(sighting))}\n`
      unwritten.add(batch)
      writing ??= setImmediate(writeAll)
    }
    if (batch.count >= REPORT_SIGHTINGS_MAX) seal(batch)
    return true
  }

  function openBatch(kind: Kind): Waiting | undefined {
    const newest = waiting[kind].at(-1)
    if (newest !== undefined && !newest.isClosed) return newest
    if (waiting[kind].length >= limits[kind]) return undefined
    const id = encode(randomBytes(16))
    // Later than any before, whatever the clock does: files are taken up in the order of their names.
    last = Math.max(last + 1, Date.now())
    const batch: Waiting = {
      kind,
      id,
      dueAt: kind === 'acceptance' ? performance.now() + GATHER_MILLISECONDS : 0,
      sightings: [],
      count: 0,
      file: folder === undefined || kind === 'noise' ? undefined : join(folder, nameOf(last, kind, id)),
      descriptor: undefined,
      bytes: 0,
      unwritten: '',
      isClosed: false,
    }
    waiting[kind].push(batch)
    return batch
  }

  function writeAll(): void {
    writing = undefined
    // What the disk does not take now is tried again with the next, and all after it wait for that.
    for (const batch of unwritten) if (!write(batch)) return
  }

  /** Whether the file has it all. */
  function write(batch: Waiting): boolean {
    try {
      append(batch)
    } catch (error) {
      onProblem(error as Error)
    }
    if (batch.isClosed && batch.descriptor !== undefined) {
      closeSync(batch.descriptor)
      batch.descriptor = undefined
    }
    return batch.unwritten === ''
  }

  function append(batch: Waiting): void {
    if (batch.file === undefined || batch.unwritten === '') return
    batch.descriptor ??= openSync(batch.file, constants.O_WRONLY | constants.O_CREAT, 0o600)
    // What an earlier attempt left of a line is written over by the whole one.
    let at = batch.bytes
    for (let rest = Buffer.from(batch.unwritten); rest.length > 0; ) {
      const count = writeSync(batch.descriptor, rest, 0, rest.length, at)
      rest = rest.subarray(count)
      at += count
    }
    batch.bytes = at
    batch.unwritten = ''
    unwritten.delete(batch)
  }

  /** Nothing comes to it any more. */
  function seal(batch: Waiting): void {
    batch.isClosed = true
    batch.dueAt = 0
    write(batch)
    // The file has it all; whoever is away for long may not fill the memory.
    const isAtHand = waiting[batch.kind].length <= BATCHES_AT_HAND_MAX
    if (batch.file !== undefined && batch.unwritten === '' && !isAtHand) batch.sightings = undefined
  }

  function next(): Batch | undefined {
    for (const kind of kinds) {
      for (const batch of [...waiting[kind]]) {
        const sightings = batch.sightings ?? readBatch(batch)
        if (sightings === undefined) continue
        if (!batch.isClosed) seal(batch)
        if (sightings.length > 0) return { id: batch.id, sightings }
        // Begun by a process that died before it had written anything, or spoilt by somebody else.
        remove(batch)
      }
    }
    return undefined
  }

  /** Undefined where it may be readable later. */
  function readBatch(batch: Waiting): readonly Sighting[] | undefined {
    try {
      return readFile(batch.file ?? '')
    } catch (error) {
      onProblem(error as Error)
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      batch.dueAt = performance.now() + REREAD_MILLISECONDS
      return undefined
    }
  }

  function remove({ id }: Pick<Batch, 'id'>): void {
    for (const kind of kinds) {
      // Not always the first any more: what proves more may have come meanwhile, and what is sent is in nobody's way.
      const at = waiting[kind].findIndex((batch) => batch.id === id)
      const [batch] = at === -1 ? [] : waiting[kind].splice(at, 1)
      if (batch?.file === undefined) continue
      unwritten.delete(batch)
      try {
        rmSync(batch.file, { force: true })
      } catch (error) {
        // Taken up at the next start, and sent again under its id.
        onProblem(error as Error)
      }
    }
  }

  return {
    add,
    next,
    remove,
    get dueInMilliseconds() {
      const dueAt = kinds.flatMap((kind) => waiting[kind].map((batch) => batch.dueAt))
      return Math.max(0, Math.min(...dueAt) - performance.now())
    },
    close: () => {
      clearImmediate(writing)
      writeAll()
      for (const kind of kinds) for (const batch of waiting[kind]) if (!batch.isClosed) seal(batch)
    },
  }
}

/**
 * What everybody can show who was ever given a token, such as one that has expired, is a refusal like any other: evidence has
 * its room for itself. An invalid signature is noise.
 */
function kindOf(sighting: Sighting): Kind {
  if (sighting.verdict === 'accepted') return 'acceptance'
  if (sighting.signatureValid !== true) return 'noise'
  return isEvidence(sighting) ? 'evidence' : 'refusal'
}

const fileName = /^(\d{15})-(evidence|acceptance|refusal)-([A-Za-z0-9_-]{22})$/

function nameOf(begun: number, kind: Kind, id: string): string {
  return `${String(begun).padStart(15, '0')}-${kind}-${id}`
}

/** What was left, oldest first. */
function readFolder(folder: string): readonly Waiting[] {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const [, , kind, id] = fileName.exec(name) ?? []
      if (kind === undefined || id === undefined) return []
      return [
        {
          kind: kind as Kind,
          id,
          dueAt: 0,
          sightings: undefined,
          count: REPORT_SIGHTINGS_MAX,
          file: join(folder, name),
          descriptor: undefined,
          bytes: 0,
          unwritten: '',
          isClosed: true,
        },
      ]
    })
}

/** The sightings of a file. A line that its process did not finish, or that is none, is no sighting. */
function readFile(file: string): readonly Sighting[] {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return lines.slice(0, REPORT_SIGHTINGS_MAX).flatMap((line) => {
    try {
      return [readSighting(JSON.parse(line) as JsonValue, 'sighting')]
    } catch {
      return []
    }
  })
}
