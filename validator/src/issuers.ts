/**
 * Identity providers that are not ours, each with what its tokens have to be like:
 *
 *     createValidator({
 *       issuers: [entra({ tenants: ['8eaef023-…'] }), keycloak({ url: 'https://id.example', realm: 'staff' })],
 *       audience: 'api://orders',
 *       [acceptWithoutReceipt]: 'our provider logs nothing',
 *     })
 *
 * A preset fixes what may not be left to a token: where keys come from, which algorithms they have, whom a key may speak for,
 * and how an access token differs from an ID token, which providers sign with the same keys. What is checked for whom, and
 * what cannot be: docs/foreign-issuers.md.
 * @module
 */

import type { Claims } from './claims.ts'
import { type ForeignIssuer, type ForeignProfile, nameOf, openIssuer } from './foreign.ts'
import { followKeys, type KeyFollowerOptions } from './foreign-keys.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import type { Algorithm, UncheckedJws } from './jws.ts'
import { Refusal } from './refusal.ts'
import { fitsIssuer } from './scope.ts'
import { isWeakened } from './weakened.ts'

export type { ForeignIssuer } from './foreign.ts'

/**
 * Weakens an issuer: everything is fetched from this origin on loopback, without TLS, whatever the issuer is called. For tests,
 * and for a provider on one's own desk. Warned of at start.
 */
export const fetchFromLoopback: unique symbol = Symbol('fetchFromLoopback')

/** What every preset takes. */
export interface IssuerOptions {
  /** Tokens that live longer are refused. */
  readonly lifetimeSecondsMax?: number
  /** A key that its owner removed is gone after so long at the latest; 10 minutes at most. */
  readonly refreshSeconds?: number
  /** When no set has come for so long, everything is refused; from 10 minutes to a day. */
  readonly keySetSecondsMax?: number
  readonly [fetchFromLoopback]?: string
}

/** Microsoft Entra ID. */
export interface EntraOptions extends IssuerOptions {
  /** The directories whose tokens count, by their ids. Personal accounts count where their tenant is named: `consumerTenant`. */
  readonly tenants: readonly string[]
  /** Which tokens the API asks for in its registration (`requestedAccessTokenVersion`): `1.0` is what Entra gives unasked. */
  readonly version?: '2.0' | '1.0'
  /** Origin of the cloud. Left out: the public one. */
  readonly authority?: string
}

/** The tenant of all personal Microsoft accounts. Its keys sign for it alone, as the incident of 2023 did not find them to. */
export const consumerTenant = '9188040d-6c67-4c5b-b112-36a304b66dad'

/** Microsoft Entra ID: access tokens for an API of one's own. One with `version` `1.0` takes one tenant. */
export function entra(options: EntraOptions): ForeignIssuer {
  const { tenants, version = '2.0', authority = 'https://login.microsoftonline.com' } = options
  const origin = readOrigin('authority', authority)
  const ids = readList('tenants', tenants)
  if (!ids.every((id) => guid.test(id))) throw new TypeError('tenants are ids of directories, in lower case')
  const [only = '', ...others] = ids
  const isOne = others.length === 0
  if (version !== '2.0' && version !== '1.0') throw new TypeError('version is 2.0 or 1.0')
  if (version === '1.0' && !isOne)
    throw new TypeError('version 1.0 takes one tenant: name the issuer once for each')
  const template = `${origin}/{tenantid}/v2.0`
  const templateOf1 = 'https://sts.windows.net/{tenantid}/'
  // Sets of version 1.0 say it in either way, or not at all.
  const ofBothVersions = [template, templateOf1].flatMap((name) => [name, name.replace('{tenantid}', only)])
  const place = isOne ? only : ids.includes(consumerTenant) ? 'common' : 'organizations'
  const issuer = version === '1.0' ? templateOf1.replace('{tenantid}', only) : template
  return preset(options, {
    profile: {
      issuer,
      tenants: ids,
      headerTypes: ['jwt'],
      headerMembers: version === '1.0' ? ['x5t'] : [],
      hintFor: ({ nonce }) =>
        nonce === undefined ? undefined : 'it is for Microsoft Graph alone; ask for a token for your own API',
      // Tokens that live on while access is evaluated go up to 28 hours.
      lifetimeSecondsMax: 29 * HOUR_SECONDS,
      sharesKeysWith: (named) => fitsIssuer(template, named) || fitsIssuer(templateOf1, named),
      readClaims: (payload, jws) => readEntra(payload, jws, version),
    },
    algorithms: ['RS256'],
    metadata: {
      url: `${origin}/${place}${version === '1.0' ? '' : '/v2.0'}/.well-known/openid-configuration`,
      issuer: isOne ? issuer.replace('{tenantid}', only) : template,
    },
    // Sets of version 2.0 say of each key whose it is, and one that does not say is nobody's.
    keyIssuer: (named) => {
      if (version === '2.0') return named
      return named === undefined || ofBothVersions.includes(named) ? issuer : named
    },
  })
}

