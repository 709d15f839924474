/**
 * What a gateway is told at start.
 * @module
 */

import { protectedMembers } from '@countersign/service/protected'
import { z } from 'zod'

export const gatewayConfig = z.strictObject({
  ...protectedMembers,
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
