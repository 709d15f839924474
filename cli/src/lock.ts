/**
 * One system per data folder: a second one would sign with the same serials and write into the same log.
 * @module
 */

import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Takes the folder for this process and gives back what releases it. Throws while another living process has it. */
export function acquireLock(data: string): () => void {
  const file = join(data, 'lock')
  const holder = readHolder(file)
  if (holder !== undefined && isAlive(holder)) throw new Error(`${data} is in use by process ${holder}`)
  // A holder that was killed leaves its file behind.
  rmSync(file, { force: true })
  const descriptor = openSync(file, 'wx', 0o600)
  writeSync(descriptor, String(process.pid))
  closeSync(descriptor)
  return () => rmSync(file, { force: true })
}

function readHolder(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8')) || undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return pid !== process.pid
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
