/**
 * What a witness must not forget: which epoch is open and its newest checkpoint, the sealed ones, and the last serial of
 * each key. One file, replaced whole: what it says has happened, and what it does not say has not.
 * @module
 */

import type { Disk } from './disk.ts'
import { LogFault } from './fault.ts'

export interface SealedEpoch {
  readonly epoch: string
  /** Its last checkpoint, as a signed note. */
  readonly checkpoint: string
}

export interface State {
  readonly epoch: string
  /** Undefined until the log has been opened for the first time. */
  readonly checkpoint?: string
  readonly sealed: readonly SealedEpoch[]
  /** As of the checkpoint. */
  readonly serials: readonly (readonly [key: string, last: number])[]
}

const FILE = 'state.json'

export async function readState(disk: Disk): Promise<State> {
  const content = await disk.read(FILE)
  // A log begun anew beside an old one would be a fork; only `init` makes the first state.
  if (content === undefined)
    throw new LogFault('state_missing', `${FILE} is missing; a new log is made by init alone`)
  try {
    const { epoch, checkpoint, sealed, serials } = JSON.parse(Buffer.from(content).toString()) as State
    if (typeof epoch === 'string' && Array.isArray(sealed) && Array.isArray(serials)) {
      return { epoch, sealed, serials, ...(checkpoint !== undefined && { checkpoint }) }
    }
  } catch {}
  throw new LogFault('state_malformed', `${FILE} is malformed`)
}

export async function writeState(disk: Disk, state: State): Promise<void> {
  await disk.replace(FILE, Buffer.from(`${JSON.stringify(state)}\n`))
}
