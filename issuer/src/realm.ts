/**
 * A realm's issuer between surroundings that are there already: its database, its providers, its HTTP server.
 * @module
 */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Logger, Running } from '@countersign/service'
import { readConfig } from '@countersign/service/config'
import { BOUND_REALMS, bearerAllowed } from '@countersign/validator/connected'
import type { NewsSource } from '@countersign/validator/hold'
import type { TrustSource } from '@countersign/validator/manifest'
import type { Validator } from '@countersign/validator/validator'
import { isWeakened } from '@countersign/validator/weakened'
import { sweepExpired } from './adapter.ts'
import { Attempts } from './attempts.ts'
import { mutualTlsOptions, openClientCertificates } from './certificate.ts'
import { type IssuerConfig, secretsSchema, seedSchema } from './config.ts'
import type { Issue } from './issuance.ts'
import { createMutualTlsServer, createRealmServer } from './mount.ts'
import { openIssuerDatabase } from './schema.ts'
import { openTenant } from './tenant.ts'
import type { Usage } from './usage.ts'

const SWEEP_MILLISECONDS = 60_000

/** What an issuer leans on, so that tests can put something else there. */
export interface Surroundings {
  /** Of access tokens of this realm, for each of its audiences. */
  readonly validator: Validator
  /** Holds a first manifest already. */
  readonly trust: TrustSource | NewsSource
  readonly issue: Issue
  /** Counts which clients get tokens. Left out: nobody wants to know. */
  readonly usage?: Pick<Usage, 'count'> | undefined
  readonly log: Logger
}

export async function openRealm(config: IssuerConfig, surroundings: Surroundings): Promise<Running> {
  const { trust, log } = surroundings
  const database = await openIssuerDatabase(config.database)
  const now = (): number => Math.floor(Date.now() / 1000)
  const realm = {
    ...surroundings,
    config,
    secrets: readConfig(config.secrets, secretsSchema),
    seed: readConfig(config.seed, seedSchema),
    database,
    areSignalsBound: areSignalsBound(config),
    certificates: openClientCertificates(config),
    passwords: new Attempts(now),
    codes: new Attempts(now),
    now,
  }
  const template = issuerTemplate(config, trust)
  const mounted = await Promise.all(
    config.tenants.map(async (tenant) => {
      const { provider, transmitter } = await openTenant(
        realm,
        tenant,
        template.replace('{tenantid}', tenant.id),
      )
      return { issuer: provider.issuer, answer: provider.callback(), transmitter }
    }),
  )
  const transmitters = mounted.map(({ transmitter }) => transmitter)
  const review = (): void => {
    for (const { review } of transmitters)
      review().catch((error: Error) => log.error({ error: error.message }, 'a manifest was not told of'))
  }
  const leave = 'onNews' in trust ? trust.onNews(review) : () => {}
  // What came while the tenants were opened.
  review()
  const server = createRealmServer(mounted).listen(config.listen.port, '127.0.0.1')
  const { mutual_tls: own } = config
  const mutual =
    own && createMutualTlsServer(mounted, mutualTlsOptions(own)).listen(own.listen.port, own.listen.host)
  const servers = [server, ...(mutual === undefined ? [] : [mutual])]
  await Promise.all(servers.map((each) => once(each, 'listening')))
  const sweep = setInterval(() => {
    Promise.all([sweepExpired(database, now()), ...transmitters.map(({ sweep }) => sweep())]).catch(
      (error: Error) => log.error({ error: error.message }, 'sweep failed'),
    )
    // In case that one failed before.
    review()
  }, SWEEP_MILLISECONDS).unref()
  return {
    ready: {
      port: (server.address() as AddressInfo).port,
      ...(mutual && { mutual_tls_port: (mutual.address() as AddressInfo).port }),
      issuers: mounted.map(({ issuer }) => issuer),
    },
    stop: async () => {
      clearInterval(sweep)
      leave()
      await Promise.all(transmitters.map(({ stop }) => stop()))
      await Promise.all(
        servers.map(async (each) => {
          const closed = once(each, 'close')
          each.close()
          each.closeAllConnections()
          await closed
        }),
      )
      await database.destroy()
    },
  }
}

/** Whether a receiver of signals has to prove that its token is its own. */
function areSignalsBound({ realm, signals }: IssuerConfig): boolean {
  const consequence = 'the endpoints of shared signals accept tokens that are bound to nothing'
  return !isWeakened(bearerAllowed, signals.bearer_allowed, consequence) && BOUND_REALMS.includes(realm)
}

/** From the charter, so that an issuer whose name nobody approved does not start. */
function issuerTemplate(config: IssuerConfig, trust: TrustSource): string {
  const { realm, public_url: base, tenants } = config
  const templates = trust.state?.charter.realms.get(realm)?.issuers ?? []
  const template = templates.find((issuer) => issuer === base || issuer.startsWith(`${base}/`))
  if (template === undefined) throw new Error(`the charter names no issuer of the realm ${realm} at ${base}`)
  if (tenants.length > 1 && !template.includes('{tenantid}')) {
    throw new Error(`${template} cannot be the issuer of ${tenants.length} tenants`)
  }
  return template
}
