/**
 * What nobody reports because nothing happens: a key that grows too old, a validator that does not acknowledge, a log
 * that shows nothing new. Pure: each function looks at a state and a time.
 * @module
 */

import type { Acks, CanaryResult, Proof } from '@countersign/authority/client'
import { readAttestation } from '@countersign/validator/attestation'
import type { TrustState } from '@countersign/validator/manifest'
import type { Finding } from './alert.ts'
import type { LogState } from './log-reader.ts'

const AGE_WARNING_RATIO = 0.8
/** A log that lives signs a checkpoint every second. */
const CHECKPOINT_AGE_SECONDS_MAX = 10

/** Live keys past 80 % of the age that the charter allows, and those past all of it. */
export function findOldKeys(trust: TrustState, nowSeconds: number): Finding[] {
  const ages = keyAges(trust, nowSeconds)
  return ages
    .filter(({ ratio }) => ratio >= AGE_WARNING_RATIO)
    .map(({ kid, realm, ratio }) => ({
      rule: 'key_over_age',
      severity: ratio >= 1 ? 'critical' : 'warning',
      reason: ratio >= 1 ? 'age_exceeded' : 'age_warning',
      realm,
      kid,
      actor: null,
      validator: null,
      seenAt: nowSeconds * 1000,
    }))
}

/** The age of each key that signs or stands ready to, as a part of what its charter allows. */
export function keyAges(
  { charter, manifest }: TrustState,
  nowSeconds: number,
): { readonly kid: string; readonly realm: string; readonly ratio: number }[] {
  return [...manifest.keys.values()]
    .filter(({ state }) => state === 'active' || state === 'published')
    .map(({ kid, realm, attestation }) => {
      const ageSeconds = nowSeconds - readAttestation(attestation).issuedAt
      const ageSecondsMax = charter.realms.get(realm)?.keyAgeSecondsMax ?? 0
      return { kid, realm, ratio: ageSeconds / ageSecondsMax }
    })
}

/**
 * Finds validators that have been behind for too long. The one it returns keeps, from call to call, since when each
 * has been behind without a break.
 */
export function createSilenceWatch(silentSeconds: number): (acks: Acks, nowSeconds: number) => Finding[] {
  let behindSince: ReadonlyMap<string, number> = new Map()
  return ({ silent }, nowSeconds) => {
    behindSince = new Map(silent.map((name) => [name, behindSince.get(name) ?? nowSeconds]))
    return [...behindSince]
      .filter(([, since]) => nowSeconds - since > silentSeconds)
      .map(([name, since]) => ({
        rule: 'validator_silent',
        severity: 'warning',
        reason: 'not_acknowledged',
        realm: null,
        kid: null,
        actor: name,
        validator: null,
        seenAt: since * 1000,
      }))
  }
}

/** Gateways that did not refuse a canary of a key that was killed in the last minutes; `keys` says whose it is. */
export function findUnenforced(
  proofs: readonly Proof[],
  keys: ReadonlyMap<string, { readonly realm: string }>,
  nowSeconds: number,
): Finding[] {
  return proofs
    .filter(({ at }) => nowSeconds - at < PACE_SECONDS)
    .flatMap(({ kid, at, results }) =>
      results.flatMap(({ name, outcome, milliseconds }): Finding[] => {
        if (outcome === 'refused') return []
        return [
          {
            rule: 'kill_not_enforced',
            // Whoever does not answer lets nobody in either, so far as anybody can see.
            severity: outcome === 'unreachable' ? 'warning' : 'critical',
            reason: canaryReasons[outcome],
            realm: keys.get(kid)?.realm ?? null,
            kid,
            actor: name,
            validator: null,
            seenAt: at * 1000 + milliseconds,
          },
        ]
      }),
    )
}

const canaryReasons = {
  accepted: 'canary_accepted',
  unproven: 'canary_unproven',
  unreachable: 'canary_unreachable',
} as const satisfies Partial<Record<CanaryResult['outcome'], string>>

/** Open logs whose newest checkpoint is too old. `sinceSeconds` is when they began to be read. */
export function findStaleLogs(
  logs: readonly LogState[],
  sinceSeconds: number,
  nowSeconds: number,
): Finding[] {
  return logs
    .filter(({ isOpen }) => isOpen)
    .filter(({ signedAt }) => nowSeconds - Math.max(signedAt, sinceSeconds) > CHECKPOINT_AGE_SECONDS_MAX)
    .map(({ origin, signedAt }) => ({
      rule: 'checkpoint_stale',
      severity: 'critical',
      reason: 'no_checkpoint',
      realm: null,
      kid: null,
      actor: origin,
      validator: null,
      seenAt: Math.max(signedAt, sinceSeconds) * 1000,
    }))
}

/**
 * Lets a condition that lasts pass when it begins, and again every few minutes so that its alert stays one. The
 * function that it returns is to be given all that holds at the moment.
 */
export function createPacer(): (findings: readonly Finding[], nowSeconds: number) => Finding[] {
  let passedAt: ReadonlyMap<string, number> = new Map()
  return (findings, nowSeconds) => {
    const passing: Finding[] = []
    const next = new Map<string, number>()
    for (const finding of findings) {
      const name = JSON.stringify([finding.rule, finding.severity, finding.kid, finding.actor])
      const before = passedAt.get(name)
      const isDue = before === undefined || nowSeconds - before >= PACE_SECONDS
      if (isDue) passing.push(finding)
      next.set(name, isDue ? nowSeconds : before)
    }
    passedAt = next
    return passing
  }
}

/** Well below the quiet after which the same would be a new alert. */
const PACE_SECONDS = 600
