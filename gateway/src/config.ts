/**
 * What a gateway is told at start. Realms, audience and trust anchor have no default: they decide who gets in.
 * @module
 */

import { certificateFormats } from '@countersign/validator/mtls'
import { z } from 'zod'
import { issuerSchema, readIssuer } from './issuers.ts'
import { collide } from './routes.ts'

/** More share no machine's processors. */
const WORKERS_MAX = 64

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
  /**
   * How many processes decide behind the one port; `auto`: as many as there are processors. Left out: one, which does everything
   * itself.
   */
  workers: z.union([z.literal('auto'), z.int().min(1).max(WORKERS_MAX)]).default(1),
  /** Our own realms whose tokens count. May be left out where there are `issuers`. */
  realms: z.array(z.string().min(1)).default([]),
  /** Identity providers that are not ours, whose tokens count as well. */
  issuers: z.array(issuerSchema).min(1).optional(),
  /** Tokens of theirs have no receipt. Why they are taken all the same: warned of at each start. Ours need theirs regardless. */
  accept_without_receipt: z.string().min(1).optional(),
  /** ID tokens count where services show each other nothing else, as with Google; then there are no `realms`. */
  token_type: z.enum(['access', 'id']).default('access'),
  audience: z.string().min(1),
  authority: z.url(),
  trust_anchor: z.string().min(1),
  /** Folder: the newest manifest seen. */
  state: z.string().min(1),
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }),
  sentinel: z.url().optional(),
  /** Whether to hear of roots that the witness countersigned before their tokens come: some less work for each. */
  pushed_roots: z.boolean().default(false),
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

export const gatewayConfig = members.superRefine((config, context) => {
  for (const { path, message } of findContradictions(config))
    context.addIssue({ code: 'custom', path, message })
})

/**
 * What of it is for those to say who run a gateway beside the other services: what is asked of requests, and how they come. Where
 * the services are, and whom it trusts of ours, is not.
 */
export const gatewayPolicy = members.pick({
  workers: true,
  issuers: true,
  accept_without_receipt: true,
  audience: true,
  pushed_roots: true,
  scopes: true,
  routes: true,
  network_header: true,
  fingerprint_header: true,
  original_request: true,
  envoy: true,
  dpop: true,
  client_certificate: true,
})

interface Wrong {
  readonly path: (string | number)[]
  readonly message: string
}

type Refuse = (message: string, ...path: (string | number)[]) => void

type Weighed = Pick<
  z.infer<typeof members>,
  'realms' | 'issuers' | 'accept_without_receipt' | 'token_type' | 'routes' | 'original_request' | 'envoy'
>

/** What of a configuration does not go together. */
export function findContradictions(config: Weighed): readonly Wrong[] {
  const wrong: Wrong[] = []
  const refuse: Refuse = (message, ...path) => void wrong.push({ path, message })
  checkRoutes(config, refuse)
  checkIssuers(config, refuse)
  return wrong
}

function checkRoutes({ routes = [], original_request, envoy }: Weighed, refuse: Refuse): void {
  routes.forEach((each, index) => {
    if (each.host !== undefined && original_request?.host === undefined && envoy === undefined)
      refuse('nobody says which host was asked: original_request.host is missing', 'routes', index, 'host')
    if (routes.slice(0, index).some((other) => collide(each, other)))
      refuse('is in a route before this one, for the same methods and host', 'routes', index, 'path')
  })
}

/** Whose tokens count, and why without a receipt: nothing of it may be left open. */
function checkIssuers(config: Weighed, refuse: Refuse): void {
  const { realms, issuers, accept_without_receipt: reason, token_type } = config
  if (realms.length === 0 && issuers === undefined) refuse('names nobody, and there are no issuers', 'realms')
  if (issuers !== undefined && reason === undefined)
    refuse('tokens of other issuers have no receipt: accept_without_receipt is missing', 'issuers')
  if (issuers === undefined && reason !== undefined)
    refuse('speaks of other issuers alone, and there are none', 'accept_without_receipt')
  if (token_type === 'id' && realms.length > 0) refuse('realms here show access tokens', 'token_type')
  issuers?.forEach((each, index) => {
    if ((each.preset === 'google') !== (token_type === 'id'))
      refuse(
        each.preset === 'google' ? 'shows ID tokens: token_type' : 'shows access tokens: token_type',
        'issuers',
        index,
        'preset',
      )
    try {
      readIssuer(each)
    } catch (error) {
      refuse((error as Error).message, 'issuers', index)
    }
  })
}

export type GatewayConfig = z.infer<typeof gatewayConfig>
