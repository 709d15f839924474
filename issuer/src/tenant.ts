/**
 * One tenant's provider, with everything around it that oidc-provider leaves to us.
 * @module
 */

import { hkdfSync } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Logger } from '@countersign/service'
import { claimedConfirmation } from '@countersign/validator/confirmation'
import { dpop } from '@countersign/validator/dpop'
import { type Binding, createGuard, type Proof } from '@countersign/validator/guard'
import { createHintValidator } from '@countersign/validator/hint'
import { keySetOf } from '@countersign/validator/key-set'
import type { TrustSource } from '@countersign/validator/manifest'
import { createNonces } from '@countersign/validator/nonces'
import type { ReplayCache } from '@countersign/validator/replay'
import type { Validator } from '@countersign/validator/validator'
import { errors, type Provider } from 'oidc-provider'
import { createAdapterFactory, revokeGrant } from './adapter.ts'
import { aliasOf } from './alias.ts'
import type { Attempts } from './attempts.ts'
import { type ClientCertificates, isCertificateMethod, isSignedInByCertificate } from './certificate.ts'
import type { IssuerConfig, Secrets, Seed } from './config.ts'
import { isEnded } from './cutoff.ts'
import { registerTokenExchange } from './exchange.ts'
import { createIntrospection } from './introspection.ts'
import { type Issue, issueThroughBroker } from './issuance.ts'
import { keyPerAlgorithm } from './keyset.ts'
import { answerErrors, serveKeySet } from './middleware.ts'
import { networkOf } from './network.ts'
import type { Scene } from './pages.ts'
import { openPeople } from './people.ts'
import { ACCESS_TOKEN_SECONDS, type ClientRecord, createProvider } from './provider.ts'
import { createAccessTokens } from './revocation.ts'
import type { Database } from './schema.ts'
import { loadClients, plantSeed } from './seed.ts'
import { AUDIENCE_PATH, signalScopes } from './signals/routes.ts'
import { createTransmitter, type Transmitter } from './signals/transmitter.ts'
import { createSignIn } from './signin.ts'
import type { Usage } from './usage.ts'

export interface Realm {
  readonly config: IssuerConfig
  readonly secrets: Secrets
  readonly seed: Seed
  readonly database: Database
  readonly trust: TrustSource
  /** Of access tokens of this realm. */
  readonly validator: Validator
  readonly issue: Issue
  readonly certificates: ClientCertificates | undefined
  /** Whether the endpoints of shared signals take no token that is bound to nothing. */
  readonly areSignalsBound: boolean
  readonly usage?: Pick<Usage, 'count'> | undefined
  readonly passwords: Attempts
  readonly codes: Attempts
  readonly log: Logger
  /** Seconds since the epoch. */
  readonly now: () => number
}

export interface Tenant {
  readonly provider: Provider
  readonly transmitter: Pick<Transmitter, 'review' | 'sweep' | 'stop'>
}

/** One for the realm: which tenant's transmitter a token is for, its issuer says. */
export function transmitterAudience({ public_url: base }: Pick<IssuerConfig, 'public_url'>): string {
  return `${base}${AUDIENCE_PATH}`
}

