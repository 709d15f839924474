/**
 * What an issuer is told at its start: its realm, its tenants, where the broker and the authority are.
 * @module
 */

import { CANARY_SUBJECT } from '@countersign/validator/canary'
import { certificateFormats } from '@countersign/validator/mtls'
import { z } from 'zod'

const file = z.string().min(1)
/** Without a slash at the end, so that a path can be set behind it. */
const baseUrl = z.url({ protocol: /^https?$/ }).regex(/[^/]$/, 'must not end in a slash')

export const configSchema = z.strictObject({
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
   * no token can be bound to one.
   */
  client_certificate: z
    .strictObject({ header: z.string().regex(/^[a-z0-9-]+$/), format: z.enum(certificateFormats) })
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
      loopback_receivers: z.boolean(),
    })
    .default({ loopback_receivers: false }),
})
export type IssuerConfig = z.infer<typeof configSchema>

/** Mode 0600. Cookie keys: the first signs, all verify. */
export const secretsSchema = z.strictObject({
  cookie_keys: z.array(z.string().min(22)).min(1),
  /** 32 bytes, base64url: what TOTP secrets are sealed with in the database. */
  totp_key: z.string().length(43),
})
export type Secrets = z.infer<typeof secretsSchema>

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const grantTypes = ['authorization_code', 'refresh_token', 'client_credentials', tokenExchange] as const
const tenants = z.array(z.uuid()).min(1)

/** Mode 0600. Added or brought up to date at each start; what is no longer named stays as it is. */
export const seedSchema = z.strictObject({
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
      /** Random, 128 bits or more: it is stored as a plain SHA-256, which only guesses can undo. */
      client_secret: z.string().min(22),
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
      /** By the certificate that the client shows at the token endpoint, besides its secret (RFC 8705, section 3). */
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
export type Seed = z.infer<typeof seedSchema>
export type SeedClient = Seed['clients'][number]
export type SeedPerson = Seed['people'][number]
