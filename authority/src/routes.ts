/**
 * The authority over HTTP: what everybody may read, and the few things that may be sent. Each thing sent is signed or
 * carries the enrolment token, so nothing here depends on who can reach the port. Formats: spec/delivery.md,
 * spec/command.md.
 * @module
 */

import { hash, timingSafeEqual } from 'node:crypto'
import { type JsonObject, parseObject } from '@countersign/validator/json'
import { Refusal } from '@countersign/validator/refusal'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Acks, ActRecord, CommandAnswer, Enrolled } from './client.ts'
import { Denial, type DenialCode } from './denial.ts'
import type { Proposals } from './proposals.ts'
import type { Listener } from './stream.ts'

/** What the routes answer from. */
export interface Desk {
  /** JSON texts, ready to be sent; undefined while there is none. */
  readonly trustAnchor: string
  manifest(): string | undefined
  charter(version?: number): string | undefined
  /** With `patience`, once every validator that is connected has acknowledged that version, or the time is up. */
  acks(patience?: { readonly version: number; readonly milliseconds: number }): Promise<Acks>
  enrolled(): readonly Enrolled[]
  openStream(response: FastifyReply['raw'], listener: Listener): void
  /** A manifest that was published under a version, as JSON. */
  manifestOf(version: number): Promise<string | undefined>
  acts(before: number | undefined): Promise<readonly ActRecord[]>
  command(token: string): Promise<CommandAnswer>
  readonly proposals: Proposals
  acknowledge(statement: string): void
  enrol(request: JsonObject): Promise<void>
  /** What has to be sent to be let in. */
  readonly enrolmentToken: string
}

const WAIT_MILLISECONDS_MAX = 10_000

/** Adds the authority's routes to a server. */
export function addRoutes(http: FastifyInstance, desk: Desk): void {
  void http.register(async (routes) => {
    // The texts are read by our own strict readers, which refuse what Fastify's would let pass.
    routes.removeAllContentTypeParsers()
    routes.addContentTypeParser(
      ['application/jwt', 'application/json'],
      { parseAs: 'string' },
      (_request, body, done) => done(null, body),
    )
    routes.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof Denial)) throw error
      if (error.status === 503) void reply.header('retry-after', '1')
      void reply.code(error.status).send({ error: error.code, error_description: error.message })
    })

    routes.get('/manifest', (_request, reply) => sendText(reply, desk.manifest(), 'no_manifest_yet'))
    routes.get('/charter', (_request, reply) => sendText(reply, desk.charter(), 'unknown_charter'))
    routes.get<{ Params: { version: string } }>('/charter/:version', ({ params }, reply) => {
      return sendText(reply, desk.charter(readVersion(params.version)), 'unknown_charter')
    })
    routes.get<{ Params: { version: string } }>('/manifest/:version', async ({ params }, reply) =>
      sendText(reply, await desk.manifestOf(readVersion(params.version)), 'unknown_manifest'),
    )
    routes.get<{ Querystring: { before?: unknown } }>('/acts', async ({ query }, reply) => {
      const before = typeof query.before === 'string' ? readVersion(query.before) : undefined
      return reply.header('cache-control', 'no-store').send({ acts: await desk.acts(before) })
    })
    routes.get('/proposals', async (_request, reply) =>
      reply.header('cache-control', 'no-store').send({ proposals: await desk.proposals.open() }),
    )
    routes.get<{ Params: { id: string } }>('/proposals/:id', async ({ params }, reply) =>
      reply.header('cache-control', 'no-store').send(await desk.proposals.show(params.id)),
    )
    routes.get('/trust-anchor', (_request, reply) => sendText(reply, desk.trustAnchor, 'unknown_charter'))
    routes.get<{ Querystring: { version?: unknown; wait?: unknown } }>('/acks', async ({ query }, reply) => {
      const { version = '', wait = '' } = query as Record<string, string>
      const milliseconds = Math.min(readVersion(wait), WAIT_MILLISECONDS_MAX)
      const patience = milliseconds > 0 ? { version: readVersion(version), milliseconds } : undefined
      return reply.header('cache-control', 'no-store').send(await desk.acks(patience))
    })
    routes.get('/validators', (_request, reply) =>
      reply.header('cache-control', 'no-store').send({ validators: desk.enrolled() }),
    )
    routes.get<{ Querystring: { validator?: unknown; roots?: unknown } }>('/stream', ({ query }, reply) => {
      const { validator, roots } = query
      reply.hijack()
      desk.openStream(reply.raw, {
        validator: typeof validator === 'string' ? validator : undefined,
        wantsRoots: roots === '1',
      })
    })

    routes.post('/proposals', async ({ body }, reply) =>
      reply.send(await desk.proposals.propose(readJson(asText(body), 'proposal_malformed'))),
    )
    routes.post<{ Params: { id: string } }>('/proposals/:id/approvals', async ({ params, body }, reply) =>
      reply.send(await desk.proposals.approve(params.id, readJson(asText(body), 'approval_malformed'))),
    )
    routes.post('/commands', async ({ body }, reply) => reply.send(await desk.command(asText(body))))
    routes.post('/acks', async ({ body }, reply) => {
      desk.acknowledge(asText(body))
      return reply.send({})
    })
    routes.post('/validators', async ({ headers, body }, reply) => {
      if (!isBearer(headers.authorization, desk.enrolmentToken)) throw new Denial('enrolment_not_authorised')
      await desk.enrol(readJson(asText(body), 'enrolment_malformed'))
      return reply.send({})
    })
  })
}

function sendText(
  reply: FastifyReply,
  text: string | undefined,
  otherwise: 'no_manifest_yet' | 'unknown_manifest' | 'unknown_charter',
): FastifyReply {
  if (text === undefined) throw new Denial(otherwise)
  return reply.type('application/json').header('cache-control', 'no-store').send(text)
}

function asText(body: unknown): string {
  return typeof body === 'string' ? body : ''
}

/** 0 for what is no version. */
function readVersion(text: string): number {
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : 0
}

function readJson(text: string, otherwise: DenialCode): JsonObject {
  try {
    return parseObject(text)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    throw new Denial(otherwise)
  }
}

/** Compared as hashes, so that neither length nor a common beginning shows in the time it takes. */
function isBearer(authorization: string | undefined, secret: string): boolean {
  const [, sent = ''] = /^Bearer +(\S+)$/i.exec(authorization ?? '') ?? []
  return timingSafeEqual(hash('sha256', sent, 'buffer'), hash('sha256', secret, 'buffer'))
}
