/**
 * A simulated disk. What is written is seen at once and survives the end of its process; it survives a loss of power
 * only once it was synced. Before that each sector of it may or may not have been written; and of the changes of names in
 * folders a first part is there, as a journal leaves them.
 * @module
 */

import { dirname } from 'node:path'
import type { Random } from './random.ts'

export interface FileFlags {
  readonly read: boolean
  readonly write: boolean
  readonly append: boolean
  readonly create: boolean
  readonly exclusive: boolean
  readonly truncate: boolean
  /** Each write is durable when it returns. */
  readonly sync: boolean
}

interface Change {
  readonly offset: number
  /** Undefined: the file is cut at `offset`. */
  readonly bytes: Uint8Array | undefined
}

const SECTOR_BYTES = 512

/** Bytes that grow. */
class Content {
  #bytes = Buffer.alloc(64)
  length = 0

  apply({ offset, bytes }: Change): void {
    if (bytes === undefined) {
      this.#bytes.fill(0, Math.min(offset, this.length), this.length)
      this.length = offset
      return
    }
    const end = offset + bytes.length
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * this.#bytes.length))
      this.#bytes.copy(grown, 0, 0, this.length)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, offset)
    this.length = Math.max(this.length, end)
  }

  read(offset: number, length: number): Buffer {
    return Buffer.from(this.#bytes.subarray(offset, Math.min(this.length, offset + length)))
  }
}

export class SimulatedFile {
  mode: number
  readonly #seen = new Content()
  #durable = new Content()
  #pending: Change[] = []

  constructor(mode: number) {
    this.mode = mode
  }

  get size(): number {
    return this.#seen.length
  }

  read(offset = 0, length: number = this.size): Buffer {
    return this.#seen.read(offset, length)
  }

  /** What a loss of power would leave at least. */
  readDurable(offset = 0, length: number = this.#durable.length): Buffer {
    return this.#durable.read(offset, length)
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#change({ offset, bytes: Uint8Array.from(bytes) })
  }

  truncate(size: number): void {
    this.#change({ offset: size, bytes: undefined })
  }

  sync(): void {
    for (const change of this.#pending) this.#durable.apply(change)
    this.#pending = []
  }

  /**
   * This file after a loss of power. A disk writes each sector whole or not at all, in any order: so each has come as far as
   * it has, and the length of the file as far as that has.
   */
  afterPowerCut(random: Random): SimulatedFile {
    const left = new SimulatedFile(this.mode)
    const changes = this.#pending
    const writtenOf = new Map<number, number>()
    const isWritten = (sector: number, at: number): boolean => {
      const written = writtenOf.get(sector) ?? random.integer(0, changes.length)
      writtenOf.set(sector, written)
      return at < written
    }
    let length = this.#durable.length
    const lengths = [length]
    left.write(0, this.#durable.read(0, length))
    for (const [at, { offset, bytes }] of changes.entries()) {
      length = bytes === undefined ? offset : Math.max(length, offset + bytes.length)
      lengths.push(length)
      const end = bytes === undefined ? left.size : offset + bytes.length
      for (let from = offset; from < end; ) {
        const to = Math.min(end, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES)
        const part = bytes?.subarray(from - offset, to - offset) ?? new Uint8Array(to - from)
        if (isWritten(Math.floor(from / SECTOR_BYTES), at)) left.write(from, part)
        from = to
      }
    }
    const kept = random.pick(lengths)
    if (left.size < kept) left.write(kept - 1, Uint8Array.of(0))
    left.truncate(kept)
    left.sync()
    return left
  }

  #change(change: Change): void {
    this.#seen.apply(change)
    this.#pending.push(change)
  }
}

type Names = Map<string, SimulatedFile>

interface NameChange {
  readonly folders: readonly string[]
  readonly apply: (names: Names) => void
}

export class Disk {
  #names: Names = new Map()
  #durableNames: Names = new Map()
  #pending: NameChange[] = []
  readonly #folders = new Set<string>()

  file(path: string): SimulatedFile | undefined {
    return this.#names.get(path)
  }

  isFolder(path: string): boolean {
    return this.#folders.has(path)
  }

  /** Folders themselves never get lost: who makes one does so long before anything depends on it. */
  makeFolder(path: string): string | undefined {
    if (this.#folders.has(path)) return undefined
    const above = dirname(path)
    const first = above === path ? undefined : this.makeFolder(above)
    this.#folders.add(path)
    return first ?? path
  }

  list(folder: string): string[] {
    const below = `${folder}/`
    const names = [...this.#names.keys(), ...this.#folders]
      .filter((path) => path.startsWith(below))
      .map((path) => path.slice(below.length).split('/', 1)[0] as string)
    return [...new Set(names)].sort()
  }

  /** Throws what Node throws, by its code. */
  open(path: string, flags: FileFlags, mode: number): SimulatedFile {
    const found = this.#names.get(path)
    if (found === undefined && (!flags.create || !this.#folders.has(dirname(path))))
      throw fault('ENOENT', path)
    if (found !== undefined && flags.exclusive) throw fault('EEXIST', path)
    const file = found ?? new SimulatedFile(mode)
    if (found === undefined) this.#changeNames([dirname(path)], (names) => names.set(path, file))
    else if (flags.truncate && file.size > 0) file.truncate(0)
    return file
  }

  rename(from: string, to: string): void {
    const file = this.#names.get(from)
    if (file === undefined) throw fault('ENOENT', from)
    this.#changeNames([dirname(from), dirname(to)], (names) => {
      names.delete(from)
      names.set(to, file)
    })
  }

  remove(path: string): boolean {
    if (!this.#names.has(path)) return false
    this.#changeNames([dirname(path)], (names) => names.delete(path))
    return true
  }

  syncFolder(path: string): void {
    // A journal is written in order: what came before the last change of this folder is durable with it.
    const last = this.#pending.findLastIndex(({ folders }) => folders.includes(path))
    for (const { apply } of this.#pending.splice(0, last + 1)) apply(this.#durableNames)
  }

  /** Power is lost and comes back. */
  cutPower(random: Random): void {
    for (const { apply } of this.#pending.slice(0, random.integer(0, this.#pending.length))) {
      apply(this.#durableNames)
    }
    this.#pending = []
    const left = new Map<SimulatedFile, SimulatedFile>()
    for (const [path, file] of this.#durableNames) {
      const survivor = left.get(file) ?? file.afterPowerCut(random)
      left.set(file, survivor)
      this.#durableNames.set(path, survivor)
    }
    this.#names = new Map(this.#durableNames)
  }

  /** A copy of everything, as a backup of a running machine has it. */
  copy(): ReadonlyMap<string, { readonly bytes: Buffer; readonly mode: number }> {
    return new Map([...this.#names].map(([path, file]) => [path, { bytes: file.read(), mode: file.mode }]))
  }

  /** Puts a copy in the place of everything. */
  restore(copy: ReturnType<Disk['copy']>): void {
    this.#names = new Map()
    for (const [path, { bytes, mode }] of copy) {
      const file = new SimulatedFile(mode)
      file.write(0, bytes)
      file.sync()
      this.#names.set(path, file)
    }
    this.#durableNames = new Map(this.#names)
    this.#pending = []
  }

  #changeNames(folders: readonly string[], apply: (names: Names) => void): void {
    apply(this.#names)
    this.#pending.push({ folders, apply })
  }
}

export function fault(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
