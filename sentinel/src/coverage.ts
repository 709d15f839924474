/**
 * What share of the traffic comes by a validator of ours: of the access tokens that were issued, by the log, those that one
 * has accepted. What is missing was shown to nobody, or where signatures are checked by other means. Rule:
 * spec/sighting.md, section 10.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import type { KeyState, ManifestKey } from '@countersign/validator/manifest'
import type { LoggedEntry } from '@countersign/witness/client'
import { sql } from 'kysely'
import type { Database, Session } from './store.ts'

export interface KeyCoverage {
  readonly realm: string
  readonly kid: string
  /** Access tokens of the key that the log holds, as far as it was read. */
  readonly issued: number
  /** Those of them that a validator accepted, each once. */
  readonly accepted: number
}

const verifying: readonly KeyState[] = ['active', 'retiring']

/** Of keys that verify, since an ended one's sightings are forgotten in time. */
export async function coverageOf(
  database: Database,
  keys: Iterable<ManifestKey>,
): Promise<readonly KeyCoverage[]> {
  const issued = await database
    .selectFrom('issued_tokens')
    .select(({ fn }) => ['kid', fn.sum<number>('tokens').as('tokens')])
    .groupBy('kid')
    .execute()
  const accepted = await database
    .selectFrom('issued_tokens as issued')
    .innerJoin('sightings as seen', (join) =>
      join
        .onRef('seen.kid', '=', 'issued.kid')
        .onRef('seen.origin', '=', 'issued.origin')
        .onRef('seen.log_index', '>=', 'issued.first_index'),
    )
    .where('seen.verdict', '=', 'accepted')
    .where('seen.token_type', '=', 'access')
    .where('seen.logged', '=', 'found')
    .select(['issued.kid', sql<number>`count(distinct seen.origin || ' ' || seen.log_index)`.as('tokens')])
    .groupBy('issued.kid')
    .execute()
  const countIn = (rows: readonly { readonly kid: string; readonly tokens: number }[], kid: string): number =>
    rows.find((row) => row.kid === kid)?.tokens ?? 0
  return [...keys]
    .filter(({ state, tokenTypes }) => verifying.includes(state) && tokenTypes.includes('access'))
    .map(({ realm, kid }) => ({
      realm,
      kid,
      issued: countIn(issued, kid),
      accepted: countIn(accepted, kid),
    }))
}

/** Counts the access tokens among entries that were read. */
export async function countIssued(
  session: Session,
  origin: string,
  entries: readonly LoggedEntry[],
): Promise<void> {
  const sums = new Map<string, { kid: string; origin: string; first_index: number; tokens: number }>()
  for (const { entry, index } of entries) {
    if (entry.tokenType !== 'access') continue
    const kid = encode(entry.keyThumbprint)
    const row = sums.get(kid) ?? { kid, origin, first_index: index, tokens: 0 }
    sums.set(kid, { ...row, tokens: row.tokens + 1 })
  }
  for (const row of sums.values()) {
    await session
      .insertInto('issued_tokens')
      .values(row)
      .onConflict((conflict) =>
        conflict.columns(['kid', 'origin']).doUpdateSet(({ ref }) => ({
          tokens: sql<number>`${ref('issued_tokens.tokens')} + ${ref('excluded.tokens')}`,
        })),
      )
      .execute()
  }
}
