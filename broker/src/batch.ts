/**
 * Puts requests together: what arrives while others are under way goes with the next batch, so that each step is paid
 * once for many, and a lone request waits for nobody. Where enough wait, another batch is under way beside the first,
 * each at another step. Bounded in every direction: who cannot be served in time is told so.
 * @module
 */

import { LineError } from '@countersign/lines'

export interface BatchLimits {
  readonly batchMax: number
  /** So many are worth a batch of their own while others are under way. */
  readonly batchWorthwhile: number
  readonly batchesUnderWayMax: number
  readonly waitingMax: number
  readonly waitMillisecondsMax: number
}

/** Does the work for all requests of a batch: a result for each, in order. */
export type Work<Request, Result> = (requests: readonly Request[]) => Promise<readonly Result[]>

/** Gives a request its result. Rejects with what the work rejects with, or `LineError('rate_limited')`. */
export type Batched<Request, Result> = (request: Request) => Promise<Result>

interface Waiting<Request, Result> {
  readonly request: Request
  readonly since: number
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

export function batch<Request, Result>(
  work: Work<Request, Result>,
  { batchMax, batchWorthwhile, batchesUnderWayMax, waitingMax, waitMillisecondsMax }: BatchLimits,
  monotonic: () => number = () => performance.now(),
): Batched<Request, Result> {
  let waiting: Waiting<Request, Result>[] = []
  let batchesUnderWay = 0
  let isScheduled = false

  function schedule(): void {
    const needed = batchesUnderWay === 0 ? 1 : batchWorthwhile
    if (isScheduled || waiting.length < needed || batchesUnderWay >= batchesUnderWayMax) return
    isScheduled = true
    // After this turn of the event loop, so that all requests of one read go together.
    setImmediate(begin)
  }

  function begin(): void {
    isScheduled = false
    const late = monotonic() - waitMillisecondsMax
    for (const each of waiting.splice(0, countLate(waiting, late))) each.reject(overloaded())
    const taken = waiting.slice(0, batchMax)
    waiting = waiting.slice(batchMax)
    if (taken.length > 0) void run(taken)
    schedule()
  }

  async function run(taken: readonly Waiting<Request, Result>[]): Promise<void> {
    batchesUnderWay++
    try {
      const results = await work(taken.map(({ request }) => request))
      taken.forEach(({ resolve }, at) => {
        resolve(results[at] as Result)
      })
    } catch (error) {
      for (const { reject } of taken) reject(error)
    }
    batchesUnderWay--
    schedule()
  }

  return (request) =>
    new Promise((resolve, reject) => {
      if (waiting.length >= waitingMax) return reject(overloaded())
      waiting.push({ request, since: monotonic(), resolve, reject })
      schedule()
    })
}

/** They wait in the order in which they came. */
function countLate(waiting: readonly { readonly since: number }[], late: number): number {
  const inTime = waiting.findIndex(({ since }) => since >= late)
  return inTime === -1 ? waiting.length : inTime
}

function overloaded(): LineError {
  return new LineError('rate_limited', 'more is asked for than can be signed', { retryable: true })
}
