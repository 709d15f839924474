/**
 * The OpenID provider of one tenant: oidc-provider, told what this system allows. What it would leave open is closed
 * here, and each line that decides something says why.
 * @module
 */

import { hash, hkdfSync, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { Algorithm } from '@countersign/validator/jws'
import {
  type AdapterFactory,
  type ClientMetadata,
  type Configuration,
  ExternalSigningKey,
  errors,
  interactionPolicy,
  type KoaContextWithOIDC,
  Provider,
} from 'oidc-provider'
import { describeAliases, isProofFor } from './alias.ts'
import type { ClientCertificates } from './certificate.ts'
import { introspectionPath, revocationPath } from './introspection.ts'
import { errorPage, pageHeaders, type Scene, signedOutPage, signOutPage } from './pages.ts'
import { claimsOf, type People } from './people.ts'
import { authenticationContexts } from './signin.ts'
import { type SubjectProperty, subjectChecks } from './subject.ts'

export interface ProviderOptions {
  readonly issuer: string
  readonly scene: Scene
  readonly adapter: AdapterFactory
  readonly clients: readonly ClientRecord[]
  readonly people: People
  readonly resources: readonly Resource[]
  /** Who receives shared signals has a token for this; only a client that names it may ask for one. */
  readonly transmitter: Resource
  readonly cookieKeys: readonly string[]
  /** Whether every DPoP proof needs a nonce of ours. */
  readonly nonceRequired: boolean
  /** Left out: no token is bound to a certificate, and no client signs in with one. */
  readonly certificates: ClientCertificates | undefined
  /** Where clients with certificates come, if not to the issuer's own address. */
  readonly alias: string | undefined
  /** One live public key of the realm for each algorithm that ID tokens may be signed with. */
  readonly keys: ReadonlyMap<Algorithm, KeyObject>
  /** Whether a sign-in of that time has been ended since, by the manifest. */
  readonly isSignInEnded: (subject: string, signedInAt: number) => boolean
}

export interface Resource {
  readonly audience: string
  readonly scopes: readonly string[]
}

/** A client as the database holds it. */
export interface ClientRecord {
  readonly clientId: string
  /** SHA-256, base64url. None for who signs in with a certificate. */
  readonly secretSha256: string | undefined
  readonly metadata: ClientMetadata
  readonly audiences: readonly string[] | undefined
  readonly thirdParty: boolean
}

/** Short, since an offline validator accepts a token until it expires, whatever became of its session. */
export const ACCESS_TOKEN_SECONDS = 300

const CODE_SECONDS = 60
const INTERACTION_SECONDS = 15 * 60
const SESSION_SECONDS = 12 * 3600
/** From the first refresh token of a grant to the last: rotation does not push it back. */
const REFRESH_SECONDS = 14 * 24 * 3600

export const routes = {
  authorization: '/authorize',
  pushed_authorization_request: '/par',
  token: '/token',
  jwks: '/jwks',
  end_session: '/logout',
} as const

/** Which clients call by themselves, signed in, by their names in the metadata. */
export const clientEndpoints = {
  token_endpoint: routes.token,
  pushed_authorization_request_endpoint: routes.pushed_authorization_request,
  introspection_endpoint: introspectionPath,
  revocation_endpoint: revocationPath,
} as const

export function createProvider(options: ProviderOptions): Provider {
  const { issuer, scene, adapter, people, resources, transmitter, cookieKeys, keys, isSignInEnded } = options
  const { nonceRequired, certificates, alias } = options
  const clients = new Map(options.clients.map((client) => [client.clientId, client]))
  const { protocol, pathname } = new URL(issuer)
  const mount = pathname.replace(/\/$/, '')
  const secure = protocol === 'https:'
  const clientAuthMethods = [
    'client_secret_basic',
    'client_secret_post',
    ...(certificates?.methods ?? []),
  ] as const
  const aliases = alias === undefined ? undefined : describeAliases(alias, clientEndpoints)
  const cookie = { httpOnly: true, sameSite: 'lax', signed: true, secure } as const

  const configuration: Configuration = {
    adapter,
    clients: options.clients.map(({ metadata }) => metadata),
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clientAuthMethods: [...clientAuthMethods],
    jwks: { keys: [...keys].map(([algorithm, key]) => new AnnouncedKey(algorithm, key)) },
    enabledJWA: {
      idTokenSigningAlgValues: (['ES256', 'EdDSA', 'PS256', 'RS256'] as const).filter((name) =>
        keys.has(name),
      ),
    },
    responseTypes: ['code'],
    pkce: { required: () => true },
    allowOmittingSingleRegisteredRedirectUri: false,
    scopes: ['openid', 'offline_access'],
    claims: {
      openid: ['sub'],
      profile: ['preferred_username'],
      email: ['email', 'email_verified'],
      amr: null,
      tid: null,
    },
    acrValues: Object.values(authenticationContexts),
    routes,
    discovery: {
      introspection_endpoint: `${issuer}${introspectionPath}`,
      revocation_endpoint: `${issuer}${revocationPath}`,
      introspection_endpoint_auth_methods_supported: clientAuthMethods,
      revocation_endpoint_auth_methods_supported: clientAuthMethods,
      ...(aliases && { mtls_endpoint_aliases: aliases }),
    },
    cookies: {
      keys: [...cookieKeys],
      // A name per tenant, as all of a realm share a host. `__Host-`: no other host can plant one (T194).
      names: {
        session: `${secure ? '__Host-' : ''}session${mount.replaceAll('/', '-')}`,
        interaction: `${secure ? '__Secure-' : ''}interaction`,
        resume: `${secure ? '__Secure-' : ''}resume`,
      },
      long: { ...cookie, path: '/' },
      short: cookie,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      backchannelLogout: { enabled: true },
      // Access tokens have a service as their audience; what it would tell is in the ID token.
      userinfo: { enabled: false },
      dPoP: { enabled: true, nonceSecret: nonceSecret(cookieKeys), requireNonce: () => nonceRequired },
      ...(certificates && {
        mTLS: {
          enabled: true,
          certificateBoundAccessTokens: true,
          selfSignedTlsClientAuth: certificates.methods.includes('self_signed_tls_client_auth'),
          tlsClientAuth: certificates.methods.includes('tls_client_auth'),
          getCertificate: (ctx) => certificates.of(ctx.req),
          certificateAuthorized: (ctx) => certificates.isVouchedFor(ctx.req),
          certificateSubjectMatches: (ctx, property, expected) => {
            const certificate = certificates.of(ctx.req)
            return (
              certificate !== undefined && subjectChecks[property as SubjectProperty](certificate, expected)
            )
          },
        },
      }),
      externalSigningSupport: { enabled: true, ack: 'experimental-01' },
      resourceIndicators: {
        enabled: true,
        // Always one: a token without an audience would be good everywhere.
        defaultResource: (ctx, client, oneOf) =>
          oneOf?.[0] ?? defaultAudience(audiencesOf(client.clientId), ctx.oidc.params?.['scope']),
        getResourceServerInfo: (_ctx, audience, client) => {
          const resource = [...resources, transmitter].find((each) => each.audience === audience)
          if (resource === undefined || !audiencesOf(client.clientId).includes(audience)) {
            throw new errors.InvalidTarget('there is no such resource for this client')
          }
          return { audience, scope: resource.scopes.join(' '), accessTokenFormat: 'jwt' }
        },
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => showPage(ctx, signOutPage(scene, form), logoutTargets(ctx)),
        postLogoutSuccessSource: (ctx) => showPage(ctx, signedOutPage(scene)),
      },
    },
    ttl: {
      AccessToken: ACCESS_TOKEN_SECONDS,
      ClientCredentials: ACCESS_TOKEN_SECONDS,
      AuthorizationCode: CODE_SECONDS,
      Interaction: INTERACTION_SECONDS,
      Session: SESSION_SECONDS,
      Grant: REFRESH_SECONDS,
      RefreshToken: (ctx) => ctx.oidc.entities.RotatedRefreshToken?.remainingTTL ?? REFRESH_SECONDS,
    },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    clientBasedCORS: () => false,
    interactions: {
      policy: createPolicy(isSignInEnded),
      url: (_ctx, { uid }) => `${mount}/interaction/${uid}`,
    },
    findAccount: async (_ctx, sub, source) => {
      const person = await people.find(sub)
      if (person === undefined) return undefined
      // A code, refresh token or access token outlives neither a new password nor a cutoff (T191).
      if (source !== undefined) {
        const since =
          'authTime' in source && typeof source.authTime === 'number' ? source.authTime : source.iat
        if (since < person.validAfter || isSignInEnded(sub, since)) return undefined
      }
      return {
        accountId: sub,
        validAfter: person.validAfter,
        claims: () => ({ sub, ...claimsOf(person.username) }),
      }
    },
    loadExistingGrant: (ctx) => loadGrant(ctx, clients, isSignInEnded),
    renderError: (ctx, out, error) => showPage(ctx, errorPage(scene, out, error)),
    // The operator registered these addresses, so one that says loopback means it. Names stay guarded (T172).
    fetch: (url, { dispatcher, ...request }: RequestInit & { readonly dispatcher?: unknown } = {}) =>
      fetch(url, { ...request, redirect: 'error', ...(!isLoopback(String(url)) && { dispatcher }) }),
  }

  const provider = new Provider(issuer, configuration)
  // TLS ends before us; what the request says about itself is replaced in `mount.ts`.
  provider.proxy = true
  // The issuer's own URL, never one put together from Host or X-Forwarded-Host (T181).
  Object.assign(provider.OIDCContext.prototype, {
    urlFor(this: Visit, name: string, more?: Record<string, unknown>): string {
      const alias = aliases?.[`${name}_endpoint`]
      // What a DPoP proof is held against.
      if (alias !== undefined && name === this.route && isProofFor(this.ctx.req, alias)) return alias
      return provider.urlFor(name, more)
    },
  })
  Object.assign(provider.Client.prototype, {
    compareClientSecret(this: { readonly clientId: string }, secret: string): boolean {
      const expected = clients.get(this.clientId)?.secretSha256
      if (expected === undefined) return false
      return timingSafeEqual(Buffer.from(hashSecret(secret)), Buffer.from(expected))
    },
    // In every token, so that what was done in a session can be found by it (J4).
    includeSid: () => true,
  })
  return provider

  /** The first; but a receiver that asks for the scopes of a transmitter, as all do, means the transmitter. */
  function defaultAudience(audiences: readonly string[], scope: unknown): string | undefined {
    const scopes = typeof scope === 'string' ? scope.split(' ') : []
    const isForTransmitter = scopes.length > 0 && scopes.every((each) => transmitter.scopes.includes(each))
    return isForTransmitter && audiences.includes(transmitter.audience) ? transmitter.audience : audiences[0]
  }

  function audiencesOf(clientId: string): readonly string[] {
    return clients.get(clientId)?.audiences ?? resources.map(({ audience }) => audience)
  }
}

/** What oidc-provider knows of a request while it answers. */
interface Visit {
  readonly route: string
  readonly ctx: KoaContextWithOIDC
}

/** Secrets are random and long, so one pass is enough; what it saves is the secret when the database is read. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'base64url')
}

/** Of what all processes of this realm have, so that each knows the nonces of the others. */
function nonceSecret([newest = '']: readonly string[]): Buffer {
  return Buffer.from(hkdfSync('sha256', newest, '', 'dpop nonces', 32))
}

/** Tells oidc-provider which algorithm there is. Nothing is ever signed with it: see `issuance.ts`. */
class AnnouncedKey extends ExternalSigningKey {
  readonly #algorithm: Algorithm
  readonly #key: KeyObject

  constructor(algorithm: Algorithm, key: KeyObject) {
    super()
    this.#algorithm = algorithm
    this.#key = key
  }

  override get alg(): string {
    return this.#algorithm
  }

  override keyObject(): KeyObject {
    return this.#key
  }

  override sign(): never {
    throw new Error('nothing is signed in this process')
  }
}

function createPolicy(isSignInEnded: ProviderOptions['isSignInEnded']): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base()
  policy.get('login')?.checks.add(
    new interactionPolicy.Check(
      'session_ended',
      'the session was ended from outside',
      'login_required',
      (ctx) => {
        const { session, entities } = ctx.oidc
        const { accountId, loginTs = 0 } = session ?? {}
        if (accountId === undefined) return interactionPolicy.Check.NO_NEED_TO_PROMPT
        const validAfter = entities.Account?.['validAfter'] as number | undefined
        return validAfter === undefined || loginTs < validAfter || isSignInEnded(accountId, loginTs)
      },
    ),
  )
  return policy
}

