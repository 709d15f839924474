/**
 * What a witness must not forget: which epoch is open and its newest checkpoint, the sealed ones, the last serial of
 * each key, and the last manifest. One file, replaced whole: what it says has happened, and what it does not say has not.
 * @module
 */

import type { Disk } from './disk.ts'
import { LogFault } from './fault.ts'

export interface SealedEpoch {
  readonly epoch: string
  /** Its last checkpoint, as a signed note. */
  readonly checkpoint: string
}

/** A manifest in the log, and where. */
export interface LoggedManifest {
  readonly version: number
  /** Over its payload, base64url. */
  readonly sha256: string
  readonly epoch: string
  readonly index: number
}

export interface State {
  readonly epoch: string
  /** Undefined until the log has been opened for the first time. */
  readonly checkpoint?: string
  readonly sealed: readonly SealedEpoch[]
  /** As of the checkpoint. */
  readonly serials: readonly (readonly [key: string, last: number])[]
  /** The last one, as of the checkpoint. */
  readonly manifest?: LoggedManifest
}

const FILE = 'state.json'

export async function readState(disk: Disk): Promise<State> {
  const content = await disk.read(FILE)
  // A log begun anew beside an old one would be a fork; only `init` makes the first state.
  if (content === undefined)
    throw new LogFault('state_missing', `${FILE} is missing; a new log is made by init alone`)
  try {
    const state = JSON.parse(Buffer.from(content).toString()) as State
    const { epoch, checkpoint, sealed, serials, manifest } = state
    if (typeof epoch === 'string' && Array.isArray(sealed) && Array.isArray(serials)) {
      return {
        epoch,
        sealed,
        serials,
        ...(checkpoint !== undefined && { checkpoint }),
        ...(manifest !== undefined && { manifest }),
      }
    }
  } catch {}
  throw new LogFault('state_malformed', `${FILE} is malformed`)
}

export async function writeState(disk: Disk, state: State): Promise<void> {
  await disk.replace(FILE, Buffer.from(`${JSON.stringify(state)}\n`))
}
