/**
 * What the authority remembers: charters, every manifest that it ever made, who commanded what, and which validators
 * are enrolled and how far each has come. Several processes may have the file open; what the control plane decides is
 * written by the one that holds the lease (lease.ts), whose token is compared in each of these transactions.
 *
 * A version is reserved, durably and with its content, before anything of that version is signed or logged. So no
 * version ever has two contents, and after a crash at any point what the log has can be published all the same.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { type Migrations, openDatabase } from '@countersign/service/database'
import { readPayload, type SignedDocument } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { manifestSha256 } from '@countersign/validator/manifest'
import { readStatement } from '@countersign/validator/statement'
import { type Generated, type Kysely, sql } from 'kysely'
import type { Probe, Proof } from './canary.ts'
import { type AuthorisedCommand, COMMAND_TYPE, type CommandClaims } from './command.ts'
import { Denial } from './denial.ts'
import type { LeaseBook } from './lease.ts'

export interface StoredManifest {
  readonly version: number
  readonly document: SignedDocument
}

/** A manifest before the log has it: its payload, and what is written down with it. */
export interface Prepared {
  readonly segment: string
  readonly records: Records
}

/** A version that was given out. */
export interface Reservation {
  readonly version: number
  /** Over the payload of its manifest, base64url; undefined for one of before this was written down. */
  readonly sha256: string | undefined
  /** What may still have to be published; undefined once it or a later one was. */
  readonly prepared: Prepared | undefined
}

/** A validator that may acknowledge. Versions and times are null until it first has. */
export interface EnrolledValidator {
  readonly name: string
  readonly jwk: PublicJwk
  readonly enrolledAt: number
  readonly version: number | null
  readonly acknowledgedAt: number | null
  /** Where a canary is sent after a kill. */
  readonly probe: Probe | null
}

