/**
 * How far a log has been released: its size, and the root there, which tells whether the entries still are what they
 * were. It is written over and over in place, so there are two slots in turn, and a torn one leaves the other.
 *
 *     uint64 size; opaque root[32]; opaque checksum[8];     the next slot begins 64 bytes further
 *
 * It is not synced: a killed process leaves it exact, and after a power cut it may lag, never lead.
 * @module
 */

import { hash } from 'node:crypto'
import { emptyRoot, HASH_BYTES } from '@countersign/validator/tree'
import type { Disk, DiskFile } from './disk.ts'
import { LogFault } from './fault.ts'

/** A tree by its size and root. */
export interface Head {
  readonly size: number
  readonly root: Uint8Array
}

export const emptyHead: Head = { size: 0, root: emptyRoot }

const HEAD_BYTES = 8 + HASH_BYTES
const CHECKSUM_BYTES = 8
const SLOT_BYTES = 64

export class Mark {
  readonly #file: DiskFile
  #head: Head
  /** The slot that does not hold the newest head. */
  #nextSlot: 0 | 1

  private constructor(file: DiskFile, head: Head, nextSlot: 0 | 1) {
    this.#file = file
    this.#head = head
    this.#nextSlot = nextSlot
  }

  /** A mark of nothing released, in place of whatever is there. */
  static async create(disk: Disk, path: string): Promise<void> {
    await disk.replace(path, encodeSlot(emptyHead))
  }

  static async open(disk: Disk, path: string): Promise<Mark> {
    const file = await disk.open(path, 'overwrite')
    if (file === undefined) throw new LogFault('mark_malformed', `${path} is gone`)
    const [first, second] = [
      decodeSlot(await file.read(0, SLOT_BYTES)),
      decodeSlot(await file.read(SLOT_BYTES, SLOT_BYTES)),
    ]
    if (first !== undefined && (second === undefined || second.size <= first.size))
      return new Mark(file, first, 1)
    if (second !== undefined) return new Mark(file, second, 0)
    throw new LogFault('mark_malformed', `${path} is malformed`)
  }

  get head(): Head {
    return this.#head
  }

  async set(head: Head): Promise<void> {
    await this.#file.write(encodeSlot(head), this.#nextSlot * SLOT_BYTES)
    this.#head = head
    this.#nextSlot = this.#nextSlot === 0 ? 1 : 0
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

function encodeSlot({ size, root }: Head): Uint8Array {
  const slot = Buffer.alloc(SLOT_BYTES)
  slot.writeBigUInt64BE(BigInt(size))
  slot.set(root, 8)
  slot.set(checksum(slot), HEAD_BYTES)
  return slot
}

function decodeSlot(slot: Uint8Array): Head | undefined {
  if (slot.length < SLOT_BYTES) return undefined
  const bytes = Buffer.from(slot)
  if (checksum(bytes).compare(bytes, HEAD_BYTES, HEAD_BYTES + CHECKSUM_BYTES) !== 0) return undefined
  return { size: Number(bytes.readBigUInt64BE()), root: bytes.subarray(8, HEAD_BYTES) }
}

function checksum(slot: Buffer): Buffer {
  return hash('sha256', slot.subarray(0, HEAD_BYTES), 'buffer').subarray(0, CHECKSUM_BYTES)
}
