/**
 * What the webmail is told at start.
 * @module
 */

import { protectedMembers } from '@countersign/service/protected'
import { z } from 'zod'

export const webmailConfig = z.strictObject({
  ...protectedMembers,
  /** File of the mailboxes that are served. */
  mailboxes: z.string().min(1),
})

export type WebmailConfig = z.infer<typeof webmailConfig>
