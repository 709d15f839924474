/**
 * What a validator reports about a token that it saw (never the token itself), and how the reports reach the sentinel:
 * refusals at once, acceptances in batches, all in bounded memory and off the path of the decision.
 *
 * Evidence is what counts. A flood of garbage can therefore neither grow the queues nor push a refusal with a valid
 * signature out of them: each kind has a queue of its own, evidence leaves first, and what found no room is counted
 * and the count reported. Rule and format: spec/sighting.md.
 * @module
 */

import { createPublicKey, type KeyObject, randomUUID } from 'node:crypto'
import { encode } from './base64url.ts'
import type { TokenType } from './entry.ts'
import { type PublicJwk, signInput, thumbprint } from './jws.ts'
import type { Reason } from './refusal.ts'

/** One decision. What the validator could not learn about the token is left out. */
export interface Sighting {
  readonly verdict: 'accepted' | Reason
  /** Milliseconds since the epoch: what is promised about alerts is finer than a second. */
  readonly at: number
  readonly manifestVersion?: number | undefined
  /** Realm of the key, once the manifest is known to name it. */
  readonly realm?: string | undefined
  readonly kid?: string | undefined
  /** `iss` and `tid` as claimed; of a refused token they are the presenter's words. */
  readonly issuer?: string | undefined
  readonly tenant?: string | undefined
  readonly tokenType?: TokenType | undefined
  /** Left out where it was not determined: unknown key, or past the rate at which refused tokens are looked into. */
  readonly signatureValid?: boolean | undefined
  readonly receiptValid?: boolean | undefined
  /** Where the receipt says that the entry is. */
  readonly origin?: string | undefined
  readonly index?: number | undefined
  /** Base64url, 32 bytes. */
  readonly leafHash?: string | undefined
  readonly serial?: number | undefined
  /** Where the token came from, as the protected service names it: an address or a prefix. */
  readonly network?: string | undefined
}

export interface ReporterOptions {
  /** URL of the sentinel. */
  readonly sentinel: string
  /** The name that this validator is enrolled by, and the key (Ed25519) that it enrolled. */
  readonly name: string
  readonly privateKey: KeyObject
  /** Milliseconds since the epoch. */
  readonly now?: () => number
}

export interface Reporter {
  /** Queues a sighting; never blocks, never throws. */
  report(sighting: Sighting): void
  /** Settles when everything queued so far was delivered; rejects when a delivery failed. */
  flush(): Promise<void>
  /** Delivers what is queued, once, and ends. */
  stop(): Promise<void>
}

const BATCH_SIGHTINGS_MAX = 256
const ACCEPTANCE_DELAY_MILLISECONDS = 1000
const QUEUE_SIGHTINGS_MAX = { evidence: 8192, acceptance: 16_384, noise: 1024 } as const
const DELIVERY_MILLISECONDS_MAX = 5000
/** A service has few seconds to stop, and a sentinel that hangs may not use them up. */
const FAREWELL_MILLISECONDS_MAX = 1000
const RETRY_MILLISECONDS = { first: 100, last: 5000 } as const

type Kind = keyof typeof QUEUE_SIGHTINGS_MAX

interface Batch {
  /** Stays the same over retries, so that the sentinel counts a batch once whose answer was lost. */
  readonly id: string
  readonly sightings: readonly Sighting[]
  readonly dropped: number
}

