/**
 * Tokens that are not to be accepted although nothing in the manifest says so: somebody else, who may say it, has told us.
 * A validator that is given such a source asks it about each token, also about one that it accepted before.
 *
 *     const denials = openDenials({ file: join(state, 'denials.jsonl') })
 *     const validator = createValidator({ …, denials })
 *     await denials.add({ issuer, session: sid, before: now })
 *
 * Whoever denies can only take away, and only from tokens of the issuer that it speaks for. What was denied is on the disk
 * before `add` settles, and is bounded: past the bound an issuer's denials become one, which reaches more and never less.
 * @module
 */

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { type JsonObject, type JsonValue, parseObject } from './json.ts'
import { Refusal } from './refusal.ts'

/** What of a token is asked about. */
export interface Deniable {
  readonly issuer: string
  readonly kid: string
  readonly subject: string | undefined
  /** `sid`. */
  readonly session: string | undefined
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

/** The words of `Refusal` that a denial can have. */
export type DenialReason = 'key_revoked' | 'issued_before_cutoff'

/**
 * Who may deny a token besides the manifest. It is asked about each token, also about one that was accepted before.
 */
export interface DenialSource {
  /** Why the token is refused, or undefined. Asked for every token: no I/O. */
  reasonFor(token: Deniable): DenialReason | undefined
}

/** Of one issuer: all that a key signed, or what was issued before a time: in a session, for a subject, or altogether. */
export type Denial =
  | { readonly issuer: string; readonly kid: string }
  | { readonly issuer: string; readonly session: string; readonly before: number }
  | { readonly issuer: string; readonly subject: string; readonly before: number }
  | { readonly issuer: string; readonly before: number }

/** Denials that are kept, in a file where one is given, and added to. */
export interface Denials extends DenialSource {
  /** Settles when it holds and is on the disk. Rejects where it is not; it holds until the end of this process even so. */
  add(denial: Denial): Promise<void>
  /** How many are kept. */
  readonly count: number
}

export interface DenialsOptions {
  /**
   * Keeps them over a restart, for one process at a time: the last that opened it. Left out: a restart forgets them, and tokens
   * from before are good again.
   */
  readonly file?: string | undefined
  /** How many of each issuer are kept apart. */
  readonly entriesMax?: number | undefined
  /** How long after `before` a token from before it may still live. */
  readonly tokenSecondsMax?: number | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

const ENTRIES_MAX = 100_000
/** What a preset of another issuer may be told to allow at most; a charter may less. */
const TOKEN_SECONDS_MAX = 30 * 24 * 3600
/** Lines that say nothing any more, beside as many as there are denials, before the file is written anew. */
const STALE_LINES_MAX = 256

/** Throws where the file is there and cannot be read: what it held would be forgotten otherwise. */
export function openDenials(options: DenialsOptions = {}): Denials {
  const { file, entriesMax = ENTRIES_MAX, tokenSecondsMax = TOKEN_SECONDS_MAX } = options
  const now = options.now ?? (() => Date.now() / 1000)
  const held = new Held(entriesMax, tokenSecondsMax)
  let lines = 0
  let descriptor: number | undefined

  if (file !== undefined) {
    for (const denial of readDenials(file)) held.add(denial, now())
    descriptor = rewrite(file, held)
    lines = held.count
  }

  return {
    reasonFor: (token) => held.reasonFor(token),
    get count() {
      return held.count
    },
    add: async (denial) => {
      held.add(denial, now())
      // Also where it changes nothing: what came before may hold and not have been written.
      if (file === undefined || descriptor === undefined) return
      checkOwn(file, descriptor)
      const linesBefore = lines
      // Where this fails, nobody knows how much of it is in the file: the next one begins another.
      lines = Number.POSITIVE_INFINITY
      if (linesBefore > 2 * held.count + STALE_LINES_MAX) {
        const fresh = rewrite(file, held)
        closeSync(descriptor)
        descriptor = fresh
        lines = held.count
        return
      }
      writeFileSync(descriptor, `${JSON.stringify(denial)}\n`)
      fsyncSync(descriptor)
      lines = linesBefore + 1
    },
  }
}

/** By issuer, so that one which denies without end has no effect on the others. */
class Held {
  readonly #entriesMax: number
  readonly #tokenSecondsMax: number
  readonly #issuers = new Map<string, HeldOfIssuer>()

  constructor(entriesMax: number, tokenSecondsMax: number) {
    this.#entriesMax = entriesMax
    this.#tokenSecondsMax = tokenSecondsMax
  }

