/**
 * How much one client may ask for: so many tokens a second, and as many at once after a pause. Pure but for the clock that
 * it is given.
 * @module
 */

export interface Allowance {
  /** Whether so many may be had now; then they are counted. */
  take(count: number): boolean
}

export function createAllowance(
  perSecond: number,
  atOnceMax: number,
  monotonic: () => number = () => performance.now(),
): Allowance {
  let left = atOnceMax
  let since = monotonic()
  return {
    take: (count) => {
      const now = monotonic()
      left = Math.min(atOnceMax, left + ((now - since) / 1000) * perSecond)
      since = now
      if (count > left) return false
      left -= count
      return true
    },
  }
}
