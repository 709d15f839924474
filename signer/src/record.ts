/**
 * A small value in a file of its own that survives a crash at any point. Two slots are written in turn, each with a
 * checksum, so that a write which was cut short leaves the one before:
 *
 *     <SHA-256 of the JSON, hex> <JSON: {"n": count of writes, "value": …}>      padded with spaces to 512 bytes
 *
 * Node's permission model withholds `fsync`, so the file is open with O_DSYNC: a write is durable when it returns.
 * @module
 */

import { hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { SignerFault } from './fault.ts'

/** One sector, which a disk writes whole or not at all. */
const SLOT_BYTES = 512

export interface DurableRecord<Value> {
  readonly value: Value
  /** Settles once the value is durable. Writes that were asked for while one is under way become one. */
  write(value: Value): Promise<void>
  close(): Promise<void>
}

/** Makes a record. Fails where the file exists: what it remembers must not be taken back. */
export async function createRecord<Value>(file: string, value: Value): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_DSYNC } = constants
  const handle = await open(file, O_WRONLY | O_CREAT | O_EXCL | O_DSYNC, 0o600)
  try {
    await handle.write(Buffer.concat([encodeSlot(0, value), Buffer.alloc(SLOT_BYTES, ' ')]), 0)
  } finally {
    await handle.close()
  }
}

/** Opens a record. Throws `SignerFault` when it is missing or neither slot is whole. */
export async function openRecord<Value>(file: string): Promise<DurableRecord<Value>> {
  const handle = await open(file, constants.O_RDWR | constants.O_DSYNC).catch((error: unknown) => {
    throw new SignerFault(`${file} cannot be opened (${(error as NodeJS.ErrnoException).code})`)
  })
  const bytes = Buffer.alloc(2 * SLOT_BYTES)
  await handle.read(bytes, 0, bytes.length, 0)
  const slots = [bytes.subarray(0, SLOT_BYTES), bytes.subarray(SLOT_BYTES)].map(decodeSlot<Value>)
  const [newest] = slots.filter((slot) => slot !== undefined).sort((a, b) => b.n - a.n)
  if (newest === undefined) {
    await handle.close()
    throw new SignerFault(`${file} is damaged; what it remembers cannot be made up`)
  }
  return new OpenRecord(handle, newest)
}

interface Slot<Value> {
  readonly n: number
  readonly value: Value
}

class OpenRecord<Value> implements DurableRecord<Value> {
  readonly #handle: FileHandle
  #n: number
  #value: Value
  #last: Promise<void> = Promise.resolve()
  /** A write that has not begun, and takes a newer value along. */
  #queued: Promise<void> | undefined

  constructor(handle: FileHandle, { n, value }: Slot<Value>) {
    this.#handle = handle
    this.#n = n
    this.#value = value
  }

  get value(): Value {
    return this.#value
  }

  write(value: Value): Promise<void> {
    this.#value = value
    if (this.#queued !== undefined) return this.#queued
    const queued = this.#last.then(() => {
      this.#queued = undefined
      return this.#put()
    })
    this.#queued = queued
    this.#last = queued.catch(() => {})
    return queued
  }

  async close(): Promise<void> {
    await this.#last
    await this.#handle.close()
  }

  async #put(): Promise<void> {
    const n = this.#n + 1
    await this.#handle.write(encodeSlot(n, this.#value), 0, SLOT_BYTES, (n % 2) * SLOT_BYTES)
    // Only now: after a write that failed the same slot is tried again, and the other stays whole.
    this.#n = n
  }
}

function encodeSlot(n: number, value: unknown): Buffer {
  const json = JSON.stringify({ n, value })
  const text = `${hash('sha256', json)} ${json}`
  if (text.length > SLOT_BYTES) throw new RangeError('the value outgrew its slot')
  return Buffer.from(text.padEnd(SLOT_BYTES))
}

function decodeSlot<Value>(bytes: Buffer): Slot<Value> | undefined {
  const text = bytes.toString('latin1').trimEnd()
  const json = text.slice(65)
  return text.slice(0, 65) === `${hash('sha256', json)} ` ? (JSON.parse(json) as Slot<Value>) : undefined
}
