/**
 * Events that a receiver comes for (RFC 8936): it says what it has taken, and gets what waits, at once or as soon as there
 * is something. What was handed over and not acknowledged is handed over again.
 * @module
 */

import type { Logger } from '@countersign/service'
import { isObject, type JsonObject, type JsonValue } from '@countersign/validator/json'
import type { Mint } from './mint.ts'
import type { Outbox } from './outbox.ts'
import type { Stream } from './streams.ts'

const EVENTS_MAX = 100
const ACKNOWLEDGEMENTS_MAX = 1000
/** Less than what proxies on the way allow for a request. */
const WAIT_MILLISECONDS_MAX = 25_000

export interface PollRequest {
  /** Undefined: as many as we hand over at once. */
  readonly eventsMax: number | undefined
  readonly isImmediate: boolean
  readonly acknowledged: readonly string[]
  /** By `jti`: what the receiver will never take, and its word for why. */
  readonly refused: ReadonlyMap<string, string>
}

export interface PollAnswer {
  readonly sets: Readonly<Record<string, string>>
  readonly moreAvailable: boolean
}

/** Undefined for what is no request of RFC 8936. Members that are not known are left alone. */
export function readPollRequest(body: JsonObject): PollRequest | undefined {
  const { maxEvents, returnImmediately = false, ack = [], setErrs = {} } = body
  if (maxEvents !== undefined && !(Number.isSafeInteger(maxEvents) && (maxEvents as number) >= 0))
    return undefined
  if (typeof returnImmediately !== 'boolean' || !isTexts(ack) || !isObject(setErrs)) return undefined
  const errors = Object.entries(setErrs)
  if (ack.length + errors.length > ACKNOWLEDGEMENTS_MAX || !errors.every(([, error]) => isObject(error)))
    return undefined
  return {
    eventsMax: maxEvents as number | undefined,
    isImmediate: returnImmediately,
    acknowledged: ack,
    refused: new Map(errors.map(([jti, error]) => [jti, codeOf(error)])),
  }
}

export interface Poller {
  /** Waits for `gone` too: whoever asked has left. Rejects where a SET cannot be made. */
  poll(stream: Stream, request: PollRequest, gone: AbortSignal): Promise<PollAnswer>
  /** Something waits in this stream. */
  wake(streamId: string): void
  /** The stream is other than it was when somebody began to wait for it. */
  dismiss(streamId: string): void
  /** Ends what waits. */
  stop(): void
}

export interface PollerOptions {
  readonly outbox: Pick<Outbox, 'waiting' | 'settle'>
  readonly mint: Mint
  readonly log: Logger
  readonly waitMilliseconds?: number | undefined
}

export function createPoller(options: PollerOptions): Poller {
  const { outbox, mint, log, waitMilliseconds = WAIT_MILLISECONDS_MAX } = options
  /** The one request that waits in each stream: a second one takes its place, so that nobody can pile them up. */
  const waiters = new Map<string, Waiter>()
  let isStopped = false

  async function handOver(stream: Stream, eventsMax: number): Promise<PollAnswer> {
    const waiting = await outbox.waiting(stream.id, eventsMax + 1)
    const handed = waiting.slice(0, eventsMax)
    const tokens = await Promise.all(handed.map((each) => mint(stream, each)))
    return {
      sets: Object.fromEntries(handed.map(({ jti }, at) => [jti, tokens[at] as string])),
      moreAvailable: waiting.length > handed.length,
    }
  }

  return {
    poll: async (stream, { eventsMax, isImmediate, acknowledged, refused }, gone) => {
      for (const [jti, code] of refused)
        log.warn({ stream: stream.id, jti: shorten(jti), code }, 'a receiver refuses a signal')
      await outbox.settle(stream.id, [...acknowledged, ...refused.keys()])
      if (eventsMax === 0) return nothing
      const limit = Math.min(eventsMax ?? EVENTS_MAX, EVENTS_MAX)
      const until = performance.now() + waitMilliseconds
      for (;;) {
        // Before the look: what is written during it must end the wait that follows.
        const waiter = new Waiter()
        waiters.get(stream.id)?.end()
        waiters.set(stream.id, waiter)
        try {
          const answer = await handOver(stream, limit)
          const milliseconds = until - performance.now()
          const isOver = isImmediate || milliseconds <= 0 || gone.aborted || isStopped
          if (Object.keys(answer.sets).length > 0 || isOver) return answer
          await waiter.wait(milliseconds, gone)
          if (waiters.get(stream.id) !== waiter) return nothing
        } finally {
          if (waiters.get(stream.id) === waiter) waiters.delete(stream.id)
        }
      }
    },
    wake: (streamId) => waiters.get(streamId)?.end(),
    dismiss: (streamId) => {
      const waiter = waiters.get(streamId)
      waiters.delete(streamId)
      waiter?.end()
    },
    stop: () => {
      isStopped = true
      for (const waiter of waiters.values()) waiter.end()
    },
  }
}

const nothing: PollAnswer = { sets: {}, moreAvailable: false }

class Waiter {
  readonly #ended = Promise.withResolvers<void>()

  end(): void {
    this.#ended.resolve()
  }

  async wait(milliseconds: number, gone: AbortSignal): Promise<void> {
    const end = (): void => this.end()
    const timer = setTimeout(end, milliseconds)
    gone.addEventListener('abort', end)
    if (gone.aborted) end()
    await this.#ended.promise
    clearTimeout(timer)
    gone.removeEventListener('abort', end)
  }
}

function isTexts(value: JsonValue): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string')
}

/** A stranger's words, for the log. */
function codeOf(error: JsonValue | undefined): string {
  const code = isObject(error) ? error['err'] : undefined
  return typeof code === 'string' && /^[a-z_]{1,64}$/.test(code) ? code : 'unknown'
}

function shorten(jti: string): string {
  return jti.slice(0, 64)
}
