/**
 * What the broker is told at its start.
 * @module
 */

import { isTokenUri } from '@countersign/signer/client'
import { z } from 'zod'

/** Names that change how Node or the loader of the system works are not among those of a module. */
const moduleVariable = /^(?!NODE_|LD_|DYLD_|UV_|PATH$)[A-Z][A-Z0-9_]*$/

const keystoreSchema = z
  .strictObject({
    /** File, made by the signer's `init`, in a folder that holds nothing else; or a `pkcs11:` URI. */
    keystore: z.string().min(1),
    /** What the signer of a token keeps; a file has its own. */
    folder: z.string().startsWith('/').optional(),
    /** File (mode 0600): the passphrase, or the PIN of the token. */
    passphrase_file: z.string().min(1),
    /** What the module of a token reads: where its own configuration is, such as `SOFTHSM2_CONF`. */
    environment: z.record(z.string().regex(moduleVariable), z.string()).optional(),
  })
  .refine(({ keystore, folder }) => isTokenUri(keystore) === (folder !== undefined), {
    error: 'is for a token, which needs one; a file is in the folder of its signer',
    path: ['folder'],
  })

export type KeystoreConfig = z.infer<typeof keystoreSchema>

export const configSchema = z.strictObject({
  /** By name. Each has a signer of its own, and a socket of its own: whoever may open that socket is the realm's issuer. */
  realms: z.record(
    z.string().regex(/^[a-z][a-z0-9-]{0,31}$/),
    z.strictObject({
      socket: z.string().min(1),
      /** One signer each: usually one, two while the realm moves from one to another. `reload` reads them anew. */
      keystores: z.array(keystoreSchema).min(1).max(4),
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
