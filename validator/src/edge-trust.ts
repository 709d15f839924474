/**
 * Trust for runtimes in which nothing lives between two requests: no stream, no file, no task in the background. The manifest is
 * asked for when a token is to be decided about and what is held has grown old, verified down to the trust anchor as everywhere,
 * and only a newer one counts. Protocol: spec/delivery.md.
 * @module
 */

import { type Charter, parseTrustAnchor, type TrustAnchor, verifyCharter } from './charter.ts'
import { baseOf, fetchCharters, fetchObject } from './delivery.ts'
import { DocumentRefusal } from './document.ts'
import type { JsonObject } from './json.ts'
import type { TrustSource } from './manifest.ts'
import { type Answers, Asked, settle } from './settle.ts'
import { type Clocks, systemClocks, Trust } from './trust.ts'
import { formatRecord, parseRecord } from './trust-record.ts'

/** Whom to ask, and what to remember. */
export interface EdgeTrustOptions {
  /** URL of the authority, which is believed only as far as the trust anchor reaches. */
  readonly authority: string
  /** Who may widen trust, and how many of them it takes. Everything else is verified down to it. */
  readonly trustAnchor: TrustAnchor
  /** Where the newest version seen survives, so that an older one is refused also by a process that has just begun. */
  readonly store?: EdgeStore | undefined
  /** How long an answer of the authority is good for: a kill is known here after so long. From 1 to 30; left out: 5. */
  readonly refreshSeconds?: number | undefined
  /** Something was refused or did not arrive, and will be asked for again; a `SplitView` is proof that the authority lied. */
  readonly onProblem?: ((problem: Error) => void) | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic?: (() => number) | undefined
}

/** A place for one text: a key-value store, as a rule. Whoever can write to it can make everything be refused, and no more. */
export interface EdgeStore {
  /** What was put last; null or undefined before the first time. */
  get(): Promise<string | null | undefined>
  put(record: string): Promise<unknown>
}

/** Trust that is asked for. */
export interface EdgeTrust extends TrustSource {
  /**
   * Asks the authority where what is held is older than it may be, and waits for that, but not for ever. Never rejects: where
   * nothing came, what is held grows old, and after a minute everything is refused.
   */
  refresh(): Promise<void>
}

const REFRESH_SECONDS = 5
/** Half of the time after which everything is refused, so that there is time for other attempts. */
const REFRESH_SECONDS_MAX = 30
/** A request waits no longer for an authority that is silent. */
const WAIT_MILLISECONDS = 3000
/** Nor is the authority asked at each request when it has just failed. */
const PAUSE_MILLISECONDS = 1000

/** Asks nobody yet. Throws `TypeError` or `DocumentRefusal` where an option is of no use. */
export function createEdgeTrust(options: EdgeTrustOptions): EdgeTrust {
  const { store, refreshSeconds = REFRESH_SECONDS, onProblem } = options
  const base = baseOf(options.authority)
  const anchor = parseTrustAnchor(options.trustAnchor)
  const clocks: Clocks = {
    now: options.now ?? systemClocks.now,
    monotonic: options.monotonic ?? systemClocks.monotonic,
  }
  if (!(refreshSeconds >= 1 && refreshSeconds <= REFRESH_SECONDS_MAX))
    throw new TypeError(`refreshSeconds is not between 1 and ${REFRESH_SECONDS_MAX}`)
  let trust: Trust | undefined
  let attempt: { readonly ended: Promise<void>; readonly begun: number } | undefined
  /** When the question was asked that was answered last. */
  let answered: { readonly now: number; readonly monotonic: number } | undefined
  let pauseUntil = Number.NEGATIVE_INFINITY

  async function refresh(): Promise<void> {
    if (!isDue() || clocks.monotonic() < pauseUntil) return
    // Whoever began it may have gone, and taken it with him: where each request has a life of its own, so have its fetches.
    if (attempt === undefined || clocks.monotonic() - attempt.begun > WAIT_MILLISECONDS) {
      const own = { ended: ask(), begun: clocks.monotonic() }
      attempt = own
      void own.ended.then(() => {
        if (attempt === own) attempt = undefined
      })
    }
    await within(WAIT_MILLISECONDS, attempt.ended)
  }

  /** By either clock: one may be set back, the other may have slept. */
  function isDue(): boolean {
    if (answered === undefined) return true
    const seconds = (clocks.monotonic() - answered.monotonic) / 1000
    return !(Math.max(seconds, clocks.now() - answered.now) < refreshSeconds)
  }

  async function ask(): Promise<void> {
    const begun = { now: clocks.now(), monotonic: clocks.monotonic() }
    try {
      const restored = trust ?? (await restore())
      // Another attempt may have been faster.
      trust ??= restored
      await take(await get('manifest'), trust)
      answered = begun
    } catch (problem) {
      pauseUntil = clocks.monotonic() + PAUSE_MILLISECONDS
      onProblem?.(problem as Error)
    }
  }

  /** Without what was remembered nothing is believed: an older manifest would be taken for the newest. */
  async function restore(): Promise<Trust> {
    const text = await store?.get()
    if (text === undefined || text === null) return new Trust(anchor, clocks)
    const answers: Answers = new Asked()
    const record = parseRecord(text)
    let charter: Charter | undefined
    // One after the other, so that each waits for the signatures of its own.
    for (const document of record.charters) charter = await verify(document, charter, answers)
    return settle(() => Trust.restore(record, anchor, clocks), undefined, answers)
  }

  async function take({ freshness, ...document }: JsonObject, held: Trust): Promise<void> {
    const answers: Answers = new Asked()
    const charters = await fetchCharters(document, held.state?.charter, get, (next, before) =>
      verify(next, before, answers),
    )
    const isNewer = (await settle(() => held.accept(document, charters), undefined, answers)) === 'newer'
    if (freshness !== undefined) {
      if (typeof freshness !== 'string') throw new DocumentRefusal('malformed', 'freshness is not a text')
      await settle(() => held.refresh(freshness))
    }
    if (isNewer && held.record !== undefined) await store?.put(formatRecord(held.record))
  }

  function verify(document: unknown, before: Charter | undefined, answers: Answers): Promise<Charter> {
    return settle(() => verifyCharter(document, before ?? anchor), undefined, answers)
  }

  function get(path: string): Promise<JsonObject> {
    return fetchObject(new URL(path, base), AbortSignal.timeout(WAIT_MILLISECONDS))
  }

  function ageSeconds(): number {
    return trust?.ageSeconds() ?? Number.POSITIVE_INFINITY
  }

  return {
    get state() {
      return trust?.state
    },
    ageSeconds,
    refresh,
  }
}

async function within(milliseconds: number, ended: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds)
  })
  await Promise.race([ended, late])
  clearTimeout(timer)
}
