/**
 * Who would notice that a key of an issuer that is not ours is denied, and who has noticed: what validators saw of it. There
 * is no other source: its tokens stand in no log of ours, and its issuer reports nothing to us. Rule: spec/sighting.md,
 * section 9.
 * @module
 */

import { fitsIssuer } from '@countersign/validator/scope'
import { sql } from 'kysely'
import type { Database } from './store.ts'
import { HOUR_MILLISECONDS } from './usage.ts'

export interface ForeignUsage {
  readonly iss: string | null
  readonly kid: string | null
  readonly hours: number
  readonly seen: readonly ForeignSeen[]
}

/** Tokens that were accepted, or were refused although they were really signed with the key. */
export interface ForeignSeen {
  /** As it stood in the tokens. */
  readonly issuer: string
  readonly validator: string
  /** Where the tokens name one as Entra's do, in `tid`. */
  readonly tenant: string | null
  /** `accepted`, or why not. */
  readonly verdict: string
  readonly tokens: number
  readonly first_seen_ms: number
  readonly last_seen_ms: number
}

export interface ForeignQuestion {
  /** An issuer, or a template that stands for several. */
  readonly iss: string | undefined
  /** Given, it is told of whichever issuer's tokens name it: which of them have the same keys, validators alone know. */
  readonly kid: string | undefined
  readonly hours: number
}

export async function foreignUsageOf(
  database: Database,
  { iss, kid, hours }: ForeignQuestion,
  nowMs: number,
): Promise<ForeignUsage> {
  let seen = database
    .selectFrom('sightings')
    .where('at_ms', '>=', nowMs - hours * HOUR_MILLISECONDS)
    // A sighting by a key of ours names its realm.
    .where('realm', 'is', null)
    .where('issuer', 'is not', null)
  if (kid !== undefined) seen = seen.where('kid', '=', kid)
  const rows = await seen
    .select(({ fn }) => [
      sql<string>`issuer`.as('issuer'),
      'validator',
      'tenant',
      'verdict',
      fn.countAll<number>().as('tokens'),
      fn.min('at_ms').as('first_seen_ms'),
      fn.max('at_ms').as('last_seen_ms'),
    ])
    .groupBy(['issuer', 'validator', 'tenant', 'verdict'])
    .orderBy('issuer')
    .orderBy('validator')
    .orderBy('tenant')
    .orderBy('verdict')
    .execute()
  const meant = rows.filter(({ issuer }) => kid !== undefined || iss === undefined || fitsIssuer(iss, issuer))
  return { iss: iss ?? null, kid: kid ?? null, hours, seen: meant }
}
