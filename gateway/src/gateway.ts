/**
 * Puts the validator in front of anything: a proxy asks `/auth` for each request, a service asks `/introspect`.
 * @module
 */

import type { AddressInfo } from 'node:net'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { bearerAllowed, connectValidator } from '@countersign/validator/connect'
import { serveAuth } from './auth.ts'
import type { GatewayConfig } from './config.ts'
import { readClients, serveIntrospection } from './introspect.ts'
import { createKicker } from './kick.ts'
import { HEADER_BYTES_MAX, refuseUnreadable } from './oversize.ts'

/** Longer than this the start does not wait for the authority; tokens are refused until it is there. */
const READY_MILLISECONDS_MAX = 5000

export async function startGateway(config: GatewayConfig, log: Logger): Promise<Running> {
  const validator = connectValidator({
    realm: config.realms,
    audience: config.audience,
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    boundRealms: config.bound_realms,
    [bearerAllowed]: config.bearer_allowed,
    onProblem: (problem) => log.warn({ problem: problem.message }, 'trust is not up to date'),
  })
  const http = createHttp(log, { headerBytesMax: HEADER_BYTES_MAX, onUnreadable: refuseUnreadable })
  serveAuth(http, validator, config)
  const clients = config.introspection_clients === undefined ? [] : readClients(config.introspection_clients)
  const kickers = new Map(
    clients.flatMap((client) => {
      const { client_id, kick: target } = client
      if (target === undefined) return []
      const onProblem = (problem: Error): void =>
        log.error({ client_id, problem: problem.message }, 'sessions are still open')
      return [[client, createKicker({ target, validator, onProblem })] as const]
    }),
  )
  if (clients.length > 0) await serveIntrospection(http, validator, clients, kickers)
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
      for (const kicker of kickers.values()) kicker.stop()
      await validator.stop()
    },
  }
}
