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
import { type ForeignIssuer, type ForeignProfile, openIssuer } from './foreign.ts'
import {
  callerIn,
  optionalText,
  readCommon,
  readScope,
  readText,
  readWords,
  refuse,
} from './foreign-claims.ts'
import { followKeys, type KeyFollowerOptions } from './foreign-keys.ts'
import type { JsonObject } from './json.ts'
import { type Algorithm, algorithms as knownAlgorithms, type UncheckedJws } from './jws.ts'
import { refuseUnknown } from './options.ts'
import { fitsIssuer } from './scope.ts'
import { isLoopback, parseUrl } from './url.ts'
import { isWeakened } from './weakened.ts'

export type { ForeignIssuer } from './foreign.ts'

/**
 * Weakens an issuer: everything is fetched from this origin on loopback, without TLS, whatever the issuer is called. For tests,
 * and for a provider on one's own desk: `oidc('http://localhost:4000', { [fetchFromLoopback]: 'http://localhost:4000' })`. Warned
 * of at start.
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
  checkNames('entra', options, ['tenants', 'version', 'authority'])
  const { tenants, authority = 'https://login.microsoftonline.com' } = options
  const version = readWord('version', options.version ?? '2.0', ['2.0', '1.0'])
  const origin = readOrigin('authority', authority)
  const ids = readList('tenants', tenants)
  if (!ids.every((id) => guid.test(id))) throw new TypeError('tenants are ids of directories, in lower case')
  const [only = '', ...others] = ids
  const isOne = others.length === 0
  if (version === '1.0' && !isOne)
    throw new TypeError('version 1.0 takes one tenant: name the issuer once for each')
  const template = `${origin}/{tenantid}/v2.0`
  const templateOf1 = `${origin === china ? 'https://sts.chinacloudapi.cn' : 'https://sts.windows.net'}/{tenantid}/`
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

/** Of the national clouds the one whose tokens of version 1.0 have an issuer of their own. */
const china = 'https://login.partner.microsoftonline.cn'

const guid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

