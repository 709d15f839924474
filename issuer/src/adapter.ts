/**
 * Where oidc-provider keeps its state: one tenant's rows, which no id of another tenant can reach.
 *
 * Ids are looked up by their SHA-256, so that the file holds no code, session or refresh token that could be used.
 * What may be used once is taken in one statement: of two requests that come together, one finds it used.
 * @module
 */

import { hash } from 'node:crypto'
import { type Adapter, type AdapterFactory, type AdapterPayload, errors, Provider } from 'oidc-provider'
import { type AccessTokens, createAccessTokens } from './revocation.ts'
import type { Database } from './schema.ts'
import { type LiveSession, type SessionPayload, sessionsIn, sessionsOfGrant } from './signals/sessions.ts'
import type { Signals } from './signals/transmitter.ts'

/** Rows outlive what they hold by this, so that a late replay is told from an unknown id. */
const KEPT_SECONDS_AFTER_EXPIRY = 3600

export interface TenantState {
  readonly database: Database
  readonly tenant: string
  readonly accessTokens: AccessTokens
  readonly signals: Pick<Signals, 'record' | 'sessionsEnded'>
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function createAdapterFactory(state: TenantState): AdapterFactory {
  return (kind) => createAdapter(kind, state)
}

function createAdapter(kind: string, state: TenantState): Adapter {
  const { database, tenant, accessTokens, signals, now } = state
  const mine = () => database.selectFrom('artifact').where('tenant', '=', tenant).where('kind', '=', kind)

  async function find(by: 'id_sha256' | 'uid', value: string): Promise<AdapterPayload | undefined> {
    const row = await mine().where(by, '=', value).select(['payload', 'consumed_at']).executeTakeFirst()
    if (row === undefined) return undefined
    const payload = JSON.parse(row.payload) as AdapterPayload
    return row.consumed_at === null ? payload : { ...payload, consumed: row.consumed_at }
  }

  return {
    find: async (id) => {
      const payload = await find('id_sha256', sha256(id))
      return payload && { ...payload, jti: id }
    },
    findByUid: (uid) => find('uid', uid),
    findByUserCode: async () => undefined,

    upsert: async (id, { jti: _credential, ...payload }, expiresInSeconds) => {
      if (kind === 'Session') await endSessions(id, payload as SessionPayload)
      const row = {
        grant_id: payload.grantId ?? null,
        uid: payload.uid ?? null,
        payload: JSON.stringify(payload),
        expires_at: now() + (expiresInSeconds ?? 0),
      }
      const insert = database
        .insertInto('artifact')
        .values({ tenant, kind, id_sha256: sha256(id), consumed_at: null, ...row })
      const inserted = await insert
        .onConflict((conflict) => {
          const columns = conflict.columns(['tenant', 'kind', 'id_sha256'])
          return kind === 'ReplayDetection' ? columns.doNothing() : columns.doUpdateSet(row)
        })
        .executeTakeFirst()
      if (inserted.numInsertedOrUpdatedRows === 0n) throw new errors.InvalidDpopProof('proof used before')
    },

    consume: async (id) => {
      const taken = await database
        .updateTable('artifact')
        .set({ consumed_at: now() })
        .where('tenant', '=', tenant)
        .where('kind', '=', kind)
        .where('id_sha256', '=', sha256(id))
        .where('consumed_at', 'is', null)
        .executeTakeFirst()
      if (taken.numUpdatedRows > 0n) return
      // Two requests read it as unused and this one came second: a replay like any other, so the family ends.
      const used = await mine().where('id_sha256', '=', sha256(id)).select('grant_id').executeTakeFirst()
      if (used?.grant_id) await revokeGrant(state, used.grant_id)
      throw new errors.InvalidGrant(`${kind} used before`)
    },

    destroy: async (id) => {
      if (kind === 'Session') return endSessions(id, undefined)
      await database
        .deleteFrom('artifact')
        .where('tenant', '=', tenant)
        .where('kind', '=', kind)
        .where('id_sha256', '=', sha256(id))
        .execute()
    },

    revokeByGrantId: async (grantId) => {
      if (kind === 'AccessToken') return accessTokens.revokeGrant(grantId)
      await signals.record(async (transaction) => {
        const ended = await sessionsOfGrant(transaction, tenant, grantId)
        await transaction
          .deleteFrom('artifact')
          .where('tenant', '=', tenant)
          .where('kind', '=', kind)
          .where('grant_id', '=', grantId)
          .execute()
        // oidc-provider revokes the grants of a session that is signed out of before it takes the session away.
        const isSignOut = Provider.ctx?.oidc.route === 'end_session_confirm'
        return signals.sessionsEnded(ended, isSignOut ? 'signed_out' : 'revoked')
      })
    },
  }

  /**
   * Tells of the sessions that are over once this row is `next`, or gone where that is undefined. A browser's session gets
   * a new id with each sign-in: oidc-provider then takes the old row away before it writes the new one, and what goes on
   * under the new id is not over.
   */
  async function endSessions(id: string, next: SessionPayload | undefined): Promise<void> {
    const current = Provider.ctx?.oidc.entities.Session as
      | (SessionPayload & { readonly oldId?: string })
      | undefined
    const kept = sessionsIn(next ?? (current?.oldId === id ? current : {})).map(({ sid }) => sid)
    await signals.record(async (transaction) => {
      const row = await transaction
        .selectFrom('artifact')
        .where('tenant', '=', tenant)
        .where('kind', '=', 'Session')
        .where('id_sha256', '=', sha256(id))
        .select('payload')
        .executeTakeFirst()
      const before: readonly LiveSession[] =
        row === undefined ? [] : sessionsIn(JSON.parse(row.payload) as SessionPayload)
      if (next === undefined)
        await transaction
          .deleteFrom('artifact')
          .where('tenant', '=', tenant)
          .where('kind', '=', 'Session')
          .where('id_sha256', '=', sha256(id))
          .execute()
      return signals.sessionsEnded(
        before.filter(({ sid }) => !kept.includes(sid)),
        'signed_out',
      )
    })
  }
}

/** Ends a grant with all that came of it: codes, refresh tokens, access tokens and what those were exchanged for. */
export async function revokeGrant(
  { tenant, signals, now }: Pick<TenantState, 'tenant' | 'signals' | 'now'>,
  grantId: string,
): Promise<void> {
  await signals.record(async (transaction) => {
    const ended = await sessionsOfGrant(transaction, tenant, grantId)
    await createAccessTokens(transaction, tenant, now).revokeGrant(grantId)
    await transaction
      .deleteFrom('artifact')
      .where('tenant', '=', tenant)
      .where((where) =>
        where.or([
          where('grant_id', '=', grantId),
          where.and([where('kind', '=', 'Grant'), where('id_sha256', '=', sha256(grantId))]),
        ]),
      )
      .execute()
    return signals.sessionsEnded(ended, 'revoked')
  })
}

/** Deletes what has been of no use for a while. */
export async function sweepExpired(database: Database, now: number): Promise<void> {
  await database
    .deleteFrom('artifact')
    .where('expires_at', '<', now - KEPT_SECONDS_AFTER_EXPIRY)
    .execute()
  await database
    .deleteFrom('access_token')
    .where('expires_at', '<', now - KEPT_SECONDS_AFTER_EXPIRY)
    .execute()
}

function sha256(id: string): string {
  return hash('sha256', id, 'base64url')
}
