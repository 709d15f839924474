/**
 * What the witness is told at its start.
 * @module
 */

import { z } from 'zod'

/** Part of a log's origin and of a folder's name. */
export const epochName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)

export const configSchema = z.strictObject({
  /** Folder of its own: keys, state and the log, made by `init`. */
  data: z.string().min(1),
  listen: z.strictObject({ port: z.int().min(0).max(65_535) }),
  /** Unix socket, made with mode 0600: whoever may open it may append. */
  append_socket: z.string().min(1),
  /** File: the operators and threshold that the first charter is approved by. */
  trust_anchor: z.string().min(1),
  /** File: the first charter. Its manifest keys may log a first manifest; afterwards the manifest's charter decides. */
  charter: z.string().min(1),
  /** URL of the authority. */
  authority: z.url(),
  /** Acknowledges manifests under this name with the private key (JWK) in this file. */
  enrolment: z.strictObject({ name: z.string().min(1), key: z.string().min(1) }).optional(),
  /** The epoch that `init` began with: a witness that finds another one has the wrong folder. */
  epoch: epochName.optional(),
})

export type WitnessConfig = z.infer<typeof configSchema>
