/**
 * Whose reports count: the validators that the authority has enrolled, and their keys. A name that is not known is
 * asked for again, at most once a second, so that one that was just enrolled is heard and a stranger costs nothing; those
 * that are known, after some seconds, so that one that was removed is not heard any more.
 * @module
 */

import type { PublicJwk } from '@countersign/validator/jws'

export interface Enrolled {
  readonly name: string
  readonly jwk: PublicJwk
}

const ASK_MILLISECONDS_MIN = 1000
const KNOWN_MILLISECONDS_MAX = 10_000

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
    // What is known stays known while the authority is away.
    keys = new Map((await ask()).map(({ name, jwk }) => [name, jwk]))
  }

  return async (name) => {
    const isKnown = keys.has(name)
    if (now() - askedAt >= (isKnown ? KNOWN_MILLISECONDS_MAX : ASK_MILLISECONDS_MIN))
      asking ??= refresh()
        .catch(() => {})
        .finally(() => {
          asking = undefined
        })
    // No evidence waits for an authority that may be away.
    if (!isKnown) await asking
    return keys.get(name)
  }
}
