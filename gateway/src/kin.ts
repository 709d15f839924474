/**
 * Other processes on the same folder: a gateway that runs, and what is left of one that was before. A worker whose primary died may be
 * alive still: stopped by a signal, or in a turn of its event loop that does not end. It would decide by what it knew, while this
 * gateway tells the authority, in the same name, that all have applied the newest. So a gateway begins when the last of them has gone,
 * and takes up what they had not reported.
 * @module
 */

import { closeSync, mkdirSync, openSync, readdirSync, renameSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'

/** The kernel gives a lock back when its holder ends, however that was. SQLite is asked for what Node has no call for. */
const LOCK = 'workers.lock'
/** A worker notices that its primary has gone, answers what it was asked, and ends. */
const PATIENCE_MILLISECONDS = 5000
const POLL_MILLISECONDS = 20

/** Says that this worker is there, until it ends. Throws while a gateway takes over, or is there alone. */
export function joinKin(state: string): void {
  const lock = open(state, PATIENCE_MILLISECONDS)
  // A transaction that reads shares the file with all others that do.
  lock.exec('BEGIN; SELECT count(*) FROM sqlite_schema')
  held.push(lock)
}

/** Else the garbage collector would close them. */
const held: DatabaseSync[] = []

/**
 * Settles when nobody else is there any more, and its sightings lie where a worker, or the one process, reports
 * from. Rejects when somebody stays.
 */
export async function takeOver(state: string, worker: number | undefined): Promise<void> {
  const sightings = join(state, 'sightings')
  mkdirSync(sightings, { recursive: true, mode: 0o700 })
  const target = sightingsFolder(state, worker)
  const lock = await waitForLast(state)
  // Who decides alone shares the folder with nobody; workers share it with each other.
  if (worker === undefined) held.push(lock)
  else lock.close()
  mkdirSync(target, { recursive: true, mode: 0o700 })
  const left = [sightings, ...foldersIn(sightings)].filter((folder) => folder !== target)
  for (const folder of left) {
    // Each file is a report with a name of its own: wherever it is sent from, it counts once.
    for (const name of filesIn(folder)) renameSync(join(folder, name), join(target, name))
    if (folder !== sightings) rmdirSync(folder)
  }
}

/** Where a worker's sightings wait: a folder is for one process alone. */
export function sightingsFolder(state: string, worker: number | undefined): string {
  const sightings = join(state, 'sightings')
  return worker === undefined ? sightings : join(sightings, `worker-${worker}`)
}

async function waitForLast(state: string): Promise<DatabaseSync> {
  const endsAt = performance.now() + PATIENCE_MILLISECONDS
  for (;;) {
    const lock = open(state, 0)
    try {
      lock.exec('BEGIN EXCLUSIVE')
      return lock
    } catch (error) {
      lock.close()
      if (!isBusy(error)) throw error
      if (performance.now() > endsAt)
        throw new Error(`${state} is in use by another gateway, or by what is left of one before this`)
    }
    await delay(POLL_MILLISECONDS)
  }
}

function open(state: string, timeout: number): DatabaseSync {
  const file = join(state, LOCK)
  closeSync(openSync(file, 'a', 0o600))
  return new DatabaseSync(file, { timeout })
}

function isBusy(error: unknown): boolean {
  const SQLITE_BUSY = 5
  return (error as { readonly errcode?: number }).errcode === SQLITE_BUSY
}

function foldersIn(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((each) => each.isDirectory() && each.name.startsWith('worker-'))
    .map(({ name }) => join(folder, name))
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((each) => each.isFile())
    .map(({ name }) => name)
}
