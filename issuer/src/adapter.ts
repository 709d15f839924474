/**
 * Where oidc-provider keeps its state: one tenant's rows, which no id of another tenant can reach.
 *
 * Ids are looked up by their SHA-256, so that the file holds no code, session or refresh token that could be used.
 * What may be used once is taken in one statement: of two requests that come together, one finds it used.
 * @module
 */

import { hash } from 'node:crypto'
import { type Adapter, type AdapterFactory, type AdapterPayload, errors } from 'oidc-provider'
import type { AccessTokens } from './revocation.ts'
import type { Database } from './schema.ts'

/** Rows outlive what they hold by this, so that a late replay is told from an unknown id. */
const KEPT_SECONDS_AFTER_EXPIRY = 3600

export interface TenantState {
  readonly database: Database
  readonly tenant: string
  readonly accessTokens: AccessTokens
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function createAdapterFactory(state: TenantState): AdapterFactory {
  return (kind) => createAdapter(kind, state)
}

function createAdapter(kind: string, { database, tenant, accessTokens, now }: TenantState): Adapter {
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
      if (used?.grant_id) await revokeGrant(database, tenant, used.grant_id, accessTokens)
      throw new errors.InvalidGrant(`${kind} used before`)
    },

    destroy: async (id) => {
      await database
        .deleteFrom('artifact')
        .where('tenant', '=', tenant)
        .where('kind', '=', kind)
        .where('id_sha256', '=', sha256(id))
        .execute()
    },

    revokeByGrantId: async (grantId) => {
      if (kind === 'AccessToken') return accessTokens.revokeGrant(grantId)
      await database
        .deleteFrom('artifact')
        .where('tenant', '=', tenant)
        .where('kind', '=', kind)
        .where('grant_id', '=', grantId)
        .execute()
    },
  }
}

/** Ends a grant with all that came of it: codes, refresh tokens, access tokens and what those were exchanged for. */
export async function revokeGrant(
  database: Database,
  tenant: string,
  grantId: string,
  accessTokens: AccessTokens,
): Promise<void> {
  await accessTokens.revokeGrant(grantId)
  await database
    .deleteFrom('artifact')
    .where('tenant', '=', tenant)
    .where((where) =>
      where.or([
        where('grant_id', '=', grantId),
        where.and([where('kind', '=', 'Grant'), where('id_sha256', '=', sha256(grantId))]),
      ]),
    )
    .execute()
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
