/**
 * Goal: the log holds exactly what it released receipts for and what it could not help keeping, whatever the disk does;
 * it never forks, and it does not open on anything that a crash cannot explain. Method: a disk in memory fails at each
 * of its writes and syncs in turn, landed, half landed and not; after each, the log is opened anew, `fsck` judges, and
 * every receipt that had left is looked up.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { leafHash } from '@countersign/validator/entry'
import type { ManifestLog } from '@countersign/validator/manifest'
import { decodeReceipt, receiptKeyId, VerifiedRoots, verifyReceipt } from '@countersign/validator/receipt'
import type { CountersignedSubtree } from '@countersign/validator/roots'
import { proveEach, subtreeRoot } from '@countersign/validator/tree'
import type { Countersigner } from './countersign.ts'
import type { Disk } from './disk.ts'
import { LogFault } from './fault.ts'
import { fsck } from './fsck.ts'
import { WitnessLog } from './log.ts'
import { readEntries } from './source.ts'
import { type State, writeState } from './state.ts'
import {
  type Faults,
  type FaultyDisk,
  initialDisk,
  sourceOf,
  testEntry,
  testIdentity,
  testNow,
} from './testing.ts'
import { nodesOfTiles, tileAt } from './tiles.ts'

interface Released {
  readonly epoch: string
  readonly index: number
  readonly bytes: Uint8Array
  /** The subtree that its receipt is over. */
  readonly subtree: string
}

/** A subtree as the log told of it. */
interface Told extends CountersignedSubtree {
  readonly epoch: string
}

const open = (disk: FaultyDisk, told: Told[] = []): Promise<WitnessLog> => {
  const released = ({ origin }: Countersigner, subtrees: readonly CountersignedSubtree[]): void => {
    told.push(...subtrees.map((subtree) => ({ epoch: origin.split('/')[1] ?? '', ...subtree })))
  }
  return WitnessLog.open({ disk, now: () => testNow, released }, testIdentity)
}

const nameOf = (epoch: string, { start, size }: Omit<CountersignedSubtree, 'root'>): string =>
  `${epoch}: ${start}+${size}`

const manifestLogs = new Map(['1', '2'].map((epoch) => [epoch, manifestLog(epoch)]))
const verified = new VerifiedRoots()

function manifestLog(epoch: string): ManifestLog {
  const origin = `witness.test/${epoch}`
  const { publicKey } = testIdentity.receipt
  return {
    origin,
    witness: 'witness.test',
    receiptKeyId: receiptKeyId(origin, publicKey),
    receiptKey: publicKey,
    state: 'open',
  }
}

/** Appends and verifies each receipt as a validator would. */
async function append(log: WitnessLog, serials: readonly number[], released: Released[] = []): Promise<void> {
  const { epoch } = log
  await Promise.all(
    serials.map(async (serial) => {
      const { bytes, entry } = testEntry(serial)
      const receipt = decodeReceipt(await log.append(bytes, entry))
      verifyReceipt(receipt, leafHash(bytes), manifestLogs.get(epoch) as ManifestLog, verified)
      assert.equal(receipt.serial, serial)
      const subtree = nameOf(epoch, receipt)
      released.push({ epoch, index: receipt.start + receipt.offset, bytes, subtree })
    }),
  )
}

/** All entries of an epoch, in hex. */
async function entriesOf(log: WitnessLog, epoch: string): Promise<readonly string[]> {
  const size = Number(log.checkpoint(epoch)?.split('\n')[1] ?? 0)
  const entries: string[] = []
  while (entries.length < size) {
    const bundle = await log.readTile(tileAt('entries', entries.length, size), epoch)
    const logged = readEntries(bundle as Uint8Array, entries.length)
    entries.push(...logged.map(({ bytes }) => Buffer.from(bytes).toString('hex')))
  }
  return entries
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at)

/** A life with everything in it: lone entries, batches over window and tile boundaries, checkpoints, a sealed epoch. */
async function live(log: WitnessLog, released: Released[], notes: string[]): Promise<void> {
  const publish = async (): Promise<void> => {
    await log.publish()
    notes.push(log.checkpoint() ?? '')
  }
  await append(log, [1], released)
  await publish()
  await append(log, range(2, 40), released)
  await append(log, [40], released)
  await publish()
  await append(log, range(41, 270), released)
  await publish()
  await append(log, range(270, 280), released)
  assert.ok(await log.seal('1'))
  await append(log, range(280, 284), released)
  await publish()
}

