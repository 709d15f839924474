/**
 * Proof that a kill holds where it counts: after it, canaries of the killed key go to every gateway that enrolled with a
 * probe, and each must refuse them for the key's sake. A validator that acknowledges and does not enforce is found out so.
 * Rule: spec/kill.md, section 3.
 *
 * For each key that signs and each audience that is probed a canary stands ready, in memory alone: after the kill nobody
 * could make one any more.
 * @module
 */

import type { BrokerAdmin } from '@countersign/broker/client'
import { hasCanaries, unsignedCanary } from '@countersign/validator/canary'
import { readCompact } from '@countersign/validator/jws'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import type { FastifyInstance } from 'fastify'
import { createWaiting } from './waiting.ts'

/** Where a canary is sent. */
export interface Probe {
  /** Asked with `GET` and the canary as bearer token. */
  readonly url: string
  readonly audience: string
}

/** `accepted` and `unproven` mean that the kill does not hold there, or may not. */
export type CanaryOutcome = 'refused' | 'accepted' | 'unproven' | 'unreachable'

export interface CanaryResult {
  /** The validator's. */
  readonly name: string
  readonly outcome: CanaryOutcome
  /** As it was answered. */
  readonly reason: string | null
  /** From the command to the answer. */
  readonly milliseconds: number
  /** Whether the canary was signed by the key; false for one under a signature that nobody made. */
  readonly is_real: boolean
}

/** What came of the canaries of one kill. */
export interface Proof {
  /** The manifest that carries the kill. */
  readonly version: number
  readonly kid: string
  /** Seconds since the epoch. */
  readonly at: number
  readonly state: 'under_way' | 'done'
  readonly results: readonly CanaryResult[]
}

export interface CanaryOptions {
  readonly manifest: () => Manifest | undefined
  readonly probes: () => readonly (Probe & { readonly name: string })[]
  readonly broker: Pick<BrokerAdmin, 'canary'>
  /** Whether the validator has acknowledged that version or a later one. */
  readonly hasApplied: (name: string, version: number) => boolean
  readonly onDone: (proof: Proof) => Promise<void> | void
  readonly onProblem: (problem: Error) => void
  /** Of earlier runs. */
  readonly proofs?: readonly Proof[]
  /** Seconds since the epoch. */
  readonly now: () => number
}

export interface Canaries {
  /** Has made what is missing or through half of its life. To be called when keys or probes may have changed. */
  wake(): void
  /** Sends the canaries of a killed key, once each validator has applied the kill. `startedAt` is of `performance.now()`. */
  prove(kid: string, version: number, startedAt: number): Promise<Proof>
  /** A validator has acknowledged something. */
  heard(): void
  /** The newest first, as many as are remembered. */
  readonly proofs: readonly Proof[]
  /** How many stand ready. */
  readonly count: number
  stop(): Promise<void>
}

/** A validator that is silent for longer is asked all the same, and says what it makes of the key. */
const APPLY_MILLISECONDS_MAX = 5000
const ANSWER_MILLISECONDS_MAX = 3000
const ASKED_AT_ONCE_MAX = 64
export const PROOFS_MAX = 64
/** A key that was just activated may be killed at once; a broker that is away for long is not asked all the time. */
const LOOK_MILLISECONDS = { failed: 100, most: 60_000 } as const

interface Canary {
  readonly token: string
  readonly issuedAt: number
  readonly expiresAt: number
}

