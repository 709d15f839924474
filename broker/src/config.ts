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

/** Whose a certificate is: by its hash, or by a name that the authority of `client_ca` vouches for. */
const certificateSchema = z.union([
  z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  z.strictObject({ dns: z.string().regex(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/) }),
  /** Such as a SPIFFE ID. */
  z.strictObject({ uri: z.string().regex(/^[a-z][a-z0-9+.-]*:[^\s",]+$/) }),
])

const remoteClientSchema = z.strictObject({
  /** For the log. */
  name: z.string().min(1),
  certificate: certificateSchema,
  realm: z.string(),
  /** What `iss` may be, each an issuer or a template of the charter's. */
  issuers: z.array(z.string().min(1)).min(1),
  tokens_per_second: z.int().min(1).max(20_000).default(1000),
})

export type RemoteClient = z.infer<typeof remoteClientSchema>

export const remoteSchema = z.strictObject({
  listen: z.strictObject({
    host: z.string().min(1).default('127.0.0.1'),
    port: z.int().min(0).max(65_535),
  }),
  /** Files (PEM), read anew when they change. */
  tls: z.strictObject({
    key: z.string().min(1),
    cert: z.string().min(1),
    /** Who signs certificates of clients, and so vouches for any name; a client's own one where it signs itself, known by its hash. */
    client_ca: z.string().min(1),
    /** Certificates that have been revoked, of every authority in `client_ca`. Left out: remove the client below. */
    crl: z.string().min(1).optional(),
  }),
  clients: z.array(remoteClientSchema),
})

export type RemoteConfig = z.infer<typeof remoteSchema>

const brokerSchema = z.strictObject({
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
  /** Issuers that are not ours: the certificate is the realm, as a socket is. docs/bring-your-own-issuer.md. */
  remote: remoteSchema.optional(),
})

export const configSchema = brokerSchema.superRefine(({ realms, remote }, context) => {
  const seen = new Set<string>()
  for (const [index, { name, realm, certificate }] of (remote?.clients ?? []).entries()) {
    const complain = (member: string, message: string): void =>
      context.addIssue({ code: 'custom', message, path: ['remote', 'clients', index, member] })
    if (!Object.hasOwn(realms, realm)) complain('realm', 'is no realm of this broker')
    if (seen.has(name)) complain('name', 'is that of another client')
    const identity = JSON.stringify(certificate)
    if (seen.has(identity)) complain('certificate', 'is that of another client')
    seen.add(name).add(identity)
  }
})

export type BrokerConfig = z.infer<typeof configSchema>