/** Opens what is left, and finds everything that had left, nothing changed, and room for more. */
async function judge(
  disk: FaultyDisk,
  released: readonly Released[],
  notes: readonly string[],
  told: readonly Told[],
): Promise<void> {
  const log = await open(disk)
  const entries = new Map([
    ['1', await entriesOf(log, '1')],
    ['2', await entriesOf(log, '2')],
  ])
  for (const { epoch, index, bytes } of released) {
    const entry = entries.get(epoch)?.[index]
    assert.equal(entry, Buffer.from(bytes).toString('hex'), 'a receipt without its entry')
  }
  const subtrees = new Set(released.map(({ subtree }) => subtree))
  for (const { epoch, start, size, root } of told) {
    assert.ok(subtrees.has(nameOf(epoch, { start, size })), 'a subtree of which no receipt left')
    const leaves = entries.get(epoch)?.slice(start, start + size) ?? []
    const held = proveEach(leaves.map((entry) => leafHash(Buffer.from(entry, 'hex')))).root
    assert.deepEqual(Buffer.from(root), Buffer.from(held), 'a root that the log does not have')
  }
  await append(log, range(1000, 1003))
  await log.publish()
  for (const epoch of log.epoch === '1' ? ['1'] : ['1', '2']) {
    await fsck({ source: sourceOf(log, epoch), vkey: log.vkey(epoch) })
    // No fork: what was shown before is the beginning of what is shown now.
    for (const note of notes.filter((each) => each.startsWith(`witness.test/${epoch}\n`))) {
      const size = Number(note.split('\n')[1])
      assert.equal(await rootAt(log, epoch, size), note.split('\n')[2])
    }
  }
  await log.close()
}

async function rootAt(log: WitnessLog, epoch: string, size: number): Promise<string> {
  const read = nodesOfTiles(size, async (tile) => (await log.readTile(tile, epoch)) ?? Buffer.alloc(0))
  return Buffer.from(await subtreeRoot({ start: 0, end: size }, read)).toString('base64')
}

test('a life without faults: receipts verify, fsck agrees, sealed epochs stay', async () => {
  const disk = await initialDisk()
  const [released, notes, told]: [Released[], string[], Told[]] = [[], [], []]
  await live(await open(disk, told), released, notes)
  assert.equal(released.length, 283)
  assert.deepEqual(
    told.map(({ epoch, ...subtree }) => nameOf(epoch, subtree)),
    [...new Set(released.map(({ subtree }) => subtree))],
  )
  await judge(disk.restart(), released, notes, told)
})

test('each epoch gets a name that none has had, also after one whose number is too large to count on', async () => {
  for (const [first, names] of [
    ['20261126035000123', ['1', '2', '3']],
    ['9007199254740991', ['9007199254740992', '1', '2']],
    ['2026', ['2027', '2028', '2029']],
    ['spring', ['1', '2', '3']],
  ] as const) {
    const disk = await initialDisk()
    await writeState(disk, { epoch: first, sealed: [], serials: [] })
    const log = await open(disk)
    for (const name of names) {
      assert.ok(await log.seal(log.epoch))
      assert.equal(log.epoch, name)
    }
    await log.close()
  }
})

for (const kind of ['failWrite', 'failSync'] as const) {
  for (const lands of ['all', 'half', 'nothing'] as const) {
    for (const powerCut of [false, true]) {
      const after = powerCut ? 'power cut' : 'restart'
      test(`T138 T139 T264: every ${kind} (${lands} of it landed, then a ${after}): no receipt without its entry, no root told without its receipts, no fork`, async () => {
        let failures = 0
        for (let nth = 1; ; nth++) {
          const faults: Faults = { [kind]: nth, lands }
          const disk = (await initialDisk()).restart({ faults })
          const [released, notes, told]: [Released[], string[], Told[]] = [[], [], []]
          const log = await open(disk, told).catch(() => undefined)
          if (log !== undefined) await live(log, released, notes).catch(() => {})
          if (!disk.faulted) break
          failures++
          await judge(disk.restart({ powerCut }), released, notes, told)
        }
        assert.ok(failures > 10)
      })
    }
  }
}

/** A log of 300 entries, closed well, and one more batch that no checkpoint covers, as a kill leaves it. */
async function killedLog(): Promise<FaultyDisk> {
  const disk = await initialDisk()
  const log = await open(disk)
  await append(log, range(1, 301))
  await log.publish()
  await append(log, range(301, 306))
  return disk.restart()
}

