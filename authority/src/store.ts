/**
 * What the authority remembers: charters, every manifest that it ever made, who commanded what, and which validators
 * are enrolled and how far each has come. One process at a time holds the file.
 *
 * A version is reserved, durably, before anything of that version is signed or logged. So after a crash at any point
 * the next manifest gets a higher version, and no version ever has two contents.
 * @module
 */

import { type Migrations, openDatabase } from '@countersign/service/database'
import type { SignedDocument } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { type Generated, type Kysely, sql } from 'kysely'
import type { AuthorisedCommand } from './command.ts'

export interface StoredManifest {
  readonly version: number
  readonly document: SignedDocument
}

/** A validator that may acknowledge. Versions and times are null until it first has. */
export interface EnrolledValidator {
  readonly name: string
  readonly jwk: PublicJwk
  readonly version: number | null
  readonly acknowledgedAt: number | null
}

export interface Acknowledged {
  readonly name: string
  readonly version: number
  readonly acknowledgedAt: number
}

/** A command as it was carried out; `token` is the proof of who gave it. */
export interface CarriedOut {
  readonly command: AuthorisedCommand
  readonly token: string
  readonly at: number
}

export interface Store {
  charters(): Promise<SignedDocument[]>
  addCharter(version: number, document: SignedDocument): Promise<void>
  /** The newest manifest that was published. */
  newestManifest(): Promise<StoredManifest | undefined>
  /** The highest version ever reserved, published or not; 0 before the first. */
  highestVersion(): Promise<number>
  /** The next version, which from now on is never given out again. */
  reserveVersion(now: number): Promise<number>
  /** Stores a manifest under its reserved version, with the command that it carries. */
  publishManifest(manifest: StoredManifest, now: number, carriedOut: CarriedOut | undefined): Promise<void>
  /** Stores a command that left nothing to do. */
  recordCommand(carriedOut: CarriedOut, version: number): Promise<void>
  isCommandKnown(jti: string): Promise<boolean>
  validators(): Promise<EnrolledValidator[]>
  addValidator(name: string, jwk: PublicJwk, now: number): Promise<void>
  /** Stores acknowledgements, several in one transaction: a thousand validators acknowledge at the same moment. */
  acknowledge(acknowledged: readonly Acknowledged[]): Promise<void>
  close(): Promise<void>
}

/** Opens the database file. Throws when another process has it. */
export async function openStore(file: string): Promise<Store> {
  const database = await openAlone(file)
  return {
    charters: async () => {
      const rows = await database.selectFrom('charters').select('document').orderBy('version').execute()
      return rows.map(({ document }) => JSON.parse(document) as SignedDocument)
    },
    addCharter: async (version, document) => {
      await database
        .insertInto('charters')
        .values({ version, document: JSON.stringify(document) })
        .execute()
    },
    newestManifest: async () => {
      const row = await database
        .selectFrom('manifests')
        .select(['version', 'document'])
        .where('document', 'is not', null)
        .orderBy('version', 'desc')
        .executeTakeFirst()
      return row && { version: row.version, document: JSON.parse(row.document ?? '') as SignedDocument }
    },
    highestVersion: async () => {
      const { highest } = await database
        .selectFrom('manifests')
        .select(({ fn }) => fn.max('version').as('highest'))
        .executeTakeFirstOrThrow()
      return highest ?? 0
    },
    reserveVersion: async (now) => {
      const { version } = await database
        .insertInto('manifests')
        .values({ reserved_at: now })
        .returning('version')
        .executeTakeFirstOrThrow()
      return version
    },
    publishManifest: (manifest, now, carriedOut) =>
      database.transaction().execute(async (transaction) => {
        await transaction
          .updateTable('manifests')
          .set({ document: JSON.stringify(manifest.document), published_at: now })
          .where('version', '=', manifest.version)
          .where('document', 'is', null)
          .execute()
        if (carriedOut !== undefined) await insertCommand(transaction, carriedOut, manifest.version)
      }),
    recordCommand: (carriedOut, version) => insertCommand(database, carriedOut, version),
    isCommandKnown: async (jti) =>
      (await database.selectFrom('commands').select('id').where('jti', '=', jti).executeTakeFirst()) !==
      undefined,
    validators: async () => {
      const rows = await database.selectFrom('validators').selectAll().orderBy('name').execute()
      return rows.map(({ name, jwk, version, acknowledged_at }) => ({
        name,
        jwk: JSON.parse(jwk) as PublicJwk,
        version,
        acknowledgedAt: acknowledged_at,
      }))
    },
    addValidator: async (name, jwk, now) => {
      await database
        .insertInto('validators')
        .values({ name, jwk: JSON.stringify(jwk), enrolled_at: now, version: null, acknowledged_at: null })
        .execute()
    },
    acknowledge: (acknowledged) =>
      database.transaction().execute(async (transaction) => {
        for (const { name, version, acknowledgedAt } of acknowledged) {
          await transaction
            .updateTable('validators')
            .set({ version, acknowledged_at: acknowledgedAt })
            .where('name', '=', name)
            .execute()
        }
      }),
    close: () => database.destroy(),
  }
}