/** The manifest that named a key first, and when that was published. */
export interface FirstNamed {
  readonly version: number
  readonly at: number
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

/** What somebody proposed, with the approvals that it has: they are the signatures of the document. */
export interface StoredProposal {
  readonly id: string
  readonly kind: 'charter' | 'approval'
  readonly document: SignedDocument
  /** The newest charter at that time: whose operators approve, and how many of them. */
  readonly charterVersion: number
  readonly proposedAt: number
  readonly expiresAt: number
  /** Null until enough have approved. */
  readonly carriedOutAt: number | null
}

/** A proposal that was carried out, and the manifest that was the first to know of it. */
export interface FulfilledProposal extends StoredProposal {
  readonly version: number
}

/** What is written down with a manifest, in its transaction. */
export interface Records {
  readonly command?: CarriedOut
  readonly charter?: { readonly version: number; readonly document: SignedDocument }
  /** A new one, or one that is known with the approvals that it has by now. */
  readonly proposal?: StoredProposal
  /** The name of a validator that is enrolled no longer. */
  readonly removedValidator?: string
}

export interface Store extends LeaseBook {
  charters(): Promise<SignedDocument[]>
  addCharter(version: number, document: SignedDocument): Promise<void>
  /** The newest manifest that was published. */
  newestManifest(): Promise<StoredManifest | undefined>
  /** Those that were published after a version, oldest first; of very many, the last. */
  manifestsAfter(version: number): Promise<StoredManifest[]>
  /** Every key that was ever published, with the manifest that named it first. */
  firstNamed(): Promise<[kid: string, first: FirstNamed][]>
  /** Changes when another process has written something. */
  writtenByOthers(): Promise<number>
  /** The highest version ever reserved, published or not; 0 before the first. */
  highestVersion(): Promise<number>
  /**
   * Gives out the next version, never again, and keeps what `prepare` makes of it: what the log is about to have can be
   * published by whoever has this folder. When `prepare` throws, nothing was given out.
   */
  reserveVersion(
    now: number,
    prepare: (version: number) => Prepared,
  ): Promise<Prepared & { readonly version: number }>
  /** What is known of a version that was given out. */
  reservation(version: number): Promise<Reservation | undefined>
  /**
   * Stores a manifest under its reserved version, with what else there is to write down. It was made from the manifest
   * of version `after`: when that is not the newest any more, throws `Denial`, `not_leader`.
   */
  publishManifest(
    manifest: StoredManifest & { readonly after: number },
    now: number,
    records?: Records,
  ): Promise<void>
  /** Stores what left nothing to publish; `version` is the newest manifest. */
  record(records: Records, version: number): Promise<void>
  /** A manifest that was published. */
  manifest(version: number): Promise<SignedDocument | undefined>
  isCommandKnown(jti: string): Promise<boolean>
  /** What was commanded under versions below `before`, the newest first. */
  commands(before: number, most: number): Promise<(CarriedOut & { readonly version: number })[]>
  proposal(id: string): Promise<StoredProposal | undefined>
  /** Those that were carried out neither yet nor too late: the ones whose time ends after `now`, the newest first. */
  openProposals(now: number): Promise<StoredProposal[]>
  /** What was approved and carried out under versions below `before`, the newest first. */
  fulfilledProposals(before: number, most: number): Promise<FulfilledProposal[]>
  validators(): Promise<EnrolledValidator[]>
  addValidator(name: string, jwk: PublicJwk, now: number): Promise<void>
  setProbe(name: string, probe: Probe): Promise<void>
  /** Stores what came of the canaries of a kill; of one kill, the last. */
  addProof(proof: Proof): Promise<void>
  /** The newest first. */
  proofs(most: number): Promise<Proof[]>
  /** Stores acknowledgements, several in one transaction: a thousand validators acknowledge at the same moment. */
  acknowledge(acknowledged: readonly Acknowledged[]): Promise<void>
  close(): Promise<void>
}

/** How many manifests a process reads at once that was behind; nobody acknowledges older ones. */
const MANIFESTS_READ_MAX = 64

/** Opens the database file. */
export async function openStore(file: string): Promise<Store> {
  const database = await openPatiently(file)
  /** The token of the lease that we hold; who never held one writes only while nobody ever has. */
  let token = 0

  /** A transaction of the holder of the lease. Throws `Denial`, `not_leader`, and nothing was written. */
  function asLeader<Result>(write: (transaction: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return database.transaction().execute(async (transaction) => {
      // A write, and the first statement: from here on nobody else writes until the transaction ends.
      const { numUpdatedRows } = await transaction
        .updateTable('lease')
        .set({ token })
        .where('token', '=', token)
        .executeTakeFirstOrThrow()
      if (numUpdatedRows === 0n) throw new Denial('not_leader')
      return write(transaction)
    })
  }

  return {
    charters: async () => {
      const rows = await database.selectFrom('charters').select('document').orderBy('version').execute()
      return rows.map(({ document }) => JSON.parse(document) as SignedDocument)
    },
    addCharter: (version, document) =>
      asLeader((transaction) => insertCharter(transaction, version, document)),
    newestManifest: async () => {
      const row = await database
        .selectFrom('manifests')
        .select(['version', 'document'])
        .where('document', 'is not', null)
        .orderBy('version', 'desc')
        .executeTakeFirst()
      return row && { version: row.version, document: JSON.parse(row.document ?? '') as SignedDocument }
    },
    manifestsAfter: async (version) => {
      const rows = await database
        .selectFrom('manifests')
        .select(['version', 'document'])
        .where('document', 'is not', null)
        .where('version', '>', version)
        .orderBy('version', 'desc')
        .limit(MANIFESTS_READ_MAX)
        .execute()
      return rows
        .reverse()
        .map((row) => ({ version: row.version, document: JSON.parse(row.document ?? '') as SignedDocument }))
    },
    firstNamed: async () => {
      const rows = await database.selectFrom('keys').selectAll().execute()
      return rows.map(({ kid, version, published_at }) => [kid, { version, at: published_at }])
    },
    writtenByOthers: async () => {
      const { rows } = await sql<{ data_version: number }>`PRAGMA data_version`.execute(database)
      return rows[0]?.data_version ?? 0
    },
    highestVersion: async () => {
      const { highest } = await database
        .selectFrom('manifests')
        .select(({ fn }) => fn.max('version').as('highest'))
        .executeTakeFirstOrThrow()
      return highest ?? 0
    },
    reserveVersion: (now, prepare) =>
      asLeader(async (transaction) => {
        const { version } = await transaction
          .insertInto('manifests')
          .values({ reserved_at: now })
          .returning('version')
          .executeTakeFirstOrThrow()
        const prepared = prepare(version)
        await transaction
          .updateTable('manifests')
          .set({
            sha256: manifestSha256({ payload: prepared.segment }),
            prepared: JSON.stringify(prepared),
          })
          .where('version', '=', version)
          .execute()
        return { version, ...prepared }
      }),
    reservation: async (version) => {
      const row = await database
        .selectFrom('manifests')
        .select(['document', 'sha256', 'prepared'])
        .where('version', '=', version)
        .executeTakeFirst()
      if (row === undefined) return undefined
      const document = row.document === null ? undefined : (JSON.parse(row.document) as SignedDocument)
      return {
        version,
        sha256: row.sha256 ?? (document && manifestSha256(document)),
        prepared: row.prepared === null ? undefined : (JSON.parse(row.prepared) as Prepared),
      }
    },
    publishManifest: (manifest, now, records = {}) =>
      asLeader(async (transaction) => {
        // The lease may have been lost and won back since the manifest was composed.
        const { newest } = await transaction
          .selectFrom('manifests')
          .select(({ fn }) => fn.max('version').as('newest'))
          .where('document', 'is not', null)
          .executeTakeFirstOrThrow()
        if ((newest ?? 0) !== manifest.after) throw new Denial('not_leader')
        await transaction
          .updateTable('manifests')
          .set({ document: JSON.stringify(manifest.document), published_at: now })
          .where('version', '=', manifest.version)
          .where('document', 'is', null)
          .execute()
        await transaction
          .updateTable('manifests')
          .set({ prepared: null })
          .where('version', '<=', manifest.version)
          .where('prepared', 'is not', null)
          .execute()
        await nameKeys(transaction, manifest, now)
        await writeRecords(transaction, records, manifest.version)
      }),
    record: (records, version) => asLeader((transaction) => writeRecords(transaction, records, version)),
    manifest: async (version) => {
      const row = await database
        .selectFrom('manifests')
        .select('document')
        .where('version', '=', version)
        .executeTakeFirst()
      return row?.document == null ? undefined : (JSON.parse(row.document) as SignedDocument)
    },
    commands: async (before, most) => {
      const rows = await database
        .selectFrom('commands')
        .select(['by', 'token', 'at', 'version'])
        .where('version', '<', before)
        .orderBy('id', 'desc')
        .limit(most)
        .execute()
      return rows.map(({ by, token, at, version }) => ({
        command: { ...(readStatement(token, COMMAND_TYPE) as unknown as CommandClaims), by },
        token,
        at,
        version,
      }))
    },
    proposal: async (id) => {
      const row = await database.selectFrom('proposals').selectAll().where('id', '=', id).executeTakeFirst()
      return row && readProposal(row)
    },
    openProposals: async (now) => {
      const rows = await database
        .selectFrom('proposals')
        .selectAll()
        .where('carried_out_at', 'is', null)
        .where('expires_at', '>', now)
        .orderBy('proposed_at', 'desc')
        .execute()
      return rows.map(readProposal)
    },
    fulfilledProposals: async (before, most) => {
      const rows = await database
        .selectFrom('proposals')
        .selectAll()
        .where('version', '<', before)
        .orderBy('version', 'desc')
        .limit(most)
        .execute()
      return rows.map((row) => ({ ...readProposal(row), version: row.version ?? 0 }))
    },
    isCommandKnown: async (jti) =>
      (await database.selectFrom('commands').select('id').where('jti', '=', jti).executeTakeFirst()) !==
      undefined,
    validators: async () => {
      const rows = await database.selectFrom('validators').selectAll().orderBy('name').execute()
      return rows.map(({ name, jwk, enrolled_at, version, acknowledged_at, probe }) => ({
        name,
        jwk: JSON.parse(jwk) as PublicJwk,
        enrolledAt: enrolled_at,
        version,
        acknowledgedAt: acknowledged_at,
        probe: probe === null ? null : (JSON.parse(probe) as Probe),
      }))
    },
    addValidator: async (name, jwk, now) => {
      await database
        .insertInto('validators')
        .values({
          name,
          jwk: JSON.stringify(jwk),
          enrolled_at: now,
          version: null,
          acknowledged_at: null,
          probe: null,
        })
        .execute()
    },
    setProbe: async (name, probe) => {
      await database
        .updateTable('validators')
        .set({ probe: JSON.stringify(probe) })
        .where('name', '=', name)
        .execute()
    },
    addProof: async ({ version, kid, at, results }) => {
      const row = { version, kid, at, results: JSON.stringify(results) }
      await database
        .insertInto('canaries')
        .values(row)
        .onConflict((conflict) => conflict.columns(['version', 'kid']).doUpdateSet(row))
        .execute()
    },
    proofs: async (most) => {
      const rows = await database
        .selectFrom('canaries')
        .selectAll()
        .orderBy('at', 'desc')
        .orderBy('version', 'desc')
        .limit(most)
        .execute()
      return rows.map(({ results, ...row }) => ({
        ...row,
        state: 'done' as const,
        results: JSON.parse(results) as Proof['results'],
      }))
    },
    acknowledge: (acknowledged) =>
      database.transaction().execute(async (transaction) => {
        for (const { name, version, acknowledgedAt } of acknowledged) {
          await transaction
            .updateTable('validators')
            .set({ version, acknowledged_at: acknowledgedAt })
            .where('name', '=', name)
            // One that came later, to another process, may be written already.
            .where((row) => row.or([row('version', 'is', null), row('version', '<', version)]))
            .execute()
        }
      }),
    readLease: () => database.selectFrom('lease').selectAll().executeTakeFirstOrThrow(),
    takeLease: async (seen, holder) => {
      const { numUpdatedRows } = await database
        .updateTable('lease')
        .set({ token: seen.token + 1, holder, beat: 0 })
        .where('token', '=', seen.token)
        .where('beat', '=', seen.beat)
        .executeTakeFirstOrThrow()
      if (numUpdatedRows > 0n) token = seen.token + 1
      return numUpdatedRows > 0n
    },
    renewLease: async () => {
      const { numUpdatedRows } = await database
        .updateTable('lease')
        .set((row) => ({ beat: row('beat', '+', 1) }))
        .where('token', '=', token)
        .executeTakeFirstOrThrow()
      return numUpdatedRows > 0n
    },
    releaseLease: async () => {
      await database.updateTable('lease').set({ holder: null }).where('token', '=', token).execute()
    },
    close: () => database.destroy(),
  }
}

/** Two that open a new file at the same moment both make its tables, and one finds them made. */
async function openPatiently(file: string): Promise<Kysely<Tables>> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openDatabase<Tables>(file, migrations)
    } catch (error) {
      if (attempt === OPEN_ATTEMPTS_MAX) throw error
      await delay(OPEN_MILLISECONDS)
    }
  }
}

