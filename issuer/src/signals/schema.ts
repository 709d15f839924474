/**
 * What the transmitter keeps: streams, whom they hear nothing of, and the outbox. Every row names its tenant.
 * @module
 */

import type { Generated } from 'kysely'
import type { Migration } from 'kysely/migration'

export type StreamStatus = 'enabled' | 'paused' | 'disabled'

export interface StreamTable {
  tenant: string
  stream_id: string
  /** The stream is this client's, and no other sees it. */
  client_id: string
  method: 'push' | 'poll'
  /** Where to push to. */
  endpoint_url: string | null
  /** What the receiver wants to read in `Authorization`, sealed. */
  authorization: string | null
  /** A list of URIs as JSON; null where the receiver did not choose. */
  events_requested: string | null
  description: string | null
  status: Generated<StreamStatus>
  status_reason: string | null
  /** When a verification was last asked for. */
  verified_at: Generated<number>
}

/** A subject that a receiver wants to hear nothing of. */
export interface ExclusionTable {
  tenant: string
  stream_id: string
  /** A subject identifier in its one spelling. */
  subject: string
}

/** The outbox: what a receiver has not acknowledged yet, in order. */
export interface SignalTable {
  sequence: Generated<number>
  tenant: string
  stream_id: string
  jti: string
  type: string
  /** `SignalEvent` without its type, as JSON. */
  event: string
  /** Of type, subject and payload: one event is not told twice while it waits. */
  event_sha256: string
  created_at: number
  /** The SET, once it was made; and the key that signed it. */
  token: string | null
  kid: string | null
}

/** What was told already and still is so, that it is not told again at each manifest. */
export interface ToldTable {
  tenant: string
  kind: 'key' | 'session'
  /** The `kid` or the `sid`. */
  name: string
  told_at: number
}

export interface SignalTables {
  signal_stream: StreamTable
  signal_exclusion: ExclusionTable
  signal: SignalTable
  signal_told: ToldTable
}

export const createSignalTables: Migration = {
  up: async (db) => {
    await db.schema
      .createTable('signal_stream')
      .addColumn('tenant', 'text', (column) => column.notNull())
      .addColumn('stream_id', 'text', (column) => column.notNull())
      .addColumn('client_id', 'text', (column) => column.notNull())
      .addColumn('method', 'text', (column) => column.notNull())
      .addColumn('endpoint_url', 'text')
      .addColumn('authorization', 'text')
      .addColumn('events_requested', 'text')
      .addColumn('description', 'text')
      .addColumn('status', 'text', (column) => column.notNull().defaultTo('enabled'))
      .addColumn('status_reason', 'text')
      .addColumn('verified_at', 'integer', (column) => column.notNull().defaultTo(0))
      .addPrimaryKeyConstraint('signal_stream_key', ['tenant', 'stream_id'])
      .execute()
    await db.schema
      .createTable('signal_exclusion')
      .addColumn('tenant', 'text', (column) => column.notNull())
      .addColumn('stream_id', 'text', (column) => column.notNull())
      .addColumn('subject', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('signal_exclusion_key', ['tenant', 'stream_id', 'subject'])
      .execute()
    await db.schema
      .createTable('signal')
      .addColumn('sequence', 'integer', (column) => column.primaryKey().autoIncrement())
      .addColumn('tenant', 'text', (column) => column.notNull())
      .addColumn('stream_id', 'text', (column) => column.notNull())
      .addColumn('jti', 'text', (column) => column.notNull())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('event', 'text', (column) => column.notNull())
      .addColumn('event_sha256', 'text', (column) => column.notNull())
      .addColumn('created_at', 'integer', (column) => column.notNull())
      .addColumn('token', 'text')
      .addColumn('kid', 'text')
      .addUniqueConstraint('signal_jti', ['tenant', 'stream_id', 'jti'])
      .addUniqueConstraint('signal_once', ['tenant', 'stream_id', 'event_sha256'])
      .execute()
    await db.schema
      .createIndex('signal_order')
      .on('signal')
      .columns(['tenant', 'stream_id', 'sequence'])
      .execute()
    await db.schema
      .createTable('signal_told')
      .addColumn('tenant', 'text', (column) => column.notNull())
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('told_at', 'integer', (column) => column.notNull())
      .addPrimaryKeyConstraint('signal_told_key', ['tenant', 'kind', 'name'])
      .execute()
  },
}
