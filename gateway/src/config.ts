/**
 * What a gateway is told at start. Realms, audience and trust anchor have no default: they decide who gets in.
 * @module
 */

import { z } from 'zod'

/** The members of every service that decides about tokens. */
export const gatewayConfig = z.strictObject({
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
  scopes: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/)).default([]),
  /** File (mode 0600) of those who may introspect. Left out: nobody may. */
  introspection_clients: z.string().min(1).optional(),
  /** Header in which the proxy, overwriting what a client sent, names the client's address. For sightings alone. */
  network_header: z
    .string()
    .regex(/^[a-z0-9-]+$/)
    .optional(),
})

export type GatewayConfig = z.infer<typeof gatewayConfig>
