/**
 * What an issuer is told at its start: its realm, its tenants, where the broker and the authority are.
 * @module
 */

import { createPublicKey, X509Certificate } from 'node:crypto'
import { CANARY_SUBJECT } from '@countersign/validator/canary'
import { certificateFormats } from '@countersign/validator/mtls'
import { z } from 'zod'
import { readDistinguishedName, subjectChecks } from './subject.ts'

const file = z.string().min(1)
/** Without a slash at the end, so that a path can be set behind it. */
const baseUrl = z.url({ protocol: /^https?$/ }).regex(/[^/]$/, 'must not end in a slash')

const members = z.strictObject({
  realm: z.string().min(1),
  listen: z.strictObject({ port: z.int().min(0).max(65535) }),
  /** Where browsers and clients find this realm. Issuers and every link come from here, never from a request. */
  public_url: baseUrl,
  /**
   * Header that the proxy in front, and nobody else, writes the client's address into; its last entry counts. Left
   * out, nothing is in front, and the connection's own address is the client's.
   */
  client_address_header: z.string().optional(),
  dpop: z
    .strictObject({
      /** Every proof needs a nonce of ours; clients are told one with the first refusal. Otherwise a recent `iat` is enough. */
      nonce_required: z.boolean(),
    })
    .default({ nonce_required: false }),
  /**
   * Where the proxy in front, overwriting what a client sent, puts the certificate that the client has shown it. Left out,
   * no token can be bound to one, and no client signs in with one. `client_ca`: who signs certificates of clients that are
   * known by their names (`tls_client_auth`). Left out, there are no such clients.
   * `public_url`: the address at which the proxy asks for certificates, if that is not the realm's own.
   */
  client_certificate: z
    .strictObject({
      header: z.string().regex(/^[a-z0-9-]+$/),
      format: z.enum(certificateFormats),
      /** Addresses that the proxy comes from. Of anybody else the header is not looked at. */
      peers: z.array(z.string().min(1)).min(1).default(['127.0.0.1', '::1']),
      client_ca: file.optional(),
      public_url: baseUrl.optional(),
    })
    .optional(),
  /**
   * A listener of our own that asks clients for certificates, besides the one that the proxy comes to; the endpoints that
   * clients call by themselves answer there, and no page does. Instead of `client_certificate`, never with it: one would be
   * the way around the other.
   */
  mutual_tls: z
    .strictObject({
      listen: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65535) }),
      public_url: baseUrl,
      /** PEM, like all of these files; read at start. */
      key: file,
      cert: file,
      client_ca: file.optional(),
      /** Which certificates have been revoked, by each authority in `client_ca`. */
      crl: file.optional(),
    })
    .refine(
      ({ client_ca, crl }) => client_ca !== undefined || crl === undefined,
      'crl is of use with client_ca alone',
    )
    .optional(),
  tenants: z.array(z.strictObject({ id: z.uuid(), name: z.string().min(1) })).min(1),
  /** Nobody signs in with a password alone. Without it, only people who have a second factor are asked for it. */
  second_factor_required: z.boolean(),
  database: file,
  broker_socket: file,
  authority: baseUrl,
  trust_anchor: file,
  enrolment: z.strictObject({ name: z.string().min(1), key: file }),
  sentinel: baseUrl.optional(),
  secrets: file,
  seed: file,
  /** Folder that keeps the newest manifest. */
  state: file,
  /** The protected resources of the realm; a client that names none gets the first. */
  resources: z.array(z.strictObject({ audience: z.url(), scopes: z.array(z.string().min(1)) })).min(1),
  signals: z
    .strictObject({
      /** Receivers on this machine may be pushed to, over http too: for a sample or a test alone. */
      loopback_receivers: z.boolean().default(false),
      /**
       * Takes tokens that are bound to nothing in the realm `enterprise` too, for receivers that know no others. The value says
       * why, and is warned of at each start.
       */
      bearer_allowed: z.string().min(1).optional(),
    })
    .default({ loopback_receivers: false }),
})

export const configSchema = members.refine(
  ({ client_certificate, mutual_tls }) => client_certificate === undefined || mutual_tls === undefined,
  { path: ['mutual_tls'], message: 'certificates come from client_certificate already' },
)
export type IssuerConfig = z.infer<typeof configSchema>

/** Mode 0600. Cookie keys: the first signs, all verify. */
export const secretsSchema = z.strictObject({
  cookie_keys: z.array(z.string().min(22)).min(1),
  /** 32 bytes, base64url: what TOTP secrets are sealed with in the database. */
  totp_key: z.string().regex(/^[\w-]{43}$/, 'is not 32 bytes as base64url'),
})
export type Secrets = z.infer<typeof secretsSchema>

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const grantTypes = ['authorization_code', 'refresh_token', 'client_credentials', tokenExchange] as const
const tenants = z.array(z.uuid()).min(1)

