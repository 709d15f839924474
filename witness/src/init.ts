/**
 * A new witness: its keys, and the state of a log without entries. Nothing else ever makes a first state, so that a
 * witness that has lost its own stops instead of beginning a second log under the same name.
 * @module
 */

import { epochName } from './config.ts'
import { openDisk } from './disk.ts'
import { createIdentity, type PublicIdentity, publicIdentity } from './identity.ts'
import { writeState } from './state.ts'

/** Throws for a folder that is not empty. */
export async function initWitness(folder: string, name: string, firstEpoch: string): Promise<PublicIdentity> {
  const epoch = epochName.parse(firstEpoch)
  const identity = createIdentity(folder, name)
  await writeState(openDisk(folder), { epoch, sealed: [], serials: [] })
  return publicIdentity(identity, epoch)
}