const guid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

function readEntra(payload: JsonObject, jws: UncheckedJws, version: string): Claims {
  const { tid, nbf, scp, roles, nonce } = payload
  if (typeof tid !== 'string' || !guid.test(tid) || nbf === undefined) throw new Refusal('malformed')
  // ID tokens of an application have its own name as audience too, and are signed with the same keys. They name no caller,
  // and permit nothing.
  const caller = version === '1.0' ? payload['appid'] : payload['azp']
  if (payload['ver'] !== version || caller === undefined || nonce !== undefined)
    throw new Refusal('type_mismatch')
  if (scp === undefined && roles === undefined) throw new Refusal('type_mismatch')
  return readCommon(payload, jws, {
    tenant: tid,
    tokenId: optionalText(payload['uti']),
    clientId: readText(caller),
    // A person's roles are about the person. Of an application that acts for itself they are what it may do.
    scopes: scp === undefined ? readWords(roles) : readScope(scp),
  })
}

/** Auth0. */
export interface Auth0Options extends IssuerOptions {
  /** `example.eu.auth0.com`, or a domain of one's own. */
  readonly domain: string
  /** Organizations whose tokens count. Left out: whether a token names one is not asked. */
  readonly organizations?: readonly string[]
  /** Which profile the API has: `auth0` is what it has unasked. */
  readonly profile?: 'auth0' | 'rfc9068'
}

/** Auth0: access tokens for an API that is registered there. Throws `TypeError` for an option that names nothing. */
export function auth0(options: Auth0Options): ForeignIssuer {
  const { domain, organizations, profile = 'auth0' } = options
  const host = readHost('domain', domain)
  const tenants = organizations === undefined ? [host] : readList('organizations', organizations)
  return preset(options, {
    profile: {
      issuer: `https://${host}/`,
      tenants,
      headerTypes: [profile === 'auth0' ? 'jwt' : 'at+jwt'],
      readClaims: (payload, jws) =>
        readCommon(payload, jws, {
          // Without a list of organizations the tenant is the domain, whatever a token says.
          tenant: organizations === undefined ? undefined : organizationIn(payload),
          clientId: profile === 'auth0' ? callerIn(payload, 'azp') : callerIn(payload, 'client_id'),
        }),
    },
    algorithms: ['RS256', 'PS256'],
  })
}

function organizationIn({ org_id: organization }: JsonObject): string {
  if (typeof organization !== 'string') throw new Refusal('tenant_mismatch')
  return organization
}

/** Keycloak. */
export interface KeycloakOptions extends IssuerOptions {
  /** Where Keycloak is, with its path, as it stands in `iss`: `https://id.example`, `https://id.example/auth`. */
  readonly url: string
  readonly realm: string
}

/** Keycloak: access tokens of one of its realms. Throws `TypeError` for an option that names nothing. */
export function keycloak(options: KeycloakOptions): ForeignIssuer {
  const { realm } = options
  if (typeof realm !== 'string' || !/^[\w.-]+$/.test(realm)) throw new TypeError('realm is missing')
  const url = readUrl('url', options.url, options)
  return preset(options, {
    profile: {
      issuer: `${url.href.replace(/\/$/, '')}/realms/${realm}`,
      tenants: [realm],
      headerTypes: ['jwt', 'at+jwt'],
      readClaims: (payload, jws) => {
        // ID, refresh and logout tokens have another one, whatever the header says.
        if (payload['typ'] !== 'Bearer' && payload['typ'] !== 'DPoP') throw new Refusal('type_mismatch')
        return readCommon(payload, jws, {
          tokenId: readText(payload['jti']),
          clientId: callerIn(payload, 'azp'),
        })
      },
    },
    algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  })
}

