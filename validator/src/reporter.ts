/**
 * How sightings reach the sentinel: refusals at once, acceptances in batches, all in bounded room and off the path of the
 * decision. What waits is in spool.ts: given a folder, it waits on disk, and outlives the process.
 *
 * Evidence is what counts. A flood of garbage can neither grow the queues nor push a refusal with a valid signature
 * out of them: each kind has a queue of its own, evidence leaves first, and what found no room is counted and the
 * count reported.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { encode } from './base64url.ts'
import type { Enrolment } from './enrolment.ts'
import { type Report, type Sighting, signReport } from './sighting.ts'
import { type Batch, createSpool } from './spool.ts'

export interface ReporterOptions {
  /** URL of the sentinel. */
  readonly sentinel: string
  readonly enrolment: Enrolment
  /** Where sightings wait for a sentinel that is away. Of this process alone. Left out: in memory, and they die with it. */
  readonly folder?: string | undefined
  /** The disk does not take what it should; it waits in memory. */
  readonly onProblem?: ((problem: Error) => void) | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

export interface Reporter {
  /** Queues a sighting; never blocks, never throws. */
  report(sighting: Sighting): void
  /** Settles when all that is queued was delivered; rejects when a delivery failed, and it will be tried again. */
  flush(): Promise<void>
  /** Delivers what is queued, once, and ends. What is not taken stays in the folder. */
  stop(): Promise<void>
}

const DELIVERY_MILLISECONDS_MAX = 5000
/** A service has few seconds to stop, and a sentinel that hangs may not use them up. */
const FAREWELL_MILLISECONDS_MAX = 1000
const NEVER = Number.POSITIVE_INFINITY
/** Malformed, or too large for it or for a proxy in front. */
const unreadable: readonly number[] = [400, 413]
const RETRY_MILLISECONDS = { first: 100, last: 5000 } as const

/** Reports to the sentinel, beginning with what was left in the folder. Its timers keep no process alive. */
export function createReporter(options: ReporterOptions): Reporter {
  const { sentinel, enrolment, folder, onProblem, now = seconds } = options
  const url = new URL('/sightings', sentinel)
  const spool = createSpool({ folder, onProblem })
  const ending = new AbortController()
  let dropped = 0
  /** Under way. Sent again, it has to be the same to the last member. */
  let current: (Batch & { readonly dropped: number }) | undefined
  let delivering: Promise<void> | undefined
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let wakesAt = NEVER
  let stopped = false

  function report(sighting: Sighting): void {
    if (stopped) return
    if (!spool.add(sighting)) dropped++
    schedule()
  }

  function schedule(): void {
    if (stopped || delivering !== undefined) return
    // While the sentinel does not answer, the retry keeps its own pace, whatever comes in.
    if (failures > 0 && wakesAt !== NEVER) return
    const milliseconds = delayMilliseconds()
    const at = performance.now() + milliseconds
    if (wakesAt <= at) return
    clearTimeout(timer)
    wakesAt = at
    timer = setTimeout(() => void deliverAll(false).catch(() => {}), milliseconds).unref()
  }

  function delayMilliseconds(): number {
    if (failures > 0) return retryMilliseconds(failures)
    return current !== undefined || dropped > 0 ? 0 : spool.dueInMilliseconds
  }

  /** `everything`: what still gathers, too. */
  function deliverAll(everything: boolean): Promise<void> {
    clearTimeout(timer)
    wakesAt = NEVER
    delivering ??= drain(everything).finally(() => {
      delivering = undefined
      schedule()
    })
    return delivering
  }

  async function drain(everything: boolean): Promise<void> {
    while (current !== undefined || dropped > 0 || spool.dueInMilliseconds < (everything ? NEVER : 1)) {
      current ??= nextReport()
      if (current === undefined) return
      failures++
      await deliver(current)
      failures = 0
      spool.remove(current)
      current = undefined
    }
  }

  function nextReport(): (Batch & { readonly dropped: number }) | undefined {
    const batch = spool.next()
    if (batch === undefined && dropped === 0) return undefined
    const report = { ...(batch ?? { id: encode(randomBytes(16)), sightings: [] }), dropped }
    dropped = 0
    return report
  }

  async function deliver(next: Omit<Report, 'validator' | 'issuedAt'>): Promise<void> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/jwt' },
      // Signed anew for each attempt: an old report is refused as a replay.
      body: signReport({ ...next, issuedAt: Math.floor(now()) }, enrolment),
      redirect: 'error',
      signal: AbortSignal.any([ending.signal, AbortSignal.timeout(DELIVERY_MILLISECONDS_MAX)]),
    })
    await response.body?.cancel()
    // What the sentinel cannot read now it cannot read later, and it learns that there was something. Anything else may heal: not
    // enrolled yet, say.
    if (unreadable.includes(response.status)) dropped += next.sightings.length
    else if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  }

  schedule()
  return {
    report,
    flush: async () => {
      await delivering?.catch(() => {})
      await deliverAll(true)
    },
    stop: async () => {
      stopped = true
      const late = setTimeout(() => ending.abort(), FAREWELL_MILLISECONDS_MAX)
      await delivering?.catch(() => {})
      await deliverAll(true).catch(() => {})
      spool.close()
      clearTimeout(timer)
      clearTimeout(late)
    },
  }
}

function retryMilliseconds(failures: number): number {
  const most = Math.min(RETRY_MILLISECONDS.last, RETRY_MILLISECONDS.first * 2 ** (failures - 1))
  // Half of it is jitter: validators that lost the same sentinel do not come back as one.
  return most * (0.5 + Math.random() / 2)
}

function seconds(): number {
  return Date.now() / 1000
}
