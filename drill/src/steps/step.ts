/**
 * One step of the drill: an attack, what the validator of 2023 makes of it, and what Countersign must.
 * @module
 */

import type { Arena } from '../arena.ts'

export interface Step {
  readonly title: string
  /** Of docs/flaws.md. */
  readonly flaws: readonly string[]
  readonly expectation: string
  /** Plays the attack. Throws when something that has nothing to do with the attack fails. */
  readonly play: (arena: Arena) => Promise<Played>
}

export interface Played {
  /** Whether the attack worked on the validator of 2023: where it did not, the step shows nothing. */
  readonly naiveAccepted: boolean
  readonly held: boolean
  /** What Countersign did, in a few words. */
  readonly outcome: string
  readonly reason?: string | undefined
  readonly figures?: Readonly<Record<string, number>>
}

/** The common shape: one token, shown to the validator of 2023 and to the gateway. */
export async function showToken(arena: Arena, token: string, reason: string): Promise<Played> {
  const naiveAccepted = (await arena.naive.accept(token)) !== undefined
  const answer = await arena.ask(token)
  return {
    naiveAccepted,
    held: !answer.accepted && answer.reason === reason,
    outcome: answer.accepted ? 'accepted' : 'refused',
    reason: answer.reason,
  }
}