/** Okta. */
export interface OktaOptions extends IssuerOptions {
  /** `example.okta.com`. */
  readonly domain: string
  /** Id of a custom authorization server: nobody but Okta can verify tokens of the organization's own. */
  readonly authorizationServer?: string
}

/** Okta: access tokens of a custom authorization server. Throws `TypeError` for an option that names nothing. */
export function okta(options: OktaOptions): ForeignIssuer {
  const { domain, authorizationServer = 'default' } = options
  const host = readHost('domain', domain)
  if (!/^\w+$/.test(authorizationServer)) throw new TypeError('authorizationServer is none')
  return preset(options, {
    profile: {
      issuer: `https://${host}/oauth2/${authorizationServer}`,
      tenants: [host],
      headerTypes: [undefined, 'jwt', 'at+jwt'],
      readClaims: (payload, jws) =>
        readCommon(payload, jws, {
          tokenId: readText(payload['jti']),
          clientId: callerIn(payload, 'cid'),
          scopes: payload['scp'] === undefined ? [] : readWords(payload['scp']),
        }),
    },
    algorithms: ['RS256'],
  })
}

/** Amazon Cognito. */
export interface CognitoOptions extends IssuerOptions {
  /** `eu-central-1`. */
  readonly region: string
  readonly userPoolId: string
}

/**
 * Amazon Cognito. Its access tokens name the client they were given to and seldom an audience: then the client's id stands for it,
 * and `audience` lists the clients.
 */
export function cognito(options: CognitoOptions): ForeignIssuer {
  const { region, userPoolId } = options
  if (!/^[a-z0-9-]+$/.test(region)) throw new TypeError('region is none')
  if (!/^[\w-]+$/.test(userPoolId)) throw new TypeError('userPoolId is none')
  return preset(options, {
    profile: {
      issuer: `https://cognito-idp.${region}.amazonaws.com/${userPoolId}`,
      tenants: [userPoolId],
      headerTypes: [undefined, 'jwt'],
      readClaims: (payload, jws) => {
        if (payload['token_use'] !== 'access') throw new Refusal('type_mismatch')
        const clientId = callerIn(payload, 'client_id')
        const { aud = clientId } = payload
        return readCommon({ ...payload, aud }, jws, { tokenId: readText(payload['jti']), clientId })
      },
    },
    algorithms: ['RS256'],
  })
}

/** Google. */
export interface GoogleOptions extends IssuerOptions {
  /** Workspace domains (`hd`) whose people count. Left out: everybody with a Google account, and service accounts. */
  readonly hostedDomains?: readonly string[]
}

/**
 * Google. Its access tokens are for Google alone; what services show each other are ID tokens, so the validator has to ask for
 * them: `tokenType: 'id'`. The subject is `sub`, and never the mail address.
 */
export function google(options: GoogleOptions = {}): ForeignIssuer {
  const { hostedDomains } = options
  const tenants = hostedDomains === undefined ? ['google'] : readList('hostedDomains', hostedDomains)
  return preset(options, {
    profile: {
      issuer: 'https://accounts.google.com',
      tenants,
      tokenType: 'id',
      headerTypes: ['jwt'],
      readClaims: (payload, jws) => {
        const { hd } = payload
        if (hostedDomains !== undefined && typeof hd !== 'string') throw new Refusal('tenant_mismatch')
        return readCommon(payload, jws, {
          tenant: hostedDomains === undefined ? undefined : optionalText(hd),
          clientId: optionalText(payload['azp']),
          isIdToken: true,
        })
      },
    },
    algorithms: ['RS256'],
    keyOrigins: ['https://www.googleapis.com'],
  })
}

/** Any other OpenID provider. */
export interface OidcOptions extends IssuerOptions {
  /**
   * What access tokens are like. `rfc9068`: as the RFC says. `jwt`: of a provider without a profile; they have `typ` `JWT` or
   * none, and name their caller in `azp` or `client_id`. Ask it whether its ID tokens do too: then they cannot be told apart.
   */
  readonly profile?: 'rfc9068' | 'jwt'
  readonly algorithms?: readonly Algorithm[]
  /** Where the key set is, if not at the issuer's own origin. */
  readonly keyOrigin?: string
}

