/**
 * The log of a witness: appends durably, countersigns what is durable, publishes checkpoints, and begins a new epoch
 * when one is sealed.
 *
 * Group commit: whatever arrives while the disk syncs goes into the next sync together, so that the disk's latency is
 * paid once for all of it. One thing happens at a time; a fault ends everything.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import { formatCheckpoint, openCheckpoint } from '@countersign/validator/checkpoint'
import { type Entry, leafHash } from '@countersign/validator/entry'
import { signNote } from '@countersign/validator/note'
import { receiptKeyId } from '@countersign/validator/receipt'
import type { CountersignedSubtree } from '@countersign/validator/roots'
import { EntryRefusal } from './admit.ts'
import { type Countersigner, countersignBatch, windowStart } from './countersign.ts'
import type { Disk } from './disk.ts'
import { EpochLog, tileReader } from './epoch.ts'
import { LogFault } from './fault.ts'
import { checkpointSigners, type Identity, logVkey, originOf, ownVerifiers } from './identity.ts'
import { emptyHead, type Head } from './mark.ts'
import { Serials } from './serials.ts'
import { type LoggedManifest, readState, type SealedEpoch, type State, writeState } from './state.ts'
import { entriesOf, levelLength, TILE_WIDTH, type TileName, tileAt } from './tiles.ts'

/** What the log takes from the world. */
export interface World {
  readonly disk: Disk
  /** Seconds since the epoch. */
  now(): number
  /** Hears of each subtree whose receipts have left. */
  released?(log: Countersigner, subtrees: readonly CountersignedSubtree[]): void
}

/** One commit takes no more than this, so that the first of a flood does not wait for the last to be hashed. */
const COMMIT_ENTRIES_MAX = 4096

/** An idle log signs anew this often, so that silence is told from absence. */
const IDLE_SECONDS_MAX = 5

interface Staged {
  readonly bytes: Uint8Array
  readonly entry: Entry
  readonly resolve: (receipt: Uint8Array) => void
  readonly reject: (fault: Error) => void
}

/** An epoch as everybody sees it. */
interface Published {
  readonly note: string
  readonly size: number
  readonly signedAt: number
  readonly readTile: (tile: TileName) => Promise<Uint8Array>
}

export class WitnessLog {
  readonly #world: World
  readonly #identity: Identity
  readonly #faulted = Promise.withResolvers<Error>()
  readonly #published = new Map<string, Published>()
  readonly #sealed: SealedEpoch[]
  /** As of the last entry that was accepted, and as of the last that is durable. */
  readonly #serials: Serials
  readonly #releasedSerials: Serials
  /** The last that is durable. */
  #manifest: LoggedManifest | undefined
  #epoch: string
  #current: EpochLog
  #countersigner: Countersigner
  #staged: Staged[] = []
  #turns: Promise<void> = Promise.resolve()
  #fault: Error | undefined

  private constructor(world: World, identity: Identity, state: State, current: EpochLog, serials: Serials) {
    this.#world = world
    this.#identity = identity
    this.#epoch = state.epoch
    this.#current = current
    this.#countersigner = countersignerOf(identity, state.epoch)
    this.#sealed = [...state.sealed]
    this.#serials = serials
    this.#releasedSerials = new Serials(serials)
    this.#manifest = state.manifest
    for (const { epoch, checkpoint } of state.sealed)
      this.#show(epoch, checkpoint, openOwn(identity, epoch, checkpoint))
  }

  /** Opens the log, having repaired what a crash leaves behind. Throws `LogFault` for anything that a crash does not. */
  static async open(world: World, identity: Identity): Promise<WitnessLog> {
    const state = await readState(world.disk)
    const serials = new Serials(state.serials)
    const folder = folderOf(state.epoch)
    if (state.checkpoint === undefined) await EpochLog.create(world.disk, folder)
    const head = state.checkpoint === undefined ? emptyHead : openOwn(identity, state.epoch, state.checkpoint)
    let { manifest } = state
    const current = await EpochLog.open(world.disk, folder, head, (entry, index) => {
      if (!serials.take(entry)) return false
      if (entry.tokenType === 'manifest') manifest = loggedManifest(entry, state.epoch, index)
      return true
    })
    const log = new WitnessLog(world, identity, { ...state, ...(manifest && { manifest }) }, current, serials)
    await log.publish()
    return log
  }

  get name(): string {
    return this.#identity.name
  }

  get epoch(): string {
    return this.#epoch
  }