function readEntra(payload: JsonObject, jws: UncheckedJws, version: string): Claims {
  const { nbf, scp, roles } = payload
  const tenant = readText(payload, 'tid')
  if (!guid.test(tenant)) refuse('malformed', 'its tid is no id of a directory')
  if (nbf === undefined) refuse('malformed', 'it has no nbf')
  if (payload['ver'] !== version) refuse('type_mismatch', `its ver is not ${version}; see version`)
  // ID tokens of an application have its own name as audience too, and are signed with the same keys. They name no caller,
  // and permit nothing.
  const clientId = callerIn(payload, version === '1.0' ? 'appid' : 'azp')
  if (scp === undefined && roles === undefined) refuse('type_mismatch', 'it has neither scp nor roles')
  return readCommon(payload, jws, {
    tenant,
    tokenId: optionalText(payload, 'uti'),
    clientId,
    // A person's roles are about the person. Of an application that acts for itself they are what it may do.
    scopes: scp === undefined ? readWords(payload, 'roles') : readScope(payload, 'scp'),
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
  checkNames('auth0', options, ['domain', 'organizations', 'profile'])
  const { domain, organizations } = options
  const host = readHost('domain', domain)
  const profile = readWord('profile', options.profile ?? 'auth0', ['auth0', 'rfc9068'])
  const tenants = organizations === undefined ? [host] : readList('organizations', organizations)
  return preset(options, {
    profile: {
      issuer: `https://${host}/`,
      tenants,
      headerTypes: [profile === 'auth0' ? 'jwt' : 'at+jwt'],
      advice: seeProfile,
      readClaims: (payload, jws) =>
        readCommon(payload, jws, {
          // Without a list of organizations the tenant is the domain, whatever a token says.
          tenant: organizations === undefined ? undefined : organizationIn(payload),
          clientId: callerIn(payload, profile === 'auth0' ? 'azp' : 'client_id', seeProfile),
        }),
    },
    algorithms: ['RS256', 'PS256'],
  })
}

function organizationIn({ org_id: organization }: JsonObject): string {
  return typeof organization === 'string' ? organization : refuse('tenant_mismatch', 'it has no org_id')
}

/** For whoever reads why tokens are refused that another profile would take. */
const seeProfile = '; see profile'

/** Keycloak. */
export interface KeycloakOptions extends IssuerOptions {
  /** Where Keycloak is, with its path, as it stands in `iss`: `https://id.example`, `https://id.example/auth`. */
  readonly url: string
  readonly realm: string
}

/** Keycloak: access tokens of one of its realms. Throws `TypeError` for an option that names nothing. */
export function keycloak(options: KeycloakOptions): ForeignIssuer {
  checkNames('keycloak', options, ['url', 'realm'])
  const { realm } = options
  readName('realm', realm, /^[\w.-]+$/)
  const url = readUrl('url', options.url, options)
  return preset(options, {
    profile: {
      issuer: `${url.href.replace(/\/$/, '')}/realms/${realm}`,
      tenants: [realm],
      headerTypes: ['jwt', 'at+jwt'],
      readClaims: (payload, jws) => {
        // ID, refresh and logout tokens have another one, whatever the header says.
        if (payload['typ'] !== 'Bearer' && payload['typ'] !== 'DPoP')
          refuse('type_mismatch', 'typ of its claims is neither Bearer nor DPoP')
        return readCommon(payload, jws, {
          tokenId: readText(payload, 'jti'),
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
  checkNames('okta', options, ['domain', 'authorizationServer'])
  const { domain, authorizationServer = 'default' } = options
  const host = readHost('domain', domain)
  readName('authorizationServer', authorizationServer, /^\w+$/)
  return preset(options, {
    profile: {
      issuer: `https://${host}/oauth2/${authorizationServer}`,
      tenants: [host],
      headerTypes: [undefined, 'jwt', 'at+jwt'],
      readClaims: (payload, jws) =>
        readCommon(payload, jws, {
          tokenId: readText(payload, 'jti'),
          clientId: callerIn(payload, 'cid'),
          scopes: payload['scp'] === undefined ? [] : readWords(payload, 'scp'),
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
  checkNames('cognito', options, ['region', 'userPoolId'])
  const { region, userPoolId } = options
  readName('region', region, /^[a-z0-9-]+$/)
  readName('userPoolId', userPoolId, /^[\w-]+$/)
  return preset(options, {
    profile: {
      issuer: `https://cognito-idp.${region}.amazonaws.com/${userPoolId}`,
      tenants: [userPoolId],
      headerTypes: [undefined, 'jwt'],
      readClaims: (payload, jws) => {
        if (payload['token_use'] !== 'access') refuse('type_mismatch', 'its token_use is not access')
        const clientId = callerIn(payload, 'client_id')
        const { aud = clientId } = payload
        return readCommon({ ...payload, aud }, jws, { tokenId: readText(payload, 'jti'), clientId })
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
  checkNames('google', options, ['hostedDomains'])
  const { hostedDomains } = options
  const tenants = hostedDomains === undefined ? ['google'] : readList('hostedDomains', hostedDomains)
  return preset(options, {
    profile: {
      issuer: 'https://accounts.google.com',
      tenants,
      tokenType: 'id',
      headerTypes: ['jwt'],
      readClaims: (payload, jws) => {
        if (hostedDomains !== undefined && typeof payload['hd'] !== 'string')
          refuse('tenant_mismatch', 'it has no hd')
        return readCommon(payload, jws, {
          tenant: hostedDomains === undefined ? undefined : optionalText(payload, 'hd'),
          clientId: optionalText(payload, 'azp'),
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
  checkNames('oidc', options, ['profile', 'algorithms', 'keyOrigin'])
  const { algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'], keyOrigin } = options
  const { host } = readUrl('issuer', issuer, options)
  const profile = readWord('profile', options.profile ?? 'rfc9068', ['rfc9068', 'jwt'])
  return preset(options, {
    profile: {
      issuer,
      tenants: [host],
      headerTypes: profile === 'rfc9068' ? ['at+jwt'] : [undefined, 'jwt'],
      advice: seeProfile,
      readClaims: (payload, jws) =>
        profile === 'rfc9068'
          ? readCommon(payload, jws, {
              tokenId: readText(payload, 'jti', seeProfile),
              clientId: callerIn(payload, 'client_id', seeProfile),
            })
          : readCommon(payload, jws, {
              clientId: callerIn(payload, payload['azp'] === undefined ? 'client_id' : 'azp'),
            }),
    },
    algorithms: readAlgorithms(algorithms),
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
        // Of a template a key may speak for one issuer: then for the tenant in that alone, and no other that counts here too.
        tenants:
          speaksFor === issuer
            ? tenants
            : tenants.filter((tenant) => issuer.replace('{tenantid}', tenant) === speaksFor),
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

const commonNames: ReadonlySet<string | symbol> = new Set<keyof IssuerOptions>([
  'lifetimeSecondsMax',
  'refreshSeconds',
  'keySetSecondsMax',
  fetchFromLoopback,
])

function checkNames<Options extends IssuerOptions>(
  preset: string,
  options: Options,
  names: readonly (keyof Options)[],
): void {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`${preset} takes an object of options`)
  refuseUnknown(preset, options, new Set([...commonNames, ...(names as readonly string[])]))
}

function readLoopback({ [fetchFromLoopback]: origin }: IssuerOptions): string | undefined {
  if (origin === undefined) return undefined
  const url = parseUrl(origin)
  if (url === null || !isLoopback(url))
    throw new TypeError('fetchFromLoopback is no origin on loopback, such as http://localhost:4000')
  isWeakened(fetchFromLoopback, origin, 'keys of an issuer are fetched without TLS, from')
  return origin
}

function readList(option: string, value: readonly string[]): readonly string[] {
  if (value !== undefined && !Array.isArray(value)) throw new TypeError(`${option} is not a list`)
  if (value === undefined || value.length === 0) throw new TypeError(`${option} is missing`)
  if (!value.every((each) => typeof each === 'string' && each !== ''))
    throw new TypeError(`${option} has something in it that is no name`)
  return [...value]
}

function readAlgorithms(value: readonly string[]): readonly Algorithm[] {
  return readList('algorithms', value).map((name) => {
    const known = knownAlgorithms.find((each) => each === name)
    if (known !== undefined) return known
    throw new TypeError(`algorithms: ${named(name)} is not one of ${knownAlgorithms.join(', ')}`)
  })
}

/** One of a few words: another would leave open which of them is meant. */
function readWord<Word extends string>(option: string, value: string, words: readonly Word[]): Word {
  const known = words.find((word) => word === value)
  if (known !== undefined) return known
  throw new TypeError(`${option} is ${words.map((word) => `'${word}'`).join(' or ')}, not ${named(value)}`)
}

const NAMED_CHARACTERS_MAX = 40

function named(value: unknown): string {
  return String(value).slice(0, NAMED_CHARACTERS_MAX)
}

/** Becomes a part of the issuer, so what stands for nothing in a text may not get there. */
function readName(option: string, value: string | undefined, pattern: RegExp): void {
  if (value === undefined) throw new TypeError(`${option} is missing`)
  if (typeof value !== 'string' || !pattern.test(value)) throw new TypeError(`${option} is none`)
}

function readHost(option: string, value: string): string {
  const url = parseUrl(`https://${value}`)
  // Compared as text with tokens: what a URL parser would put right is not it.
  if (url === null || url.host !== value || !value.includes('.'))
    throw new TypeError(`${option} is no host in lower case`)
  return value
}

function readOrigin(option: string, value: string): string {
  const url = parseUrl(value)
  if (url?.protocol !== 'https:' || url.origin !== value) throw new TypeError(`${option} is no https origin`)
  return value
}

function readUrl(option: string, value: string, options: IssuerOptions): URL {
  // An object of type URL would end in a slash that may not stand in `iss`.
  const url = typeof value === 'string' ? parseUrl(value) : null
  const isHere = url !== null && isLoopback(url)
  if (url === null || !(url.protocol === 'https:' || (isHere && options[fetchFromLoopback] !== undefined))) {
    const advice = isHere ? `: for one's own desk, [fetchFromLoopback]: '${url.origin}' lets it be one` : ''
    throw new TypeError(`${option} is no https URL${advice}`)
  }
  if (url.pathname.includes('/.well-known/'))
    throw new TypeError(`${option} is the issuer itself, as it stands in iss, and not where its metadata are`)
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
