/**
 * The streams of one tenant, each of one client: what a receiver wants to hear and how. A client asks for its own by name
 * and finds none of another's, nor learns that it exists (T213, T219).
 * @module
 */

import { randomBytes } from 'node:crypto'
import type { JsonObject } from '@countersign/validator/json'
import type { Selectable } from 'kysely'
import type { Database } from '../schema.ts'
import { seal, unseal } from '../seal.ts'
import { verification } from './events.ts'
import { deliveredEvents, dropAll, type Outbox } from './outbox.ts'
import type { StreamStatus, StreamTable } from './schema.ts'
import { spell } from './subject.ts'

/** Where the events of a stream go. */
export type Delivery =
  | { readonly method: 'poll' }
  | {
      readonly method: 'push'
      readonly url: string
      /** The value that the receiver wants to read in `Authorization`. Never shown again. */
      readonly authorization: string | undefined
    }

/** What a receiver says of its stream. */
export interface Wishes {
  readonly delivery: Delivery
  /** Undefined where it does not choose. */
  readonly eventsRequested: readonly string[] | undefined
  readonly description: string | undefined
}

export interface Stream extends Wishes {
  readonly id: string
  readonly clientId: string
  readonly eventsDelivered: readonly string[]
  readonly status: StreamStatus
  readonly statusReason: string | undefined
}

/** Streams that one client may have. */
const STREAMS_MAX = 10
/** Subjects that one stream may leave out. */
const EXCLUSIONS_MAX = 1000
/** Between two verifications. */
export const VERIFICATION_SECONDS_MIN = 30

export interface Streams {
  /** Undefined where the client has as many as it may. */
  create(clientId: string, wishes: Wishes): Promise<Stream | undefined>
  /** One of the client's. */
  find(clientId: string, id: string): Promise<Stream | undefined>
  list(clientId: string): Promise<readonly Stream[]>
  /** Of whichever client: for whoever delivers. */
  get(id: string): Promise<Stream | undefined>
  pushed(): Promise<readonly string[]>
  change(id: string, wishes: Wishes): Promise<void>
  /** A disabled stream forgets what waits in it. */
  setStatus(id: string, status: StreamStatus, reason: string | undefined): Promise<void>
  remove(id: string): Promise<void>
  /** False where it leaves out as many as it may. */
  exclude(id: string, subject: JsonObject): Promise<boolean>
  include(id: string, subject: JsonObject): Promise<void>
  /** Writes the event that was asked for. Gives back for how many seconds it is too early to ask again, or 0. */
  verify(id: string, state: string | undefined): Promise<number>
}