export function createCanaries(options: CanaryOptions): Canaries {
  const { manifest, probes, broker, now, onProblem } = options
  const canaries = new Map<string, Canary>()
  const waiting = createWaiting()
  const underWay = new Set<Promise<unknown>>()
  const stopping = new AbortController()
  let proofs: readonly Proof[] = options.proofs ?? []
  let timer: NodeJS.Timeout | undefined
  let tending: Promise<void> | undefined
  let isWokenAgain = false
  let failures = 0

  function wake(): void {
    isWokenAgain = true
    if (tending !== undefined || stopping.signal.aborted) return
    clearTimeout(timer)
    tending = tend().finally(() => {
      tending = undefined
      if (isWokenAgain) wake()
    })
  }

  async function tend(): Promise<void> {
    let pause: number = LOOK_MILLISECONDS.most
    while (isWokenAgain && !stopping.signal.aborted) {
      isWokenAgain = false
      forget()
      const missing = await makeAll()
      // Most likely the broker is away or has not heard of the key yet; a kill waits for neither.
      for (const problem of missing) onProblem(problem)
      if (missing.length === 0) failures = 0
      else pause = Math.min(LOOK_MILLISECONDS.most, LOOK_MILLISECONDS.failed * 2 ** failures++)
    }
    if (!stopping.signal.aborted) timer = setTimeout(wake, pause).unref()
  }

  /** Gives what failed. The signer of one realm that is away takes no canary from another. */
  async function makeAll(): Promise<readonly Error[]> {
    const problems: Error[] = []
    for (const [key, audience] of wanted()) {
      await make(key, audience).catch((error: Error) => problems.push(error))
    }
    return problems
  }

  function forget(): void {
    for (const [name, { expiresAt }] of canaries) if (expiresAt <= now()) canaries.delete(name)
  }

  /** For which key and audience there is none, or only one that is through half of its life. */
  function wanted(): [ManifestKey, string][] {
    const audiences = [...new Set(probes().map(({ audience }) => audience))]
    const keys = [...(manifest()?.keys.values() ?? [])].filter(
      (key) => key.state === 'active' && hasCanaries(key),
    )
    return keys.flatMap((key) =>
      audiences
        .filter((audience) => isDue(key.kid, audience))
        .map((audience): [ManifestKey, string] => [key, audience]),
    )
  }

  function isDue(kid: string, audience: string): boolean {
    const canary = canaries.get(nameOf(kid, audience))
    return canary === undefined || now() >= (canary.issuedAt + canary.expiresAt) / 2
  }

  async function make({ realm, kid }: ManifestKey, audience: string): Promise<void> {
    const { token } = await broker.canary({ realm, kid, audience })
    const { iat, exp } = readCompact(token).claims as { readonly iat: number; readonly exp: number }
    canaries.set(nameOf(kid, audience), { token, issuedAt: iat, expiresAt: exp })
  }

  async function prove(kid: string, version: number, startedAt: number): Promise<Proof> {
    const key = manifest()?.keys.get(kid)
    const asked = key !== undefined && hasCanaries(key) ? [...probes()] : []
    const begun: Proof = { version, kid, at: Math.floor(now()), state: 'under_way', results: [] }
    remember(begun)
    const results: CanaryResult[] = []
    const work = async (): Promise<void> => {
      for (let probe = asked.shift(); probe !== undefined; probe = asked.shift()) {
        const { name } = probe
        await waiting.until(() => options.hasApplied(name, version), APPLY_MILLISECONDS_MAX)
        results.push(await ask(probe, key as ManifestKey, startedAt))
      }
    }
    await Promise.all(Array.from({ length: ASKED_AT_ONCE_MAX }, work))
    results.sort((a, b) => (a.name < b.name ? -1 : 1))
    const proof: Proof = { ...begun, state: 'done', results }
    remember(proof)
    await options.onDone(proof)
    return proof
  }

  function remember(proof: Proof): void {
    const others = proofs.filter(({ version, kid }) => version !== proof.version || kid !== proof.kid)
    proofs = [proof, ...others].slice(0, PROOFS_MAX)
  }

  async function ask(
    { name, url, audience }: Probe & { readonly name: string },
    key: ManifestKey,
    startedAt: number,
  ): Promise<CanaryResult> {
    const canary = canaries.get(nameOf(key.kid, audience))
    const isReal = canary !== undefined && canary.expiresAt > now()
    const token = isReal ? canary.token : unsignedCanary(key, audience, now())
    const answer = await answerOf(url, token, stopping.signal)
    const milliseconds = Math.round(performance.now() - startedAt)
    return { name, ...judgeAnswer(answer), milliseconds, is_real: isReal }
  }

  return {
    wake,
    heard: waiting.wake,
    prove: (kid, version, startedAt) => {
      const proving = prove(kid, version, startedAt).finally(() => underWay.delete(proving))
      underWay.add(proving)
      return proving
    },
    get proofs() {
      return proofs
    },
    get count() {
      return canaries.size
    },
    stop: async () => {
      stopping.abort()
      clearTimeout(timer)
      waiting.end()
      await tending
      await Promise.allSettled(underWay)
    },
  }
}

/** Adds `GET /canaries` to a server. */
export function addCanaries(http: FastifyInstance, canaries: Pick<Canaries, 'proofs'>): void {
  http.get('/canaries', (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ proofs: canaries.proofs }),
  )
}

/** What a service answered; undefined where it did not. */
type ServiceAnswer = { readonly status: number; readonly reason: string | null } | undefined

async function answerOf(url: string, token: string, stopping: AbortSignal): Promise<ServiceAnswer> {
  try {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${token}` },
      redirect: 'manual',
      signal: AbortSignal.any([stopping, AbortSignal.timeout(ANSWER_MILLISECONDS_MAX)]),
    })
    await response.body?.cancel()
    return { status: response.status, reason: response.headers.get('x-countersign-reason') }
  } catch {
    return undefined
  }
}

/** Refused for the key's sake, or by somebody who takes no such key at all, or nothing at all for want of news. */
const refusing: readonly string[] = ['key_blocked', 'key_revoked', 'key_out_of_scope', 'manifest_stale']

/** Pure: what an answer to a canary of a killed key shows. Anything that is not foreseen proves nothing. */
export function judgeAnswer(answer: ServiceAnswer): Pick<CanaryResult, 'outcome' | 'reason'> {
  if (answer === undefined) return { outcome: 'unreachable', reason: null }
  const { status, reason } = answer
  const isRefusal = status === 401 || status === 403
  if (isRefusal && reason !== null && refusing.includes(reason)) return { outcome: 'refused', reason }
  // What lacks a scope, or has no mailbox, was let past the validator first.
  if (reason === 'insufficient_scope' || (!isRefusal && status < 500)) return { outcome: 'accepted', reason }
  return { outcome: 'unproven', reason }
}

function nameOf(kid: string, audience: string): string {
  return `${kid} ${audience}`
}
