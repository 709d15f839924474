/**
 * A witness's log for tests: on a disk in memory that can be told to fail, to lose what was not synced, and to come
 * back after a crash; with entries at hand. Nothing here is for production.
 * @module
 */

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from '@countersign/validator/base64url'
import { type Entry, encodeEntry } from '@countersign/validator/entry'
import type { TestWorld } from '@countersign/validator/testing'
import { configSchema, type WitnessConfig } from './config.ts'
import type { Disk, DiskFile } from './disk.ts'
import { createIdentity, type Identity, type PublicIdentity } from './identity.ts'
import { initWitness } from './init.ts'
import type { WitnessLog } from './log.ts'
import type { LogSource } from './source.ts'
import { writeState } from './state.ts'
import { parseTilePath } from './tiles.ts'

/** Keys are slow to make and never change in a test: one identity serves them all. */
export const testIdentity: Identity = makeIdentity()

function makeIdentity(): Identity {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-identity-'))
  try {
    return createIdentity(folder, 'witness.test')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const testNow = 1_800_000_000

/** An entry that differs from every other by its serial. */
export function testEntry(serial: number, change: Partial<Entry> = {}): { bytes: Uint8Array; entry: Entry } {
  const entry: Entry = {
    tokenType: 'access',
    keyThumbprint: Buffer.alloc(32, 7),
    issuedAt: testNow,
    expiresAt: testNow + 300,
    serial,
    payloadSha256: createHash('sha256').update(`payload ${serial}`).digest(),
    ...change,
  }
  return { entry, bytes: encodeEntry(entry) }
}

/** A new witness's disk, as `init` leaves it. */
export async function initialDisk(): Promise<FaultyDisk> {
  const disk = new FaultyDisk()
  await writeState(disk, { epoch: '1', sealed: [], serials: [] })
  return disk.restart()
}

/** The log as its HTTP server would show it. */
export function sourceOf(log: WitnessLog, epoch = log.epoch): LogSource {
  return {
    read: async (path) => {
      if (path === 'checkpoint') return Buffer.from(log.checkpoint(epoch) ?? '')
      const tile = parseTilePath(path)
      return tile && log.readTile(tile, epoch)
    },
  }
}

export interface Faults {
  /** Which write, counted from 1, fails; truncations and replacements are writes too. */
  readonly failWrite?: number
  /** Which sync fails. */
  readonly failSync?: number
  /** What of a failing write reaches the file. */
  readonly lands?: 'all' | 'half' | 'nothing'
}

interface Content {
  /** What every reader sees. */
  bytes: Buffer
  /** What a power cut leaves. */
  durable: Buffer
}

/** Behaves as a disk does; after a failure, as one that is gone. */
export class FaultyDisk implements Disk {
  readonly #files: Map<string, Content>
  readonly #faults: Faults
  #writeCount = 0
  #syncCount = 0
  /** Whether the fault that was asked for has come. */
  faulted = false

  constructor(faults: Faults = {}, files = new Map<string, Content>()) {
    this.#faults = faults
    this.#files = files
  }

  /** The same disk under the next process: with all that was written, or after a power cut with what was synced. */
  restart({ powerCut = false, faults = {} }: { powerCut?: boolean; faults?: Faults } = {}): FaultyDisk {
    const files = new Map<string, Content>()
    for (const [path, { bytes, durable }] of this.#files) {
      const left = Buffer.from(powerCut ? durable : bytes)
      files.set(path, { bytes: left, durable: left })
    }
    return new FaultyDisk(faults, files)
  }

  /** Changes a file behind everybody's back. */
  tamper(path: string, change: (bytes: Buffer) => Buffer | undefined): void {
    const bytes = change(Buffer.from(this.#files.get(path)?.bytes ?? Buffer.alloc(0)))
    if (bytes === undefined) this.#files.delete(path)
    else this.#files.set(path, { bytes, durable: bytes })
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    return this.#files.get(path)?.bytes
  }

  async replace(path: string, content: Uint8Array): Promise<void> {
    const bytes = Buffer.from(content)
    // A rename is there or not: half of one is none.
    await this.#write((lands) => {
      if (lands === 'all')
        this.#files.set(path, { bytes, durable: this.#files.get(path)?.durable ?? Buffer.alloc(0) })
    })
    await this.#sync(() => this.#files.set(path, { bytes, durable: bytes }))
  }

  async create(path: string): Promise<void> {
    if (this.#files.has(path)) return
    await this.#write((lands) => {
      if (lands === 'all') this.#files.set(path, { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) })
    })
  }

  async open(path: string, mode: 'append' | 'overwrite' | 'read'): Promise<DiskFile | undefined> {
    const content = this.#files.get(path)
    if (content === undefined) return undefined
    return {
      size: async () => content.bytes.length,
      read: async (offset, length) => Buffer.from(content.bytes.subarray(offset, offset + length)),
      write: (bytes, offset) =>
        this.#write((lands) => {
          const landing = bytes.subarray(0, { all: bytes.length, half: bytes.length >> 1, nothing: 0 }[lands])
          const at = mode === 'append' ? content.bytes.length : offset
          const after = content.bytes.subarray(at + landing.length)
          content.bytes = Buffer.concat([content.bytes.subarray(0, at), landing, after])
        }),
      sync: () =>
        this.#sync(() => {
          content.durable = Buffer.from(content.bytes)
        }),
      truncate: (size) =>
        this.#write((lands) => {
          if (lands === 'all') content.bytes = content.bytes.subarray(0, size)
        }),
      close: async () => {},
    }
  }

  async #write(apply: (lands: 'all' | 'half' | 'nothing') => void): Promise<void> {
    this.#refuseIfGone()
    this.#writeCount++
    const fails = this.#writeCount === this.#faults.failWrite
    apply(fails ? (this.#faults.lands ?? 'nothing') : 'all')
    this.#failIf(fails)
  }

  async #sync(apply: () => void): Promise<void> {
    this.#refuseIfGone()
    this.#syncCount++
    const fails = this.#syncCount === this.#faults.failSync
    if (!fails || this.#faults.lands === 'all') apply()
    this.#failIf(fails)
  }

  #failIf(fails: boolean): void {
    if (!fails) return
    this.faulted = true
    throw new Error('the disk failed, as it was told to')
  }

  #refuseIfGone(): void {
    if (this.faulted) throw new Error('the disk is gone')
  }
}

/** A witness's folder and configuration beside a test world's authority; who calls removes the folder. */
export async function prepareWitness(
  world: TestWorld,
  authority: string,
): Promise<{ readonly folder: string; readonly config: WitnessConfig; readonly keys: PublicIdentity }> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-witness-'))
  const file = (name: string, content: unknown): string => {
    writeFileSync(join(folder, name), JSON.stringify(content), { mode: 0o600 })
    return join(folder, name)
  }
  const keys = await initWitness(join(folder, 'data'), 'witness.test', '1')
  const config = configSchema.parse({
    data: join(folder, 'data'),
    listen: { port: 0 },
    append_socket: join(folder, 'append.sock'),
    trust_anchor: file('trust-anchor.json', world.trustAnchor),
    charter: file('charter.json', world.charterDocuments[0]),
    authority,
    epoch: '1',
  })
  return { folder, config, keys }
}

/** The entry that a token of the test world's key has. */
export function worldEntry(world: TestWorld, serial: number, change: Partial<Entry> = {}): Uint8Array {
  return testEntry(serial, {
    keyThumbprint: decode(world.keys.consumer.kid),
    issuedAt: world.now,
    expiresAt: world.now + 300,
    ...change,
  }).bytes
}