const certificateKey = z
  .looseObject({ kty: z.string(), x5c: z.array(z.base64()).min(1) })
  .refine(isOfItsCertificate, 'is not the public key of the certificate in x5c')

const seedMembers = z.strictObject({
  clients: z.array(
    z.strictObject({
      /** Never of the form of a person's `sub`, so that neither can be taken for the other. */
      client_id: z
        .string()
        .regex(/^[A-Za-z][\w.-]{0,127}$/)
        .refine((id) => !z.uuid().safeParse(id).success)
        // Test tokens of the authority speak for it: spec/kill.md, section 3.
        .refine((id) => id !== CANARY_SUBJECT),
      client_name: z.string().min(1).optional(),
      /**
       * How it signs in without a secret, by a certificate (RFC 8705, section 2): one that an authority has signed, known by a
       * name, or its own, known by itself.
       */
      token_endpoint_auth_method: z.enum(['tls_client_auth', 'self_signed_tls_client_auth']).optional(),
      /**
       * Random, 128 bits or more: it is stored as a plain SHA-256, which only guesses can undo. None for who has a
       * certificate.
       */
      client_secret: z.string().min(22).optional(),
      /** RFC 4514: the whole name, from the most particular on. */
      tls_client_auth_subject_dn: z
        .string()
        .refine((name) => readDistinguishedName(name) !== undefined, 'is no distinguished name')
        .optional(),
      tls_client_auth_san_dns: z
        .string()
        .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/, 'is no host name in lower case')
        .optional(),
      tls_client_auth_san_uri: z.url().optional(),
      tls_client_auth_san_ip: z.union([z.ipv4(), z.ipv6()]).optional(),
      tls_client_auth_san_email: z.email().optional(),
      /** Each with its certificate in `x5c`: those that the client comes with now, and next. */
      jwks: z.strictObject({ keys: z.array(certificateKey).min(1) }).optional(),
      /** Left out: at each tenant of the realm. */
      tenants: tenants.optional(),
      redirect_uris: z.array(z.url()).default([]),
      post_logout_redirect_uris: z.array(z.url()).default([]),
      backchannel_logout_uri: z.url().optional(),
      grant_types: z.array(z.enum(grantTypes)).min(1),
      /**
       * Audiences that the client may ask tokens for, exchange and introspect. Left out: each resource of the realm. The
       * transmitter of shared signals, `public_url` with `/ssf` behind it, is none of those and has to be named.
       */
      audiences: z.array(z.url()).min(1).optional(),
      dpop_bound_access_tokens: z.boolean().default(false),
      /**
       * To the certificate that the client shows at the token endpoint (RFC 8705, section 3). Left out: for who signs in with
       * one, unless its tokens are bound by DPoP.
       */
      tls_client_certificate_bound_access_tokens: z.boolean().optional(),
      /** Asks the person for consent before it gets anything. */
      third_party: z.boolean().default(false),
    }),
  ),
  people: z.array(
    z.strictObject({
      /** Left out: a random one. */
      sub: z.uuid().optional(),
      tenant: z.uuid(),
      username: z.string().min(1).max(256),
      password: z.string().min(8).max(1024),
      /** Base32, as authenticator apps take it. */
      totp_secret: z
        .string()
        .regex(/^[A-Z2-7]{26,}$/)
        .optional(),
    }),
  ),
})

/** Mode 0600. Added or brought up to date at each start; what is no longer named stays as it is. */
export const seedSchema = seedMembers.superRefine(({ clients }, context) => {
  clients.forEach((client, index) => {
    const message = findContradiction(client)
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['clients', index], message })
  })
})
export type Seed = z.infer<typeof seedMembers>
export type SeedClient = Seed['clients'][number]
export type SeedPerson = Seed['people'][number]

/** What of a client does not go together. */
export function findContradiction(client: SeedClient): string | undefined {
  const { token_endpoint_auth_method: method, client_secret, jwks } = client
  const names = Object.keys(subjectChecks).filter((name) => client[name as keyof SeedClient] !== undefined)
  if ((method === undefined) !== (client_secret !== undefined))
    return method === undefined ? 'client_secret is missing' : 'who has a certificate has no client_secret'
  if (names.length !== (method === 'tls_client_auth' ? 1 : 0))
    return 'one tls_client_auth_ name is what a client of tls_client_auth has, and no other does'
  if ((jwks !== undefined) !== (method === 'self_signed_tls_client_auth'))
    return 'jwks is what a client of self_signed_tls_client_auth has, and no other does'
  if (client.dpop_bound_access_tokens && client.tls_client_certificate_bound_access_tokens)
    return 'tokens are bound to a key or to a certificate'
  return undefined
}

function isOfItsCertificate(jwk: { readonly x5c: readonly string[] }): boolean {
  try {
    const { publicKey } = new X509Certificate(Buffer.from(jwk.x5c[0] ?? '', 'base64'))
    return !('d' in jwk) && createPublicKey({ key: jwk as object, format: 'jwk' }).equals(publicKey)
  } catch {
    return false
  }
}
