/**
 * The people of one tenant. A person is `iss` and `sub`; the name they sign in with is theirs to change, and what
 * looks like a mail address in it proves nothing to anybody.
 * @module
 */

import { randomUUID } from 'node:crypto'
import type { JsonObject } from '@countersign/validator/json'
import type { Updateable } from 'kysely'
import type { SeedPerson } from './config.ts'
import { hashPassword, verifyPassword } from './password.ts'
import type { Database, PersonTable } from './schema.ts'
import { seal, unseal } from './seal.ts'
import type { Signals } from './signals/transmitter.ts'
import { matchTotp } from './totp.ts'

export interface Person {
  readonly sub: string
  readonly username: string
  readonly hasTotp: boolean
  /** Seconds since the epoch: sessions, codes and refresh tokens from before are refused. */
  readonly validAfter: number
}

export interface People {
  find(sub: string): Promise<Person | undefined>
  /** Takes as long for a name that nobody has. Throws `Busy`. */
  signIn(username: string, password: string): Promise<Person | undefined>
  /** Whether the code is right and its step was not used before. Uses it up. */
  useTotp(sub: string, code: string): Promise<boolean>
  /** Adds a person unless the name is taken: what they changed since stays. */
  add(person: SeedPerson): Promise<void>
  /** Ends what a person is signed in to, and with `disabled` what they could sign in to. */
  expel(sub: string, how?: { readonly disabled: boolean }): Promise<void>
  /** A new password ends what the old one was good for. */
  setPassword(sub: string, password: string, by: 'user' | 'admin'): Promise<void>
  /** Throws where somebody else has the name. */
  rename(sub: string, username: string): Promise<void>
}

export interface PeopleOptions {
  readonly database: Database
  readonly tenant: string
  readonly totpKey: Buffer
  readonly signals: Signals
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function openPeople({ database, tenant, totpKey, signals, now }: PeopleOptions): People {
  const enabled = () =>
    database.selectFrom('person').where('tenant', '=', tenant).where('disabled_at', 'is', null).selectAll()
  const owner = (sub: string) => `${tenant}/${sub}`
  const update = (transaction: Database, sub: string, change: Updateable<PersonTable>): Promise<unknown> =>
    transaction
      .updateTable('person')
      .set(change)
      .where('tenant', '=', tenant)
      .where('sub', '=', sub)
      .execute()

  return {
    find: async (sub) => {
      const row = await enabled().where('sub', '=', sub).executeTakeFirst()
      return row && describe(row)
    },

    signIn: async (username, password) => {
      const row = await enabled().where('username', '=', foldUsername(username)).executeTakeFirst()
      const right = await verifyPassword(password, row?.password)
      return right && row !== undefined ? describe(row) : undefined
    },

    useTotp: async (sub, code) => {
      const row = await enabled().where('sub', '=', sub).executeTakeFirst()
      if (row?.totp_secret == null) return false
      const step = matchTotp(unseal(row.totp_secret, owner(sub), totpKey), code, now())
      if (step === undefined) return false
      // Compared and set at once: of two requests with one code, one finds the step used.
      const used = await database
        .updateTable('person')
        .set({ totp_step: step })
        .where('tenant', '=', tenant)
        .where('sub', '=', sub)
        .where('totp_step', '<', step)
        .executeTakeFirst()
      return used.numUpdatedRows > 0n
    },

    add: async ({ sub = randomUUID(), username, password, totp_secret }) => {
      const known = await database
        .selectFrom('person')
        .where('tenant', '=', tenant)
        .where('username', '=', foldUsername(username))
        .select('sub')
        .executeTakeFirst()
      if (known !== undefined) return
      await database
        .insertInto('person')
        .values({
          tenant,
          sub,
          username: foldUsername(username),
          password: await hashPassword(password),
          totp_secret: totp_secret === undefined ? null : seal(totp_secret, owner(sub), totpKey),
          disabled_at: null,
        })
        .execute()
    },

    expel: async (sub, { disabled } = { disabled: false }) => {
      await signals.record(async (transaction) => {
        await update(transaction, sub, { valid_after: now(), ...(disabled && { disabled_at: now() }) })
        return signals.sessionsEnded(await signals.everySessionOf(transaction, sub), 'expelled')
      })
    },

    setPassword: async (sub, password, by) => {
      const hashed = await hashPassword(password)
      await signals.record(async (transaction) => {
        await update(transaction, sub, { password: hashed, valid_after: now() })
        return [
          signals.credentialChanged(sub, { credential: 'password', change: 'update', by }),
          ...signals.sessionsEnded(await signals.everySessionOf(transaction, sub), 'expelled'),
        ]
      })
    },

    rename: async (sub, username) => {
      await signals.record(async (transaction) => {
        await update(transaction, sub, { username: foldUsername(username) })
        return [signals.claimsChanged(sub, claimsOf(foldUsername(username)))]
      })
    },
  }
}

/** What a client is told of somebody's name. That it looks like a mail address proves nothing. */
export function claimsOf(username: string): JsonObject {
  return {
    preferred_username: username,
    ...(username.includes('@') && { email: username, email_verified: false }),
  }
}

function describe(row: {
  readonly sub: string
  readonly username: string
  readonly totp_secret: string | null
  readonly valid_after: number
}): Person {
  const { sub, username, totp_secret, valid_after } = row
  return { sub, username, hasTotp: totp_secret !== null, validAfter: valid_after }
}

/** So that nobody can register a name that reads like somebody else's. */
export function foldUsername(username: string): string {
  return username.normalize('NFKC').trim().toLowerCase()
}
