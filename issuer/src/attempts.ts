/**
 * How often somebody may guess. Guesses are counted for an account from one address, for an address whatever the
 * account, and for an account whatever the address; the last is meant for guesses that are spread over many
 * addresses and leaves out those from which the account was signed in to before, so that strangers cannot lock its
 * owner out (T185).
 * @module
 */

import { hash } from 'node:crypto'

/** A guess counts for this long. */
const WINDOW_SECONDS = 15 * 60

const GUESSES_MAX = { pair: 5, address: 50, account: 100 } as const

/** Counters kept; past this the oldest go. An attacker who fills them has used up as many addresses. */
const COUNTERS_MAX = 100_000

interface Counter {
  guesses: number
  readonly since: number
}

export class Attempts {
  readonly #counters = new Map<string, Counter>()
  readonly #familiar = new Map<string, true>()
  readonly #now: () => number

  /** `now` in seconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now
  }

  /**
   * Zero: guess now. Otherwise the seconds to wait, and nothing was counted. A guess counts before it is known to be
   * wrong, since many may be under way at once.
   */
  take(account: string, address: string): number {
    const limits = this.#limits(account, address)
    const waitSeconds = Math.max(...limits.map(([key, guessesMax]) => this.#waitSeconds(key, guessesMax)))
    if (waitSeconds > 0) return waitSeconds
    for (const [key] of limits) {
      const counter = this.#live(key)
      if (counter === undefined) keep(this.#counters, key, { guesses: 1, since: this.#now() })
      else counter.guesses++
    }
    return 0
  }

  /** The guess that was taken was right. */
  succeeded(account: string, address: string): void {
    for (const [key] of this.#limits(account, address)) {
      const counter = this.#live(key)
      if (counter !== undefined) counter.guesses--
    }
    this.#counters.delete(keyOf('pair', account, address))
    keep(this.#familiar, keyOf('pair', account, address), true)
  }

  #limits(account: string, address: string): readonly (readonly [string, number])[] {
    const limits = [
      [keyOf('pair', account, address), GUESSES_MAX.pair],
      [keyOf('address', address), GUESSES_MAX.address],
    ] as const
    if (this.#familiar.has(limits[0][0])) return limits
    return [...limits, [keyOf('account', account), GUESSES_MAX.account]]
  }

  #waitSeconds(key: string, guessesMax: number): number {
    const counter = this.#live(key)
    if (counter === undefined || counter.guesses < guessesMax) return 0
    return counter.since + WINDOW_SECONDS - this.#now()
  }

  #live(key: string): Counter | undefined {
    const counter = this.#counters.get(key)
    if (counter === undefined || counter.since + WINDOW_SECONDS > this.#now()) return counter
    this.#counters.delete(key)
    return undefined
  }
}

/** As short for a name of any length: a stranger chooses it, and many are kept. */
function keyOf(...names: readonly string[]): string {
  return hash('sha256', JSON.stringify(names), 'base64url')
}

/** A map remembers the order of insertion, so the first key is the oldest. */
function keep<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > COUNTERS_MAX) for (const oldest of map.keys()) return void map.delete(oldest)
}
