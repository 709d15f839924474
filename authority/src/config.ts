/**
 * What the authority is told at its start.
 * @module
 */

import { z } from 'zod'

export const configSchema = z.strictObject({
  /** Folder of its own: manifest key, database. */
  data: z.string().min(1),
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  /** File: the operators and threshold that the first charter is approved by. */
  trust_anchor: z.string().min(1),
  /** File: the first charter. */
  charter: z.string().min(1),
  /** The broker's admin socket. */
  broker_socket: z.string().min(1),
  /** The witness's append socket. */
  witness_socket: z.string().min(1),
  /** File (mode 0600): whoever knows its content may enrol a validator. */
  enrolment_token: z.string().min(1),
  manifest_lifetime_seconds: z.int().min(60).default(86_400),
  freshness_seconds: z.number().min(0.1).max(30).default(10),
})

export type AuthorityConfig = z.infer<typeof configSchema>
