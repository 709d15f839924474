/**
 * The outbox of one tenant. An event is written to each stream that is to have it in the very transaction that makes it
 * true, so that a crash loses neither or both; it leaves when its receiver has acknowledged it. Within a stream the order
 * is that of writing.
 *
 * A receiver that stays away cannot make us keep for ever: a stream in which too much waits, or for too long, is disabled,
 * and the event that says so is all that is kept of it. So nothing is lost without being told.
 * @module
 */

import { hash } from 'node:crypto'
import { generateTokenId } from '../issuance.ts'
import type { Database } from '../schema.ts'
import { isAboutStream, offeredEvents, type SignalEvent, streamUpdated } from './events.ts'
import { namesOf, spell } from './subject.ts'

/** Events that wait in one stream. */
export const WAITING_MAX = 10_000
export const WAITING_SECONDS_MAX = 7 * 24 * 3600

/** Rows of nine columns in one statement: SQLite takes 32,766 values. */
const ROWS_MAX = 500

/** An event that waits in a stream. */
export interface Waiting {
  readonly sequence: number
  readonly jti: string
  readonly type: string
  readonly event: Omit<SignalEvent, 'type'>
  readonly token: string | undefined
  readonly kid: string | undefined
}

export interface Outbox {
  /**
   * Makes a change and writes what it gives back, as one transaction; then whoever delivers is told. `change` must use
   * the transaction that it is given and nothing else of the database.
   */
  record(change: (transaction: Database) => Promise<readonly SignalEvent[]>): Promise<void>
  /** Writes one event to one stream, whether or not it was asked for. */
  send(transaction: Database, streamId: string, event: SignalEvent): Promise<void>
  /** What waits, oldest first. Nothing of a stream that is paused; of a disabled one only that it is. */
  waiting(streamId: string, limit: number): Promise<readonly Waiting[]>
  /** Keeps the SET that was made for an event, so that a retry sends the same. */
  keep(sequence: number, token: string, kid: string): Promise<void>
  /** Takes out what a receiver has acknowledged, or will never take. Gives back how many there were. */
  settle(streamId: string, jtis: readonly string[]): Promise<number>
  /** Disables the streams in which something has waited for too long. */
  expire(): Promise<void>
}

