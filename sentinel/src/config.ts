/**
 * What the sentinel is told at start.
 * @module
 */

import { type Reason, refusals } from '@countersign/validator/refusal'
import { z } from 'zod'

const autoBlockReasons = [...(Object.keys(refusals) as Reason[]), 'entry_missing', 'entry_differs'] as const

/** What the sentinel does by itself. There is no default for what it blocks: that is somebody's decision. */
export const policySchema = z.strictObject({
  /** Reasons of findings whose key is blocked at once. */
  auto_block: z.array(z.enum(autoBlockReasons)),
  /** A validator that has not acknowledged for longer than this is silent. */
  silent_seconds: z.number().positive(),
  /** How long a receipt may be ahead of the checkpoint that shows its entry. */
  merge_delay_seconds: z.number().positive().default(2),
  /** Sightings of tokens that were really issued are kept so long; evidence is kept for good. */
  retention_days: z.number().positive().default(180),
})

export const sentinelConfig = z.strictObject({
  /** Folder of the database. */
  data: z.string().min(1),
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  authority: z.url(),
  trust_anchor: z.string().min(1),
  /** URL of the log. */
  witness: z.url(),
  /** The broker's admin socket, for the signers' counters. */
  broker_socket: z.string().min(1),
  /** File (mode 0600) of the key that may block. */
  block_key: z.string().min(1),
  webhook: z
    .strictObject({
      url: z
        .url({ protocol: /^https?$/ })
        .refine(isPlain, 'a credential in a URL ends up in logs; use the key'),
      /** File (mode 0600) of the secret, `whsec_` and base64. */
      key: z.string().min(1),
    })
    .optional(),
  policy: policySchema,
})

export type Policy = z.infer<typeof policySchema>
export type SentinelConfig = z.infer<typeof sentinelConfig>

function isPlain(url: string): boolean {
  const { username, password, search } = new URL(url)
  return username === '' && password === '' && search === ''
}
