/**
 * What a gateway is told at start. Realms, audience and trust anchor have no default: they decide who gets in.
 * @module
 */

import { certificateFormats } from '@countersign/validator/mtls'
import { z } from 'zod'
import { collide } from './routes.ts'

const headerName = z.string().regex(/^[a-z0-9-]+$/)

/** What may stand in a challenge, in quotes and with spaces between. */
const word = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/)

const route = z.strictObject({
  /** A name, or `*.` and a name for all names below it. Left out: any. Needs `original_request.host`. */
  host: z
    .string()
    .regex(/^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$/, 'is no name in lower case')
    .optional(),
  /** It and everything below it. */
  path: z
    .string()
    .regex(
      /^\/$|^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)+$/,
      'is no path that every program reads alike',
    ),
  /** Left out: any. */
  methods: z
    .array(z.string().regex(/^[A-Z-]+$/))
    .min(1)
    .optional(),
  /** Left out: the gateway's. */
  audience: z.string().min(1).optional(),
  /** Each of them, and those of the gateway. */
  scopes: z.array(word).default([]),
  /** How the owner signed in: one of these authentication contexts. */
  acr: z.array(word).min(1).optional(),
  /** How long ago the owner signed in, at most. */
  max_age_seconds: z.int().min(0).optional(),
})

const members = z.strictObject({
  /** Loopback: the proxy that asks stands on the same machine, and whoever asks learns what is refused. */
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  realms: z.array(z.string().min(1)).min(1),
  audience: z.string().min(1),
  authority: z.url(),
  trust_anchor: z.string().min(1),
  /** Folder: the newest manifest seen. */
  state: z.string().min(1),
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }),
  sentinel: z.url().optional(),
  /** Scopes that every request needs; a route asks for more with `?scope=`. */
  scopes: z.array(word).default([]),
  /**
   * What requests need besides, by where they go; a request without a route is refused. Left out: all need the same. Which
   * one a request has, and how paths are read: routes.ts.
   */
  routes: z.array(route).min(1).optional(),
  /** File (mode 0600) of those who may introspect. Left out: nobody may. */
  introspection_clients: z.string().min(1).optional(),
  /** Name of this gateway, in `iss` of answers that it signs for those who ask for it (RFC 9701). Left out: it signs none. */
  introspection_issuer: z.url().optional(),
  /** Header in which the proxy, overwriting what a client sent, names the client's address. For sightings alone. */
  network_header: headerName.optional(),
  /** Header in which the proxy, overwriting what a client sent, names how the client speaks TLS (JA4). For sightings alone. */
  fingerprint_header: headerName.optional(),
  /**
   * Headers in which the proxy, overwriting what a client sent, names the original request: method, path with query, and
   * where it serves several hosts, which one. Left out: the proxy asks by the method of the original request, and by its
   * path behind `/auth`, as Envoy does.
   */
  original_request: z
    .strictObject({ method: headerName, uri: headerName, host: headerName.optional() })
    .optional(),
  /** Where Envoy asks by gRPC (`ext_authz`), on loopback. It says itself what the original request was. Left out: nowhere. */
  envoy: z.strictObject({ port: z.int().min(0).max(65_535) }).optional(),
  /** Realms of which only tokens that are bound to a key or certificate pass, besides `enterprise`. */
  bound_realms: z.array(z.string().min(1)).optional(),
  /** Lets tokens that are bound to nothing pass all the same. The value says why, and is warned of at each start. */
  bearer_allowed: z.string().min(1).optional(),
  /** Left out: tokens that are bound to a key do not pass. */
  dpop: z
    .strictObject({
      /** Where clients find what is behind the proxy: scheme and host, and the path that the proxy strips. */
      base: z.array(z.url({ protocol: /^https?$/ })).min(1),
      /** File (mode 0600), `{"secrets": [base64url of 32 bytes, …]}`: each proof needs a nonce by one of them. The first makes new ones. */
      nonce_secrets: z.string().min(1).optional(),
    })
    .optional(),
  /**
   * Where the proxy, overwriting what a client sent, puts the certificate that the client has shown it. Left out: tokens
   * that are bound to a certificate do not pass.
   */
  client_certificate: z
    .strictObject({
      header: headerName,
      format: z.enum(certificateFormats),
      /** Addresses that the proxy asks from. */
      peers: z.array(z.string().min(1)).min(1).default(['127.0.0.1', '::1']),
    })
    .optional(),
})

export const gatewayConfig = members.superRefine(({ routes = [], original_request, envoy }, context) => {
  routes.forEach((each, index) => {
    const refuse = (member: string, message: string): void =>
      context.addIssue({ code: 'custom', path: ['routes', index, member], message })
    if (each.host !== undefined && original_request?.host === undefined && envoy === undefined)
      refuse('host', 'nobody says which host was asked: original_request.host is missing')
    if (routes.slice(0, index).some((other) => collide(each, other)))
      refuse('path', 'is in a route before this one, for the same methods and host')
  })
})

export type GatewayConfig = z.infer<typeof gatewayConfig>
