/**
 * What was decided, kept in bounded memory by the text it was decided about. Two generations: the older goes when the
 * newer is full, and whatever is asked for moves to the newer; so what is in use stays, at the price of one map.
 * @module
 */

export class BoundedCache<Value> {
  readonly #generationMax: number
  #newer = new Map<string, Value>()
  #older = new Map<string, Value>()

  constructor(entriesMax: number) {
    this.#generationMax = Math.ceil(entriesMax / 2)
  }

  get(key: string): Value | undefined {
    const value = this.#newer.get(key)
    if (value !== undefined) return value
    const older = this.#older.get(key)
    if (older !== undefined) this.set(key, older)
    return older
  }

  set(key: string, value: Value): void {
    if (this.#newer.size >= this.#generationMax) {
      this.#older = this.#newer
      this.#newer = new Map()
    }
    this.#newer.set(key, value)
  }

  clear(): void {
    this.#newer.clear()
    this.#older.clear()
  }
}
