/**
 * Access tokens that are no longer good although they have not expired. A validator elsewhere does not ask here: it
 * accepts such a token until it expires, some minutes at most. Introspection and exchange refuse it at once.
 * @module
 */

import type { Database } from './schema.ts'

export interface IssuedToken {
  readonly jti: string
  readonly grantId?: string | undefined
  /** The token that this one was exchanged for. */
  readonly parent?: string | undefined
  /** Seconds since the epoch. */
  readonly expiresAt: number
}

/** The access tokens of one tenant. */
export interface AccessTokens {
  /** Remembers what a token hangs on. A service's own token hangs on nothing and need not be told. */
  remember(token: IssuedToken): Promise<void>
  /** What the token hangs on, if anything. */
  grantOf(jti: string): Promise<string | undefined>
  isRevoked(jti: string): Promise<boolean>
  /** Revokes a token and all that it was exchanged for. */
  revoke(jti: string, expiresAt: number): Promise<void>
  /** Revokes every token of a grant and all that they were exchanged for. */
  revokeGrant(grantId: string): Promise<void>
}

export function createAccessTokens(database: Database, tenant: string, now: () => number): AccessTokens {
  const mine = () => database.selectFrom('access_token').where('tenant', '=', tenant)

  return {
    remember: async ({ jti, grantId, parent, expiresAt }) => {
      await database
        .insertInto('access_token')
        .values({
          tenant,
          jti,
          grant_id: grantId ?? null,
          parent_jti: parent ?? null,
          revoked_at: null,
          expires_at: expiresAt,
        })
        .execute()
    },
    grantOf: async (jti) => {
      const row = await mine().where('jti', '=', jti).select('grant_id').executeTakeFirst()
      return row?.grant_id ?? undefined
    },
    isRevoked: async (jti) => {
      const row = await mine().where('jti', '=', jti).select('revoked_at').executeTakeFirst()
      return row !== undefined && row.revoked_at !== null
    },
    revoke: async (jti, expiresAt) => {
      await database
        .insertInto('access_token')
        .values({
          tenant,
          jti,
          grant_id: null,
          parent_jti: null,
          revoked_at: now(),
          expires_at: expiresAt,
        })
        .onConflict((conflict) => conflict.columns(['tenant', 'jti']).doUpdateSet({ revoked_at: now() }))
        .execute()
      await revokeDescendants(jti)
    },
    // Exchanged tokens carry the grant of the token that they came from.
    revokeGrant: async (grantId) => {
      await database
        .updateTable('access_token')
        .set({ revoked_at: now() })
        .where('tenant', '=', tenant)
        .where('grant_id', '=', grantId)
        .execute()
    },
  }

  async function revokeDescendants(jti: string): Promise<void> {
    await database
      .withRecursive('family', (db) =>
        db
          .selectFrom('access_token')
          .where('tenant', '=', tenant)
          .where('parent_jti', '=', jti)
          .select('jti')
          .union(
            db
              .selectFrom('access_token')
              .innerJoin('family', 'family.jti', 'access_token.parent_jti')
              .where('access_token.tenant', '=', tenant)
              .select('access_token.jti'),
          ),
      )
      .updateTable('access_token')
      .set({ revoked_at: now() })
      .where('tenant', '=', tenant)
      .where('jti', 'in', (where) => where.selectFrom('family').select('family.jti'))
      .execute()
  }
}