const flip = (bytes: Buffer, at: number): Buffer => {
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}

test('T138: what a crash cannot explain is not repaired: the log does not open', async () => {
  const entries = 'epochs/1/entries'
  const damages: readonly (readonly [
    code: string,
    path: string,
    change: (bytes: Buffer) => Buffer | undefined,
  ])[] = [
    ['state_missing', 'state.json', () => undefined],
    ['state_malformed', 'state.json', (bytes) => bytes.subarray(0, 40)],
    [
      'state_malformed',
      'state.json',
      (bytes) => Buffer.from(bytes.toString().replace('\\n300\\n', '\\n299\\n')),
    ],
    ['entries_missing', entries, () => undefined],
    ['entries_missing', entries, (bytes) => bytes.subarray(0, 0)],
    ['entries_missing', entries, (bytes) => bytes.subarray(0, 300 * 92)],
    ['entries_missing', entries, (bytes) => bytes.subarray(0, -1)],
    ['entries_missing', entries, (bytes) => flip(bytes, 302 * 92 + 2)],
    ['entries_altered', entries, (bytes) => flip(bytes, 304 * 92 + 70)],
    ['mark_malformed', 'epochs/1/mark', () => undefined],
    ['mark_malformed', 'epochs/1/mark', (bytes) => bytes.fill(0)],
  ]
  for (const [code, path, change] of damages) {
    const disk = await killedLog()
    disk.tamper(path, change)
    await assert.rejects(open(disk), (error) => {
      assert.ok(error instanceof LogFault, String(error))
      assert.equal(error.code, code, `${path}: ${error.message}`)
      return true
    })
  }
})

test('data without a state, or a state without data, is not begun anew', async () => {
  const disk = await killedLog()
  const { epoch } = JSON.parse(Buffer.from((await disk.read('state.json')) ?? []).toString()) as {
    epoch: string
  }
  disk.tamper('state.json', () => Buffer.from(JSON.stringify({ epoch, sealed: [], serials: [] })))
  await assert.rejects(open(disk), { code: 'state_missing' })
})

test('T139: of what was never released, whole entries stay and a torn one is cut off', async () => {
  const { bytes } = testEntry(306)
  const record = Buffer.concat([Buffer.of(0, 90), bytes])
  for (const [tail, kept] of [
    [Buffer.alloc(0), 0],
    [record, 1],
    [Buffer.concat([record, record.subarray(0, 50)]), 1],
    [record.subarray(0, 91), 0],
    [Buffer.alloc(200), 0],
    // Its serial has been: no process of ours wrote it.
    [Buffer.concat([Buffer.of(0, 90), testEntry(3).bytes]), 0],
  ] as const) {
    const disk = await killedLog()
    disk.tamper('epochs/1/entries', (before) => Buffer.concat([before, tail]))
    const log = await open(disk)
    assert.equal(log.size, 305 + kept)
    await append(log, range(400, 403))
    await log.publish()
    const { size } = await fsck({ source: sourceOf(log), vkey: log.vkey() })
    assert.equal(size, 308 + kept)
  }
})

test('tiles that are lost, short or altered are made again from the entries', async () => {
  for (const change of [
    () => undefined,
    (bytes: Buffer) => bytes.subarray(0, -32),
    // In the last tile: what lies deeper is for `fsck` to find, as a start reads the edge of the tree alone.
    (bytes: Buffer) => flip(bytes, bytes.length - 3),
    (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(64)]),
  ]) {
    for (const level of [0, 1]) {
      const disk = await killedLog()
      disk.tamper(`epochs/1/tiles-${level}`, change)
      const log = await open(disk)
      await append(log, range(400, 403))
      await log.publish()
      assert.equal((await fsck({ source: sourceOf(log), vkey: log.vkey() })).size, 308)
    }
  }
})

test('T137: whoever else writes to the log stops it, before any receipt leaves', async () => {
  const disk = await initialDisk()
  const [one, other] = [await open(disk), await open(disk)]
  await append(one, [1])
  await assert.rejects(append(other, [1]), { name: 'LogFault', code: 'another_writer' })
  assert.equal((await other.faulted).name, 'LogFault')
  await assert.rejects(append(one, [2]), { code: 'another_writer' })
  await assert.rejects(append(one, [3]), { code: 'another_writer' })
  await assert.rejects(one.publish(), { code: 'another_writer' })
})

