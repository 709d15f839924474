/**
 * An embedded database: SQLite as Node brings it, spoken to through Kysely, brought up to date by migrations.
 *
 *     const database = await openDatabase<Tables>(join(data, 'authority.db'), {
 *       '001_manifests': { up: (db) => db.schema.createTable('manifests')… },
 *     })
 *
 * @module
 */

import { closeSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { Kysely, SqliteAdapter, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'

/** Statements that are kept compiled; past this the cache starts anew, since lists in a query vary its text. */
const STATEMENTS_MAX = 256

/** What has been done to a database so far, in the order of the names. One that has run is never edited. */
export type Migrations = Readonly<Record<string, Migration>>

/**
 * Opens the file (mode 0600; `:memory:` for tests), made if it is not there, with every migration applied.
 * `destroy()` closes it. A commit is on the disk when it answers: synchronous=FULL.
 */
export async function openDatabase<Tables>(file: string, migrations: Migrations): Promise<Kysely<Tables>> {
  // Made here, so that it is never readable by others, not even for a moment. The WAL takes over its mode.
  if (file !== ':memory:') closeSync(openSync(file, 'a', 0o600))
  const sqlite = new DatabaseSync(file, { timeout: 1000 })
  sqlite.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  const database = new Kysely<Tables>({ dialect: new Dialect({ database: forKysely(sqlite) }) })
  const migrator = new Migrator({
    db: database,
    provider: { getMigrations: async () => ({ ...migrations }) },
  })
  const { error } = await migrator.migrateToLatest()
  if (error === undefined) return database
  await database.destroy()
  throw new Error(`${file} could not be brought up to date`, { cause: error })
}

/** Migrates in one transaction: a process that dies half-way through its first start leaves nothing in the way of the next. */
class Dialect extends SqliteDialect {
  override createAdapter(): SqliteAdapter {
    return new (class extends SqliteAdapter {
      override get supportsTransactionalDdl(): boolean {
        return true
      }
    })()
  }
}

/** The part of better-sqlite3 that Kysely calls, over `node:sqlite`. */
function forKysely(sqlite: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => sqlite.close(),
    prepare: (sql) => {
      const known = statements.get(sql)
      if (known !== undefined) return known
      if (statements.size >= STATEMENTS_MAX) statements.clear()
      const statement = adapt(sqlite.prepare(sql), () => sqlite.prepare(sql))
      statements.set(sql, statement)
      return statement
    },
  }
}

function adapt(statement: StatementSync, another: () => StatementSync): SqliteStatement {
  return {
    // What answers rows has columns.
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...(parameters as SQLInputValue[])),
    run: (parameters) => statement.run(...(parameters as SQLInputValue[])),
    // A cursor stays open between rows, so it gets a statement of its own.
    iterate: (parameters) => another().iterate(...(parameters as SQLInputValue[])),
  }
}
