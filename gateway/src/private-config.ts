/**
 * Files that the configuration names and that hold secrets: read as the configuration is, where nobody else may read them.
 * @module
 */

import { readConfig } from '@countersign/service/config'
import { readPrivateFile } from '@countersign/validator/private-file'
import type { z } from 'zod'

/** Throws when others than this user may read the file, and where something is wrong in it: which member, never what stands there. */
export function readPrivateConfig<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  readPrivateFile(file)
  return readConfig(file, schema)
}
