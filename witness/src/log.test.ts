/**
 * Goal: the log holds exactly what it released receipts for and what it could not help keeping, whatever the disk does;
 * it never forks, and it does not open on anything that a crash cannot explain. Method: a disk in memory fails at each
 * of its writes and syncs in turn, landed, half landed and not; after each, the log is opened anew, `fsck` judges, and
 * every receipt that had left is looked up.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { leafHash } from '@countersign/validator/entry'
import type { ManifestLog } from '@countersign/validator/manifest'
import { decodeReceipt, receiptKeyId, VerifiedRoots, verifyReceipt } from '@countersign/validator/receipt'
import { subtreeRoot } from '@countersign/validator/tree'
import { fsck } from './fsck.ts'
import { WitnessLog } from './log.ts'
import { readEntries } from './source.ts'
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
}

const open = (disk: FaultyDisk): Promise<WitnessLog> =>
  WitnessLog.open({ disk, now: () => testNow }, testIdentity)

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
      released.push({ epoch, index: receipt.start + receipt.offset, bytes })
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
  assert.ok(await log.seal('1', '2'))
  await append(log, range(280, 284), released)
  await publish()
}

/** Opens what is left, and finds everything that had left, nothing changed, and room for more. */
async function judge(
  disk: FaultyDisk,
  released: readonly Released[],
  notes: readonly string[],
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
  const [released, notes]: [Released[], string[]] = [[], []]
  await live(await open(disk), released, notes)
  assert.equal(released.length, 283)
  await judge(disk.restart(), released, notes)
})

for (const kind of ['failWrite', 'failSync'] as const) {
  for (const lands of ['all', 'half', 'nothing'] as const) {
    for (const powerCut of [false, true]) {
      const after = powerCut ? 'power cut' : 'restart'
      test(`T138 T139: every ${kind} (${lands} of it landed, then a ${after}): no receipt without its entry, no fork`, async () => {
        let failures = 0
        for (let nth = 1; ; nth++) {
          const faults: Faults = { [kind]: nth, lands }
          const disk = (await initialDisk()).restart({ faults })
          const [released, notes]: [Released[], string[]] = [[], []]
          const log = await open(disk).catch(() => undefined)
          if (log !== undefined) await live(log, released, notes).catch(() => {})
          if (!disk.faulted) break
          failures++
          await judge(disk.restart({ powerCut }), released, notes)
        }
        assert.ok(failures > 10)
      })
    }
  }
}
