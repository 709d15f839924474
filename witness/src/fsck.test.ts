/**
 * Goal: `fsck` finds whatever is wrong with a log, and names it. Method: a log with several tiles and levels; then every
 * resource is withheld, cut and bent in a bit, in turn, and checkpoints are signed over what is not there.
 * @module
 */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { formatCheckpoint, verifierOf } from '@countersign/validator/checkpoint'
import { signNote } from '@countersign/validator/note'
import { GrowingTree, leafHash } from '@countersign/validator/tree'
import { fsck } from './fsck.ts'
import { checkpointSigners, logVkey } from './identity.ts'
import { LogMisbehavior } from './misbehavior.ts'
import { fetchEntry, fetchInclusion } from './proofs.ts'
import type { LogSource } from './source.ts'
import { testEntry, testIdentity } from './testing.ts'
import { levelCount, levelLength, recordsOf, TILE_HEIGHT, type TileKind, tileAt, tilePath } from './tiles.ts'

const origin = 'witness.test/1'
const vkey = logVkey(testIdentity, origin)
const known = { origin, verifiers: [verifierOf(vkey)] }

/** Every public file of a log over these entries, by its path. */
function filesOf(entries: readonly Uint8Array[]): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  const levels: Uint8Array[][] = [[], [], [], []]
  const tree = new GrowingTree()
  for (const entry of entries) {
    tree.append(leafHash(entry), (level, hash) => {
      if (level % TILE_HEIGHT === 0) levels[level / TILE_HEIGHT]?.push(hash)
    })
  }
  const kinds: TileKind[] = ['entries', ...Array.from({ length: levelCount(tree.size) }, (_, level) => level)]
  for (const kind of kinds) {
    for (let position = 0; position < levelLength(kind, tree.size); position += 256) {
      const tile = tileAt(kind, position, tree.size)
      const end = position + tile.width
      const content =
        kind === 'entries'
          ? recordsOf(entries.slice(position, end))
          : Buffer.concat((levels[kind] ?? []).slice(position, end))
      files.set(tilePath(tile), content)
    }
  }
  return files.set('checkpoint', sign(tree.size, tree.root()))
}

function sign(size: number, root: Uint8Array): Uint8Array {
  const signers = checkpointSigners(testIdentity, origin, 1_700_000_000)
  return Buffer.from(signNote(formatCheckpoint({ origin, size, root }), signers))
}

function sourceOf(files: ReadonlyMap<string, Uint8Array>): LogSource {
  return { read: async (path) => files.get(path) }
}

const entries = Array.from({ length: 600 }, (_, at) => testEntry(at + 1).bytes)
const files = filesOf(entries)

/** The code that fsck gives for the log's files with one changed. */
async function codeOf(changes: Readonly<Record<string, Uint8Array | undefined>>): Promise<string> {
  const changed = new Map(files)
  for (const [path, content] of Object.entries(changes)) {
    if (content === undefined) changed.delete(path)
    else changed.set(path, content)
  }
  try {
    await fsck({ source: sourceOf(changed), vkey })
    return 'sound'
  } catch (error) {
    assert.ok(error instanceof LogMisbehavior, String(error))
    return error.code
  }
}

const flip = (bytes: Uint8Array, at: number): Uint8Array =>
  Uint8Array.from(bytes, (byte, position) => (position === at ? byte ^ 1 : byte))

