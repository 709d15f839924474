/**
 * Identity providers that are not ours, as a configuration names them: each by its preset, with the settings of that preset
 * and no others. What is checked for whom: docs/foreign-issuers.md.
 * @module
 */

import {
  auth0,
  cognito,
  entra,
  type ForeignIssuer,
  fetchFromLoopback,
  google,
  keycloak,
  oidc,
  okta,
} from '@countersign/validator/issuers'
import { z } from 'zod'

const name = z.string().min(1)
const names = z.array(name).min(1)

const common = {
  /** Tokens that live longer are refused. */
  lifetime_seconds_max: z.int().min(1).optional(),
  /** A key that its owner removed is gone after so long at the latest; from 30 to 600. */
  refresh_seconds: z.int().optional(),
  /** When no key set has come for so long, everything is refused; from 600 to 86,400. */
  key_set_seconds_max: z.int().optional(),
  /** Everything is fetched from this origin on loopback, without TLS: for one's own desk alone, and warned of at each start. */
  fetch_from_loopback: z.url({ protocol: /^http$/ }).optional(),
}

export const issuerSchema = z.discriminatedUnion('preset', [
  z.strictObject({
    preset: z.literal('entra'),
    /** Directories, by their ids. */
    tenants: names,
    version: z.enum(['2.0', '1.0']).optional(),
    /** Origin of a national cloud. */
    authority: name.optional(),
    ...common,
  }),
  z.strictObject({
    preset: z.literal('auth0'),
    domain: name,
    organizations: names.optional(),
    profile: z.enum(['auth0', 'rfc9068']).optional(),
    ...common,
  }),
  z.strictObject({ preset: z.literal('keycloak'), url: name, realm: name, ...common }),
  z.strictObject({
    preset: z.literal('okta'),
    domain: name,
    authorization_server: name.optional(),
    ...common,
  }),
  z.strictObject({ preset: z.literal('cognito'), region: name, user_pool_id: name, ...common }),
  /** Its tokens are ID tokens: needs `token_type` `id`. */
  z.strictObject({ preset: z.literal('google'), hosted_domains: names.optional(), ...common }),
  z.strictObject({
    preset: z.literal('oidc'),
    /** Exactly as it stands in `iss`. */
    issuer: name,
    profile: z.enum(['rfc9068', 'jwt']).optional(),
    algorithms: z
      .array(z.enum(['RS256', 'PS256', 'ES256', 'EdDSA']))
      .min(1)
      .optional(),
    /** Where the key set is, if not at the issuer's own origin. */
    key_origin: name.optional(),
    ...common,
  }),
])

export type IssuerConfig = z.infer<typeof issuerSchema>

/** Throws `TypeError` where a setting names nothing. */
export function readIssuer(config: IssuerConfig): ForeignIssuer {
  const usual = defined({
    lifetimeSecondsMax: config.lifetime_seconds_max,
    refreshSeconds: config.refresh_seconds,
    keySetSecondsMax: config.key_set_seconds_max,
    [fetchFromLoopback]: config.fetch_from_loopback,
  })
  switch (config.preset) {
    case 'entra': {
      const { tenants, version, authority } = config
      return entra({ tenants, ...defined({ version, authority }), ...usual })
    }
    case 'auth0': {
      const { domain, organizations, profile } = config
      return auth0({ domain, ...defined({ organizations, profile }), ...usual })
    }
    case 'keycloak':
      return keycloak({ url: config.url, realm: config.realm, ...usual })
    case 'okta': {
      const { domain, authorization_server: authorizationServer } = config
      return okta({ domain, ...defined({ authorizationServer }), ...usual })
    }
    case 'cognito':
      return cognito({ region: config.region, userPoolId: config.user_pool_id, ...usual })
    case 'google':
      return google({ ...defined({ hostedDomains: config.hosted_domains }), ...usual })
    case 'oidc': {
      const { issuer, profile, algorithms, key_origin: keyOrigin } = config
      return oidc(issuer, { ...defined({ profile, algorithms, keyOrigin }), ...usual })
    }
    default:
      return config satisfies never
  }
}

type Defined<Options> = { readonly [Name in keyof Options]?: Exclude<Options[Name], undefined> }

/** Without what was left out. */
function defined<Options extends object>(options: Options): Defined<Options> {
  const given = Reflect.ownKeys(options).filter((key) => options[key as keyof Options] !== undefined)
  return Object.fromEntries(given.map((key) => [key, options[key as keyof Options]])) as Defined<Options>
}
