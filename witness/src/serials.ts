/**
 * The last serial of each key. A signer counts its signatures by one; a serial that does not rise is a key used in two
 * places, or a signer set back to an earlier state, and neither gets an entry.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import type { Entry } from '@countersign/validator/entry'

/** A manifest's serial is its version, which rises whichever of the authority's keys signs. */
const MANIFESTS = 'manifest'

export class Serials {
  readonly #last: Map<string, number>

  constructor(last: Iterable<readonly [string, number]> = []) {
    this.#last = new Map(last)
  }

  /** Remembers the entry's serial; false, and nothing remembered, when it is not above the last of its key. */
  take({ tokenType, keyThumbprint, serial }: Entry): boolean {
    const key = tokenType === 'manifest' ? MANIFESTS : encode(keyThumbprint)
    const last = this.#last.get(key)
    if (last !== undefined && serial <= last) return false
    this.#last.set(key, serial)
    return true
  }

  [Symbol.iterator](): Iterator<[string, number]> {
    return this.#last[Symbol.iterator]()
  }

  /** The version of the last manifest that was logged; 0 before the first. */
  get manifestVersion(): number {
    return this.#last.get(MANIFESTS) ?? 0
  }

  get keyCount(): number {
    return this.#last.size
  }
}
