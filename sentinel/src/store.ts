/**
 * What the sentinel remembers: evidence, alerts, blocks, what it saw of the log, and what it still has to tell. All
 * of it survives a restart; what one report causes is written in one transaction, so that none of it can be lost.
 * @module
 */

import { type Migrations, openDatabase } from '@countersign/service/database'
import { betrayals } from '@countersign/validator/sighting'
import { type Generated, type Kysely, sql, type Transaction } from 'kysely'

export interface Tables {
  /** Reports that were taken in: one that comes twice counts once. */
  reports: { id: string; received_ms: number }
  sightings: {
    id: Generated<number>
    received_ms: number
    validator: string
    verdict: string
    at_ms: number
    manifest_version: number | null
    realm: string | null
    kid: string | null
    issuer: string | null
    tenant: string | null
    token_type: string | null
    signature_valid: number | null
    receipt_valid: number | null
    origin: string | null
    log_index: number | null
    leaf_hash: string | null
    serial: number | null
    network: string | null
    agent: string | null
    fingerprint: string | null
    /** An accepted token's entry: looked for in the log, found there, or not. Evidence has none. */
    logged: 'pending' | 'found' | 'missing' | null
  }
  alerts: {
    id: Generated<number>
    at: number
    rule: string
    severity: string
    realm: string | null
    kid: string | null
    reason: string
    actor: string | null
    first_seen_ms: number
    last_seen_ms: number
    /** When the same was last found, by our own clock. */
    touched_ms: number
    count: number
    validator: string | null
  }
  blocks: {
    kid: string
    realm: string | null
    reason: string
    ordered_ms: number
    /** The manifest that carries it; null until the authority answered. */
    version: number | null
    /** Every validator has acknowledged that version; or the order failed for good. */
    settled_ms: number | null
    failure: string | null
  }
  /** Alerts that the webhook has not taken yet. */
  deliveries: { alert_id: number; attempts: number; next_ms: number }
  /** How far each log was read, as the follower of the log wants it back; a sealed one, in the end, completely. */
  logs: { origin: string; size: number; state: string; is_complete: number }
  entries: { origin: string; log_index: number; leaf_hash: string }
  /** What the log holds of each key, summed up as it is read. */
  /** `orphans` are entries that were found to have no signature, and were alerted about. */
  key_entries: { kid: string; entries: number; last_serial: number; orphans: number }
  /** Entries that have not expired, by key and the second of their end. */
  live_entries: { kid: string; expires_at: number; entries: number }
  /** To whom tokens of a key were issued, as issuers report. */
  key_clients: { kid: string; tenant: string; client: string; tokens: number; last_issued_ms: number }
  /** Access tokens of a key that were read in a log, from where they began to be counted. */
  issued_tokens: { kid: string; origin: string; first_index: number; tokens: number }
}

export type Database = Kysely<Tables>
/** A database, or a transaction on it. */
export type Session = Kysely<Tables> | Transaction<Tables>

/** Opens the file, or a new database in memory (`:memory:`) for tests. */
export function openStore(file: string): Promise<Database> {
  return openDatabase<Tables>(file, migrations)
}

/**
 * Reports past the age at which they are still taken in; and what was seen long ago and is no evidence: accepted and found
 * in the log, or in none, being somebody else's; or really issued, and refused.
 */
export async function forgetOld(database: Database, retentionDays: number, nowMs: number): Promise<void> {
  await database
    .deleteFrom('reports')
    .where('received_ms', '<', nowMs - REPORT_MILLISECONDS)
    .execute()
  const oldMs = nowMs - retentionDays * DAY_MILLISECONDS
  await database
    .deleteFrom('sightings')
    .where(({ and, eb, or }) =>
      or([
        eb('logged', '=', 'found'),
        and([
          eb('logged', 'is', null),
          eb('verdict', 'not in', betrayals),
          // No receipt says that a token of somebody else's was really issued: one of a killed key may be the thief's.
          or([
            eb('receipt_valid', '=', 1),
            and([eb('receipt_valid', 'is', null), eb('verdict', 'not in', ['key_blocked', 'key_revoked'])]),
          ]),
        ]),
      ]),
    )
    .where('received_ms', '<', oldMs)
    .execute()
  await database
    .deleteFrom('live_entries')
    .where('expires_at', '<=', Math.floor(nowMs / 1000))
    .execute()
  await database.deleteFrom('key_clients').where('last_issued_ms', '<', oldMs).execute()
}

const DAY_MILLISECONDS = 86_400_000
const REPORT_MILLISECONDS = 3_600_000

