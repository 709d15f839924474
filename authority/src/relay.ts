/**
 * Passes on what the witness tells of the roots that it countersigned to those validators that want it, while there are
 * any: spec/roots.md, section 3. Nothing is read here, and nobody believes a statement for having come this way.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { ROOTS_CHARACTERS_MAX } from '@countersign/validator/roots'
import type { RootsAnswer } from '@countersign/witness/client'

/** Before a witness that did not answer is asked again. */
const PAUSE_MILLISECONDS = 1000

export interface Source {
  /** What the witness told after a number, once there is any; none after a while. */
  after(number: number): Promise<RootsAnswer>
  /** Whether anybody listens. */
  isWanted(): boolean
  deliver(statement: string): void
}

export interface Relay {
  /** Somebody listens from now on. */
  wake(): void
  /** Whoever still asks the witness then is to be cut off from it. */
  stop(): void
}

export function createRelay({ after, isWanted, deliver }: Source): Relay {
  const stopping = new AbortController()
  const { signal } = stopping
  let isRunning = false
  let last = 0

  async function run(): Promise<void> {
    while (isWanted() && !signal.aborted) {
      try {
        const { statements, next } = await after(last)
        last = next
        if (!signal.aborted) statements.filter(isStatement).forEach(deliver)
      } catch {
        await delay(PAUSE_MILLISECONDS, undefined, { signal }).catch(() => {})
      }
    }
    isRunning = false
  }

  return {
    wake: () => {
      if (isRunning) return
      isRunning = true
      void run()
    },
    stop: () => stopping.abort(),
  }
}

/** Anything else could end the event that it is sent in, and begin another. */
function isStatement(text: string): boolean {
  return text.length <= ROOTS_CHARACTERS_MAX && /^[\w.-]+$/.test(text)
}