  /** What the next epoch will be called: the next number that no epoch has been called by. */
  get nextEpoch(): string {
    const used = new Set([this.#epoch, ...this.#sealed.map(({ epoch }) => epoch)])
    const last = Number(this.#epoch)
    // One more than a larger number may be the same number.
    let number = Number.isSafeInteger(last) ? last + 1 : 1
    while (used.has(String(number))) number++
    return String(number)
  }

  get firstEpoch(): string {
    return this.#sealed[0]?.epoch ?? this.#epoch
  }

  get origin(): string {
    return originOf(this.#identity, this.#epoch)
  }

  get nextOrigin(): string {
    return originOf(this.#identity, this.nextEpoch)
  }

  /** How many entries of this epoch are durable. */
  get size(): number {
    return this.#current.released.size
  }

  get sealedOrigins(): readonly string[] {
    return this.#sealed.map(({ epoch }) => originOf(this.#identity, epoch))
  }

  /** The verifier key that an epoch's checkpoints are signed under. */
  vkey(epoch = this.#epoch): string {
    return logVkey(this.#identity, originOf(this.#identity, epoch))
  }

  /** Version of the newest manifest in the log, in whichever epoch. */
  get manifestVersion(): number {
    return this.#releasedSerials.manifestVersion
  }

  /** SHA-256 over its payload, base64url; undefined before the first, and while it is one of before this was remembered. */
  get manifestSha256(): string | undefined {
    return this.#manifest?.version === this.manifestVersion ? this.#manifest.sha256 : undefined
  }

  /** Settles when the log can no longer go on; it never rejects. */
  get faulted(): Promise<Error> {
    return this.#faulted.promise
  }

  /**
   * Appends an entry; its receipt comes once it is durable. Throws `EntryRefusal('serial_repeated')` at once; rejects
   * with the fault when it is unknown whether the entry is in the log: then no receipt for it was released.
   */
  append(bytes: Uint8Array, entry: Entry): Promise<Uint8Array> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault)
    if (!this.#serials.take(entry)) throw new EntryRefusal('serial_repeated')
    return new Promise((resolve, reject) => {
      this.#staged.push({ bytes, entry, resolve, reject })
      if (this.#staged.length === 1) this.#takeTurn(() => this.#commit()).catch(() => {})
    })
  }

  /**
   * The receipt of the last manifest once more, for whoever never got it; undefined for every other entry. Nothing is
   * logged, and what it says was true before.
   */
  async receiptAgain(bytes: Uint8Array, { serial }: Entry): Promise<Uint8Array | undefined> {
    if (this.#manifest?.version !== serial) return undefined
    const { version, epoch, index } = this.#manifest
    const tile = tileAt('entries', index - (index % TILE_WIDTH), index + 1)
    const read = tileReader(this.#world.disk, folderOf(epoch))
    const entries = entriesOf(await read(tile)) ?? []
    if (Buffer.compare(entries.at(-1) ?? new Uint8Array(), bytes) !== 0) return undefined
    const leaves = entries.slice(windowStart(index) % TILE_WIDTH).map(leafHash)
    const countersigner = countersignerOf(this.#identity, epoch)
    return countersignBatch(countersigner, { first: index, serials: [version], leaves }).receipts[0]
  }

  /** Signs and shows a checkpoint over all that is durable, which is first remembered for good. */
  publish(): Promise<void> {
    return this.#takeTurn(() => this.#publish())
  }

  /** Publishes when the log has grown, or when the checkpoint shown is about to look stale. */
  async publishIfDue(): Promise<void> {
    const shown = this.#published.get(this.#epoch)
    const idleSeconds = this.#world.now() - (shown?.signedAt ?? 0)
    if (shown?.size !== this.size || idleSeconds >= IDLE_SECONDS_MAX) await this.publish()
  }

  /** Ends `epoch` with a last checkpoint and begins the next; false when another epoch is open. */
  seal(epoch: string): Promise<boolean> {
    return this.#takeTurn(async () => {
      if (epoch !== this.#epoch) return false
      const next = this.nextEpoch
      await this.#publish()
      const sealed = { epoch, checkpoint: this.#published.get(epoch)?.note ?? '' }
      await EpochLog.create(this.#world.disk, folderOf(next))
      const checkpoint = this.#sign(next, emptyHead)
      // From here on the old epoch is sealed; a crash before leaves it open, and the new one's empty files.
      await this.#remember({ epoch: next, checkpoint, sealed: [...this.#sealed, sealed] })
      await this.#current.close()
      this.#current = await EpochLog.open(this.#world.disk, folderOf(next), emptyHead, () => false)
      this.#countersigner = countersignerOf(this.#identity, next)
      this.#sealed.push(sealed)
      this.#epoch = next
      this.#show(next, checkpoint, emptyHead)
      this.#showNext()
      return true
    })
  }

  /** The newest checkpoint of an epoch, as a signed note. */
  checkpoint(epoch = this.#epoch): string | undefined {
    return this.#published.get(epoch)?.note
  }

  /** A tile or bundle of an epoch, as far as its checkpoint reaches; undefined beyond. */
  async readTile(tile: TileName, epoch = this.#epoch): Promise<Uint8Array | undefined> {
    const published = this.#published.get(epoch)
    if (published === undefined) return undefined
    if (tile.index * TILE_WIDTH + tile.width > levelLength(tile.kind, published.size)) return undefined
    return published.readTile(tile)
  }

  /** Waits for what is under way and closes the files. */
  async close(): Promise<void> {
    if (this.#fault === undefined) await this.publish()
    await this.#turns
    await this.#current.close()
  }

  async #commit(): Promise<void> {
    const batch = this.#staged.slice(0, COMMIT_ENTRIES_MAX)
    const serials = batch.map(({ entry }) => entry.serial)
    const before = this.size
    const { receipts, subtrees } = await this.#current.append(
      batch.map(({ bytes }) => bytes),
      ({ first, leaves }) => countersignBatch(this.#countersigner, { first, leaves, serials }),
    )
    this.#staged.splice(0, batch.length)
    for (const [at, { entry, resolve }] of batch.entries()) {
      this.#releasedSerials.take(entry)
      if (entry.tokenType === 'manifest') this.#manifest = loggedManifest(entry, this.#epoch, before + at)
      resolve(receipts[at] as Uint8Array)
    }
    this.#world.released?.(this.#countersigner, subtrees)
    if (this.#staged.length > 0) this.#takeTurn(() => this.#commit()).catch(() => {})
  }

  async #publish(): Promise<void> {
    const head = this.#current.released
    const checkpoint = this.#sign(this.#epoch, head)
    if (this.#published.get(this.#epoch)?.size !== head.size) {
      await this.#current.storeTiles(head.size)
      await this.#remember({ epoch: this.#epoch, checkpoint, sealed: this.#sealed })
    }
    this.#show(this.#epoch, checkpoint, head)
    this.#showNext()
  }

  /** Manifests name the next epoch's log before it begins, so whoever reads logs finds it there, empty. */
  #showNext(): void {
    const next = this.nextEpoch
    const shown = this.#published.get(next)
    if (shown !== undefined && this.#world.now() - shown.signedAt < IDLE_SECONDS_MAX) return
    this.#show(next, this.#sign(next, emptyHead), emptyHead)
  }

  #remember(state: Omit<State, 'serials' | 'manifest'>): Promise<void> {
    const manifest = this.#manifest
    const serials = [...this.#releasedSerials]
    return writeState(this.#world.disk, { ...state, serials, ...(manifest && { manifest }) })
  }

  #sign(epoch: string, head: Head): string {
    const origin = originOf(this.#identity, epoch)
    return signNote(
      formatCheckpoint({ origin, ...head }),
      checkpointSigners(this.#identity, origin, this.#world.now()),
    )
  }

  #show(epoch: string, note: string, { size }: Head): void {
    const readTile = this.#published.get(epoch)?.readTile ?? tileReader(this.#world.disk, folderOf(epoch))
    this.#published.set(epoch, { note, size, signedAt: this.#world.now(), readTile })
  }

  /** One at a time, in order. Whatever a turn throws is a fault, and no turn comes after it. */
  #takeTurn<Result>(turn: () => Promise<Result>): Promise<Result> {
    const result = this.#turns.then(() => {
      if (this.#fault !== undefined) throw this.#fault
      return turn()
    })
    this.#turns = result.then(
      () => {},
      (error: Error) => this.#end(error),
    )
    return result
  }

  #end(error: Error): void {
    if (this.#fault !== undefined) return
    this.#fault =
      error instanceof LogFault ? error : new LogFault('disk_failed', error.message, { cause: error })
    for (const { reject } of this.#staged.splice(0)) reject(this.#fault)
    this.#faulted.resolve(this.#fault)
  }
}

function loggedManifest({ serial, payloadSha256 }: Entry, epoch: string, index: number): LoggedManifest {
  return { version: serial, sha256: encode(payloadSha256), epoch, index }
}

function countersignerOf(identity: Identity, epoch: string): Countersigner {
  const { name, receipt } = identity
  const origin = originOf(identity, epoch)
  return {
    witness: name,
    origin,
    keyId: receiptKeyId(origin, receipt.publicKey),
    privateKey: receipt.privateKey,
  }
}

function folderOf(epoch: string): string {
  return `epochs/${epoch}`
}

/** A checkpoint that this witness signed before, read back. */
function openOwn(identity: Identity, epoch: string, note: string): Head {
  const origin = originOf(identity, epoch)
  try {
    // It was signed by whatever time it was then; only a validator asks how that compares with now.
    return openCheckpoint(note, origin, ownVerifiers(identity, origin), Number.POSITIVE_INFINITY)
  } catch (error) {
    throw new LogFault('state_malformed', `the checkpoint of ${origin} in the state is not ours`, {
      cause: error,
    })
  }
}
