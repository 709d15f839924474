/**
 * What the broker is told at its start.
 * @module
 */

import { z } from 'zod'

export const configSchema = z.strictObject({
  /** By name. Each has a signer of its own, and a socket of its own: whoever may open that socket is the realm's issuer. */
  realms: z.record(
    z.string().regex(/^[a-z][a-z0-9-]{0,31}$/),
    z.strictObject({
      socket: z.string().min(1),
      /** File, made by the signer's `init`, in a folder that holds nothing else. */
      keystore: z.string().min(1),
      /** File (mode 0600). */
      passphrase_file: z.string().min(1),
      /** The signer refuses to sign faster with one key. */
      signatures_per_second: z.int().min(1).default(20_000),
    }),
  ),
  /** Unix socket of the authority and the sentinel: keys are made and counted there. */
  admin_socket: z.string().min(1),
  witness_socket: z.string().min(1),
  authority: z.url(),
  /** File: what each signer verifies its manifests down to. */
  trust_anchor: z.string().min(1),
  /** Acknowledges manifests under this name with the private key (JWK) in this file. */
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }).optional(),
})

export type BrokerConfig = z.infer<typeof configSchema>
