/**
 * A protected application with sample mail, behind a validator of its own.
 * @module
 */

import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { bearerAllowed, connectValidator } from '@countersign/validator/connect'
import { dpop } from '@countersign/validator/dpop'
import { mtls } from '@countersign/validator/mtls'
import { openAccessRecord } from './access.ts'
import type { WebmailConfig } from './config.ts'
import { serveMail } from './mail.ts'
import { openMailboxes } from './mailbox.ts'

/** Longer than this the start does not wait for the authority; tokens are refused until it is there. */
const READY_MILLISECONDS_MAX = 5000

export async function startWebmail(config: WebmailConfig, log: Logger): Promise<Running> {
  const validator = connectValidator({
    realm: config.realms,
    audience: config.audience,
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    boundRealms: config.bound_realms,
    pushedRoots: config.pushed_roots,
    [bearerAllowed]: config.bearer_allowed,
    onProblem: (problem) => log.warn({ problem: problem.message }, 'trust is not up to date'),
  })
  const http = createHttp(log)
  const accesses = openAccessRecord(join(config.state, 'accesses.jsonl'))
  const mailboxes = openMailboxes(config.mailboxes, (problem) =>
    log.warn({ problem: problem.message }, 'the mailboxes were not read anew'),
  )
  const bindings = [
    ...(config.dpop === undefined ? [] : [dpop(config.dpop)]),
    ...(config.client_certificate === undefined ? [] : [mtls({ from: config.client_certificate })]),
  ]
  serveMail(http, { validator, bindings, mailboxes, accesses })
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
      mailboxes.close()
      await validator.stop()
      accesses.close()
    },
  }
}
