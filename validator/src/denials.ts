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

import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
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
  /** Keeps them over a restart. Left out: a restart forgets them, and tokens from before are good again. */
  readonly file?: string | undefined
  readonly entriesMax?: number | undefined
  /** How long after `before` a token from before it may still live. */
  readonly tokenSecondsMax?: number | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

const ENTRIES_MAX = 100_000
/** What a charter may allow at most. */
const TOKEN_SECONDS_MAX = 24 * 3600
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
      if (lines > 2 * held.count + STALE_LINES_MAX) {
        const fresh = rewrite(file, held)
        closeSync(descriptor)
        descriptor = fresh
        lines = held.count
        return
      }
      writeSync(descriptor, `${JSON.stringify(denial)}\n`)
      fsyncSync(descriptor)
      lines++
    },
  }
}

class Held {
  readonly #entriesMax: number
  readonly #tokenSecondsMax: number
  /** Keys: nothing makes one good again. */
  readonly #keys = new Map<string, Denial>()
  /** By issuer and name, the time before which nothing counts. */
  readonly #times = new Map<string, Denial & { readonly before: number }>()

  constructor(entriesMax: number, tokenSecondsMax: number) {
    this.#entriesMax = entriesMax
    this.#tokenSecondsMax = tokenSecondsMax
  }

  get count(): number {
    return this.#keys.size + this.#times.size
  }

  all(): readonly Denial[] {
    return [...this.#keys.values(), ...this.#times.values()]
  }

  reasonFor({ issuer, kid, subject, session, issuedAt }: Deniable): DenialReason | undefined {
    if (this.count === 0) return undefined
    if (this.#keys.has(nameOf('kid', issuer, kid))) return 'key_revoked'
    const isBefore = (kind: string, name: string | undefined): boolean =>
      name !== undefined && issuedAt < (this.#times.get(nameOf(kind, issuer, name))?.before ?? 0)
    return isBefore('session', session) || isBefore('subject', subject) || isBefore('issuer', '')
      ? 'issued_before_cutoff'
      : undefined
  }

  add(denial: Denial, now: number): void {
    if ('kid' in denial) {
      this.#keys.set(nameOf('kid', denial.issuer, denial.kid), denial)
    } else {
      const name = timeNameOf(denial)
      if (denial.before > (this.#times.get(name)?.before ?? 0)) this.#times.set(name, denial)
    }
    if (this.count > this.#entriesMax) this.#shrink(now)
  }

  /** What no living token can be from goes first; then each issuer's many become one. */
  #shrink(now: number): void {
    for (const [name, { before }] of this.#times)
      if (before < now - this.#tokenSecondsMax) this.#times.delete(name)
    if (this.count <= this.#entriesMax) return
    const latest = new Map<string, number>()
    for (const { issuer, before } of this.#times.values())
      latest.set(issuer, Math.max(before, latest.get(issuer) ?? 0))
    this.#times.clear()
    for (const [issuer, before] of latest) this.#times.set(nameOf('issuer', issuer, ''), { issuer, before })
  }
}

/** No name can be made to look like another: lengths are told by JSON's quotes. */
function nameOf(kind: string, issuer: string, name: string): string {
  return JSON.stringify([kind, issuer, name])
}

function timeNameOf(denial: Denial): string {
  if ('session' in denial) return nameOf('session', denial.issuer, denial.session)
  if ('subject' in denial) return nameOf('subject', denial.issuer, denial.subject)
  return nameOf('issuer', denial.issuer, '')
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
  const text = held.all().map((denial) => `${JSON.stringify(denial)}\n`)
  writeSync(descriptor, text.join(''))
  fsyncSync(descriptor)
  renameSync(draft, file)
  const folder = openSync(dirname(file), 'r')
  fsyncSync(folder)
  closeSync(folder)
  return descriptor
}