test('T144: serials are remembered over a restart and a sealed epoch', async () => {
  const disk = await killedLog()
  const log = await open(disk)
  assert.throws(() => log.append(...entryOf(305)), { code: 'serial_repeated' })
  await log.seal('1')
  const again = await open(disk.restart({ powerCut: true }))
  assert.equal(again.epoch, '2')
  assert.throws(() => again.append(...entryOf(305)), { code: 'serial_repeated' })
  await append(again, [306])
})

test('R4 T114: the last manifest is known after every kind of restart, and its receipt can be had again, also from a sealed epoch', async () => {
  const { bytes, entry } = testEntry(2, { tokenType: 'manifest' })
  const sha256 = Buffer.from(entry.payloadSha256).toString('base64url')
  const disk = await initialDisk()
  const first = await open(disk)
  assert.equal(first.manifestSha256, undefined)
  await append(first, range(1, 70))
  await first.append(bytes, entry)
  await append(first, range(70, 300))
  const hasReceiptAgain = async (log: WitnessLog): Promise<void> => {
    assert.deepEqual([log.manifestVersion, log.manifestSha256], [2, sha256])
    const receipt = decodeReceipt((await log.receiptAgain(bytes, entry)) as Uint8Array)
    verifyReceipt(receipt, leafHash(bytes), manifestLogs.get('1') as ManifestLog)
    assert.equal(receipt.start + receipt.offset, 69)
    const other = testEntry(2, { tokenType: 'manifest', expiresAt: testNow + 1 })
    assert.equal(await log.receiptAgain(other.bytes, other.entry), undefined)
    assert.equal(await log.receiptAgain(...entryOf(1)), undefined)
  }
  await hasReceiptAgain(first)
  // Once from the entries beyond the checkpoint, and once from the state.
  const second = await open(disk.restart({ powerCut: true }))
  await hasReceiptAgain(second)
  await second.seal('1')
  await append(second, [400])
  await hasReceiptAgain(second)
  await second.close()
})

function entryOf(serial: number): [Uint8Array, ReturnType<typeof testEntry>['entry']] {
  const { bytes, entry } = testEntry(serial)
  return [bytes, entry]
}

/** Holds back every sync of the entries until it is let go. */
class SlowDisk implements Disk {
  readonly #disk: Disk
  syncCount = 0
  #release: (() => void) | undefined

  constructor(disk: Disk) {
    this.#disk = disk
  }

  read(path: string) {
    return this.#disk.read(path)
  }

  replace(path: string, content: Uint8Array) {
    return this.#disk.replace(path, content)
  }

  create(path: string) {
    return this.#disk.create(path)
  }

  async open(path: string, mode: 'append' | 'overwrite' | 'read') {
    const file = await this.#disk.open(path, mode)
    if (file === undefined || !path.endsWith('entries') || mode === 'read') return file
    return {
      ...file,
      sync: async () => {
        this.syncCount++
        if (this.isHeld) await new Promise<void>((resolve) => (this.#release = resolve))
        await file.sync()
      },
    }
  }

  isHeld = false

  letGo(): void {
    this.#release?.()
  }
}

test('L1: no receipt leaves before its entry is synced; what arrives meanwhile shares the next sync', async () => {
  const disk = new SlowDisk(await initialDisk())
  const log = await WitnessLog.open({ disk, now: () => testNow }, testIdentity)
  disk.isHeld = true
  const before = disk.syncCount
  const released: Released[] = []
  const first = append(log, [1], released)
  while (disk.syncCount === before) await turn()
  const rest = append(log, range(2, 200), released)
  for (let turns = 0; turns < 50; turns++) await turn()
  assert.equal(released.length, 0)
  assert.equal(disk.syncCount, before + 1)
  disk.letGo()
  await first
  while (disk.syncCount === before + 1) await turn()
  assert.equal(released.length, 1)
  disk.letGo()
  await rest
  assert.equal(released.length, 199)
  assert.equal(disk.syncCount, before + 2)
})

test('a checkpoint is remembered for good before anybody sees it', async () => {
  const disk = await initialDisk()
  const log = await open(disk)
  await append(log, range(1, 4))
  await log.publish()
  const shown = log.checkpoint()
  const after = await open(disk.restart({ powerCut: true }))
  assert.equal(after.size, 3)
  const { checkpoint } = JSON.parse(Buffer.from((await disk.read('state.json')) ?? []).toString()) as State
  assert.equal(checkpoint, shown)
})
