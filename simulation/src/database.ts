/**
 * SQLite on simulated disks: a database in memory whose committed content is in its file whenever its process ends. A
 * commit is durable when it answers, as `synchronous=FULL` promises, and a transaction that was under way is lost.
 * @module
 */

import { dirname } from 'node:path'
import { DatabaseSync as Real, type StatementSync } from 'node:sqlite'
import { disks } from './files.ts'
import { checkAlive, Halt, theWorld, worldOfNow } from './world.ts'

type Options = ConstructorParameters<typeof Real>[1]

/** Databases that are open, by file: a second one finds it locked. Each writes its content into its file. */
const held = new Map<string, () => void>()

/** Brings the files of all open databases up to date, as for a backup. */
export function snapshotDatabases(): void {
  for (const write of held.values()) write()
}

export function closeAllDatabases(): void {
  held.clear()
}

/** What a query gives of a database whose content this is: its first row. */
export function queryDatabase(content: Uint8Array, sql: string): Record<string, unknown> | undefined {
  const database = new Real(':memory:')
  try {
    database.deserialize(content)
    return database.prepare(sql).get()
  } finally {
    database.close()
  }
}

export class DatabaseSync extends Real {
  #save: () => void = () => {}

  constructor(path: string, options?: Options) {
    const disk = worldOfNow() === undefined ? undefined : disks.get(path.split('/', 3)[2] ?? '')
    super(disk === undefined ? path : ':memory:', options)
    if (disk === undefined) return
    if (held.has(path)) throw new Error('database is locked')
    const write = (): void => {
      const content = this.serialize()
      // The file may have been put there anew meanwhile, by whoever restored a backup.
      const target = disk.file(path)
      target?.truncate(0)
      target?.write(0, content)
      target?.sync()
      // SQLite syncs the folder with the first commit, for the sake of its journal.
      disk.syncFolder(dirname(path))
    }
    held.set(path, write)
    const file = disk.file(path)
    if (file !== undefined && file.size > 0) this.deserialize(file.read())
    const forget = theWorld().process.onEnd(() => this.#save())
    this.#save = () => {
      this.#save = () => {}
      forget()
      held.delete(path)
      if (this.isTransaction) super.exec('ROLLBACK')
      write()
      super.close()
    }
  }

  override exec(sql: string): void {
    dieOrGoOn()
    super.exec(sql)
  }

  override prepare(sql: string): StatementSync {
    const statement = super.prepare(sql)
    if (worldOfNow() === undefined) return statement
    for (const name of ['run', 'all', 'get'] as const) {
      const real = statement[name].bind(statement) as (...args: never[]) => unknown
      Object.defineProperty(statement, name, {
        value: (...args: never[]) => {
          dieOrGoOn()
          return real(...args)
        },
      })
    }
    return statement
  }

  override close(): void {
    if (worldOfNow() === undefined) super.close()
    else this.#save()
  }
}

/** A process can die between any two statements. */
function dieOrGoOn(): void {
  if (worldOfNow() === undefined) return
  checkAlive()
  const { process } = theWorld()
  if (process.dieAtWrite === undefined || --process.dieAtWrite > 0) return
  process.end()
  throw new Halt()
}
