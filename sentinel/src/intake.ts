/**
 * Takes reports in: each must be a recent statement by an enrolled validator, and counts once however often it comes.
 * Noise (an invalid signature, an unknown key) is counted and not stored, so that whoever sends garbage to a validator
 * fills no disk here.
 * @module
 */

import { DocumentRefusal } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import type { TrustSource } from '@countersign/validator/manifest'
import { type Report, type Sighting, verifyReport } from '@countersign/validator/sighting'
import type { Alarm } from './alarm.ts'
import type { Finding } from './alert.ts'
import { placeSighting } from './reconcile.ts'
import { judgeSighting } from './rules.ts'
import type { Session } from './store.ts'

export interface IntakeOptions {
  readonly alarm: Alarm
  readonly trust: TrustSource
  readonly enrolledKey: (validator: string) => Promise<PublicJwk | undefined>
  /** Hears of each sighting that counts. */
  readonly onSighting: (sighting: Sighting, validator: string) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Clocks of validators may be wrong by minutes, and what they saw still counts. */
export const AGE_SECONDS_MAX = 300

/** Takes a report, a compact JWS. Throws `DocumentRefusal` for one that does not count. */
export function createIntake(options: IntakeOptions): (statement: string) => Promise<void> {
  const { alarm, trust, enrolledKey, onSighting, now } = options

  return async (statement) => {
    const report = await verifyReport(statement, enrolledKey)
    if (Math.abs(now() / 1000 - report.issuedAt) > AGE_SECONDS_MAX) {
      throw new DocumentRefusal('rolled_back', 'the report is not recent')
    }
    let isNew = false
    await alarm.record(async (session) => {
      isNew = await remember(session, report, now())
      return isNew ? examine(session, report) : []
    })
    if (isNew) for (const sighting of report.sightings) onSighting(sighting, report.validator)
  }

  async function examine(session: Session, { validator, sightings, dropped }: Report): Promise<Finding[]> {
    const findings: Finding[] = []
    for (const sighting of sightings) {
      // A clock that runs ahead would date an alert before its cause.
      const seen = { ...sighting, at: Math.min(sighting.at, now()) }
      const key = trust.state?.manifest.keys.get(seen.kid ?? '')
      const finding = judgeSighting(seen, key, validator)
      if (finding !== undefined) findings.push(finding)
      if (seen.verdict !== 'accepted' && seen.signatureValid !== true) continue
      const { logged, finding: mismatch } = await placeSighting(session, seen, validator)
      if (mismatch !== undefined) findings.push(mismatch)
      await store(session, seen, validator, logged)
    }
    if (dropped > 0) findings.push(droppedBy(validator))
    return findings
  }

  async function store(
    session: Session,
    sighting: Sighting,
    validator: string,
    logged: 'pending' | 'found' | 'missing' | null,
  ): Promise<void> {
    await session
      .insertInto('sightings')
      .values({
        received_ms: now(),
        validator,
        verdict: sighting.verdict,
        at_ms: sighting.at,
        manifest_version: sighting.manifestVersion ?? null,
        realm: sighting.realm ?? null,
        kid: sighting.kid ?? null,
        issuer: sighting.issuer ?? null,
        tenant: sighting.tenant ?? null,
        token_type: sighting.tokenType ?? null,
        signature_valid: flag(sighting.signatureValid),
        receipt_valid: flag(sighting.receiptValid),
        origin: sighting.origin ?? null,
        log_index: sighting.index ?? null,
        leaf_hash: sighting.leafHash ?? null,
        serial: sighting.serial ?? null,
        network: sighting.network ?? null,
        agent: sighting.agent ?? null,
        fingerprint: sighting.fingerprint ?? null,
        logged,
      })
      .execute()
  }

  function droppedBy(validator: string): Finding {
    return {
      rule: 'sightings_dropped',
      severity: 'warning',
      reason: 'queue_full',
      realm: null,
      kid: null,
      actor: validator,
      validator,
      seenAt: now(),
    }
  }
}

/** False for a report that came before. What one validator calls a report hides none of another. */
export async function remember(
  session: Session,
  { validator, id }: Pick<Report, 'validator' | 'id'>,
  receivedMs: number,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await session
    .insertInto('reports')
    .values({ id: `${id} ${validator}`, received_ms: receivedMs })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

function flag(value: boolean | undefined): number | null {
  return value === undefined ? null : Number(value)
}