const OPEN_ATTEMPTS_MAX = 5
const OPEN_MILLISECONDS = 100

interface Tables {
  charters: { version: number; document: string }
  /** `document` is null while a version is only reserved. */
  manifests: {
    version: Generated<number>
    reserved_at: number
    document: string | null
    published_at: number | null
    sha256: string | null
    prepared: string | null
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
  /** `version` is null until it is carried out. */
  proposals: {
    id: string
    kind: 'charter' | 'approval'
    document: string
    charter_version: number
    proposed_at: number
    expires_at: number
    carried_out_at: number | null
    version: number | null
  }
  /** Every key that was ever published. No row is ever deleted. */
  keys: { kid: string; version: number; published_at: number }
  /** One row. */
  lease: { token: number; holder: string | null; beat: number }
  validators: {
    name: string
    jwk: string
    enrolled_at: number
    version: number | null
    acknowledged_at: number | null
    probe: string | null
  }
  /** What came of the canaries of a kill, by the manifest that carries it. */
  canaries: { version: number; kid: string; at: number; results: string }
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
  '002_rotation': {
    up: async (database: Kysely<Tables>) => {
      await database.schema
        .createTable('keys')
        .addColumn('kid', 'text', (column) => column.primaryKey())
        .addColumn('version', 'integer', (column) => column.notNull().references('manifests.version'))
        .addColumn('published_at', 'integer', (column) => column.notNull())
        .execute()
      await database.schema
        .createTable('lease')
        .addColumn('token', 'integer', (column) => column.notNull())
        .addColumn('holder', 'text')
        .addColumn('beat', 'integer', (column) => column.notNull())
        .execute()
      await database.insertInto('lease').values({ token: 0, holder: null, beat: 0 }).execute()
    },
  },
  '003_proposals': {
    up: async (database) => {
      await database.schema
        .createTable('proposals')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('document', 'text', (column) => column.notNull())
        .addColumn('charter_version', 'integer', (column) => column.notNull())
        .addColumn('proposed_at', 'integer', (column) => column.notNull())
        .addColumn('expires_at', 'integer', (column) => column.notNull())
        .addColumn('carried_out_at', 'integer')
        .addColumn('version', 'integer', (column) => column.references('manifests.version'))
        .execute()
    },
  },
  '004_canaries': {
    up: async (database) => {
      await database.schema.alterTable('validators').addColumn('probe', 'text').execute()
      await database.schema
        .createTable('canaries')
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('kid', 'text', (column) => column.notNull())
        .addColumn('at', 'integer', (column) => column.notNull())
        .addColumn('results', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('canaries_key', ['version', 'kid'])
        .execute()
    },
  },
  '005_prepared': {
    up: async (database) => {
      await database.schema.alterTable('manifests').addColumn('sha256', 'text').execute()
      await database.schema.alterTable('manifests').addColumn('prepared', 'text').execute()
    },
  },
}

async function nameKeys(
  database: Kysely<Tables>,
  { version, document }: StoredManifest,
  now: number,
): Promise<void> {
  const keys = (readPayload(document.payload)['keys'] ?? []) as readonly { readonly kid: string }[]
  if (keys.length === 0) return
  await database
    .insertInto('keys')
    .values(keys.map(({ kid }) => ({ kid, version, published_at: now })))
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** Within a transaction. */
async function writeRecords(
  database: Kysely<Tables>,
  { command, charter, proposal, removedValidator }: Records,
  version: number,
): Promise<void> {
  if (command !== undefined) await insertCommand(database, command, version)
  if (charter !== undefined) await insertCharter(database, charter.version, charter.document)
  if (proposal !== undefined) await writeProposal(database, proposal, version)
  if (removedValidator !== undefined) {
    await database.deleteFrom('validators').where('name', '=', removedValidator).execute()
  }
}

async function insertCharter(
  database: Kysely<Tables>,
  version: number,
  document: SignedDocument,
): Promise<void> {
  await database
    .insertInto('charters')
    .values({ version, document: JSON.stringify(document) })
    .execute()
}

async function writeProposal(
  database: Kysely<Tables>,
  proposal: StoredProposal,
  version: number,
): Promise<void> {
  const { id, kind, document, charterVersion, proposedAt, expiresAt, carriedOutAt } = proposal
  const now = {
    document: JSON.stringify(document),
    carried_out_at: carriedOutAt,
    version: carriedOutAt === null ? null : version,
  }
  await database
    .insertInto('proposals')
    .values({
      id,
      kind,
      charter_version: charterVersion,
      proposed_at: proposedAt,
      expires_at: expiresAt,
      ...now,
    })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(now))
    .execute()
}

function readProposal(row: Tables['proposals']): StoredProposal {
  return {
    id: row.id,
    kind: row.kind,
    document: JSON.parse(row.document) as SignedDocument,
    charterVersion: row.charter_version,
    proposedAt: row.proposed_at,
    expiresAt: row.expires_at,
    carriedOutAt: row.carried_out_at,
  }
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