/** Reports sightings to the sentinel as signed batches. Timers of its own keep no process alive. */
export function createReporter(options: ReporterOptions): Reporter {
  const { name, privateKey, now = Date.now } = options
  const url = new URL('/sightings', options.sentinel)
  const kid = thumbprint(createPublicKey(privateKey).export({ format: 'jwk' }) as PublicJwk)
  const queues: Record<Kind, Sighting[]> = { evidence: [], acceptance: [], noise: [] }
  let dropped = 0
  let batch: Batch | undefined
  let delivering: Promise<void> | undefined
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let timerAt = Number.POSITIVE_INFINITY
  let stopped = false
  const ending = new AbortController()

  function report(sighting: Sighting): void {
    if (stopped) return
    const kind = kindOf(sighting)
    const queue = queues[kind]
    if (queue.length >= QUEUE_SIGHTINGS_MAX[kind]) {
      dropped++
      return
    }
    queue.push(sighting)
    // While the sentinel does not answer, only the retry's own pace counts.
    if (failures > 0) return
    const full = queue.length >= BATCH_SIGHTINGS_MAX
    wake(kind === 'acceptance' && !full ? ACCEPTANCE_DELAY_MILLISECONDS : 0)
  }

  function wake(milliseconds: number): void {
    const at = performance.now() + milliseconds
    if (delivering !== undefined || timerAt <= at) return
    clearTimeout(timer)
    timerAt = at
    timer = setTimeout(() => void deliverAll().catch(() => {}), milliseconds).unref()
  }

  function deliverAll(): Promise<void> {
    clearTimeout(timer)
    timerAt = Number.POSITIVE_INFINITY
    delivering ??= drain().finally(() => {
      delivering = undefined
      if (!stopped && failures > 0) wake(retryMilliseconds(failures))
    })
    return delivering
  }

  async function drain(): Promise<void> {
    for (;;) {
      batch ??= nextBatch()
      if (batch === undefined) return
      try {
        await deliver(batch)
      } catch (error) {
        failures++
        throw error
      }
      failures = 0
      batch = undefined
    }
  }

  function nextBatch(): Batch | undefined {
    const sightings: Sighting[] = []
    for (const kind of ['evidence', 'acceptance', 'noise'] as const)
      sightings.push(...queues[kind].splice(0, BATCH_SIGHTINGS_MAX - sightings.length))
    if (sightings.length === 0 && dropped === 0) return undefined
    const next = { id: randomUUID(), sightings, dropped }
    dropped = 0
    return next
  }

  async function deliver({ id, sightings, dropped }: Batch): Promise<void> {
    const header = { alg: 'EdDSA', typ: 'sightings+jwt', kid }
    const payload = {
      validator: name,
      jti: id,
      iat: Math.floor(now() / 1000),
      dropped,
      sightings: sightings.map(toWire),
    }
    const input = `${segment(header)}.${segment(payload)}`
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/jwt' },
      body: `${input}.${encode(signInput('EdDSA', privateKey, input))}`,
      redirect: 'error',
      signal: AbortSignal.any([ending.signal, AbortSignal.timeout(DELIVERY_MILLISECONDS_MAX)]),
    })
    await response.arrayBuffer()
    // What the sentinel cannot read now it cannot read later; everything else (not yet enrolled, not there) may heal.
    if (!response.ok && response.status !== 400 && response.status !== 413)
      throw new Error(`the sentinel answered ${response.status}`)
  }

  return {
    report,
    flush: async () => {
      await delivering?.catch(() => {})
      await deliverAll()
    },
    stop: async () => {
      stopped = true
      const late = setTimeout(() => ending.abort(), FAREWELL_MILLISECONDS_MAX).unref()
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

function toWire(sighting: Sighting): object {
  return {
    verdict: sighting.verdict,
    at: sighting.at,
    manifest_version: sighting.manifestVersion,
    realm: sighting.realm,
    kid: sighting.kid,
    issuer: sighting.issuer,
    tenant: sighting.tenant,
    token_type: sighting.tokenType,
    signature_valid: sighting.signatureValid,
    receipt_valid: sighting.receiptValid,
    origin: sighting.origin,
    index: sighting.index,
    leaf_hash: sighting.leafHash,
    serial: sighting.serial,
    network: sighting.network,
  }
}

function retryMilliseconds(failures: number): number {
  const most = Math.min(RETRY_MILLISECONDS.last, RETRY_MILLISECONDS.first * 2 ** (failures - 1))
  // Half of it is jitter: validators that lost the same sentinel do not return as one.
  return most * (0.5 + Math.random() / 2)
}

function segment(value: object): string {
  return encode(Buffer.from(JSON.stringify(value)))
}
