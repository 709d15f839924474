/**
 * Goal: a file of a data folder is whole, closed where it must be, and never quoted. Method: real files in a temporary
 * folder, with what a crash or a careless person may have left there before.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { keepPrivate, readJson, writePrivate, writePublic } from './files.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-files-'))
after(() => rmSync(folder, { recursive: true }))

const mode = (file: string): number => statSync(file).mode & 0o777

test('a private file and its folder are closed to others, also after a crash left an open one half written', () => {
  const file = join(folder, 'secrets', 'key.json')
  writePrivate(file, { d: 'secret' })
  assert.deepEqual([mode(file), mode(join(folder, 'secrets'))], [0o600, 0o700])
  writeFileSync(`${file}.next`, '{"d":', { mode: 0o644 })
  writePrivate(file, 'a text as it is')
  assert.deepEqual([mode(file), readFileSync(file, 'utf8')], [0o600, 'a text as it is'])
  assert.deepEqual(readdirSync(join(folder, 'secrets')), ['key.json'])
})

test('a public file can be read by others', () => {
  const file = join(folder, 'public.json')
  writePublic(file, { kty: 'OKP' })
  assert.equal(mode(file), 0o644)
  assert.deepEqual(readJson(file), { kty: 'OKP' })
})

test('what was made at the first start is kept', () => {
  const file = join(folder, 'kept.json')
  assert.deepEqual(
    keepPrivate(file, () => ({ made: 1 })),
    { made: 1 },
  )
  assert.deepEqual(
    keepPrivate(file, () => ({ made: 2 })),
    { made: 1 },
  )
})

test('T237 a file that is no JSON is named with the line, and what it holds stays in it', () => {
  const file = join(folder, 'broken.json')
  writeFileSync(file, '{\n  "password": "hunter2hunter2",\n  "tenant" "x"\n}\n')
  assert.throws(() => readJson(file), { message: `${file} is not JSON (line 3 column 12)` })
  writeFileSync(file, 'hunter2')
  assert.throws(() => readJson(file), { message: `${file} is not JSON` })
  assert.throws(() => readJson(join(folder, 'none.json')), {
    message: `there is no file ${join(folder, 'none.json')}`,
  })
})