  get count(): number {
    return [...this.#issuers.values()].reduce((count, held) => count + held.count, 0)
  }

  all(): readonly Denial[] {
    return [...this.#issuers.values()].flatMap((held) => held.all())
  }

  reasonFor(token: Deniable): DenialReason | undefined {
    return this.#issuers.get(token.issuer)?.reasonFor(token)
  }

  add(denial: Denial, now: number): void {
    const held = this.#issuers.get(denial.issuer) ?? new HeldOfIssuer()
    this.#issuers.set(denial.issuer, held)
    held.add(denial)
    if (held.count > this.#entriesMax)
      held.shrink(denial.issuer, now - this.#tokenSecondsMax, this.#entriesMax)
  }
}

class HeldOfIssuer {
  /** Keys: nothing makes one good again. */
  readonly #keys = new Map<string, Denial>()
  /** By name, the time before which nothing counts. */
  readonly #times = new Map<string, Denial & { readonly before: number }>()

  get count(): number {
    return this.#keys.size + this.#times.size
  }

  all(): readonly Denial[] {
    return [...this.#keys.values(), ...this.#times.values()]
  }

  reasonFor({ kid, subject, session, issuedAt }: Deniable): DenialReason | undefined {
    if (this.#keys.has(kid)) return 'key_revoked'
    const isBefore = (kind: string, name: string | undefined): boolean =>
      name !== undefined && issuedAt < (this.#times.get(nameOf(kind, name))?.before ?? 0)
    return isBefore('session', session) || isBefore('subject', subject) || isBefore('issuer', '')
      ? 'issued_before_cutoff'
      : undefined
  }

  add(denial: Denial): void {
    if ('kid' in denial) {
      this.#keys.set(denial.kid, denial)
      return
    }
    const name = timeNameOf(denial)
    if (denial.before > (this.#times.get(name)?.before ?? 0)) this.#times.set(name, denial)
  }

  /** What no living token can be from goes first; then the many become one. */
  shrink(issuer: string, deadBefore: number, entriesMax: number): void {
    for (const [name, { before }] of this.#times) if (before < deadBefore) this.#times.delete(name)
    if (this.count <= entriesMax) return
    let latest = 0
    for (const { before } of this.#times.values()) latest = Math.max(latest, before)
    // So many keys have no name in common but the issuer's, for good.
    if (this.#keys.size > entriesMax) {
      this.#keys.clear()
      latest = Number.MAX_SAFE_INTEGER
    }
    this.#times.clear()
    this.#times.set(nameOf('issuer', ''), { issuer, before: latest })
  }
}

/** No name can be made to look like another: lengths are told by JSON's quotes. */
function nameOf(kind: string, name: string): string {
  return JSON.stringify([kind, name])
}

function timeNameOf(denial: Denial): string {
  if ('session' in denial) return nameOf('session', denial.session)
  if ('subject' in denial) return nameOf('subject', denial.subject)
  return nameOf('issuer', '')
}

/** A line that was cut short by a crash was never acknowledged, and is the last. */
function readDenials(file: string): readonly Denial[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  const lines = text.split('\n')
  lines.pop()
  return lines.map((line, at) => {
    try {
      return readDenial(parseObject(line))
    } catch (error) {
      if (error instanceof Refusal) throw new Error(`${file}, line ${at + 1}, is no denial`)
      throw error
    }
  })
}

function readDenial({ issuer, kid, session, subject, before }: JsonObject): Denial {
  const from = readText(issuer)
  if (kid !== undefined) return { issuer: from, kid: readText(kid) }
  if (typeof before !== 'number') throw new Refusal('malformed')
  if (session !== undefined) return { issuer: from, session: readText(session), before }
  return subject === undefined
    ? { issuer: from, before }
    : { issuer: from, subject: readText(subject), before }
}

function readText(value: JsonValue | undefined): string {
  if (typeof value !== 'string') throw new Refusal('malformed')
  return value
}

/** Writes what is held beside the file and puts it in its place. Gives back where to append. */
function rewrite(file: string, held: Held): number {
  const draft = `${file}.new`
  const descriptor = openSync(draft, constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY, 0o600)
  try {
    const text = held.all().map((denial) => `${JSON.stringify(denial)}\n`)
    writeFileSync(descriptor, text.join(''))
    fsyncSync(descriptor)
    renameSync(draft, file)
    syncFolder(dirname(file))
    return descriptor
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
}

/** Where another process has begun the file anew since, what is written here nobody would read. */
function checkOwn(file: string, descriptor: number): void {
  if (statSync(file, { throwIfNoEntry: false })?.ino === fstatSync(descriptor).ino) return
  throw new Error(`${file} is no longer of this process: another has opened it, or it was removed`)
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
