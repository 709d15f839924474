/**
 * What a new manifest makes true: keys of this tenant that are dead, and sessions that a cutoff or a kill has ended. Each is
 * told once; what comes back because a block was lifted is forgotten again, and told anew if it falls anew. It goes by the
 * whole state each time, so that a crash between a manifest and its events loses none of them.
 * @module
 */

import type { Manifest } from '@countersign/validator/manifest'
import type { Database } from '../schema.ts'
import { type DeadKey, keyRevoked, type SignalEvent, sessionsRevoked, type Teller } from './events.ts'
import type { ToldTable } from './schema.ts'
import { liveSessions } from './sessions.ts'

export interface WatchOptions {
  readonly teller: Teller
  readonly realm: string
  /** Whether somebody who signed in at that time has been cut off since. */
  readonly isSignInEnded: (subject: string, signedInAt: number) => boolean
  /** Seconds since the epoch. */
  readonly now: () => number
}

/** What is to be told under this manifest and was not yet; it counts as told with the transaction. */
export async function watch(
  transaction: Database,
  manifest: Manifest,
  { teller, realm, isSignInEnded, now }: WatchOptions,
): Promise<readonly SignalEvent[]> {
  const { tenant } = teller
  const keys = deadKeys(manifest, realm, tenant)
  const newKeys = await tellOnce(transaction, tenant, 'key', keys, ({ kid }) => kid, now())
  const ended = (await liveSessions(transaction, tenant, now())).filter(({ subject, signedInAt }) =>
    isSignInEnded(subject, signedInAt),
  )
  const newlyEnded = await tellOnce(transaction, tenant, 'session', ended, ({ sid }) => sid, now())
  return [...newKeys.map(keyRevoked), ...sessionsRevoked(teller, newlyEnded, 'cut_off', now())]
}

/** In one statement: a cutoff may end thousands of sessions. */
const ROWS_MAX = 500

/** Of what is so now, that which was not when this was asked last. */
async function tellOnce<Item>(
  transaction: Database,
  tenant: string,
  kind: ToldTable['kind'],
  items: readonly Item[],
  nameOf: (item: Item) => string,
  now: number,
): Promise<readonly Item[]> {
  const rows = await transaction
    .selectFrom('signal_told')
    .where('tenant', '=', tenant)
    .where('kind', '=', kind)
    .select('name')
    .execute()
  const told = new Set(rows.map(({ name }) => name))
  const byName = new Map(items.map((item) => [nameOf(item), item]))
  const over = [...told].filter((name) => !byName.has(name))
  for (let from = 0; from < over.length; from += ROWS_MAX)
    await transaction
      .deleteFrom('signal_told')
      .where('tenant', '=', tenant)
      .where('kind', '=', kind)
      .where('name', 'in', over.slice(from, from + ROWS_MAX))
      .execute()
  const fresh = [...byName].filter(([name]) => !told.has(name))
  for (let from = 0; from < fresh.length; from += ROWS_MAX)
    await transaction
      .insertInto('signal_told')
      .values(fresh.slice(from, from + ROWS_MAX).map(([name]) => ({ tenant, kind, name, told_at: now })))
      .execute()
  return fresh.map(([, item]) => item)
}

/** Keys that a kill has ended, as far as they spoke for this tenant. Age alone is no reason to distrust anything. */
function deadKeys(manifest: Manifest, realm: string, tenant: string): readonly DeadKey[] {
  const dead: DeadKey[] = []
  for (const key of manifest.keys.values()) {
    if (key.realm !== realm || !key.tenants.includes(tenant)) continue
    const { kid, state, revoked, blocked } = key
    if (state !== 'revoked' && state !== 'blocked') continue
    dead.push({ kid, state, at: (state === 'revoked' ? revoked : blocked)?.at ?? manifest.issuedAt })
  }
  return dead
}
