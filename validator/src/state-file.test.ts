/**
 * Goal: what a validator remembers survives a restart whole, or stops it; it is never quietly forgotten. Method: write,
 * then damage the file in every way, and read.
 * @module
 */

import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { readStateFile, StateFileFault, writeStateFile } from './state-file.ts'
import { createTestWorld } from './testing.ts'
import { systemClocks, Trust, type TrustRecord } from './trust.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-state-'))
after(() => rmSync(folder, { recursive: true }))

const world = createTestWorld()
const trust = new Trust(world.trustAnchor)
trust.accept(world.manifestDocument, world.charterDocuments)
world.setState(world.keys.consumer.kid, 'revoked')
trust.accept(world.manifestDocument)
const record = trust.record as TrustRecord

/** A file of its own with what a validator would have written, changed. */
async function written(name: string, change: (text: string) => string = (text) => text): Promise<string> {
  const file = join(folder, name)
  await writeStateFile(file, record)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
  return file
}

function read(file: string, anchor = world.trustAnchor): Trust | undefined {
  return readStateFile(file, anchor, systemClocks)
}

test('what was written is read back, keys that ended included', async () => {
  const again = read(await written('good.json'))
  assert.deepEqual(again?.record, record)
  assert.equal(again?.record?.ended.get(world.keys.consumer.kid), 'revoked')
})

test('where there is no file yet, there is nothing to remember; its folder is made', () => {
  const file = join(folder, 'new', 'state.json')
  assert.equal(read(file), undefined)
  assert.equal(statSync(join(folder, 'new')).mode & 0o777, 0o700)
})

test('the file is private and replaced whole, and nothing is left beside it', async () => {
  const file = join(folder, 'private', 'state.json')
  read(file)
  await Promise.all([writeStateFile(file, record), writeStateFile(file, record)])
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(join(folder, 'private')), ['state.json'])
})

test('a write that fails leaves the old file and nothing beside it', async () => {
  const file = await written('kept.json')
  const before = readdirSync(folder)
  const unwritable = { ...record, charters: [1n] } as unknown as TrustRecord
  await assert.rejects(writeStateFile(file, unwritable))
  assert.deepEqual(readdirSync(folder), before)
  assert.deepEqual(read(file)?.record, record)
})

test('a damaged file stops the start, and stays as it is', async () => {
  const damages: readonly ((text: string) => string)[] = [
    () => '',
    () => '{}',
    () => 'null',
    (text) => text.slice(0, -10),
    (text) => `${text}x`,
    (text) => text.replace('"format":1', '"format":2'),
    (text) => text.replace('"ended"', '"finished"'),
    (text) => text.replace('"revoked"', '"active"'),
    (text) => text.replace(/"payload":"..../, '"payload":"AAAA'),
    (text) => text.replace('{"format"', '{"note":1,"format"'),
    (text) => JSON.stringify({ ...JSON.parse(text), charters: [] }),
    (text) => JSON.stringify({ ...JSON.parse(text), ended: [['x']] }),
  ]
  for (const [index, damage] of damages.entries()) {
    const file = await written(`damaged-${index}.json`, damage)
    const text = readFileSync(file, 'utf8')
    assert.throws(() => read(file), StateFileFault, `damage ${index}`)
    assert.equal(readFileSync(file, 'utf8'), text)
  }
})

test('the ends that are remembered cannot be contradicted by the manifest beside them', async () => {
  const contradicting = await written('contradicting.json', (text) => {
    const { kid } = world.keys.enterprise
    return JSON.stringify({ ...JSON.parse(text), ended: [[kid, 'revoked']] })
  })
  assert.throws(() => read(contradicting), StateFileFault)
})

test('a file of another trust anchor is not used', async () => {
  const file = await written('other.json')
  assert.throws(() => read(file, createTestWorld().trustAnchor), StateFileFault)
})

test('a file that others can read or write, or that is a link, is not used', async () => {
  const file = await written('open.json')
  for (const mode of [0o644, 0o620, 0o602]) {
    chmodSync(file, mode)
    assert.throws(() => read(file), StateFileFault)
  }
  chmodSync(file, 0o600)
  const link = join(folder, 'link.json')
  symlinkSync(file, link)
  assert.throws(() => read(link), StateFileFault)
})
