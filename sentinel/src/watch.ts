/**
 * What nobody reports because nothing happens: a key that grows too old, a validator that does not acknowledge, a log
 * that shows nothing new. Pure: each function looks at a state and a time.
 * @module
 */

import type { Acks, CanaryResult, Proof, Rotation } from '@countersign/authority/client'
import { readApproval } from '@countersign/validator/approval'
import { readAttestation } from '@countersign/validator/attestation'
import { KEY_COUNT_MAX, type TrustState } from '@countersign/validator/manifest'
import { type Finding, insistent, type Rule } from './alert.ts'
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

/** Validators that a key did not wait for, since they had not acknowledged it in time. */
export function findUnheard({ slots }: Rotation, nowSeconds: number): Finding[] {
  return slots.flatMap(({ realm, next, overdue }) =>
    overdue.map(
      (name): Finding => ({
        rule: 'rotation_unheard',
        severity: 'warning',
        reason: 'not_acknowledged',
        realm,
        kid: next,
        actor: name,
        validator: null,
        seenAt: nowSeconds * 1000,
      }),
    ),
  )
}

/**
 * Finds slots in which nothing has signed for a minute, and those whose next key should have taken over some minutes ago.
 * The one it returns keeps, from call to call, since when nothing signs in a slot.
 */
export function createRotationWatch(): (rotation: Rotation, nowSeconds: number) => Finding[] {
  let idleSince: ReadonlyMap<string, number> = new Map()
  return ({ slots }, nowSeconds) => {
    const named = slots.map((slot) => ({ ...slot, name: `${slot.purpose} ${slot.issuer}` }))
    const idle = named.filter(({ active }) => active === null)
    idleSince = new Map(idle.map(({ name }) => [name, idleSince.get(name) ?? nowSeconds]))
    return named.flatMap(({ name, realm, active, due_at }): Finding[] => {
      const finding = { rule: 'rotation_late', realm, kid: active, actor: name, validator: null } as const
      const since = idleSince.get(name)
      if (since !== undefined) {
        if (nowSeconds - since < IDLE_SECONDS_MAX) return []
        return [{ ...finding, severity: 'critical', reason: 'no_active_key', seenAt: since * 1000 }]
      }
      if (due_at === null || nowSeconds - due_at < LATE_SECONDS_MAX) return []
      return [{ ...finding, severity: 'warning', reason: 'overdue', seenAt: due_at * 1000 }]
    })
  }
}

/** After a kill somebody decides what signs next. */
const IDLE_SECONDS_MAX = 60
/** More than a rotation waits for silent validators, and for a broker that is started anew. */
const LATE_SECONDS_MAX = 900

/** Realms whose glass is broken, for as long as it is. */
export function findBrokenGlass({ manifest }: TrustState, nowSeconds: number): Finding[] {
  return manifest.breakGlass.flatMap((document): Finding[] => {
    const { target, proposer, issuedAt } = readApproval(document)
    if (target.op !== 'break-glass' || nowSeconds >= target.until) return []
    return [
      {
        rule: 'break_glass',
        severity: 'critical',
        reason: 'glass_broken',
        realm: target.realm,
        kid: null,
        actor: proposer,
        validator: null,
        seenAt: issuedAt * 1000,
      },
    ]
  })
}

/** A manifest that is full takes no new key, and nothing rotates any more. */
export function findFullManifest({ manifest }: TrustState, nowSeconds: number): Finding[] {
  const ratio = manifest.keys.size / KEY_COUNT_MAX
  if (ratio < FULL_WARNING_RATIO) return []
  return [
    {
      rule: 'manifest_full',
      severity: ratio < FULL_RATIO ? 'warning' : 'critical',
      reason: 'many_keys',
      realm: null,
      kid: null,
      actor: null,
      validator: null,
      seenAt: nowSeconds * 1000,
    },
  ]
}

/** Months before, at a few keys a day. */
const FULL_WARNING_RATIO = 0.5
const FULL_RATIO = 0.9

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
 * function that it returns is to be given all that holds at the moment. What `pass` could not take is due at the next look.
 */
export function createPacer(
  pass: (due: readonly Finding[]) => Promise<void>,
): (findings: readonly Finding[], nowSeconds: number) => Promise<void> {
  let passedAt: ReadonlyMap<string, number> = new Map()
  return async (findings, nowSeconds) => {
    const due: Finding[] = []
    const next = new Map<string, number>()
    for (const finding of findings) {
      const { rule, severity, realm, kid, actor } = finding
      const name = JSON.stringify([rule, severity, realm, kid, actor])
      const before = passedAt.get(name)
      const isDue = before === undefined || nowSeconds - before >= paceOf(rule)
      if (isDue) due.push(finding)
      next.set(name, isDue ? nowSeconds : before)
    }
    if (due.length > 0) await pass(due)
    passedAt = next
  }
}

function paceOf(rule: Rule): number {
  return insistent.includes(rule) ? INSISTENT_SECONDS : PACE_SECONDS
}

/** Well below the quiet after which the same would be a new alert. */
const PACE_SECONDS = 600
const INSISTENT_SECONDS = 60
