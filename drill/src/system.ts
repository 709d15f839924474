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

/** Throws where there is none, or one that the drill's attacks do not fit. */
export async function findSystem(readyFile: string | undefined): Promise<SystemUnderAttack> {
  if (readyFile === undefined) return startTemporarySystem()
  const ready = JSON.parse(await readFile(readyFile, 'utf8')) as System
  // Whoever is let in before a kill shows one token to both.
  if (ready.gateway.audience !== ready.webmail.audience)
    throw new Error(
      `the gateway there asks for ${ready.gateway.audience}: the drill attacks the one of the sample`,
    )
  const data = dirname(ready.authority.trust_anchor)
  return { ready, data, stop: async () => {} }
}