test('a sound log is proven: from memory, from a folder, with its key and without', async () => {
  const report = await fsck({ source: sourceOf(files), vkey })
  assert.deepEqual(
    [report.origin, report.size, report.bundleCount, report.tileCount, report.keyCount, report.signedBy],
    [origin, 600, 3, 4, 1, [origin]],
  )
  assert.deepEqual((await fsck({ source: sourceOf(files) })).signedBy, [])
  const folder = mkdtempSync(join(tmpdir(), 'countersign-log-'))
  for (const [path, content] of files) {
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  assert.deepEqual(await fsck({ folder, vkey: [vkey] }), report)
  rmSync(folder, { recursive: true })
})

test('an empty log is sound', async () => {
  assert.equal((await fsck({ source: sourceOf(filesOf([])), vkey })).size, 0)
})

test('T141: any resource withheld, cut short or bent in one bit is found', async () => {
  for (const [path, content] of files) {
    if (path === 'checkpoint') continue
    const missing = path.includes('entries') ? 'bundle_missing' : 'tile_missing'
    assert.equal(await codeOf({ [path]: undefined }), missing, path)
    assert.equal(await codeOf({ [path]: content.subarray(0, -1) }), missing, path)
    for (const at of [0, 1, 50, content.length - 1]) {
      assert.notEqual(await codeOf({ [path]: flip(content, at) }), 'sound', `${path} ${at}`)
    }
  }
  assert.equal(
    await codeOf({ 'tile/0/001': flip(files.get('tile/0/001') as Uint8Array, 77) }),
    'tile_altered',
  )
  assert.equal(
    await codeOf({ 'tile/1/000.p/2': flip(files.get('tile/1/000.p/2') as Uint8Array, 40) }),
    'tile_altered',
  )
})

test('T141: a full tile stands in for a partial one, its beginning for the rest', async () => {
  const partial = files.get('tile/0/002.p/88') as Uint8Array
  const full = Buffer.concat([partial, Buffer.alloc(8192 - partial.length, 9)])
  assert.equal(await codeOf({ 'tile/0/002.p/88': undefined, 'tile/0/002': full }), 'sound')
})

test('a checkpoint over other entries, or by another key, is found', async () => {
  const tree = new GrowingTree()
  for (const entry of entries.slice(0, 599)) tree.append(leafHash(entry))
  assert.equal(await codeOf({ checkpoint: sign(600, tree.root()) }), 'root_mismatch')
  assert.equal(await codeOf({ checkpoint: sign(601, tree.root()) }), 'bundle_missing')
  assert.equal(
    await codeOf({ checkpoint: flip(files.get('checkpoint') as Uint8Array, 20) }),
    'checkpoint_invalid',
  )
  await assert.rejects(fsck({ source: sourceOf(files), vkey: logVkey(testIdentity, 'witness.test/2') }), {
    code: 'checkpoint_invalid',
  })
})

test('where no log is, or a key that is none was named, nobody is accused', async () => {
  const missing = new Map(files)
  missing.delete('checkpoint')
  for (const [options, message] of [
    [{ source: sourceOf(missing), vkey }, /there is no log/],
    [{ folder: '/nonexistent' }, /there is no log/],
    [{ source: sourceOf(files), vkey: 'key' }, /verifier key is malformed/],
  ] as const)
    await assert.rejects(fsck(options), (error: Error) => {
      assert.ok(!(error instanceof LogMisbehavior))
      assert.match(error.message, message)
      return true
    })
})

test('T144: serials that do not rise are found, entries that are none too', async () => {
  const repeated = [...entries.slice(0, 300), testEntry(7).bytes]
  await assert.rejects(fsck({ source: sourceOf(filesOf(repeated)), vkey }), { code: 'serial_repeated' })
  const strange = [...entries.slice(0, 300), Buffer.alloc(90, 0xff)]
  await assert.rejects(fsck({ source: sourceOf(filesOf(strange)), vkey }), { code: 'entry_malformed' })
})

test('an entry is fetched with its proof, and a log that cannot prove it is found out', async () => {
  for (const index of [0, 255, 256, 599]) {
    const entry = await fetchEntry({ ...known, source: sourceOf(files) }, index)
    assert.deepEqual(Buffer.from(entry?.bytes ?? []), Buffer.from(entries[index] as Uint8Array))
  }
  assert.equal(await fetchEntry({ ...known, source: sourceOf(files) }, 600), undefined)
  assert.equal(await fetchInclusion({ ...known, source: sourceOf(files) }, -1), undefined)
  const bent = (path: string, at: number): LogSource =>
    sourceOf(new Map(files).set(path, flip(files.get(path) as Uint8Array, at)))
  await assert.rejects(fetchInclusion({ ...known, source: bent('tile/0/001', 5) }, 300), {
    code: 'root_mismatch',
  })
  await assert.rejects(fetchEntry({ ...known, source: bent('tile/entries/001', 44 * 92 + 80) }, 300), {
    code: 'entry_altered',
  })
})