export interface OutboxOptions {
  readonly database: Database
  readonly tenant: string
  /** Something was written to these streams. */
  readonly onWritten: (streamIds: readonly string[]) => void
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function createOutbox({ database, tenant, onWritten, now }: OutboxOptions): Outbox {
  const send: Outbox['send'] = (transaction, streamId, event) => sendAll(transaction, streamId, [event])

  /** Many in one statement: a cutoff may end thousands of sessions, and nobody else is served meanwhile. */
  async function sendAll(
    transaction: Database,
    streamId: string,
    events: readonly SignalEvent[],
  ): Promise<void> {
    for (let from = 0; from < events.length; from += ROWS_MAX)
      await transaction
        .insertInto('signal')
        .values(
          events.slice(from, from + ROWS_MAX).map(({ type, ...event }) => ({
            tenant,
            stream_id: streamId,
            jti: generateTokenId(),
            type,
            event: JSON.stringify(event),
            event_sha256: digest(type, event),
            created_at: now(),
            token: null,
            kid: null,
          })),
        )
        .onConflict((conflict) => conflict.columns(['tenant', 'stream_id', 'event_sha256']).doNothing())
        .execute()
  }

  /** Gives back the streams that got something. */
  async function distribute(
    transaction: Database,
    events: readonly SignalEvent[],
  ): Promise<readonly string[]> {
    const streams = await transaction
      .selectFrom('signal_stream')
      .where('tenant', '=', tenant)
      .where('status', '!=', 'disabled')
      .select(['stream_id', 'events_requested'])
      .execute()
    const written: string[] = []
    for (const { stream_id: streamId, events_requested: requested } of streams) {
      const delivered = deliveredEvents(requested)
      const asked = events.filter(({ type }) => delivered.includes(type))
      const wanted = asked.length === 0 ? [] : await withoutExcluded(transaction, streamId, asked)
      if (wanted.length === 0) continue
      await sendAll(transaction, streamId, wanted)
      if ((await count(transaction, streamId)) > WAITING_MAX)
        await giveUp(transaction, streamId, `more than ${WAITING_MAX} events waited`)
      written.push(streamId)
    }
    return written
  }

  async function withoutExcluded(
    transaction: Database,
    streamId: string,
    events: readonly SignalEvent[],
  ): Promise<readonly SignalEvent[]> {
    const rows = await transaction
      .selectFrom('signal_exclusion')
      .where('tenant', '=', tenant)
      .where('stream_id', '=', streamId)
      .select('subject')
      .execute()
    const excluded = new Set(rows.map(({ subject }) => subject))
    if (excluded.size === 0) return events
    return events.filter(({ subject }) => !namesOf(subject).some((name) => excluded.has(name)))
  }

  async function count(transaction: Database, streamId: string): Promise<number> {
    const { waiting } = await transaction
      .selectFrom('signal')
      .where('tenant', '=', tenant)
      .where('stream_id', '=', streamId)
      .select(({ fn }) => fn.countAll<number>().as('waiting'))
      .executeTakeFirstOrThrow()
    return waiting
  }

  async function giveUp(transaction: Database, streamId: string, reason: string): Promise<void> {
    await dropAll(transaction, tenant, streamId)
    await transaction
      .updateTable('signal_stream')
      .set({ status: 'disabled', status_reason: reason })
      .where('tenant', '=', tenant)
      .where('stream_id', '=', streamId)
      .execute()
    await send(transaction, streamId, streamUpdated(streamId, 'disabled', reason))
  }

  return {
    send,

    record: async (change) => {
      const written = await database.transaction().execute(async (transaction) => {
        const events = await change(transaction)
        return events.length === 0 ? [] : distribute(transaction, events)
      })
      if (written.length > 0) onWritten(written)
    },

    waiting: async (streamId, limit) => {
      const rows = await database
        .selectFrom('signal')
        .innerJoin('signal_stream', (join) =>
          join
            .onRef('signal_stream.tenant', '=', 'signal.tenant')
            .onRef('signal_stream.stream_id', '=', 'signal.stream_id'),
        )
        .where('signal.tenant', '=', tenant)
        .where('signal.stream_id', '=', streamId)
        .where('signal_stream.status', '!=', 'paused')
        .select(['sequence', 'jti', 'type', 'event', 'token', 'kid'])
        .orderBy('sequence')
        .limit(limit)
        .execute()
      return rows.map(({ sequence, jti, type, event, token, kid }) => ({
        sequence,
        jti,
        type,
        event: JSON.parse(event) as Waiting['event'],
        token: token ?? undefined,
        kid: kid ?? undefined,
      }))
    },

    keep: async (sequence, token, kid) => {
      await database
        .updateTable('signal')
        .set({ token, kid })
        .where('tenant', '=', tenant)
        .where('sequence', '=', sequence)
        .execute()
    },

    settle: async (streamId, jtis) => {
      if (jtis.length === 0) return 0
      const { numDeletedRows } = await database
        .deleteFrom('signal')
        .where('tenant', '=', tenant)
        .where('stream_id', '=', streamId)
        .where('jti', 'in', [...jtis])
        .executeTakeFirst()
      return Number(numDeletedRows)
    },

    expire: async () => {
      const late = await database
        .selectFrom('signal')
        .where('tenant', '=', tenant)
        .where('created_at', '<', now() - WAITING_SECONDS_MAX)
        .select('stream_id')
        .distinct()
        .execute()
      for (const { stream_id: streamId } of late) {
        await database
          .transaction()
          .execute((transaction) => giveUp(transaction, streamId, 'events waited for more than seven days'))
        onWritten([streamId])
      }
    },
  }
}

/** Of what a receiver asked for, that which there is. Whoever did not choose gets all of it. */
export function deliveredEvents(requested: string | null): readonly string[] {
  if (requested === null) return offeredEvents
  const wanted = JSON.parse(requested) as readonly string[]
  return offeredEvents.filter((type) => wanted.includes(type))
}

/** Forgets what waits in a stream. */
export async function dropAll(transaction: Database, tenant: string, streamId: string): Promise<void> {
  await transaction
    .deleteFrom('signal')
    .where('tenant', '=', tenant)
    .where('stream_id', '=', streamId)
    .execute()
}

/**
 * What an event is, apart from what is said of its cause: signing out ends a session and its grants, and each tells of the
 * same session. Events about a stream are each asked for.
 */
function digest(type: string, { subject, payload, cause }: Omit<SignalEvent, 'type'>): string {
  const { initiating_entity: _entity, reason_admin: _reason, ...what } = payload
  return hash('sha256', spell({ type, subject, what, ...(isAboutStream(type) && { cause }) }), 'base64url')
}
