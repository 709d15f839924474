/**
 * Chance from a seed: the same seed gives the same numbers on every machine. xoshiro128** by Blackman and Vigna, seeded
 * through splitmix32.
 * @module
 */

export class Random {
  readonly #state: Uint32Array

  constructor(seed: number) {
    let x = seed >>> 0
    this.#state = Uint32Array.from({ length: 4 }, () => {
      x = (x + 0x9e3779b9) >>> 0
      let z = x ^ (x >>> 16)
      z = Math.imul(z, 0x21f0aaad)
      z ^= z >>> 15
      z = Math.imul(z, 0x735a2d97)
      return (z ^ (z >>> 15)) >>> 0
    })
  }

  /** 32 random bits. */
  bits(): number {
    const state = this.#state as unknown as [number, number, number, number]
    const product = Math.imul(state[1], 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const shifted = state[1] << 9
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << 11) | (state[3] >>> 21)
    return result
  }

  /** From 0 up to, not including, 1. */
  fraction(): number {
    return this.bits() / 2 ** 32
  }

  /** A whole number of `least`, …, `most`. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1))
  }

  /** Anything between the two. */
  between(least: number, most: number): number {
    return least + this.fraction() * (most - least)
  }

  /** True this often. */
  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  /** Waiting times of what happens by itself: mostly short, now and then long. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.fraction())
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.integer(0, items.length - 1)] as Item
  }

  /** One of several, the more often the more it weighs. */
  weighted<Item>(items: readonly (readonly [item: Item, weight: number])[]): Item {
    let left = this.fraction() * items.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [item, weight] of items) {
      left -= weight
      if (left < 0) return item
    }
    return (items.at(-1) as readonly [Item, number])[0]
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at++) bytes[at] = this.bits() >>> 24
    return bytes
  }
}
