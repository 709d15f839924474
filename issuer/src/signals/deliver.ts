/**
 * Pushes what waits, one event after the other within a stream, until each is acknowledged: after a failure again, later
 * each time. One that the receiver will never take is left out, or nothing after it would ever arrive.
 * @module
 */

import type { Logger } from '@countersign/service'
import type { Mint } from './mint.ts'
import type { Outbox, Waiting } from './outbox.ts'
import { judgeAnswer, type PushAnswer, PushFault, pushSet, type Reach } from './push.ts'
import type { Stream, Streams } from './streams.ts'

const RETRY_MILLISECONDS_MIN = 1000
const RETRY_MILLISECONDS_MAX = 300_000

export interface Deliverer {
  /** Something waits in this stream, or it has changed. */
  wake(streamId: string): void
  stop(): Promise<void>
}

export interface DelivererOptions {
  readonly streams: Pick<Streams, 'get'>
  readonly outbox: Pick<Outbox, 'waiting' | 'settle'>
  readonly mint: Mint
  readonly reach: Reach
  readonly log: Logger
}

export function createDeliverer({ streams, outbox, mint, reach, log }: DelivererOptions): Deliverer {
  const stopping = new AbortController()
  const running = new Map<string, Promise<void>>()
  const woken = new Set<string>()
  const timers = new Map<string, NodeJS.Timeout>()
  const failures = new Map<string, number>()

  function wake(streamId: string): void {
    if (stopping.signal.aborted) return
    woken.add(streamId)
    if (running.has(streamId)) return
    clearTimeout(timers.get(streamId))
    timers.delete(streamId)
    const run = deliver(streamId)
      .catch((error: Error) => {
        log.error({ stream: streamId, error: error.message }, 'signals could not be delivered')
        retryLater(streamId, undefined)
      })
      .finally(() => {
        running.delete(streamId)
        // What came while the last look was under way.
        if (woken.has(streamId) && !timers.has(streamId)) wake(streamId)
      })
    running.set(streamId, run)
  }

  async function deliver(streamId: string): Promise<void> {
    while (!stopping.signal.aborted) {
      woken.delete(streamId)
      const stream = await streams.get(streamId)
      const [waiting] = stream?.delivery.method === 'push' ? await outbox.waiting(streamId, 1) : []
      if (stream === undefined || waiting === undefined) return void failures.delete(streamId)
      const answer = await attempt(stream, waiting)
      if (stopping.signal.aborted) return
      const outcome = answer === undefined ? 'retry' : judgeAnswer(answer)
      if (outcome === 'retry') return retryLater(streamId, answer?.retryAfterSeconds)
      if (outcome === 'rejected')
        log.warn({ stream: streamId, jti: waiting.jti, code: answer?.code }, 'a receiver refuses a signal')
      await outbox.settle(streamId, [waiting.jti])
      failures.delete(streamId)
    }
  }

  /** Undefined where no answer came. */
  async function attempt(stream: Stream, waiting: Waiting): Promise<PushAnswer | undefined> {
    const { delivery } = stream
    if (delivery.method !== 'push') return undefined
    try {
      const token = await mint(stream, waiting)
      const { url, authorization } = delivery
      return await pushSet({ url, authorization, token }, reach, stopping.signal)
    } catch (error) {
      if (stopping.signal.aborted) return undefined
      // What the broker could not do was told by whoever asked it.
      if (error instanceof PushFault)
        log.warn({ stream: stream.id, error: error.message }, 'a signal did not arrive')
      return undefined
    }
  }

  function retryLater(streamId: string, afterSeconds: number | undefined): void {
    if (stopping.signal.aborted) return
    const count = (failures.get(streamId) ?? 0) + 1
    failures.set(streamId, count)
    const milliseconds = Math.min(
      RETRY_MILLISECONDS_MAX,
      Math.max(retryMilliseconds(count), (afterSeconds ?? 0) * 1000),
    )
    timers.set(
      streamId,
      setTimeout(() => {
        timers.delete(streamId)
        wake(streamId)
      }, milliseconds).unref(),
    )
  }

  return {
    wake,
    stop: async () => {
      stopping.abort()
      for (const timer of timers.values()) clearTimeout(timer)
      await Promise.all(running.values())
    },
  }
}

/** Twice as long each time, and never quite the same: receivers that were away together do not come back together. */
function retryMilliseconds(failures: number): number {
  const milliseconds = Math.min(RETRY_MILLISECONDS_MAX, RETRY_MILLISECONDS_MIN * 2 ** (failures - 1))
  return milliseconds * (0.75 + Math.random() / 4)
}
