/**
 * The serials and the signatures of one key, counted so that no serial is ever given twice and no signature leaves
 * uncounted, whenever the process dies. Serials are reserved in blocks before the first of a block is given, so that a
 * crash skips the rest of a block rather than repeat any; an orderly stop skips none. See spec/signing.md, section 4.
 * @module
 */

import { createRecord, type DurableRecord, openRecord } from './record.ts'

/** A third of a second under full load: rarely waited for, and little lost in a crash. */
const BLOCK_SERIALS = 4096

export interface Counts {
  /** Serials up to this one are given, or were lost in a crash. */
  readonly lastSerial: number
  /** Signatures that left or were about to. */
  readonly signed: number
}

interface Stored {
  /** No serial above this one has been given. */
  readonly reserved: number
  readonly signed: number
}

interface Reservation {
  readonly upTo: number
  readonly done: Promise<void>
  isDurable: boolean
}

const nothingUnderWay = { done: Promise.resolve(), isDurable: true }

export class Counter {
  readonly #record: DurableRecord<Stored>
  #last: number
  #signed: number
  #reserving: Reservation

  private constructor(record: DurableRecord<Stored>) {
    this.#record = record
    const { reserved, signed } = record.value
    this.#last = reserved
    this.#signed = signed
    this.#reserving = { ...nothingUnderWay, upTo: reserved }
  }

  /** Begins to count for a new key. */
  static async create(file: string): Promise<Counter> {
    await createRecord<Stored>(file, { reserved: 0, signed: 0 })
    return Counter.open(file)
  }

  /** Goes on where the file left off. Throws `SignerFault` when it is missing: counting anew would repeat serials. */
  static async open(file: string): Promise<Counter> {
    return new Counter(await openRecord<Stored>(file))
  }

  get counts(): Counts {
    return { lastSerial: this.#last, signed: this.#signed }
  }

  /** Takes that many serials, in a row, once they are reserved. Gives the first. */
  async take(count: number): Promise<number> {
    while (this.#reserving.upTo < this.#last + count || !this.#reserving.isDurable) await this.#reserve(count)
    const first = this.#last + 1
    this.#last += count
    return first
  }

  async #reserve(count: number): Promise<void> {
    const needed = this.#last + count
    if (this.#reserving.upTo < needed) {
      const upTo = needed + BLOCK_SERIALS
      const done = this.#record.write({ reserved: upTo, signed: this.#signed })
      this.#reserving = { upTo, done, isDurable: false }
    }
    const reserving = this.#reserving
    try {
      await reserving.done
      reserving.isDurable = true
    } catch (error) {
      // What may not be on the disk is not reserved; whoever comes next tries again.
      if (this.#reserving === reserving) this.#reserving = { ...nothingUnderWay, upTo: this.#last }
      throw error
    }
  }

  /** Counts signatures; they may leave once this settles. */
  async count(signatures: number): Promise<void> {
    this.#signed += signatures
    await this.#record.write({ reserved: this.#reserving.upTo, signed: this.#signed })
  }

  /** Gives back what is left of the block. Nothing may be taken afterwards. */
  async close(): Promise<void> {
    this.#reserving = { ...nothingUnderWay, upTo: this.#last }
    await this.#record.write({ reserved: this.#last, signed: this.#signed })
    await this.#record.close()
  }
}
