/**
 * Follows the authority: hears of each manifest over server-sent events, asks for it where events do not come, and
 * says, signed, what it has applied. Whatever comes is verified down to the trust anchor before it counts; whatever is
 * refused, missing or late leaves the last good state in place, to grow old. Protocol: spec/delivery.md.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { signAcknowledgement } from './acknowledgement.ts'
import { parseTrustAnchor, type TrustAnchor, verifyCharter } from './charter.ts'
import {
  baseOf,
  DeliveryFault,
  DOCUMENT_BYTES_MAX,
  fetchCharters,
  fetchObject,
  openStream,
  postStatement,
} from './delivery.ts'
import { DocumentRefusal, publicHalf, refuseAs } from './document.ts'
import type { Enrolment } from './enrolment.ts'
import { createEventParser, type ServerEvent } from './event-stream.ts'
import type { NewsSource } from './hold.ts'
import { type JsonObject, parseObject } from './json.ts'
import type { TrustSource, TrustState } from './manifest.ts'
import type { RootSource } from './receipt.ts'
import { PushedRoots } from './roots.ts'
import { readStateFile, writeStateFile } from './state-file.ts'
import { type Clocks, SplitView, systemClocks, Trust, type TrustDocuments } from './trust.ts'

/** Whom to follow, and who hears of what. */
export interface FollowOptions {
  /** URL of the authority, which is believed only as far as the trust anchor reaches. */
  readonly authority: string
  readonly trustAnchor: TrustAnchor
  /** Remembers the newest version seen, so that an older one is refused after a restart too. */
  readonly stateFile?: string | undefined
  /** Acknowledges under this name with this key. Left out: nothing is acknowledged. */
  readonly enrolment?: Enrolment | undefined
  /** Called with each newer state once it is in force, and with the one from the state file. */
  readonly onState?: ((state: TrustState) => void) | undefined
  /** Called with each statement (compact JWS) that made what is held younger, for others who decide by it. */
  readonly onFreshness?: ((statement: string) => void) | undefined
  /**
   * Where others decide by what this follower verifies, such as the workers of a cluster: settles once all of them have that
   * version or a newer one. Nothing is acknowledged before. Must not reject.
   */
  readonly whenApplied?: ((version: number) => Promise<void>) | undefined
  /**
   * Whether to hear of subtree roots that the witness countersigned, so that the signatures of receipts over them need not be
   * verified. Left out: no.
   */
  readonly pushedRoots?: boolean | undefined
  /** Called with each statement about them (compact JWS) that was taken, for others who decide by it. */
  readonly onRoots?: ((statement: string) => void) | undefined
  /** The authority lied; the error carries the proof. */
  readonly onMisbehavior?: ((proof: SplitView) => void) | undefined
  /** Something was refused or did not arrive, or is a `SplitRoots`. The follower goes on by itself. */
  readonly onProblem?: ((problem: Error) => void) | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic?: (() => number) | undefined
  /** A stream that brings nothing good for so long is left and opened anew. */
  readonly silenceMillisecondsMax?: number | undefined
  /** Each failure in a row doubles the time that a retry may wait, beginning here, to thirty times as much. */
  readonly retryMilliseconds?: number | undefined
}

/** Trust as the authority last said it, verified: the `trust` of a validator. */
export interface Follower extends NewsSource {
  /** What was heard of roots; undefined without `pushedRoots`. */
  readonly roots: RootSource | undefined
  /** What `state` rests on, for whoever has to verify it again. */
  readonly documents: TrustDocuments | undefined
  /** Settles once the authority has vouched for a state since this follower began. Rejects when it is stopped first. */
  ready(): Promise<void>
  /** Settles once that version or a newer one is in force. Rejects with `DeliveryFault` after so long. */
  waitForVersion(version: number, milliseconds: number): Promise<void>
  stop(): Promise<void>
}

/** Less than half the age at which a validator fails closed, so that a second attempt fits in. */
const SILENCE_MILLISECONDS_MAX = 25_000
const RETRY_MILLISECONDS = 250
const RETRY_GROWTH_MAX = 30
/** A good stream that ended most likely ended for all, and nobody is in a hurry yet. */
const RECONNECT_GROWTH = 8

/** Trust that stays as it is and counts as fresh: for tests, and for whoever has verified a state in another way. */
export function fixedTrust(state: TrustState): TrustSource {
  return { state, ageSeconds: () => 0 }
}

/** Starts to follow at once, and goes on until it is stopped. Throws `StateFileFault` for a state file it cannot use. */
export function followManifest(options: FollowOptions): Follower {
  return new ManifestFollower(options)
}

class ManifestFollower implements Follower {
  readonly #options: FollowOptions
  readonly #base: URL
  readonly #clocks: Clocks
  readonly #anchor: TrustAnchor
  readonly #trust: Trust
  readonly roots: PushedRoots | undefined
  readonly #stopping = new AbortController()
  readonly #waiting = new Set<() => void>()
  readonly #listeners = new Set<() => void>()
  readonly #following: Promise<void>
  /** Whether `onState` took the newest state: what it did not take is not acknowledged. */
  #isApplied = false
  /** Ends the attempts to acknowledge an older version. */
  #acknowledging = new AbortController()
  #writing: Promise<void> = Promise.resolve()

