/**
 * Carries out the blocks that the policy ordered: one command to the authority per key, signed with the block key, and
 * then it waits until every validator has acknowledged the manifest that carries it. An order is in the database
 * before anybody acts on it, so one that was cut short is carried out after a restart.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { type Acks, AuthorityError, type CommandAnswer } from '@countersign/authority/client'
import type { Selectable } from 'kysely'
import type { Database, Tables } from './store.ts'

export type Block = Selectable<Tables['blocks']>

export interface ContainmentOptions {
  readonly database: Database
  /** Commands the authority to block a key. Throws `AuthorityError`. */
  readonly block: (kid: string, reason: string) => Promise<CommandAnswer>
  readonly acks: () => Promise<Acks>
  /** Every validator has acknowledged. */
  readonly onContained: (block: Block) => void
  readonly onProblem: (problem: Error) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export interface Containment {
  /** Looks for orders now. */
  wake(): void
  stop(): Promise<void>
}

/** Fast while a block is young, since each moment counts; then as slow as no longer matters. */
const PAUSE_MILLISECONDS = { first: 20, last: 2000 } as const

export function createContainment(options: ContainmentOptions): Containment {
  const { database, onProblem, now } = options
  const ending = new AbortController()
  const underWay = new Map<string, Promise<void>>()

  async function look(): Promise<void> {
    const open = await database.selectFrom('blocks').selectAll().where('settled_ms', 'is', null).execute()
    for (const { kid } of open) {
      if (underWay.has(kid) || ending.signal.aborted) continue
      const task = carryOut(kid).finally(() => underWay.delete(kid))
      underWay.set(kid, task)
    }
  }

  async function carryOut(kid: string): Promise<void> {
    let pause: number = PAUSE_MILLISECONDS.first
    while (!ending.signal.aborted) {
      const isSettled = await advance(kid).catch((error: Error) => onProblem(error))
      if (isSettled === true) return
      await delay(pause, undefined, { signal: ending.signal }).catch(() => {})
      pause = Math.min(PAUSE_MILLISECONDS.last, pause * 1.2)
    }
  }

  /** The next step of an order; true once nothing is left to do. */
  async function advance(kid: string): Promise<boolean> {
    const order = await database.selectFrom('blocks').selectAll().where('kid', '=', kid).executeTakeFirst()
    if (order === undefined || order.settled_ms !== null) return true
    if (order.version === null) {
      await database
        .updateTable('blocks')
        .set(await command(order))
        .where('kid', '=', kid)
        .execute()
      return false
    }
    const { version } = order
    const { validators } = await options.acks()
    if (!validators.every((validator) => (validator.version ?? 0) >= version)) return false
    const settled = { settled_ms: now() }
    // Not if the order was given anew in the meantime.
    await database
      .updateTable('blocks')
      .set(settled)
      .where('kid', '=', kid)
      .where('version', '=', version)
      .execute()
    options.onContained({ ...order, ...settled })
    return false
  }

  async function command({ kid, reason }: Block): Promise<Partial<Block>> {
    try {
      const { version } = await options.block(kid, reason)
      return { version }
    } catch (error) {
      if (!(error instanceof AuthorityError) || error.retryable) throw error
      // It will not become true by being asked again: an unknown key, a block key that no charter names.
      onProblem(error)
      return { failure: error.code, settled_ms: now() }
    }
  }

  const wake = (): void => void look().catch(onProblem)
  return {
    wake,
    stop: async () => {
      ending.abort()
      await Promise.all(underWay.values())
    },
  }
}
