/**
 * What the webmail is told at start. Realms, audience and trust anchor have no default: they decide who gets in.
 * @module
 */

import { certificateFormats } from '@countersign/validator/mtls'
import { z } from 'zod'

export const webmailConfig = z.strictObject({
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  realms: z.array(z.string().min(1)).min(1),
  audience: z.string().min(1),
  authority: z.url(),
  trust_anchor: z.string().min(1),
  /** Folder: the newest manifest seen, and the record of what was read. */
  state: z.string().min(1),
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }),
  sentinel: z.url().optional(),
  /** Whether to hear of roots that the witness countersigned before their tokens come: some less work for each. */
  pushed_roots: z.boolean().default(false),
  /** File of the mailboxes that are served. */
  mailboxes: z.string().min(1),
  /** Realms of which only tokens that are bound to a key are taken, besides `enterprise`. */
  bound_realms: z.array(z.string().min(1)).optional(),
  /** Takes tokens that are bound to nothing all the same. The value says why, and is warned of at each start. */
  bearer_allowed: z.string().min(1).optional(),
  /** Where clients find it, so that they can prove to have the key that a token is bound to. Left out: such tokens are refused. */
  dpop: z.strictObject({ base: z.array(z.url({ protocol: /^https?$/ })).min(1) }).optional(),
  /**
   * Where the proxy in front, overwriting what a client sent, puts the certificate that the client has shown it. Left out:
   * tokens that are bound to a certificate are refused.
   */
  client_certificate: z
    .strictObject({
      header: z.string().regex(/^[a-z0-9-]+$/),
      format: z.enum(certificateFormats),
      /** Addresses that the proxy asks from. */
      peers: z.array(z.string().min(1)).min(1).default(['127.0.0.1', '::1']),
    })
    .optional(),
})

export type WebmailConfig = z.infer<typeof webmailConfig>