  constructor(options: FollowOptions) {
    this.#options = options
    this.#base = baseOf(options.authority)
    this.#clocks = {
      now: options.now ?? systemClocks.now,
      monotonic: options.monotonic ?? systemClocks.monotonic,
    }
    this.#anchor = parseTrustAnchor(options.trustAnchor)
    const { stateFile, enrolment } = options
    // A key that cannot sign acknowledgements is found out now, not when the first is due.
    if (enrolment !== undefined) publicHalf(enrolment.privateKey)
    const restored =
      stateFile === undefined ? undefined : readStateFile(stateFile, this.#anchor, this.#clocks)
    this.#trust = restored ?? new Trust(this.#anchor, this.#clocks)
    if (options.pushedRoots === true) {
      const { monotonic } = this.#clocks
      this.roots = new PushedRoots({ onSplit: (proof) => this.#report(proof), monotonic })
      if (this.state !== undefined) this.roots.follow(this.state)
    }
    this.#following = this.#follow()
  }

  get state(): TrustState | undefined {
    return this.#trust.state
  }

  get documents(): TrustDocuments | undefined {
    return this.#trust.documents
  }

  ageSeconds(): number {
    return this.#trust.ageSeconds()
  }

  onNews(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  ready(): Promise<void> {
    return this.#until(() => this.ageSeconds() < Number.POSITIVE_INFINITY)
  }

  waitForVersion(version: number, milliseconds: number): Promise<void> {
    return this.#until(
      () => (this.state?.manifest.version ?? 0) >= version,
      AbortSignal.timeout(milliseconds),
    )
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#acknowledging.abort()
    await this.#following
    await this.#writing
  }

  #until(isReached: () => boolean, late?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const signal = AbortSignal.any([this.#stopping.signal, ...(late ? [late] : [])])
      const check = (): void => {
        if (!isReached() && !signal.aborted) return
        this.#waiting.delete(check)
        signal.removeEventListener('abort', check)
        if (isReached()) resolve()
        else reject(new DeliveryFault('the authority did not deliver in time'))
      }
      this.#waiting.add(check)
      signal.addEventListener('abort', check)
      check()
    })
  }

  async #follow(): Promise<void> {
    // Whoever called must have the follower in hand before the first callback.
    await Promise.resolve()
    if (this.state !== undefined) this.#tell(this.state)
    for (let failures = 0; !this.#stopping.signal.aborted; ) {
      const isFruitful = await this.#attempt()
      failures = isFruitful ? 0 : failures + 1
      await this.#pause(failures, this.#stopping.signal)
    }
  }

  /** Says whether the stream brought anything good. If not, the manifest is asked for once. */
  async #attempt(): Promise<boolean> {
    let isFruitful = false
    try {
      await this.#listen(() => {
        isFruitful = true
      })
    } catch (error) {
      this.#report(error)
    }
    if (isFruitful || this.#stopping.signal.aborted) return isFruitful
    try {
      await this.#poll()
    } catch (error) {
      this.#report(error)
    }
    return false
  }

  /** Hears events until the stream ends, fails or falls silent. */
  async #listen(onGood: () => void): Promise<void> {
    const { silenceMillisecondsMax = SILENCE_MILLISECONDS_MAX } = this.#options
    const silence = new AbortController()
    // Only what verifies counts: a stream that drips comments or refused documents is as good as none.
    const timer = setTimeout(() => silence.abort(), silenceMillisecondsMax)
    try {
      const signal = AbortSignal.any([this.#stopping.signal, silence.signal])
      const body = await openStream(this.#streamUrl(), {}, signal)
      const parse = createEventParser(DOCUMENT_BYTES_MAX)
      const held = this.state
      let isFirst = true
      const decoder = new TextDecoder()
      for await (const bytes of body) {
        for (const event of parse(decoder.decode(bytes, { stream: true }))) {
          if (!(await this.#take(event))) continue
          timer.refresh()
          onGood()
          // An authority that was restarted may have lost what was acknowledged before.
          if (isFirst && this.state === held) this.#acknowledge()
          isFirst = false
        }
      }
      throw new DeliveryFault('the authority closed the stream')
    } catch (error) {
      if (silence.signal.aborted) throw new DeliveryFault('the stream of the authority fell silent')
      throw error instanceof TypeError ? new DeliveryFault('the stream broke off', { cause: error }) : error
    } finally {
      clearTimeout(timer)
    }
  }

  /** Says whether the event made what is held newer or younger. */
  async #take({ type, data }: ServerEvent): Promise<boolean> {
    if (type === 'manifest') return this.#apply(refuseAs('the event', () => parseObject(data)))
    if (type === 'roots') this.#takeRoots(data)
    return type === 'freshness' && this.#refresh(data)
  }

  /** Says nothing of what is held: without roots, each receipt speaks for itself. So the stream goes on, whatever is wrong. */
  #takeRoots(statement: string): void {
    try {
      if (this.roots?.take(statement) === true) this.#options.onRoots?.(statement)
    } catch (error) {
      this.#report(error)
    }
  }

  async #poll(): Promise<boolean> {
    return this.#apply(await fetchObject(new URL('manifest', this.#base), this.#stopping.signal))
  }

  /** Applies a delivery: a manifest document with a statement of its freshness as a further member. */
  async #apply({ freshness, ...document }: JsonObject): Promise<boolean> {
    const isNewer = (await this.#accept(document)) === 'newer'
    if (isNewer) {
      this.roots?.follow(this.state as TrustState)
      this.#tell(this.state as TrustState)
      this.#wake()
      void this.#record().then(() => this.#acknowledge())
    }
    if (freshness === undefined) return isNewer
    if (typeof freshness !== 'string') throw new DocumentRefusal('malformed', 'freshness is not a text')
    const isRenewed = this.#trust.refresh(freshness) === 'renewed'
    if (isRenewed) this.#renew(freshness)
    return isNewer || isRenewed
  }

  async #refresh(freshness: string): Promise<boolean> {
    const outcome = this.#trust.refresh(freshness)
    if (outcome === 'behind') return this.#poll()
    if (outcome === 'renewed') this.#renew(freshness)
    return outcome === 'renewed'
  }

  #renew(freshness: string): void {
    this.#options.onFreshness?.(freshness)
    this.#wake()
  }

  /** Most manifests are under the charter that is held: only one that is refused is looked at for another. */
  async #accept(document: JsonObject): Promise<'newer' | 'same'> {
    try {
      return this.#trust.accept(document)
    } catch (error) {
      const charters = await this.#fetchCharters(document)
      if (charters.length === 0) throw error
      return this.#trust.accept(document, charters)
    }
  }

  #fetchCharters(document: JsonObject): Promise<readonly JsonObject[]> {
    return fetchCharters(
      document,
      this.state?.charter,
      (path) => fetchObject(new URL(path, this.#base), this.#stopping.signal),
      (next, before) => verifyCharter(next, before ?? this.#anchor),
    )
  }

  #tell(state: TrustState): void {
    try {
      this.#options.onState?.(state)
      for (const listener of this.#listeners) listener()
      this.#isApplied = true
    } catch (error) {
      this.#isApplied = false
      this.#report(error)
    }
  }

  #wake(): void {
    for (const check of this.#waiting) check()
  }

  /** Writes the state file. A state that cannot be written is in force nevertheless. */
  #record(): Promise<void> {
    const { stateFile } = this.#options
    if (stateFile === undefined) return Promise.resolve()
    this.#writing = this.#writing.then(async () => {
      const { record } = this.#trust
      if (record !== undefined) await writeStateFile(stateFile, record).catch((error) => this.#report(error))
    })
    return this.#writing
  }

  #acknowledge(): void {
    this.#acknowledging.abort()
    if (this.#options.enrolment === undefined || !this.#isApplied || this.#stopping.signal.aborted) return
    this.#acknowledging = new AbortController()
    void this.#postAcknowledgement(this.#options.enrolment, this.#acknowledging.signal)
  }

  /** Posts until it is taken or a newer version is to be acknowledged. */
  async #postAcknowledgement(enrolment: Enrolment, signal: AbortSignal): Promise<void> {
    // What is said to be applied is what was waited for, whatever comes meanwhile.
    const version = this.state?.manifest.version ?? 0
    const { manifestSha256 } = this.#trust
    await this.#options.whenApplied?.(version)
    for (let failures = 1; !signal.aborted; failures++) {
      const issuedAt = Math.floor(this.#clocks.now())
      const acknowledgement = signAcknowledgement({ version, manifestSha256, issuedAt }, enrolment)
      try {
        await postStatement(new URL('acks', this.#base), acknowledgement, signal)
        return
      } catch (error) {
        if (!signal.aborted) this.#report(error)
      }
      await this.#pause(failures, signal)
    }
  }

  async #pause(failures: number, signal: AbortSignal): Promise<void> {
    const { retryMilliseconds = RETRY_MILLISECONDS } = this.#options
    const milliseconds = pauseMilliseconds(failures, retryMilliseconds)
    await delay(milliseconds, undefined, { signal }).catch(() => {})
  }

  #report(error: unknown): void {
    if (this.#stopping.signal.aborted) return
    if (error instanceof SplitView) this.#options.onMisbehavior?.(error)
    this.#options.onProblem?.(error as Error)
  }

  #streamUrl(): URL {
    const url = new URL('stream', this.#base)
    if (this.#options.enrolment !== undefined) url.searchParams.set('validator', this.#options.enrolment.name)
    if (this.roots !== undefined) url.searchParams.set('roots', '1')
    return url
  }
}

/**
 * How long to wait before the next attempt, after so many failures in a row. Drawn evenly from the whole span ("full
 * jitter"): validators that lost the same authority do not return as one.
 */
export function pauseMilliseconds(failures: number, firstMilliseconds: number): number {
  const growth = failures === 0 ? RECONNECT_GROWTH : Math.min(RETRY_GROWTH_MAX, 2 ** (failures - 1))
  return Math.random() * firstMilliseconds * growth
}
