/**
 * Holds the signers' counters against the log, key by key. A signature needs a receipt and a receipt needs an entry, so
 * the log never holds fewer entries than the signer made signatures; an entry without its signature is left by a crash,
 * or by somebody who logs what they sign elsewhere. Rule: spec/sighting.md, section 6.
 * @module
 */

import type { Alarm } from './alarm.ts'
import type { AlertReason, Finding, Severity } from './alert.ts'
import type { Metrics } from './metrics.ts'
import type { Database } from './store.ts'

/** What a signer says of one of its keys. */
export interface KeyCounter {
  readonly realm: string
  readonly kid: string
  /** Signatures that left the signer. */
  readonly signed: number
  readonly lastSerial: number
}

/** What was read in the log of one key. */
export interface KeyEntries {
  readonly kid: string
  readonly entries: number
  readonly last_serial: number
  /** Entries without a signature that were alerted about. */
  readonly orphans: number
}

/** The three accounts, in the order in which they must be taken: only so does work under way look like no difference. */
export interface Accounts {
  /** The log, some seconds before the counters. */
  readonly before: readonly KeyEntries[]
  readonly counters: readonly KeyCounter[]
  /** The log, read on past the time of the counters. */
  readonly after: readonly KeyEntries[]
}

export interface Differences {
  readonly findings: readonly Finding[]
  /** New number of orphans, by key, where it changed. */
  readonly orphans: ReadonlyMap<string, number>
}

export function compareCounts({ before, counters, after }: Accounts, seenAt: number): Differences {
  const findings: Finding[] = []
  const orphans = new Map<string, number>()
  for (const { realm, kid, signed, lastSerial } of counters) {
    const then = before.find((row) => row.kid === kid)
    const later = after.find((row) => row.kid === kid)
    const differ = (reason: AlertReason, severity: Severity): void => {
      const actor = `signer ${realm}`
      findings.push({
        rule: 'signatures_not_entries',
        severity,
        reason,
        realm,
        kid,
        actor,
        validator: null,
        seenAt,
      })
    }
    if (signed > (later?.entries ?? 0)) differ('more_signatures', 'critical')
    if (then === undefined) continue
    // Restored from an old copy, a signer would give serials again that the log has seen.
    if (lastSerial < then.last_serial) differ('serial_behind', 'critical')
    const unsigned = Math.max(0, then.entries - signed)
    if (unsigned > then.orphans) differ('more_entries', 'warning')
    if (unsigned !== then.orphans) orphans.set(kid, unsigned)
  }
  return { findings, orphans }
}

export interface CountAuditOptions {
  readonly database: Database
  readonly alarm: Alarm
  readonly counters: () => Promise<readonly KeyCounter[]>
  /** Reads the log past the present moment; false when that took too long. */
  readonly readPast: (milliseconds: number) => Promise<boolean>
  readonly metrics: Pick<Metrics, 'showCounts'>
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** A log that takes longer than this to be read past a moment has an alert of its own. */
const READ_MILLISECONDS_MAX = 10_000

/** One audit after the other, each some seconds after the one before. */
export function createCountAudit(options: CountAuditOptions): () => Promise<void> {
  const { database, alarm, metrics, now } = options
  const readEntries = (): Promise<KeyEntries[]> => database.selectFrom('key_entries').selectAll().execute()
  let before: readonly KeyEntries[] = []

  return async () => {
    const counters = await options.counters()
    if (!(await options.readPast(READ_MILLISECONDS_MAX))) return
    const after = await readEntries()
    const { findings, orphans } = compareCounts({ before, counters, after }, now())
    if (findings.length > 0 || orphans.size > 0) {
      await alarm.record(async (session) => {
        for (const [kid, count] of orphans)
          await session.updateTable('key_entries').set({ orphans: count }).where('kid', '=', kid).execute()
        return findings
      })
    }
    metrics.showCounts(
      counters.map(({ kid, signed }) => {
        const { entries = 0 } = after.find((row) => row.kid === kid) ?? {}
        return { kid, signatures: signed, entries }
      }),
    )
    before = await readEntries()
  }
}