export interface StreamsOptions {
  readonly database: Database
  readonly tenant: string
  readonly outbox: Pick<Outbox, 'send'>
  /** What `authorization` is sealed with. */
  readonly key: Buffer
  /** The stream is other than it was, or gone. */
  readonly onChange: (streamId: string) => void
  /** Something waits in it. */
  readonly onWritten: (streamId: string) => void
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function openStreams({
  database,
  tenant,
  outbox,
  key,
  onChange,
  onWritten,
  now,
}: StreamsOptions): Streams {
  const mine = () => database.selectFrom('signal_stream').where('tenant', '=', tenant)
  const owner = (id: string): string => `${tenant}/signals/${id}`

  const describe = (row: Selectable<StreamTable>): Stream => ({
    id: row.stream_id,
    clientId: row.client_id,
    delivery:
      row.method === 'poll'
        ? { method: 'poll' }
        : {
            method: 'push',
            url: row.endpoint_url ?? '',
            authorization:
              row.authorization === null ? undefined : unseal(row.authorization, owner(row.stream_id), key),
          },
    eventsRequested:
      row.events_requested === null ? undefined : (JSON.parse(row.events_requested) as readonly string[]),
    eventsDelivered: deliveredEvents(row.events_requested),
    description: row.description ?? undefined,
    status: row.status,
    statusReason: row.status_reason ?? undefined,
  })

  const toRow = (id: string, { delivery, eventsRequested, description }: Wishes) => ({
    method: delivery.method,
    endpoint_url: delivery.method === 'push' ? delivery.url : null,
    authorization:
      delivery.method === 'push' && delivery.authorization !== undefined
        ? seal(delivery.authorization, owner(id), key)
        : null,
    events_requested: eventsRequested === undefined ? null : JSON.stringify(eventsRequested),
    description: description ?? null,
  })

  return {
    // Counted and written at once: of many requests that come together, no more are taken than may be.
    create: (clientId, wishes) =>
      database.transaction().execute(async (transaction) => {
        const { streams } = await transaction
          .selectFrom('signal_stream')
          .where('tenant', '=', tenant)
          .where('client_id', '=', clientId)
          .select(({ fn }) => fn.countAll<number>().as('streams'))
          .executeTakeFirstOrThrow()
        if (streams >= STREAMS_MAX) return undefined
        const id = randomBytes(16).toString('base64url')
        const row = { tenant, stream_id: id, client_id: clientId, ...toRow(id, wishes) }
        return describe(
          await transaction
            .insertInto('signal_stream')
            .values({ ...row, status_reason: null })
            .returningAll()
            .executeTakeFirstOrThrow(),
        )
      }),

    find: async (clientId, id) => {
      const row = await mine()
        .where('stream_id', '=', id)
        .where('client_id', '=', clientId)
        .selectAll()
        .executeTakeFirst()
      return row && describe(row)
    },

    list: async (clientId) => {
      const rows = await mine().where('client_id', '=', clientId).selectAll().orderBy('stream_id').execute()
      return rows.map(describe)
    },

    get: async (id) => {
      const row = await mine().where('stream_id', '=', id).selectAll().executeTakeFirst()
      return row && describe(row)
    },

    pushed: async () => {
      const rows = await mine().where('method', '=', 'push').select('stream_id').execute()
      return rows.map(({ stream_id }) => stream_id)
    },

    change: async (id, wishes) => {
      await database
        .updateTable('signal_stream')
        .set(toRow(id, wishes))
        .where('tenant', '=', tenant)
        .where('stream_id', '=', id)
        .execute()
      onChange(id)
    },

    setStatus: async (id, status, reason) => {
      await database.transaction().execute(async (transaction) => {
        await transaction
          .updateTable('signal_stream')
          .set({ status, status_reason: reason ?? null })
          .where('tenant', '=', tenant)
          .where('stream_id', '=', id)
          .execute()
        if (status === 'disabled') await dropAll(transaction, tenant, id)
      })
      onChange(id)
    },

    remove: async (id) => {
      await database.transaction().execute(async (transaction) => {
        await dropAll(transaction, tenant, id)
        await transaction
          .deleteFrom('signal_exclusion')
          .where('tenant', '=', tenant)
          .where('stream_id', '=', id)
          .execute()
        await transaction
          .deleteFrom('signal_stream')
          .where('tenant', '=', tenant)
          .where('stream_id', '=', id)
          .execute()
      })
      onChange(id)
    },

    exclude: (id, subject) =>
      database.transaction().execute(async (transaction) => {
        const { excluded } = await transaction
          .selectFrom('signal_exclusion')
          .where('tenant', '=', tenant)
          .where('stream_id', '=', id)
          .select(({ fn }) => fn.countAll<number>().as('excluded'))
          .executeTakeFirstOrThrow()
        if (excluded >= EXCLUSIONS_MAX) return false
        await transaction
          .insertInto('signal_exclusion')
          .values({ tenant, stream_id: id, subject: spell(subject) })
          .onConflict((conflict) => conflict.columns(['tenant', 'stream_id', 'subject']).doNothing())
          .execute()
        return true
      }),

    include: async (id, subject) => {
      await database
        .deleteFrom('signal_exclusion')
        .where('tenant', '=', tenant)
        .where('stream_id', '=', id)
        .where('subject', '=', spell(subject))
        .execute()
    },

    verify: async (id, state) => {
      const at = now()
      // Compared and set at once: of two requests that come together, one is too early.
      const isDue = await database.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('signal_stream')
          .set({ verified_at: at })
          .where('tenant', '=', tenant)
          .where('stream_id', '=', id)
          .where('verified_at', '<=', at - VERIFICATION_SECONDS_MIN)
          .executeTakeFirst()
        if (numUpdatedRows === 0n) return false
        await outbox.send(transaction, id, verification(id, state))
        return true
      })
      if (!isDue) {
        const row = await mine().where('stream_id', '=', id).select('verified_at').executeTakeFirst()
        return Math.max(1, (row?.verified_at ?? 0) + VERIFICATION_SECONDS_MIN - at)
      }
      onWritten(id)
      return 0
    },
  }
}
