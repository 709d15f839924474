/**
 * Whose reports count: the validators that the authority has enrolled, and their keys. A name that is not known is
 * asked for again, at most once a second, so that one that was just enrolled is heard and a stranger costs nothing.
 * @module
 */

import type { PublicJwk } from '@countersign/validator/jws'

export interface Enrolled {
  readonly name: string
  readonly jwk: PublicJwk
}

const ASK_MILLISECONDS_MIN = 1000

/** `ask` gives all who are enrolled; `now` milliseconds on a clock that never jumps. */
export function createDirectory(
  ask: () => Promise<readonly Enrolled[]>,
  now: () => number = () => performance.now(),
): (name: string) => Promise<PublicJwk | undefined> {
  let keys: ReadonlyMap<string, PublicJwk> = new Map()
  let askedAt = Number.NEGATIVE_INFINITY
  let asking: Promise<void> | undefined

  async function refresh(): Promise<void> {
    askedAt = now()
    // A name keeps its key for good, so that what is known stays right while the authority is away.
    keys = new Map((await ask()).map(({ name, jwk }) => [name, jwk]))
  }

  return async (name) => {
    if (!keys.has(name) && (asking !== undefined || now() - askedAt >= ASK_MILLISECONDS_MIN)) {
      asking ??= refresh().finally(() => {
        asking = undefined
      })
      await asking.catch(() => {})
    }
    return keys.get(name)
  }
}
