/**
 * How sightings reach the sentinel: refusals at once, acceptances in batches, all in bounded memory and off the path
 * of the decision.
 *
 * Evidence is what counts. A flood of garbage can neither grow the queues nor push a refusal with a valid signature
 * out of them: each kind has a queue of its own, evidence leaves first, and what found no room is counted and the
 * count reported.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { encode } from './base64url.ts'
import type { Enrolment } from './enrolment.ts'
import { REPORT_SIGHTINGS_MAX, type Report, type Sighting, signReport } from './sighting.ts'

export interface ReporterOptions {
  /** URL of the sentinel. */
  readonly sentinel: string
  readonly enrolment: Enrolment
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

export interface Reporter {
  /** Queues a sighting; never blocks, never throws. */
  report(sighting: Sighting): void
  /** Settles when all that is queued was delivered; rejects when a delivery failed, and it will be tried again. */
  flush(): Promise<void>
  /** Delivers what is queued, once, and ends. */
  stop(): Promise<void>
}

const ACCEPTANCE_DELAY_MILLISECONDS = 1000
const QUEUE_SIGHTINGS_MAX = { evidence: 8192, acceptance: 16_384, noise: 1024 } as const
const DELIVERY_MILLISECONDS_MAX = 5000
/** A service has few seconds to stop, and a sentinel that hangs may not use them up. */
const FAREWELL_MILLISECONDS_MAX = 1000
const NEVER = Number.POSITIVE_INFINITY
const RETRY_MILLISECONDS = { first: 100, last: 5000 } as const

type Kind = keyof typeof QUEUE_SIGHTINGS_MAX
type Batch = Omit<Report, 'validator' | 'issuedAt'>

/** Reports to the sentinel. Its timers keep no process alive. */
export function createReporter({ sentinel, enrolment, now = seconds }: ReporterOptions): Reporter {
  const url = new URL('/sightings', sentinel)
  const queues: Record<Kind, Sighting[]> = { evidence: [], acceptance: [], noise: [] }
  const ending = new AbortController()
  let dropped = 0
  let batch: Batch | undefined
  let delivering: Promise<void> | undefined
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let wakesAt = NEVER
  let stopped = false

  function report(sighting: Sighting): void {
    if (stopped) return
    const kind = kindOf(sighting)
    const queue = queues[kind]
    if (queue.length >= QUEUE_SIGHTINGS_MAX[kind]) {
      dropped++
      return
    }
    queue.push(sighting)
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
    timer = setTimeout(() => void deliverAll().catch(() => {}), milliseconds).unref()
  }

  function delayMilliseconds(): number {
    if (failures > 0) return retryMilliseconds(failures)
    if (queues.evidence.length + queues.noise.length > 0) return 0
    if (queues.acceptance.length >= REPORT_SIGHTINGS_MAX) return 0
    return queues.acceptance.length > 0 ? ACCEPTANCE_DELAY_MILLISECONDS : NEVER
  }

  function deliverAll(): Promise<void> {
    clearTimeout(timer)
    wakesAt = NEVER
    delivering ??= drain().finally(() => {
      delivering = undefined
      schedule()
    })
    return delivering
  }

  async function drain(): Promise<void> {
    for (batch ??= nextBatch(); batch !== undefined; batch = nextBatch()) {
      failures++
      await deliver(batch)
      failures = 0
    }
  }

  function nextBatch(): Batch | undefined {
    const sightings: Sighting[] = []
    for (const kind of ['evidence', 'acceptance', 'noise'] as const)
      sightings.push(...queues[kind].splice(0, REPORT_SIGHTINGS_MAX - sightings.length))
    if (sightings.length === 0 && dropped === 0) return undefined
    const next = { id: encode(randomBytes(16)), sightings, dropped }
    dropped = 0
    return next
  }

  async function deliver(next: Batch): Promise<void> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/jwt' },
      // Signed anew for each attempt: an old report is refused as a replay.
      body: signReport({ ...next, issuedAt: Math.floor(now()) }, enrolment),
      redirect: 'error',
      signal: AbortSignal.any([ending.signal, AbortSignal.timeout(DELIVERY_MILLISECONDS_MAX)]),
    })
    await response.arrayBuffer()
    // What the sentinel cannot read now it cannot read later. Anything else may heal: not enrolled yet, say.
    if (!response.ok && response.status !== 400) throw new Error(`the sentinel answered ${response.status}`)
  }

  return {
    report,
    flush: async () => {
      await delivering?.catch(() => {})
      await deliverAll()
    },
    stop: async () => {
      stopped = true
      const late = setTimeout(() => ending.abort(), FAREWELL_MILLISECONDS_MAX)
      await delivering?.catch(() => {})
      await deliverAll().catch(() => {})
      clearTimeout(timer)
      clearTimeout(late)
    },
  }
}

/** Refused with a valid signature is evidence, since only who holds the key can make it; an invalid one is noise. */
function kindOf({ verdict, signatureValid }: Sighting): Kind {
  if (verdict === 'accepted') return 'acceptance'
  return signatureValid === true ? 'evidence' : 'noise'
}

function retryMilliseconds(failures: number): number {
  const most = Math.min(RETRY_MILLISECONDS.last, RETRY_MILLISECONDS.first * 2 ** (failures - 1))
  // Half of it is jitter: validators that lost the same sentinel do not come back as one.
  return most * (0.5 + Math.random() / 2)
}

function seconds(): number {
  return Date.now() / 1000
}
