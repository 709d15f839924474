/**
 * What a validator remembers over a restart: the newest documents it has seen, so that it refuses older ones, and the
 * keys that have ended. The documents are signed and are verified again; the file keeps nobody out who can write to it,
 * so it is refused when others can. Written whole and moved into place: a crash leaves the old file or the new one.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { TrustAnchor } from './charter.ts'
import type { Clocks, Trust, TrustRecord } from './trust.ts'
import { formatRecord, restoreTrust } from './trust-record.ts'

/**
 * The file is there and cannot be used. Starting without it would take back what it remembers, so somebody has to
 * look: it is never replaced by a fresh one.
 */
export class StateFileFault extends Error {
  readonly retryable = false
  constructor(file: string, problem: string) {
    super(`${file} ${problem}`)
    this.name = 'StateFileFault'
  }
}

const FILE_BYTES_MAX = 64 * 1024 * 1024

/** Trust as the file has it, or undefined where there is no file yet. Throws `StateFileFault`. */
export function readStateFile(file: string, anchor: TrustAnchor, clocks: Clocks): Trust | undefined {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const text = readPrivateFile(file)
  if (text === undefined) return undefined
  try {
    return restoreTrust(text, anchor, clocks)
  } catch (error) {
    throw new StateFileFault(file, `is damaged, or of another trust anchor: ${(error as Error).message}`)
  }
}

/** Replaces the file, durably. */
export async function writeStateFile(file: string, record: TrustRecord): Promise<void> {
  const text = formatRecord(record)
  const fresh = `${file}.${randomBytes(8).toString('hex')}`
  try {
    const handle = await open(fresh, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
  // Without this the new name may not survive a loss of power.
  const folder = await open(dirname(file), 'r')
  await folder.sync().finally(() => folder.close())
}

function readPrivateFile(file: string): string | undefined {
  let descriptor: number
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new StateFileFault(file, 'cannot be opened')
  }
  try {
    const { mode, size, uid } = fstatSync(descriptor)
    if ((mode & 0o077) !== 0) throw new StateFileFault(file, 'is open to others: its mode must be 0600')
    if (uid !== process.getuid?.()) throw new StateFileFault(file, 'belongs to another user')
    if (size > FILE_BYTES_MAX) throw new StateFileFault(file, 'is larger than any that is written')
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}