const migrations: Migrations = {
  '001_evidence': {
    up: async (db) => {
      await db.schema
        .createTable('reports')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('received_ms', 'integer', (column) => column.notNull())
        .execute()
      await db.schema
        .createTable('sightings')
        .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('received_ms', 'integer', (column) => column.notNull())
        .addColumn('validator', 'text', (column) => column.notNull())
        .addColumn('verdict', 'text', (column) => column.notNull())
        .addColumn('at_ms', 'integer', (column) => column.notNull())
        .addColumn('manifest_version', 'integer')
        .addColumn('realm', 'text')
        .addColumn('kid', 'text')
        .addColumn('issuer', 'text')
        .addColumn('tenant', 'text')
        .addColumn('token_type', 'text')
        .addColumn('signature_valid', 'integer')
        .addColumn('receipt_valid', 'integer')
        .addColumn('origin', 'text')
        .addColumn('log_index', 'integer')
        .addColumn('leaf_hash', 'text')
        .addColumn('serial', 'integer')
        .addColumn('network', 'text')
        .addColumn('logged', 'text')
        .execute()
      await db.schema.createIndex('sightings_by_key').on('sightings').columns(['kid', 'at_ms']).execute()
      await db.schema
        .createIndex('sightings_by_logged')
        .on('sightings')
        .columns(['logged', 'origin'])
        .execute()
    },
  },
  '002_alerts': {
    up: async (db) => {
      await db.schema
        .createTable('alerts')
        .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('at', 'integer', (column) => column.notNull())
        .addColumn('rule', 'text', (column) => column.notNull())
        .addColumn('severity', 'text', (column) => column.notNull())
        .addColumn('realm', 'text')
        .addColumn('kid', 'text')
        .addColumn('reason', 'text', (column) => column.notNull())
        .addColumn('actor', 'text')
        .addColumn('first_seen_ms', 'integer', (column) => column.notNull())
        .addColumn('last_seen_ms', 'integer', (column) => column.notNull())
        .addColumn('touched_ms', 'integer', (column) => column.notNull())
        .addColumn('count', 'integer', (column) => column.notNull())
        .addColumn('validator', 'text')
        .execute()
      await db.schema.createIndex('alerts_by_rule').on('alerts').columns(['rule', 'kid']).execute()
      await db.schema
        .createTable('deliveries')
        .addColumn('alert_id', 'integer', (column) => column.primaryKey())
        .addColumn('attempts', 'integer', (column) => column.notNull())
        .addColumn('next_ms', 'integer', (column) => column.notNull())
        .execute()
      await db.schema
        .createTable('blocks')
        .addColumn('kid', 'text', (column) => column.primaryKey())
        .addColumn('realm', 'text')
        .addColumn('reason', 'text', (column) => column.notNull())
        .addColumn('ordered_ms', 'integer', (column) => column.notNull())
        .addColumn('version', 'integer')
        .addColumn('settled_ms', 'integer')
        .addColumn('failure', 'text')
        .execute()
    },
  },
  '003_log': {
    up: async (db) => {
      await db.schema
        .createTable('logs')
        .addColumn('origin', 'text', (column) => column.primaryKey())
        .addColumn('size', 'integer', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('is_complete', 'integer', (column) => column.notNull())
        .execute()
      await db.schema
        .createTable('entries')
        .addColumn('origin', 'text', (column) => column.notNull())
        .addColumn('log_index', 'integer', (column) => column.notNull())
        .addColumn('leaf_hash', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('entries_key', ['origin', 'log_index'])
        .modifyEnd(sql`without rowid`)
        .execute()
      await db.schema
        .createTable('key_entries')
        .addColumn('kid', 'text', (column) => column.primaryKey())
        .addColumn('entries', 'integer', (column) => column.notNull())
        .addColumn('last_serial', 'integer', (column) => column.notNull())
        .addColumn('orphans', 'integer', (column) => column.notNull())
        .execute()
    },
  },
  '004_usage': {
    up: async (db) => {
      await db.schema
        .createTable('live_entries')
        .addColumn('kid', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'integer', (column) => column.notNull())
        .addColumn('entries', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('live_entries_key', ['kid', 'expires_at'])
        .modifyEnd(sql`without rowid`)
        .execute()
      await db.schema
        .createTable('key_clients')
        .addColumn('kid', 'text', (column) => column.notNull())
        .addColumn('tenant', 'text', (column) => column.notNull())
        .addColumn('client', 'text', (column) => column.notNull())
        .addColumn('tokens', 'integer', (column) => column.notNull())
        .addColumn('last_issued_ms', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('key_clients_key', ['kid', 'tenant', 'client'])
        .modifyEnd(sql`without rowid`)
        .execute()
    },
  },
  '005_hints': {
    up: async (db) => {
      for (const name of ['agent', 'fingerprint'])
        await db.schema.alterTable('sightings').addColumn(name, 'text').execute()
    },
  },
  '006_coverage': {
    up: async (db) => {
      await db.schema
        .createTable('issued_tokens')
        .addColumn('kid', 'text', (column) => column.notNull())
        .addColumn('origin', 'text', (column) => column.notNull())
        .addColumn('first_index', 'integer', (column) => column.notNull())
        .addColumn('tokens', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('issued_tokens_key', ['kid', 'origin'])
        .modifyEnd(sql`without rowid`)
        .execute()
    },
  },
}
