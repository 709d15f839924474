/**
 * The issuer of a realm as a process: what it connects to, and how it ends. The rest is `realm.ts`.
 * @module
 */

import { connectBroker } from '@countersign/broker/client'
import type { Logger, Running } from '@countersign/service'
import { bearerAllowed, connectValidator } from '@countersign/validator/connect'
import { readEnrolment } from '@countersign/validator/enrolment'
import type { IssuerConfig } from './config.ts'
import { openRealm } from './realm.ts'
import { transmitterAudience } from './tenant.ts'
import { createUsage } from './usage.ts'

const FIRST_MANIFEST_MILLISECONDS = 10_000

export async function startIssuer(config: IssuerConfig, log: Logger): Promise<Running> {
  const validator = connectValidator({
    realm: config.realm,
    audience: [...config.resources.map(({ audience }) => audience), transmitterAudience(config)],
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    [bearerAllowed]: 'who brings a token back to its issuer need not be its sender',
    onProblem: ({ message }) => log.warn({ error: message }, 'trust is not up to date'),
  })
  const broker = await connectBroker(config.broker_socket)
  await validator.whenReady(FIRST_MANIFEST_MILLISECONDS)
  const usage =
    config.sentinel === undefined
      ? undefined
      : createUsage({
          sentinel: config.sentinel,
          enrolment: readEnrolment(config.enrolment.name, config.enrolment.key),
          now: () => Math.floor(Date.now() / 1000),
          onProblem: ({ message }) => log.warn({ error: message }, 'usage was not reported'),
        })
  const running = await openRealm(config, {
    validator,
    ...(usage && { usage }),
    trust: validator.trust,
    issue: async (type, claims, alg) => (await broker.issue({ type, claims, ...(alg && { alg }) })).token,
    log,
  })
  return {
    ready: running.ready,
    stop: async () => {
      await running.stop()
      await usage?.stop()
      broker.close()
      await validator.stop()
    },
  }
}
