/**
 * The system under attack: one of the drill's own in a temporary folder, or a running one named by its ready file.
 * @module
 */

import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type System, startTemporarySystem } from '@countersign/cli/client'

export type { System }

export interface SystemUnderAttack {
  readonly ready: System
  /** The data folder, where a thief would look. */
  readonly data: string
  /** Ends a system of the drill's own; leaves one that was running before. */
  stop(): Promise<unknown>
}

export async function findSystem(readyFile: string | undefined): Promise<SystemUnderAttack> {
  if (readyFile === undefined) return startTemporarySystem()
  const ready = JSON.parse(await readFile(readyFile, 'utf8')) as System
  const data = dirname(ready.authority.trust_anchor)
  return { ready, data, stop: async () => {} }
}
