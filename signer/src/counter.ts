/**
 * The serials and the signatures of one key, counted so that no serial is ever given twice and no signature leaves
 * uncounted, whenever the process dies. Serials are reserved in blocks before the first of a block is given, so that a
 * crash skips the rest of a block rather than repeat any; an orderly stop skips none. See spec/signing.md, section 4.
 * @module
 */

import { createRecord, DurableRecord } from './record.ts'

/** A third of a second under full load: one more write for many, and little lost in a crash. */
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

export class Counter {
  readonly #record: DurableRecord<Stored>
  #last: number

  /** Goes on where the file left off. Throws `SignerFault` when it is missing: counting anew would repeat serials. */
  constructor(file: string) {
    this.#record = new DurableRecord(file)
    this.#last = this.#record.value.reserved
  }

  /** Begins to count for a new key. */
  static create(file: string): Counter {
    createRecord(file, { reserved: 0, signed: 0 } satisfies Stored)
    return new Counter(file)
  }

  get counts(): Counts {
    return { lastSerial: this.#last, signed: this.#record.value.signed }
  }

  /** Takes that many serials, in a row. Gives the first. */
  take(count: number): number {
    const { reserved, signed } = this.#record.value
    const last = this.#last + count
    if (last > reserved) this.#record.write({ reserved: last + BLOCK_SERIALS, signed })
    const first = this.#last + 1
    this.#last = last
    return first
  }

  /** Counts signatures; they may leave when this returns. */
  count(signatures: number): void {
    const { reserved, signed } = this.#record.value
    this.#record.write({ reserved, signed: signed + signatures })
  }

  /** Gives back what is left of the block. Nothing may be taken afterwards. */
  close(): void {
    this.#record.write({ reserved: this.#last, signed: this.#record.value.signed })
    this.#record.close()
  }
}