/** Two authorities on one file would each believe their own keys to be the newest. */
async function openAlone(file: string): Promise<Kysely<Tables>> {
  try {
    const database = await openDatabase<Tables>(file, migrations)
    await sql`PRAGMA locking_mode = EXCLUSIVE`.execute(database)
    // The lock is taken with the first write.
    await sql`UPDATE charters SET version = version`.execute(database)
    return database
  } catch (error) {
    if (!(error instanceof Error && error.message === 'database is locked')) throw error
    throw new Error(`another process has ${file}`)
  }
}

interface Tables {
  charters: { version: number; document: string }
  /** `document` is null while a version is only reserved. */
  manifests: {
    version: Generated<number>
    reserved_at: number
    document: string | null
    published_at: number | null
  }
  commands: {
    id: Generated<number>
    jti: string
    at: number
    by: string
    op: string
    realm: string | null
    kid: string | null
    reason: string
    token: string
    version: number
  }
  validators: {
    name: string
    jwk: string
    enrolled_at: number
    version: number | null
    acknowledged_at: number | null
  }
}

const migrations: Migrations = {
  '001_start': {
    up: async (database) => {
      await database.schema
        .createTable('charters')
        .addColumn('version', 'integer', (column) => column.primaryKey())
        .addColumn('document', 'text', (column) => column.notNull())
        .execute()
      await database.schema
        .createTable('manifests')
        // Autoincrement: a number once given out is not given out again, whatever happens to its row.
        .addColumn('version', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('reserved_at', 'integer', (column) => column.notNull())
        .addColumn('document', 'text')
        .addColumn('published_at', 'integer')
        .execute()
      await database.schema
        .createTable('commands')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('jti', 'text', (column) => column.notNull().unique())
        .addColumn('at', 'integer', (column) => column.notNull())
        .addColumn('by', 'text', (column) => column.notNull())
        .addColumn('op', 'text', (column) => column.notNull())
        .addColumn('realm', 'text')
        .addColumn('kid', 'text')
        .addColumn('reason', 'text', (column) => column.notNull())
        .addColumn('token', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull().references('manifests.version'))
        .execute()
      await database.schema
        .createTable('validators')
        .addColumn('name', 'text', (column) => column.primaryKey())
        .addColumn('jwk', 'text', (column) => column.notNull())
        .addColumn('enrolled_at', 'integer', (column) => column.notNull())
        .addColumn('version', 'integer')
        .addColumn('acknowledged_at', 'integer')
        .execute()
    },
  },
}

async function insertCommand(
  database: Kysely<Tables>,
  { command, token, at }: CarriedOut,
  version: number,
): Promise<void> {
  const { jti, by, op, realm = null, kid = null, reason } = command
  await database
    .insertInto('commands')
    .values({ jti, at, by, op, realm, kid, reason, token, version })
    .execute()
}
