/**
 * Goal: resources have the names of C2SP tlog-tiles and no others, and tiles give back the tree. Method: the
 * specification's own examples; every path written is read; other spellings are not; nodes are compared with a tree
 * that was never cut into tiles.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { GrowingTree, leafHash, type ReadNode, subtreeRoot } from '@countersign/validator/tree'
import fc from 'fast-check'
import {
  entriesOf,
  levelCount,
  levelLength,
  nodesOfTiles,
  parseTilePath,
  recordsOf,
  TILE_HEIGHT,
  type TileName,
  tileAt,
  tilePath,
} from './tiles.ts'

test('a tile is named as the specification names it', () => {
  assert.equal(tilePath({ kind: 0, index: 1234067, width: 256 }), 'tile/0/x001/x234/067')
  assert.equal(tilePath({ kind: 'entries', index: 0, width: 256 }), 'tile/entries/000')
  assert.equal(tilePath({ kind: 1, index: 273, width: 17 }), 'tile/1/273.p/17')
  assert.equal(tilePath({ kind: 2, index: 1000, width: 1 }), 'tile/2/x001/000.p/1')
})

test('a tree of 70,000 has the tiles of the specification', () => {
  const widths = [0, 1, 2].map((level) => tileAt(level, levelLength(level, 70_000) - 1, 70_000))
  assert.deepEqual(widths, [
    { kind: 0, index: 273, width: 112 },
    { kind: 1, index: 1, width: 17 },
    { kind: 2, index: 0, width: 1 },
  ])
  assert.equal(levelCount(70_000), 3)
  assert.equal(levelCount(256), 2)
  assert.equal(levelCount(0), 0)
})

test('every name is read back, and has one spelling', () => {
  const name: fc.Arbitrary<TileName> = fc.record(
    {
      kind: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
      index: fc.oneof(fc.nat(2000), fc.integer({ min: 0, max: 2 ** 45 })),
      width: fc.integer({ min: 1, max: 256 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(name, (tile) => assert.deepEqual(parseTilePath(tilePath(tile)), tile)),
    { seed: 8 },
  )
  for (const path of [
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/001/234',
    'tile/0/x001/x234',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/entries/000.p/0',
    'tile/entries/000.p/01',
    'tile/entries/000.p/256',
    'tile/data/000',
    'tile/0/000/',
    '/tile/0/000',
    'tile/0/000.p/',
    'tile/0/x999/x999/x999/x999/x999/999',
  ]) {
    assert.equal(parseTilePath(path), undefined, path)
  }
})

test('nodes read from tiles are the nodes of the tree', async () => {
  const size = 700
  const levels: Uint8Array[][] = [[], [], [], []]
  const nodes = new Map<string, Uint8Array>()
  const counts: number[] = []
  const tree = new GrowingTree()
  for (let index = 0; index < size; index++) {
    tree.append(leafHash(Buffer.from(`${index}`)), (level, hash) => {
      counts[level] = (counts[level] ?? 0) + 1
      nodes.set(`${level} ${counts[level] - 1}`, hash)
      if (level % TILE_HEIGHT === 0) levels[level / TILE_HEIGHT]?.push(hash)
    })
  }
  const read: ReadNode = nodesOfTiles(size, async ({ kind, index, width }) =>
    Buffer.concat((levels[kind as number] ?? []).slice(index * 256, index * 256 + width)),
  )
  for (const [place, hash] of nodes) {
    const [level = 0, index = 0] = place.split(' ').map(Number)
    assert.deepEqual(Buffer.from(await read(level, index)), Buffer.from(hash), place)
  }
  assert.deepEqual(Buffer.from(await subtreeRoot({ start: 0, end: size }, read)), Buffer.from(tree.root()))
})

test('a bundle gives back its entries, and nothing where it is not whole records', () => {
  const entries = [1, 2, 3].map((byte) => Buffer.alloc(90, byte))
  const bundle = recordsOf(entries)
  assert.equal(bundle.length, 3 * 92)
  assert.deepEqual(
    entriesOf(bundle)?.map((each) => Buffer.from(each)),
    entries,
  )
  assert.deepEqual(entriesOf(bundle.subarray(0, 0)), [])
  for (const cut of [1, 91, 93, 275]) assert.equal(entriesOf(bundle.subarray(0, cut)), undefined)
  const longer = Buffer.from(bundle)
  longer[1] = 91
  assert.equal(entriesOf(longer), undefined)
})
