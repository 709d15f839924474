/**
 * Holds what validators accepted against what the log holds. A thief with a signing key *and* the witness's key can
 * make tokens that every validator accepts; none of them stands in the log where its receipt says. Rule:
 * spec/sighting.md, section 5.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import type { Sighting } from '@countersign/validator/sighting'
import type { LoggedEntry } from '@countersign/witness/client'
import { sql } from 'kysely'
import type { AlertReason, Finding } from './alert.ts'
import type { Session } from './store.ts'

export interface Placed {
  readonly logged: 'pending' | 'found' | 'missing' | null
  readonly finding?: Finding
}

/** Looks an accepted token's entry up in what was read of the log; not yet read is `pending`. */
export async function placeSighting(
  session: Session,
  sighting: Sighting,
  validator: string,
): Promise<Placed> {
  const { verdict, origin, index, leafHash, realm = null, kid = null, network = null, at } = sighting
  // A validator that asks for no receipt has nothing to say of the log.
  if (verdict !== 'accepted' || origin === undefined || index === undefined || leafHash === undefined) {
    return { logged: null }
  }
  const finding = (reason: AlertReason): Placed => ({
    logged: 'missing',
    finding: mismatch(reason, { realm, kid, network, validator, at_ms: at }),
  })
  const log = await session.selectFrom('logs').selectAll().where('origin', '=', origin).executeTakeFirst()
  if (index >= (log?.size ?? 0)) return log?.is_complete ? finding('entry_missing') : { logged: 'pending' }
  const entry = await session
    .selectFrom('entries')
    .select('leaf_hash')
    .where('origin', '=', origin)
    .where('log_index', '=', index)
    .executeTakeFirst()
  return entry?.leaf_hash === leafHash ? { logged: 'found' } : finding('entry_differs')
}

/** How far a log was read. */
export interface Progress {
  readonly origin: string
  readonly size: number
  /** What the follower of the log wants back. */
  readonly state: string
  /** It is sealed and was read to its end. */
  readonly isComplete: boolean
}

/** Writes down entries that follow those read before, and judges the sightings that waited for them. */
export async function takeEntries(
  session: Session,
  { origin, size, state, isComplete }: Progress,
  entries: readonly LoggedEntry[],
): Promise<Finding[]> {
  for (let at = 0; at < entries.length; at += ROWS_MAX) {
    const rows = entries.slice(at, at + ROWS_MAX).map((each) => ({
      origin,
      log_index: each.index,
      leaf_hash: encode(each.leafHash),
    }))
    await session.insertInto('entries').values(rows).execute()
  }
  for (const row of sumUp(entries)) {
    await session
      .insertInto('key_entries')
      .values({ ...row, orphans: 0 })
      .onConflict((conflict) =>
        conflict.column('kid').doUpdateSet(({ ref }) => ({
          entries: sql<number>`${ref('key_entries.entries')} + ${ref('excluded.entries')}`,
          last_serial: sql<number>`max(${ref('key_entries.last_serial')}, ${ref('excluded.last_serial')})`,
        })),
      )
      .execute()
  }
  const progress = { size, state, is_complete: Number(isComplete) }
  await session
    .insertInto('logs')
    .values({ origin, ...progress })
    .onConflict((conflict) => conflict.column('origin').doUpdateSet(progress))
    .execute()
  return judgeWaiting(session, origin, size)
}

/**
 * The whole log was read, and is that long: what was accepted before `beforeMs` and claims to stand further on is in
 * no log.
 */
export async function judgeOverdue(
  session: Session,
  origin: string,
  size: number,
  beforeMs: number,
): Promise<Finding[]> {
  const overdue = await session
    .updateTable('sightings')
    .set({ logged: 'missing' })
    .where('logged', '=', 'pending')
    .where('origin', '=', origin)
    .where('log_index', '>=', size)
    .where('received_ms', '<', beforeMs)
    .returningAll()
    .execute()
  return overdue.map((row) => mismatch('entry_missing', row))
}

/** A row per key whose tokens are among the entries. */
function sumUp(entries: readonly LoggedEntry[]): { kid: string; entries: number; last_serial: number }[] {
  const sums = new Map<string, { kid: string; entries: number; last_serial: number }>()
  for (const { entry } of entries) {
    // A manifest is signed by the authority, whose key no signer counts.
    if (entry.tokenType === 'manifest') continue
    const kid = encode(entry.keyThumbprint)
    const sum = sums.get(kid) ?? { kid, entries: 0, last_serial: 0 }
    sum.entries++
    sum.last_serial = Math.max(sum.last_serial, entry.serial)
    sums.set(kid, sum)
  }
  return [...sums.values()]
}

async function judgeWaiting(session: Session, origin: string, size: number): Promise<Finding[]> {
  const waiting = await session
    .selectFrom('sightings')
    .leftJoin('entries', (join) =>
      join
        .onRef('entries.origin', '=', 'sightings.origin')
        .onRef('entries.log_index', '=', 'sightings.log_index'),
    )
    .selectAll('sightings')
    .select('entries.leaf_hash as held')
    .where('sightings.logged', '=', 'pending')
    .where('sightings.origin', '=', origin)
    .where('sightings.log_index', '<', size)
    .execute()
  const [found, missing] = [
    waiting.filter(({ leaf_hash, held }) => leaf_hash === held),
    waiting.filter(({ leaf_hash, held }) => leaf_hash !== held),
  ]
  for (const [logged, rows] of [
    ['found', found],
    ['missing', missing],
  ] as const) {
    for (let at = 0; at < rows.length; at += ROWS_MAX) {
      const ids = rows.slice(at, at + ROWS_MAX).map(({ id }) => id)
      await session.updateTable('sightings').set({ logged }).where('id', 'in', ids).execute()
    }
  }
  return missing.map((row) => mismatch('entry_differs', row))
}

/** SQLite takes so many rows in a statement without trouble. */
const ROWS_MAX = 500

function mismatch(
  reason: AlertReason,
  sighting: {
    readonly realm: string | null
    readonly kid: string | null
    readonly network: string | null
    readonly validator: string
    readonly at_ms: number
  },
): Finding {
  const { realm, kid, network, validator, at_ms } = sighting
  return {
    rule: 'log_mismatch',
    severity: 'critical',
    reason,
    realm,
    kid,
    actor: network,
    validator,
    seenAt: at_ms,
  }
}