export async function openTenant(
  realm: Realm,
  tenant: { readonly id: string; readonly name: string },
  issuer: string,
): Promise<Tenant> {
  const { config, secrets, seed, database, trust, validator, certificates, log, now } = realm
  const issue: Issue = async (...request) => {
    try {
      const token = await realm.issue(...request)
      const [, { client_id, aud }] = request
      // An ID token is for the client that is its audience.
      realm.usage?.count(token, tenant.id, String(client_id ?? aud))
      return token
    } catch (error) {
      const { code, message } = error as Error & { readonly code?: string }
      log.warn({ tenant: tenant.id, code, error: message }, 'no token was made')
      throw error
    }
  }
  const scene: Scene = { tenant: tenant.name, host: new URL(issuer).host }
  const key = Buffer.from(secrets.totp_key, 'base64url')
  const audience = transmitterAudience(config)
  const transmitter = createTransmitter({
    database,
    realm: config.realm,
    tenant: tenant.id,
    issuer,
    audience,
    issue,
    trust,
    reach: { loopback: config.signals.loopback_receivers },
    key,
    log,
    now,
  })
  const people = openPeople({ database, tenant: tenant.id, totpKey: key, signals: transmitter, now })
  await plantSeed(database, tenant.id, people, seed)
  const accessTokens = createAccessTokens(database, tenant.id, now)
  const clients = await loadClients(database, tenant.id)
  const allowed = new Map(clients.map(({ clientId, audiences }) => [clientId, audiences]))
  const everyAudience = config.resources.map(({ audience }) => audience)
  const audiencesOf = (clientId: string): readonly string[] => allowed.get(clientId) ?? everyAudience

  /** Whether a sign-in of that time has been ended since, by a cutoff or the kill of a key. */
  const isSignInEnded = (subject: string, at: number): boolean => {
    const manifest = trust.state?.manifest
    // Without trust nothing is known to be over, and nothing can be issued either.
    return (
      manifest !== undefined && isEnded(manifest, { realm: config.realm, tenant: tenant.id, subject, at })
    )
  }

  checkCertificates(clients, certificates)
  const alias = certificates && aliasOf(issuer, certificates.publicUrl)
  const state = { database, tenant: tenant.id, accessTokens, signals: transmitter, now }
  const provider = createProvider({
    issuer,
    scene,
    adapter: createAdapterFactory(state),
    clients,
    people,
    resources: config.resources,
    transmitter: { audience, scopes: Object.values(signalScopes) },
    cookieKeys: secrets.cookie_keys,
    nonceRequired: config.dpop.nonce_required,
    certificates,
    alias,
    keys: keyPerAlgorithm(trust.state?.manifest, config.realm),
    isSignInEnded,
  })
  issueThroughBroker(provider, {
    tenant: tenant.id,
    issue,
    accessTokens,
    certificates,
    validateHint: createHintValidator(config.realm, issuer, trust),
    now,
  })
  const desk = { provider, validator, accessTokens, people, isSignInEnded }
  registerTokenExchange({
    desk,
    issue,
    audiencesOf,
    lifetimeSeconds: ACCESS_TOKEN_SECONDS,
    certificates,
    now,
  })
  const onFault = (fault: Error): void =>
    log.error(
      { error: fault.message, cause: (fault.cause as Error | undefined)?.message },
      'a request failed',
    )
  provider.on('server_error', (_ctx, fault) => onFault(fault))
  provider.use(answerErrors(scene, onFault))
  provider.use(
    serveKeySet(() =>
      keySetOf(trust.state?.manifest, config.realm, ({ tenants }) => tenants.includes(tenant.id)),
    ),
  )
  provider.use(
    createIntrospection({
      desk,
      audiencesOf,
      revokeGrant: (grantId) => revokeGrant(state, grantId),
      isSignedInByCertificate: (clientId, request) => {
        const metadata = clients.find((client) => client.clientId === clientId)?.metadata
        return (
          metadata !== undefined &&
          certificates !== undefined &&
          isSignedInByCertificate(metadata, request, certificates)
        )
      },
    }),
  )
  const guard = createGuard(validator, {
    bindings: [
      dpop({
        base: [issuer, ...(alias === undefined ? [] : [alias])],
        replay: rememberProofs(provider),
        ...(config.dpop.nonce_required && { nonces: createNonces({ secrets: nonceSecrets(secrets) }) }),
      }),
      ...(certificates === undefined ? [] : [certificates.binding]),
      ...(realm.areSignalsBound ? [boundTokensAlone] : []),
    ],
  })
  const network = (request: IncomingMessage): string => networkOf(request, config.client_address_header)
  provider.use(transmitter.serve({ provider, guard, accessTokens, networkOf: network }))
  provider.use(
    createSignIn({
      provider,
      people,
      scene,
      secondFactorRequired: config.second_factor_required,
      addressHeader: config.client_address_header,
      passwords: realm.passwords,
      codes: realm.codes,
      now,
    }),
  )
  await transmitter.start(isSignInEnded)
  return { provider, transmitter }
}

/** In the realm's database: a proof counts once at all of its processes, also when they have been started again. */
function rememberProofs(provider: Provider): ReplayCache {
  return {
    add: async ({ id, expiresAt }) => {
      try {
        return await provider.ReplayDetection.unique(AUDIENCE_PATH, id, Math.ceil(expiresAt))
      } catch (error) {
        // Two came at the same moment, and this is the second.
        if (error instanceof errors.InvalidDpopProof) return false
        throw error
      }
    },
  }
}

/** The validator cannot ask for it: it also decides about tokens that their sender does not bring. */
const boundTokensAlone: Binding = {
  confirm: (_, { token }): Proof =>
    Object.keys(claimedConfirmation(token)).length > 0
      ? {}
      : {
          error: {
            code: 'invalid_token',
            description: 'only tokens that are bound to their sender count here',
          },
        },
}

/** For proofs that come with tokens; each process of this realm knows those of the others. */
function nonceSecrets({ cookie_keys }: Secrets): readonly Uint8Array[] {
  return cookie_keys.map((key) => new Uint8Array(hkdfSync('sha256', key, '', 'nonces of signals', 32)))
}

/** It would be given tokens that are bound to nothing, where somebody believes them to be, or nobody could sign in. */
function checkCertificates(
  clients: readonly ClientRecord[],
  certificates: ClientCertificates | undefined,
): void {
  for (const { clientId, metadata } of clients) {
    const { token_endpoint_auth_method: method, tls_client_certificate_bound_access_tokens: isBound } =
      metadata
    if (certificates === undefined && (isBound || isCertificateMethod(method)))
      throw new Error(`client_certificate is missing, and tokens of ${clientId} are to be bound to one`)
    if (isCertificateMethod(method) && !certificates?.methods.includes(method))
      throw new Error(`client_ca is missing, and ${clientId} is known by what an authority has signed`)
  }
}
