/**
 * The issuer of a realm as a process: what it reads at its start, what it connects to, and how it ends.
 * @module
 */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connectBroker } from '@countersign/broker/client'
import { type Logger, type Running, readConfig } from '@countersign/service'
import { connectValidator } from '@countersign/validator/connect'
import type { TrustSource } from '@countersign/validator/manifest'
import type { Validator } from '@countersign/validator/validator'
import { sweepExpired } from './adapter.ts'
import { Attempts } from './attempts.ts'
import { type IssuerConfig, secretsSchema, seedSchema } from './config.ts'
import type { Issue } from './issuance.ts'
import { createRealmServer } from './mount.ts'
import { openIssuerDatabase } from './schema.ts'
import { openTenant } from './tenant.ts'

const SWEEP_MILLISECONDS = 60_000
const FIRST_MANIFEST_MILLISECONDS = 10_000

/** What an issuer leans on, so that tests can put something else there. */
export interface Surroundings {
  /** Of access tokens of this realm, for each of its audiences. */
  readonly validator: Validator
  /** Holds a first manifest already. */
  readonly trust: TrustSource
  readonly issue: Issue
  readonly log: Logger
}

export async function startIssuer(config: IssuerConfig, log: Logger): Promise<Running> {
  const validator = connectValidator({
    realm: config.realm,
    audience: config.resources.map(({ audience }) => audience),
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    onProblem: ({ message }) => log.warn({ error: message }, 'trust is not up to date'),
  })
  const broker = await connectBroker(config.broker_socket)
  await validator.whenReady(FIRST_MANIFEST_MILLISECONDS)
  const running = await openIssuer(config, {
    validator,
    trust: validator.trust,
    issue: async (type, claims, alg) => (await broker.issue({ type, claims, ...(alg && { alg }) })).token,
    log,
  })
  return {
    ready: running.ready,
    stop: async () => {
      await running.stop()
      broker.close()
      await validator.stop()
    },
  }
}

/** The issuer itself, between surroundings that are there already. */
export async function openIssuer(config: IssuerConfig, surroundings: Surroundings): Promise<Running> {
  const { trust, log } = surroundings
  const database = await openIssuerDatabase(config.database)
  const now = (): number => Math.floor(Date.now() / 1000)
  const realm = {
    ...surroundings,
    config,
    secrets: readConfig(config.secrets, secretsSchema),
    seed: readConfig(config.seed, seedSchema),
    database,
    passwords: new Attempts(now),
    codes: new Attempts(now),
    now,
  }
  const template = issuerTemplate(config, trust)
  const mounted = await Promise.all(
    config.tenants.map(async (tenant) => {
      const provider = await openTenant(realm, tenant, template.replace('{tenantid}', tenant.id))
      return { issuer: provider.issuer, answer: provider.callback() }
    }),
  )
  const server = createRealmServer(mounted).listen(config.listen.port, '127.0.0.1')
  await once(server, 'listening')
  const sweep = setInterval(() => {
    sweepExpired(database, now()).catch((error: Error) => log.error({ error: error.message }, 'sweep failed'))
  }, SWEEP_MILLISECONDS).unref()
  return {
    ready: {
      port: (server.address() as AddressInfo).port,
      issuers: mounted.map(({ issuer }) => issuer),
    },
    stop: async () => {
      clearInterval(sweep)
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
      await database.destroy()
    },
  }
}

/** From the charter, so that an issuer whose name nobody approved does not start. */
function issuerTemplate(config: IssuerConfig, trust: TrustSource): string {
  const templates = trust.state?.charter.realms.get(config.realm)?.issuers ?? []
  const template = templates.find((issuer) => issuer.startsWith(config.public_url))
  if (template !== undefined) return template
  throw new Error(`the charter names no issuer of the realm ${config.realm} at ${config.public_url}`)
}
