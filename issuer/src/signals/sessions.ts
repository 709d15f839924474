/**
 * The sessions that tokens speak of. oidc-provider gives each client of a browser's session a name of its own, which is
 * `sid` in whatever the client gets; a refresh token carries it beyond the browser's session.
 * @module
 */

import { sql } from 'kysely'
import type { Database } from '../schema.ts'
import type { EndedSession } from './events.ts'

export interface LiveSession extends EndedSession {
  /** Seconds since the epoch. */
  readonly signedInAt: number
}

/** As oidc-provider stores it. */
export interface SessionPayload {
  readonly accountId?: unknown
  readonly loginTs?: unknown
  readonly authorizations?: unknown
}

interface TokenPayload {
  readonly accountId?: unknown
  readonly authTime?: unknown
  readonly iat?: unknown
  readonly sid?: unknown
}

/** Every session of the tenant, or of one person, that something can still be done with. */
export async function liveSessions(
  transaction: Database,
  tenant: string,
  now: number,
  subject?: string,
): Promise<readonly LiveSession[]> {
  let query = transaction
    .selectFrom('artifact')
    .where('tenant', '=', tenant)
    .where('kind', 'in', ['Session', 'RefreshToken'])
    .where('expires_at', '>', now)
    .where('consumed_at', 'is', null)
    .select(['kind', 'payload'])
  if (subject !== undefined) query = query.where(sql`json_extract(payload, '$.accountId')`, '=', subject)
  const rows = await query.execute()
  const found = rows.flatMap(({ kind, payload }) =>
    kind === 'Session'
      ? sessionsIn(JSON.parse(payload) as SessionPayload)
      : sessionOf(JSON.parse(payload) as TokenPayload),
  )
  return [...new Map(found.map((session) => [session.sid, session])).values()]
}

/** The sessions that codes and refresh tokens of a grant speak of. */
export async function sessionsOfGrant(
  transaction: Database,
  tenant: string,
  grantId: string,
): Promise<readonly LiveSession[]> {
  const rows = await transaction
    .selectFrom('artifact')
    .where('tenant', '=', tenant)
    .where('grant_id', '=', grantId)
    .select('payload')
    .execute()
  const found = rows.flatMap(({ payload }) => sessionOf(JSON.parse(payload) as TokenPayload))
  return [...new Map(found.map((session) => [session.sid, session])).values()]
}

/** One for each client that somebody who has signed in uses in this browser. */
export function sessionsIn({
  accountId,
  loginTs = 0,
  authorizations = {},
}: SessionPayload): readonly LiveSession[] {
  if (typeof accountId !== 'string' || typeof authorizations !== 'object') return []
  return Object.values(authorizations as Readonly<Record<string, { readonly sid?: unknown }>>).flatMap(
    ({ sid }) => (typeof sid === 'string' ? [{ sid, subject: accountId, signedInAt: Number(loginTs) }] : []),
  )
}

function sessionOf({ accountId, authTime, iat, sid }: TokenPayload): readonly LiveSession[] {
  if (typeof accountId !== 'string' || typeof sid !== 'string') return []
  return [{ sid, subject: accountId, signedInAt: Number(authTime ?? iat ?? 0) }]
}
