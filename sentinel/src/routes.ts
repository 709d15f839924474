/**
 * The sentinel over HTTP: validators send reports, everybody on this machine reads alerts.
 * @module
 */

import { serveNumbers } from '@countersign/service/metrics'
import { DocumentRefusal } from '@countersign/validator/document'
import type { TrustSource } from '@countersign/validator/manifest'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type { Alarm } from './alarm.ts'
import type { Alert } from './alert.ts'
import { coverageOf } from './coverage.ts'
import { foreignUsageOf } from './foreign-usage.ts'
import { listIncidents } from './incidents.ts'
import type { Metrics } from './metrics.ts'
import type { Database } from './store.ts'
import { usageOf } from './usage.ts'

export interface Desk {
  readonly database: Database
  readonly alarm: Alarm
  readonly metrics: Metrics
  /** Takes a report. Throws `DocumentRefusal`. */
  readonly takeReport: (statement: string) => Promise<void>
  /** Takes an issuer's word on which clients its keys sign for. Throws `DocumentRefusal`. */
  readonly takeUsage: (statement: string) => Promise<void>
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly trust: TrustSource
}

const ALERTS_MAX = 1000
const STREAMS_MAX = 100
/** A reader that leaves so much unread is cut off; it comes back and asks for what it missed. */
const UNREAD_BYTES_MAX = 1024 * 1024
const HEARTBEAT_MILLISECONDS = 15_000

/** What "lately" means where nobody says so, and how far back it can be asked. */
const HOURS_DEFAULT = 24
const HOURS_MAX = 24 * 180

const page = z.object({
  limit: z.coerce.number().int().min(1).max(ALERTS_MAX).default(100),
  before: z.coerce.number().int().min(1).optional(),
})

const usageQuery = z.object({ hours: z.coerce.number().min(0).max(HOURS_MAX).default(HOURS_DEFAULT) })
/** What others call themselves and their keys, as a manifest may have it. */
const foreignName = z.string().min(1).max(512)
const foreignQuery = usageQuery
  .extend({ iss: foreignName.optional(), kid: foreignName.optional() })
  .refine(({ iss, kid }) => iss !== undefined || kid !== undefined)
const keyParams = z.object({ kid: z.string().regex(/^[A-Za-z0-9_-]{43}$/) })

export function addRoutes(http: FastifyInstance, desk: Desk): void {
  const { database, alarm, metrics, trust } = desk
  // Without a manifest no report can be judged.
  const isReady = (): boolean => trust.state !== undefined
  http.addContentTypeParser('application/jwt', { parseAs: 'string' }, (_request, body, done) =>
    done(null, body),
  )

  for (const [path, take] of [
    ['/sightings', desk.takeReport],
    ['/usage', desk.takeUsage],
  ] as const) {
    http.post(path, async ({ body }, reply) => {
      try {
        await take(typeof body === 'string' ? body : '')
        return await reply.code(204).send()
      } catch (error) {
        if (!(error instanceof DocumentRefusal)) throw error
        // What cannot be read now never can; an unknown signer or an old date may heal, and is to be sent again.
        const status = error.flaw === 'malformed' || error.flaw === 'type_mismatch' ? 400 : 401
        return reply.code(status).send({ error: error.flaw, error_description: error.message })
      }
    })
  }

  http.get('/keys/:kid/usage', async ({ params, query }, reply) => {
    const [named, asked] = [keyParams.safeParse(params), usageQuery.safeParse(query)]
    if (!named.success || !asked.success)
      return reply.code(400).send({ error: 'invalid_request', error_description: 'kid, hours' })
    const usage = await usageOf(database, named.data.kid, asked.data.hours, desk.now())
    return reply.header('cache-control', 'no-store').send(usage)
  })

  http.get('/foreign/usage', async ({ query }, reply) => {
    const asked = foreignQuery.safeParse(query)
    if (!asked.success)
      return reply.code(400).send({ error: 'invalid_request', error_description: 'iss, kid, hours' })
    const { iss, kid, hours } = asked.data
    const usage = await foreignUsageOf(database, { iss, kid, hours }, desk.now())
    return reply.header('cache-control', 'no-store').send(usage)
  })

  http.get('/coverage', async (_request, reply) => {
    const keys = trust.state?.manifest.keys.values() ?? []
    return reply.header('cache-control', 'no-store').send({ keys: await coverageOf(database, keys) })
  })

  http.get('/alerts', async ({ query }, reply) => {
    const asked = page.safeParse(query)
    if (!asked.success)
      return reply.code(400).send({ error: 'invalid_request', error_description: 'limit, before' })
    return reply
      .header('cache-control', 'no-store')
      .send(await alarm.list(asked.data.limit, asked.data.before))
  })

  const streams = new Set<FastifyReply['raw']>()
  http.get('/alerts/stream', async ({ headers }, reply) => {
    if (streams.size >= STREAMS_MAX) return reply.code(503).send({ error: 'too_many_streams' })
    const { raw } = reply.hijack()
    raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    raw.write(': alerts\n\n')
    streams.add(raw)
    const send = (alert: Alert, isNew: boolean): void => {
      if (raw.writableLength > UNREAD_BYTES_MAX) raw.destroy()
      else
        raw.write(`id: ${alert.id}\nevent: ${isNew ? 'alert' : 'repeat'}\ndata: ${JSON.stringify(alert)}\n\n`)
    }
    // What is raised while the missed ones are read waits for them, and is not sent twice.
    let held: [Alert, boolean][] | undefined = []
    const leave = alarm.onAlert((alert, isNew) => {
      if (held === undefined) send(alert, isNew)
      else if (held.push([alert, isNew]) > ALERTS_MAX) raw.destroy()
    })
    let proceed = (): void => {}
    raw.on('drain', () => proceed())
    const heartbeat = setInterval(() => raw.write(':\n\n'), HEARTBEAT_MILLISECONDS).unref()
    raw.on('error', () => {})
    raw.on('close', () => {
      leave()
      clearInterval(heartbeat)
      streams.delete(raw)
      proceed()
    })
    let lastId = idOf(headers['last-event-id'])
    for (let isMissing = lastId !== undefined; isMissing && !raw.destroyed; ) {
      const missed = await alarm.since(lastId ?? 0)
      for (const alert of missed) send(alert, true)
      lastId = missed.at(-1)?.id ?? lastId
      isMissing = missed.length > 0
      if (raw.writableNeedDrain)
        await new Promise<void>((resolve) => {
          proceed = resolve
        })
    }
    const isSent = ({ id }: Alert): boolean => id <= (lastId ?? 0)
    for (const [alert, isNew] of held) if (!(isNew && isSent(alert))) send(alert, isNew)
    held = undefined
    return reply
  })
  http.addHook('preClose', async () => {
    for (const raw of streams) raw.destroy()
  })

  http.get('/incidents', async (_request, reply) =>
    reply.header('cache-control', 'no-store').send(await listIncidents(database)),
  )
  serveNumbers(http, metrics.numbers)
  http.get('/healthz', () => ({ status: 'ok' }))
  http.get('/readyz', (_request, reply) => reply.code(isReady() ? 200 : 503).send({ ready: isReady() }))
}

function idOf(lastEventId: unknown): number | undefined {
  const isId = typeof lastEventId === 'string' && /^\d{1,15}$/.test(lastEventId)
  return isId ? Number(lastEventId) : undefined
}
