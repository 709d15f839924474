/**
 * One system per data folder: a second one would sign with the same serials and write into the same log.
 * @module
 */

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { readJson, writePrivate } from './files.ts'

/**
 * Takes the folder for this process and gives back what releases it. Throws while another process has it. The lock is
 * the kernel's, on a file that SQLite opens: it falls with its holder, however that ends, and is never taken for held
 * because some other process has come by the same number.
 */
export function acquireLock(data: string): () => void {
  const holder = join(data, 'run', 'holder.json')
  const lock = new DatabaseSync(join(data, 'lock'), { timeout: 0 })
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (!isBusy(error)) throw error
    throw new Error(`${data} is in use by another countersign up${nameHolder(holder)}`)
  }
  writePrivate(holder, { pid: process.pid })
  return () => lock.close()
}

function nameHolder(file: string): string {
  try {
    return ` (process ${readJson<{ pid: number }>(file).pid})`
  } catch {
    // It has the lock and has not written yet who it is.
    return ''
  }
}

function isBusy(error: unknown): boolean {
  const SQLITE_BUSY = 5
  return (error as { readonly errcode?: number }).errcode === SQLITE_BUSY
}