/** Any other provider, by its issuer, exactly as it stands in `iss`. */
export function oidc(issuer: string, options: OidcOptions = {}): ForeignIssuer {
  const { profile = 'rfc9068', algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'], keyOrigin } = options
  const { host } = readUrl('issuer', issuer, options)
  return preset(options, {
    profile: {
      issuer,
      tenants: [host],
      headerTypes: profile === 'rfc9068' ? ['at+jwt'] : [undefined, 'jwt'],
      readClaims: (payload, jws) =>
        profile === 'rfc9068'
          ? readCommon(payload, jws, {
              tokenId: readText(payload['jti']),
              clientId: callerIn(payload, 'client_id'),
            })
          : readCommon(payload, jws, {
              clientId: callerIn(payload, payload['azp'] === undefined ? 'client_id' : 'azp'),
            }),
    },
    algorithms: readList('algorithms', algorithms) as readonly Algorithm[],
    keyOrigins: keyOrigin === undefined ? [] : [readOrigin('keyOrigin', keyOrigin)],
  })
}

const HOUR_SECONDS = 3600
const LIFETIME_SECONDS_MAX = 24 * HOUR_SECONDS
const REFRESH_SECONDS = { least: 30, usual: 300, most: 600 } as const
const KEY_SET_SECONDS = { least: 600, usual: HOUR_SECONDS, most: 24 * HOUR_SECONDS } as const

/** What a preset says; the rest is as for most. */
interface Preset extends Pick<KeyFollowerOptions, 'algorithms' | 'keyOrigins'> {
  readonly profile: Pick<ForeignProfile, 'issuer' | 'tenants' | 'headerTypes' | 'readClaims'> &
    Partial<ForeignProfile>
  readonly metadata?: KeyFollowerOptions['metadata']
  /** The issuer that a key may speak for; undefined for none at all. Left out: the set's. */
  readonly keyIssuer?: (named: string | undefined) => string | undefined
}

function preset(options: IssuerOptions, { profile, metadata, keyIssuer, ...keys }: Preset): ForeignIssuer {
  const { issuer, tenants } = profile
  const lifetimeSecondsMax = readSeconds(
    'lifetimeSecondsMax',
    options.lifetimeSecondsMax ?? profile.lifetimeSecondsMax ?? LIFETIME_SECONDS_MAX,
    { least: 1, most: 30 * 24 * HOUR_SECONDS },
  )
  const { refreshSeconds = REFRESH_SECONDS.usual, keySetSecondsMax = KEY_SET_SECONDS.usual } = options
  const whole: ForeignProfile = {
    tokenType: 'access',
    headerMembers: [],
    sharesKeysWith: (named) => named === issuer,
    ...profile,
    lifetimeSecondsMax,
  }
  const following: KeyFollowerOptions = {
    ...keys,
    metadata: metadata ?? { url: `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, issuer },
    scopeOf: (named) => {
      // A key that says whose it is speaks for nobody else; of most providers none does.
      const speaksFor = keyIssuer === undefined ? (named ?? issuer) : keyIssuer(named)
      if (speaksFor === undefined) return undefined
      return {
        issuer: speaksFor,
        realm: issuer,
        tenants,
        tokenTypes: [whole.tokenType],
        audiences: undefined,
        lifetimeSecondsMax,
      }
    },
    refreshSeconds: readSeconds('refreshSeconds', refreshSeconds, REFRESH_SECONDS),
    ageSecondsMax: readSeconds('keySetSecondsMax', keySetSecondsMax, KEY_SET_SECONDS),
    loopback: readLoopback(options),
  }
  return {
    open: (context) =>
      openIssuer(
        whole,
        followKeys({
          ...following,
          onProblem: (problem) =>
            context.onProblem?.(new Error(`${issuer}: ${problem.message}`, { cause: problem })),
        }),
        context,
      ),
  }
}

function readLoopback({ [fetchFromLoopback]: origin }: IssuerOptions): string | undefined {
  if (origin === undefined) return undefined
  if (!isLoopback(URL.parse(origin))) throw new TypeError('fetchFromLoopback is no origin on loopback')
  isWeakened(fetchFromLoopback, origin, 'keys of an issuer are fetched without TLS, from')
  return origin
}

function isLoopback(url: URL | null): boolean {
  return url?.protocol === 'http:' && /^(127\.0\.0\.1|\[::1\]|localhost)$/.test(url.hostname)
}

/** What a provider's own reading adds to what every token has. */
interface Particular {
  readonly tenant?: string | undefined
  readonly tokenId?: string | undefined
  readonly clientId: string | undefined
  readonly scopes?: readonly string[]
  readonly isIdToken?: boolean
}

/** Claims that every provider's tokens have, each of the right kind or the token is malformed. */
function readCommon(payload: JsonObject, jws: UncheckedJws, particular: Particular): Claims {
  const { tenant, tokenId, clientId, isIdToken = false } = particular
  // What only ID tokens, logout tokens and SETs have; many are signed with the keys of access tokens.
  if (payload['events'] !== undefined) throw new Refusal('type_mismatch')
  if (!isIdToken && idTokenClaims.some((name) => payload[name] !== undefined))
    throw new Refusal('type_mismatch')
  const [issuedAt, expiresAt] = [readTime(payload['iat']), readTime(payload['exp'])]
  if (expiresAt <= issuedAt) throw new Refusal('malformed')
  const { nbf, cnf, scope } = payload
  if (cnf !== undefined && !isObject(cnf)) throw new Refusal('malformed')
  return {
    issuer: readText(payload['iss']),
    subject: readText(payload['sub']),
    audiences: readAudiences(payload['aud']),
    tenant,
    tokenId: tokenId ?? optionalText(payload['jti']) ?? nameOf(jws),
    issuedAt,
    expiresAt,
    notBefore: nbf === undefined ? undefined : readTime(nbf),
    clientId,
    session: optionalText(payload['sid']),
    scopes: particular.scopes ?? (scope === undefined ? [] : readScope(scope)),
    confirmation: cnf,
    ancestors: [],
    event: undefined,
  }
}

const idTokenClaims = ['nonce', 'at_hash', 'c_hash', 's_hash']

/** ID tokens name no caller. */
function callerIn(payload: JsonObject, name: string): string {
  const caller = payload[name]
  if (caller === undefined) throw new Refusal('type_mismatch')
  return readText(caller)
}

function readText(value: JsonValue | undefined): string {
  if (typeof value !== 'string' || value === '') throw new Refusal('malformed')
  return value
}

function optionalText(value: JsonValue | undefined): string | undefined {
  return value === undefined ? undefined : readText(value)
}

function readTime(value: JsonValue | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new Refusal('malformed')
  return value
}

function readAudiences(value: JsonValue | undefined): readonly string[] {
  return typeof value === 'string' ? [value] : readTexts(value)
}

function readTexts(value: JsonValue | undefined): readonly string[] {
  if (!Array.isArray(value)) throw new Refusal('malformed')
  return (value as readonly JsonValue[]).map(readText)
}

const scopeWord = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/** RFC 6749, section 3.3; providers write an empty one for none. */
function readScope(value: JsonValue): readonly string[] {
  if (typeof value !== 'string') throw new Refusal('malformed')
  return value === '' ? [] : readWords(value.split(' '))
}

function readWords(value: JsonValue | undefined): readonly string[] {
  const words = readTexts(value)
  if (!words.every((word) => scopeWord.test(word))) throw new Refusal('malformed')
  return words
}

function readList(option: string, value: readonly string[]): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) throw new TypeError(`${option} is missing`)
  if (!value.every((each) => typeof each === 'string' && each !== ''))
    throw new TypeError(`${option} has something in it that is no name`)
  return [...value]
}

function readHost(option: string, value: string): string {
  const url = URL.parse(`https://${value}`)
  // Compared as text with tokens: what a URL parser would put right is not it.
  if (url === null || url.host !== value || !value.includes('.'))
    throw new TypeError(`${option} is no host in lower case`)
  return value
}

function readOrigin(option: string, value: string): string {
  const url = URL.parse(value)
  if (url?.protocol !== 'https:' || url.origin !== value) throw new TypeError(`${option} is no https origin`)
  return value
}

function readUrl(option: string, value: string, options: IssuerOptions): URL {
  const url = URL.parse(value)
  const mayBePlain = options[fetchFromLoopback] !== undefined && isLoopback(url)
  if (url === null || !(url.protocol === 'https:' || mayBePlain))
    throw new TypeError(`${option} is no https URL`)
  if (url.search !== '' || url.hash !== '' || url.username !== '' || /[{}]|%7[bd]/i.test(value))
    throw new TypeError(`${option} has something in it that no issuer has`)
  return url
}

function readSeconds(
  option: string,
  value: number,
  { least, most }: { readonly least: number; readonly most: number },
): number {
  if (typeof value === 'number' && value >= least && value <= most) return value
  throw new TypeError(`${option} is not between ${least} and ${most}`)
}
