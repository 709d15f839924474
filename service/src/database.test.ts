/**
 * Goal: what the services store survives, is private to its user, and follows its migrations. Method: a real file in
 * a temporary folder, opened again and again with more migrations.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Generated } from 'kysely'
import { type Migrations, openDatabase } from './database.ts'

interface Tables {
  notes: { id: Generated<number>; text: string; colour?: string | null }
}

const first: Migrations = {
  '001_notes': {
    up: (db) =>
      db.schema
        .createTable('notes')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('text', 'text', (column) => column.notNull().unique())
        .execute(),
  },
}
const second: Migrations = {
  ...first,
  '002_colour': { up: (db) => db.schema.alterTable('notes').addColumn('colour', 'text').execute() },
}

const folder = mkdtempSync(join(tmpdir(), 'countersign-database-'))
after(() => rmSync(folder, { recursive: true }))

test('rows survive a restart, and a later migration runs once, on what is there', async () => {
  const file = join(folder, 'restart.db')
  const before = await openDatabase<Tables>(file, first)
  await before.insertInto('notes').values({ text: 'kept' }).execute()
  await before.destroy()
  for (let restart = 0; restart < 2; restart++) {
    const database = await openDatabase<Tables>(file, second)
    assert.deepEqual(
      (await database.selectFrom('notes').selectAll().execute()).map((row) => ({ ...row })),
      [{ id: 1, text: 'kept', colour: null }],
    )
    await database.destroy()
  }
})

test('a migration that is cut short has not begun, and the next start makes it whole', async () => {
  const file = join(folder, 'short.db')
  const cutShort: Migrations = {
    '001_notes': {
      up: async (db) => {
        await first['001_notes']?.up(db)
        throw new Error('the process ended')
      },
    },
  }
  await assert.rejects(openDatabase<Tables>(file, cutShort), /could not be brought up to date/)
  const database = await openDatabase<Tables>(file, first)
  await database.insertInto('notes').values({ text: 'kept' }).execute()
  await database.destroy()
})

test('only this user may read the file and its write-ahead log', async () => {
  const file = join(folder, 'private.db')
  const database = await openDatabase<Tables>(file, first)
  await database.insertInto('notes').values({ text: 'x' }).execute()
  for (const name of [file, `${file}-wal`]) assert.equal(statSync(name).mode & 0o777, 0o600, name)
  await database.destroy()
})

test('a transaction that throws leaves nothing, and the next one works', async () => {
  const database = await openDatabase<Tables>(':memory:', first)
  const failing = database.transaction().execute(async (transaction) => {
    await transaction.insertInto('notes').values({ text: 'lost' }).execute()
    throw new Error('no')
  })
  await assert.rejects(failing, /no/)
  await database.insertInto('notes').values({ text: 'found' }).execute()
  const rows = await database.selectFrom('notes').select('text').execute()
  assert.deepEqual(
    rows.map((row) => row.text),
    ['found'],
  )
  await database.destroy()
})

test('a database that cannot be brought up to date is not opened', async () => {
  const broken: Migrations = { '001_broken': { up: () => Promise.reject(new Error('half a migration')) } }
  await assert.rejects(openDatabase(':memory:', broken), /could not be brought up to date/)
})

test('a stream of rows and another query of the same text do not disturb each other', async () => {
  const database = await openDatabase<Tables>(':memory:', first)
  await database
    .insertInto('notes')
    .values([{ text: 'a' }, { text: 'b' }, { text: 'c' }])
    .execute()
  const select = database.selectFrom('notes').select('text').orderBy('id')
  const seen: string[] = []
  for await (const row of select.stream()) seen.push(row.text)
  assert.deepEqual(seen, ['a', 'b', 'c'])
  assert.equal((await select.execute()).length, 3)
  await database.destroy()
})