/** What the person has allowed before. First-party clients are part of the service itself and need not ask. */
async function loadGrant(
  ctx: KoaContextWithOIDC,
  clients: ReadonlyMap<string, ClientRecord>,
  isSignInEnded: ProviderOptions['isSignInEnded'],
) {
  const { client, provider, session, account, result, resourceServers = {} } = ctx.oidc
  if (client === undefined || account === undefined) return undefined
  const { clientId } = client
  const { accountId } = account
  // Whoever has to sign in again is given nothing before; and the session keeps its grants, should a lift bring it back.
  if (isSignInEnded(accountId, session?.loginTs ?? 0)) return undefined
  const grantId = result?.consent?.grantId ?? session?.grantIdFor(clientId)
  const known = grantId === undefined ? undefined : await provider.Grant.find(grantId)
  // A session that another person signed in to keeps nothing of the one before; nor does one that a kill has ended, since
  // whoever held the key may have been the one who allowed it.
  const isKept = known?.accountId === accountId && !isSignInEnded(accountId, known.iat)
  const grant = isKept ? known : undefined
  if (clients.get(clientId)?.thirdParty !== false) return grant
  const given = grant ?? new provider.Grant({ clientId, accountId })
  given.addOIDCScope([...ctx.oidc.requestParamOIDCScopes].join(' '))
  for (const [audience, { scopes }] of Object.entries(resourceServers)) {
    given.addResourceScope(
      audience,
      [...ctx.oidc.requestParamScopes].filter((scope) => scopes.has(scope)).join(' '),
    )
  }
  await given.save()
  return given
}

function showPage(ctx: KoaContextWithOIDC, body: string, formTargets: readonly string[] = []): void {
  ctx.set(pageHeaders(formTargets))
  ctx.type = 'html'
  ctx.body = body
}

/** Where signing out leads in the end, which browsers hold against `form-action` too. */
function logoutTargets(ctx: KoaContextWithOIDC): readonly string[] {
  const uri = ctx.oidc.params?.['post_logout_redirect_uri']
  return typeof uri === 'string' ? [new URL(uri).origin] : []
}

function isLoopback(url: string): boolean {
  return ['localhost', '127.0.0.1', '[::1]'].includes(new URL(url).hostname)
}
