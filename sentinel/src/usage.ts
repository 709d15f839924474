/**
 * Who would notice that a key is gone: the validators that accepted its tokens lately, the tenants and clients that they
 * were for, and how many have not expired. Three sources, none of which knows a person: sightings, what issuers report,
 * and the log. Rule: spec/sighting.md, section 9.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import { DocumentRefusal } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { verifyUsage } from '@countersign/validator/key-usage'
import type { LoggedEntry } from '@countersign/witness/client'
import { sql } from 'kysely'
import { AGE_SECONDS_MAX, remember } from './intake.ts'
import type { Database, Session } from './store.ts'

export interface KeyUsage {
  readonly kid: string
  readonly hours: number
  /** Those that accepted a token of the key in these hours, or refused one that was really signed with it. */
  readonly validators: readonly {
    readonly name: string
    readonly accepted: number
    readonly refused: number
    readonly last_seen_ms: number
  }[]
  /** Of tokens that were accepted. */
  readonly tenants: readonly {
    readonly tenant: string
    readonly accepted: number
    readonly last_seen_ms: number
  }[]
  /** To whom tokens were issued, as their issuers say. */
  readonly clients: readonly {
    readonly client: string
    readonly tenant: string
    readonly tokens: number
    readonly last_issued_ms: number
  }[]
  /** Entries of the key in the log that have not expired: tokens that would be refused from now on. */
  readonly live_tokens: number
  /** When the last of them expires, in seconds since the epoch. */
  readonly live_until: number | null
}

export async function usageOf(
  database: Database,
  kid: string,
  hours: number,
  nowMs: number,
): Promise<KeyUsage> {
  const sinceMs = nowMs - hours * HOUR_MILLISECONDS
  const seen = database.selectFrom('sightings').where('kid', '=', kid).where('at_ms', '>=', sinceMs)
  const [validators, tenants, clients, live] = await Promise.all([
    seen
      .select(({ fn }) => [
        'validator as name',
        sql<number>`sum(verdict = 'accepted')`.as('accepted'),
        sql<number>`sum(verdict <> 'accepted')`.as('refused'),
        fn.max('at_ms').as('last_seen_ms'),
      ])
      .groupBy('validator')
      .orderBy('validator')
      .execute(),
    // What a refused token says of its tenant are its presenter's words.
    seen
      .where('verdict', '=', 'accepted')
      .where('tenant', 'is not', null)
      .select(({ fn }) => [
        sql<string>`tenant`.as('tenant'),
        fn.countAll<number>().as('accepted'),
        fn.max('at_ms').as('last_seen_ms'),
      ])
      .groupBy('tenant')
      .orderBy('tenant')
      .execute(),
    database
      .selectFrom('key_clients')
      .where('kid', '=', kid)
      .where('last_issued_ms', '>=', sinceMs)
      .select(['client', 'tenant', 'tokens', 'last_issued_ms'])
      .orderBy('client')
      .orderBy('tenant')
      .execute(),
    database
      .selectFrom('live_entries')
      .where('kid', '=', kid)
      .where('expires_at', '>', Math.floor(nowMs / 1000))
      .select(({ fn }) => [fn.sum<number | null>('entries').as('tokens'), fn.max('expires_at').as('until')])
      .executeTakeFirstOrThrow(),
  ])
  return {
    kid,
    hours,
    validators,
    tenants,
    clients,
    live_tokens: live.tokens ?? 0,
    live_until: live.until ?? null,
  }
}

/** Takes an issuer's report, a compact JWS, once. Throws `DocumentRefusal` for one that does not count. */
export function createUsageIntake(
  database: Database,
  enrolledKey: (validator: string) => Promise<PublicJwk | undefined>,
  now: () => number,
): (statement: string) => Promise<void> {
  return async (statement) => {
    const report = await verifyUsage(statement, enrolledKey)
    if (Math.abs(now() / 1000 - report.issuedAt) > AGE_SECONDS_MAX) {
      throw new DocumentRefusal('rolled_back', 'the report is not recent')
    }
    await database.transaction().execute(async (session) => {
      if (!(await remember(session, report, now()))) return
      for (const { kid, client, tenant, tokens, lastIssuedAt } of report.clients) {
        const row = { kid, client, tenant, tokens, last_issued_ms: Math.min(lastIssuedAt * 1000, now()) }
        await session
          .insertInto('key_clients')
          .values(row)
          .onConflict((conflict) =>
            conflict.columns(['kid', 'tenant', 'client']).doUpdateSet(({ ref }) => ({
              tokens: sql<number>`${ref('key_clients.tokens')} + ${ref('excluded.tokens')}`,
              last_issued_ms: sql<number>`max(${ref('key_clients.last_issued_ms')}, ${ref('excluded.last_issued_ms')})`,
            })),
          )
          .execute()
      }
    })
  }
}

/** Counts entries that were read and have not expired, by key and second: some rows for thousands of tokens. */
export async function countLive(
  session: Session,
  entries: readonly LoggedEntry[],
  nowMs: number,
): Promise<void> {
  const nowSeconds = Math.floor(nowMs / 1000)
  const sums = new Map<string, { kid: string; expires_at: number; entries: number }>()
  for (const { entry } of entries) {
    if (entry.tokenType === 'manifest' || entry.expiresAt <= nowSeconds) continue
    const row = { kid: encode(entry.keyThumbprint), expires_at: entry.expiresAt, entries: 1 }
    const name = `${row.kid} ${row.expires_at}`
    sums.set(name, { ...row, entries: (sums.get(name)?.entries ?? 0) + 1 })
  }
  for (const row of sums.values()) {
    await session
      .insertInto('live_entries')
      .values(row)
      .onConflict((conflict) =>
        conflict.columns(['kid', 'expires_at']).doUpdateSet(({ ref }) => ({
          entries: sql<number>`${ref('live_entries.entries')} + ${ref('excluded.entries')}`,
        })),
      )
      .execute()
  }
}

export const HOUR_MILLISECONDS = 3_600_000
