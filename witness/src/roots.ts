/**
 * Tells the roots of subtrees that were countersigned, many under one signature, so that validators know them before the
 * tokens come: spec/roots.md, section 2. Nothing is collected while nobody asks, and what was told is kept in memory for
 * as long as a reader may take to ask again.
 * @module
 */

import { type CountersignedSubtree, SUBTREE_COUNT_MAX, signRoots } from '@countersign/validator/roots'
import type { RootsAnswer } from './client.ts'
import type { Countersigner } from './countersign.ts'

/** How long the first of some news waits for the rest. */
const COLLECT_MILLISECONDS = 50
/** How long a reader waits for news; less than a call may take. */
const WAIT_MILLISECONDS = 2000
/** A reader that has not asked for so long is gone. */
const GONE_MILLISECONDS = 10_000
/** Some seconds under load. */
const STATEMENT_COUNT_MAX = 64

export interface RootsTeller {
  /** Takes subtrees whose receipts have left, in the order of the log. */
  tell(log: Countersigner, subtrees: readonly CountersignedSubtree[]): void
  /** The statements after one, as soon as there are any; none after a while. */
  after(number: number): Promise<RootsAnswer>
  close(): void
}

/** `now`: seconds since the epoch. */
export function createRootsTeller(now: () => number): RootsTeller {
  let news: CountersignedSubtree[] = []
  let newsOf: Countersigner | undefined
  let collecting: NodeJS.Timeout | undefined
  let statements: string[] = []
  let last = 0
  let askedAt = Number.NEGATIVE_INFINITY
  const waiting = new Set<() => void>()

  function speak(): void {
    clearTimeout(collecting)
    collecting = undefined
    if (newsOf === undefined || news.length === 0) return
    const { origin, privateKey } = newsOf
    const told = news
    news = []
    for (let at = 0; at < told.length; at += SUBTREE_COUNT_MAX) {
      statements.push(signRoots(origin, told.slice(at, at + SUBTREE_COUNT_MAX), now(), privateKey))
      last++
    }
    statements = statements.slice(-STATEMENT_COUNT_MAX)
    for (const wake of waiting) wake()
  }

  function answer(number: number): RootsAnswer {
    // Whoever is ahead has heard another process.
    const count = number > last ? statements.length : Math.min(last - number, statements.length)
    return { statements: statements.slice(statements.length - count), next: last }
  }

  return {
    tell: (log, subtrees) => {
      if (waiting.size === 0 && performance.now() - askedAt > GONE_MILLISECONDS) return
      // A statement is of one log.
      if (newsOf?.origin !== log.origin) speak()
      newsOf = log
      news.push(...subtrees)
      collecting ??= setTimeout(speak, COLLECT_MILLISECONDS)
    },
    after: async (number) => {
      askedAt = performance.now()
      const { promise, resolve } = Promise.withResolvers<void>()
      if (answer(number).statements.length === 0) {
        const timer = setTimeout(resolve, WAIT_MILLISECONDS)
        waiting.add(resolve)
        await promise
        waiting.delete(resolve)
        clearTimeout(timer)
        askedAt = performance.now()
      }
      return answer(number)
    },
    close: () => {
      clearTimeout(collecting)
      for (const wake of waiting) wake()
    },
  }
}
