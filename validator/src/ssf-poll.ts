/**
 * Fetches SETs from a transmitter that is polled (RFC 8936): asks and waits, acts on what comes, and says with the next
 * request what it has taken and what it never will. What could be neither is not mentioned, and comes again.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { DeliveryFault, postObject } from './delivery.ts'
import { isObject, type JsonObject } from './json.ts'
import { SetRefusal } from './ssf-set.ts'
import { readSecureUrl } from './url.ts'

/** Whom to poll, as whom, and how often. */
export interface PollOptions {
  /** `delivery.endpoint_url` of the stream. */
  readonly endpoint: string
  /** An access token for the transmitter, asked for with each request. */
  readonly accessToken: () => string | Promise<string>
  readonly receiver: { receive(token: string): Promise<void> }
  readonly eventsMax?: number | undefined
  /** A request failed, or a SET was refused or could not be acted on. Polling goes on by itself. */
  readonly onProblem?: ((problem: Error) => void) | undefined
  /**
   * Each failure in a row doubles the time that a retry waits, beginning here, to thirty times as much. A transmitter that
   * has nothing to send and does not keep the request waiting is asked again after so long too.
   */
  readonly retryMilliseconds?: number | undefined
}

/** A transmitter that is polled (RFC 8936), until it is stopped. */
export interface Polling {
  /** Says what was taken last, and ends. */
  stop(): Promise<void>
}

/** Something was taken; nothing was; or something has to come again. */
type Outcome = 'acted' | 'idle' | 'failed'

/** More than a transmitter keeps a request waiting. */
const WAIT_MILLISECONDS_MAX = 60_000
const FAREWELL_MILLISECONDS_MAX = 3000
const EVENTS_MAX = 100
const RETRY_MILLISECONDS = 1000
const RETRY_GROWTH_MAX = 30

/** Starts at once, and goes on until it is stopped. */
export function pollTransmitter(options: PollOptions): Polling {
  const { endpoint, accessToken, receiver, eventsMax = EVENTS_MAX, onProblem } = options
  const { retryMilliseconds = RETRY_MILLISECONDS } = options
  const url = readSecureUrl('endpoint', endpoint)
  const stopping = new AbortController()
  let taken: string[] = []
  let refused: Record<string, JsonObject> = {}

  async function ask(request: JsonObject, signal: AbortSignal): Promise<JsonObject> {
    const [ack, setErrs] = [taken, refused]
    const body = { ...request, ack, setErrs }
    const headers = { authorization: `Bearer ${await within(signal, accessToken())}` }
    const answer = await postObject(url, headers, body, signal)
    // The transmitter has read it: only what came since is still to be said.
    taken = taken.filter((jti) => !ack.includes(jti))
    refused = Object.fromEntries(Object.entries(refused).filter(([jti]) => !(jti in setErrs)))
    return answer
  }

  async function poll(): Promise<Outcome> {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(WAIT_MILLISECONDS_MAX)])
    const { sets } = await ask({ maxEvents: eventsMax, returnImmediately: false }, signal)
    if (!isObject(sets)) throw new DeliveryFault('the transmitter answers something else than SETs')
    let outcome: Outcome = 'idle'
    for (const [jti, token] of Object.entries(sets)) {
      try {
        await receiver.receive(String(token))
        taken.push(jti)
        outcome = 'acted'
      } catch (error) {
        onProblem?.(error as Error)
        // Whatever comes after it in the stream waits with it.
        if (!(error instanceof SetRefusal)) return 'failed'
        refused[jti] = { err: error.code, description: error.message }
      }
    }
    return outcome
  }

  const polling = (async () => {
    for (let failures = 0; !stopping.signal.aborted; ) {
      const askedAt = performance.now()
      const outcome = await poll().catch((error): Outcome => {
        if (!stopping.signal.aborted) onProblem?.(error as Error)
        return 'failed'
      })
      failures = outcome === 'failed' ? failures + 1 : 0
      if (outcome === 'acted') continue
      const waited = failures > 0 ? 0 : performance.now() - askedAt
      const growth = Math.min(RETRY_GROWTH_MAX, 2 ** Math.max(0, failures - 1))
      const pause = Math.max(0, retryMilliseconds * growth - waited)
      await delay(pause, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()

  return {
    stop: async () => {
      stopping.abort()
      await polling
      if (taken.length === 0 && Object.keys(refused).length === 0) return
      const signal = AbortSignal.timeout(FAREWELL_MILLISECONDS_MAX)
      // What it does not hear it sends again.
      await ask({ maxEvents: 0, returnImmediately: true }, signal).catch((error) =>
        onProblem?.(error as Error),
      )
    },
  }
}

/** A token that never comes holds nothing up for longer than an answer may. */
function within<Value>(signal: AbortSignal, value: Value | Promise<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    Promise.resolve(value).then(resolve, reject)
  })
}
