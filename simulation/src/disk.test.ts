/**
 * Goal: the simulated disk loses what a real one may lose, and nothing that it may not. Method: cut its power for many seeds
 * and look at everything that is ever left.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Disk, type FileFlags } from './disk.ts'
import { Random } from './random.ts'

const flags: FileFlags = {
  read: true,
  write: true,
  append: false,
  create: true,
  exclusive: false,
  truncate: false,
  sync: false,
}
const SEEDS = 200

/** Everything that `prepare` may leave in `/a/file` after a loss of power. */
function leftovers(prepare: (disk: Disk) => void): ReadonlySet<string> {
  const left = new Set<string>()
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = new Disk()
    disk.makeFolder('/a')
    prepare(disk)
    disk.cutPower(new Random(seed))
    left.add(disk.file('/a/file')?.read().toString() ?? 'no file')
  }
  return left
}

test('what was synced, with its name, survives a loss of power; what was not may go', () => {
  const synced = (disk: Disk): void => {
    const file = disk.open('/a/file', flags, 0o600)
    file.write(0, Buffer.from('old'))
    file.sync()
    disk.syncFolder('/a')
  }
  assert.deepEqual([...leftovers(synced)], ['old'])
  const overwritten = leftovers((disk) => {
    synced(disk)
    disk.file('/a/file')?.write(0, Buffer.from('new'))
  })
  assert.deepEqual([...overwritten].sort(), ['new', 'old'])
})

test('a file whose folder was not synced may be gone, and a rename may not have happened', () => {
  const nameless = leftovers((disk) => {
    const file = disk.open('/a/file', flags, 0o600)
    file.write(0, Buffer.from('text'))
    file.sync()
  })
  assert.deepEqual([...nameless].sort(), ['no file', 'text'])
  const renamed = leftovers((disk) => {
    for (const [name, text] of [
      ['/a/file', 'old'],
      ['/a/next', 'new'],
    ] as const) {
      const file = disk.open(name, flags, 0o600)
      file.write(0, Buffer.from(text))
      file.sync()
    }
    disk.syncFolder('/a')
    disk.rename('/a/next', '/a/file')
  })
  assert.deepEqual([...renamed].sort(), ['new', 'old'])
})

test('a sector is written whole or not at all, and two sectors in any order', () => {
  const text = `${'a'.repeat(512)}${'b'.repeat(512)}`
  const left = leftovers((disk) => {
    const file = disk.open('/a/file', flags, 0o600)
    file.write(0, Buffer.alloc(1024, '.'))
    file.sync()
    disk.syncFolder('/a')
    file.write(0, Buffer.from(text))
  })
  const [a, b, dots] = [text.slice(0, 512), text.slice(512), '.'.repeat(512)]
  assert.deepEqual([...left].sort(), [`${dots}${dots}`, `${dots}${b}`, `${a}${dots}`, text].sort())
})

test('the end of a process loses nothing', () => {
  const disk = new Disk()
  disk.makeFolder('/a')
  disk.open('/a/file', flags, 0o600).write(0, Buffer.from('text'))
  assert.equal(disk.file('/a/file')?.read().toString(), 'text')
})
