/**
 * What every service that decides about tokens shares: the members of its configuration, a validator that follows the
 * authority and reports to the sentinel, and an HTTP server that says whether it is well and ready.
 * @module
 */

import type { AddressInfo } from 'node:net'
import { type ConnectedValidator, connectValidator } from '@countersign/validator/connect'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { createHttp, type Logger, type Running } from './service.ts'

/** Longer than this the start does not wait for the authority; tokens are refused until it is there. */
const READY_MILLISECONDS_MAX = 5000

/** Realms, audience and trust anchor have no default: they decide who gets in. */
export const protectedMembers = {
  /** Loopback: whoever asks stands on the same machine, and learns what is refused. */
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  realms: z.array(z.string().min(1)).min(1),
  audience: z.string().min(1),
  authority: z.url(),
  trust_anchor: z.string().min(1),
  /** Folder: the newest manifest seen, and what the service keeps itself. */
  state: z.string().min(1),
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }),
  sentinel: z.url().optional(),
}

const protectedConfig = z.object(protectedMembers)
export type ProtectedConfig = z.infer<typeof protectedConfig>

/** Starts a service whose routes `serve` adds. What `serve` gives back is called at the end, after the last request. */
export async function startProtected(
  config: ProtectedConfig,
  log: Logger,
  serve: (http: FastifyInstance, validator: ConnectedValidator) => Promise<() => void> | (() => void),
): Promise<Running> {
  const validator = connectValidator({
    realm: config.realms,
    audience: config.audience,
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    onProblem: (problem) => log.warn({ problem: problem.message }, 'trust is not up to date'),
  })
  const http = createHttp(log)
  const close = await serve(http, validator)
  http.get('/healthz', () => ({ status: 'ok' }))
  http.get('/readyz', (_request, reply) =>
    reply.code(validator.isReady ? 200 : 503).send({ ready: validator.isReady }),
  )
  await validator.whenReady(READY_MILLISECONDS_MAX)
  await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const { port } = http.server.address() as AddressInfo
  return {
    ready: { url: `http://127.0.0.1:${port}`, audience: config.audience },
    stop: async () => {
      await http.close()
      await validator.stop()
      close()
    },
  }
}
