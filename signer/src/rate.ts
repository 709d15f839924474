/**
 * How fast a key may sign. Who has taken an issuer cannot draw tokens faster than this, and what exceeds it shows.
 * @module
 */

/** A bucket per key that fills steadily and holds one second's worth. */
export class RateCap {
  readonly #perSecondMax: number
  readonly #monotonic: () => number
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  /** `monotonic` in milliseconds, on a clock that never jumps. */
  constructor(perSecondMax: number, monotonic: () => number) {
    this.#perSecondMax = perSecondMax
    this.#monotonic = monotonic
  }

  /** Whether the key may sign one more now; if so, that one is taken. */
  take(kid: string): boolean {
    const at = this.#monotonic()
    const bucket = this.#buckets.get(kid) ?? { tokens: this.#perSecondMax, at }
    this.#buckets.set(kid, bucket)
    const filled = bucket.tokens + ((at - bucket.at) / 1000) * this.#perSecondMax
    bucket.tokens = Math.min(this.#perSecondMax, filled)
    bucket.at = at
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }
}
