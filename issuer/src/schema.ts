/**
 * What an issuer keeps. Every row names its tenant, and every key begins with it.
 * @module
 */

import { type Migrations, openDatabase } from '@countersign/service/database'
import type { Generated, Kysely } from 'kysely'
import { createSignalTables, type SignalTables } from './signals/schema.ts'

/** What oidc-provider stores: codes, refresh tokens, grants, sessions, interactions, pushed requests, DPoP proofs. */
export interface ArtifactTable {
  tenant: string
  kind: string
  /** SHA-256 of the id. The id of a code, session or refresh token is a credential and is not kept. */
  id_sha256: string
  grant_id: string | null
  uid: string | null
  payload: string
  consumed_at: number | null
  expires_at: number
}

/** Access tokens that something can revoke before they expire. Those of a service alone get a row when it happens. */
export interface AccessTokenTable {
  tenant: string
  jti: string
  grant_id: string | null
  /** The token that this one was exchanged for. */
  parent_jti: string | null
  revoked_at: number | null
  expires_at: number
}

export interface PersonTable {
  tenant: string
  sub: string
  username: string
  /** argon2id as a PHC string. */
  password: string
  /** AES-256-GCM: nonce, ciphertext, tag, base64url. */
  totp_secret: string | null
  /** The newest TOTP step that was used. */
  totp_step: Generated<number>
  /** Sessions, codes and refresh tokens from before this time are refused. */
  valid_after: Generated<number>
  disabled_at: number | null
}

export interface ClientTable {
  tenant: string
  client_id: string
  /** Empty for who signs in with a certificate. */
  secret_sha256: string
  /** A `ClientRecord` as JSON. */
  metadata: string
}

export interface Tables extends SignalTables {
  artifact: ArtifactTable
  access_token: AccessTokenTable
  person: PersonTable
  client: ClientTable
}

export type Database = Kysely<Tables>

export function openIssuerDatabase(file: string): Promise<Database> {
  return openDatabase<Tables>(file, migrations)
}

const migrations: Migrations = {
  '001_issuer': {
    up: async (db) => {
      await db.schema
        .createTable('artifact')
        .addColumn('tenant', 'text', (column) => column.notNull())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('id_sha256', 'text', (column) => column.notNull())
        .addColumn('grant_id', 'text')
        .addColumn('uid', 'text')
        .addColumn('payload', 'text', (column) => column.notNull())
        .addColumn('consumed_at', 'integer')
        .addColumn('expires_at', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('artifact_key', ['tenant', 'kind', 'id_sha256'])
        .execute()
      await db.schema
        .createIndex('artifact_grant')
        .on('artifact')
        .columns(['tenant', 'grant_id', 'kind'])
        .execute()
      await db.schema.createIndex('artifact_uid').on('artifact').columns(['tenant', 'kind', 'uid']).execute()
      await db.schema.createIndex('artifact_expiry').on('artifact').column('expires_at').execute()
      await db.schema
        .createTable('access_token')
        .addColumn('tenant', 'text', (column) => column.notNull())
        .addColumn('jti', 'text', (column) => column.notNull())
        .addColumn('grant_id', 'text')
        .addColumn('parent_jti', 'text')
        .addColumn('revoked_at', 'integer')
        .addColumn('expires_at', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('access_token_key', ['tenant', 'jti'])
        .execute()
      await db.schema
        .createIndex('access_token_grant')
        .on('access_token')
        .columns(['tenant', 'grant_id'])
        .execute()
      await db.schema
        .createIndex('access_token_parent')
        .on('access_token')
        .columns(['tenant', 'parent_jti'])
        .execute()
      await db.schema.createIndex('access_token_expiry').on('access_token').column('expires_at').execute()
      await db.schema
        .createTable('person')
        .addColumn('tenant', 'text', (column) => column.notNull())
        .addColumn('sub', 'text', (column) => column.notNull())
        .addColumn('username', 'text', (column) => column.notNull())
        .addColumn('password', 'text', (column) => column.notNull())
        .addColumn('totp_secret', 'text')
        .addColumn('totp_step', 'integer', (column) => column.notNull().defaultTo(0))
        .addColumn('valid_after', 'integer', (column) => column.notNull().defaultTo(0))
        .addColumn('disabled_at', 'integer')
        .addPrimaryKeyConstraint('person_key', ['tenant', 'sub'])
        .addUniqueConstraint('person_username', ['tenant', 'username'])
        .execute()
      await db.schema
        .createTable('client')
        .addColumn('tenant', 'text', (column) => column.notNull())
        .addColumn('client_id', 'text', (column) => column.notNull())
        .addColumn('secret_sha256', 'text', (column) => column.notNull())
        .addColumn('metadata', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('client_key', ['tenant', 'client_id'])
        .execute()
    },
  },
  '002_signals': createSignalTables,
}
