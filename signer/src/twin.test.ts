/**
 * Goal: what a twin was said to hold it still holds, whatever a crash does to the write after it. Method: cut the next write
 * short at every length that could matter, over a longer and over a shorter text; then open and look.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Twin } from './twin.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-twin-'))
after(() => rmSync(folder, { recursive: true }))
let made = 0
const newTwin = (text: string): string => {
  const path = join(folder, String(made++))
  Twin.create(path, text)
  return path
}

test('the last text is the text, longer or shorter than those before, and only its user may read it', () => {
  const path = newTwin('none')
  assert.equal(new Twin(path).text, 'none')
  const twin = new Twin(path)
  for (const text of ['a longer text than that', 'short', '', 'Zwölf Boxkämpfer', 'x']) {
    twin.replace(text)
    assert.equal(twin.text, text)
    assert.equal(new Twin(path).text, text)
  }
  for (const name of ['0', '1']) assert.equal(statSync(join(path, name)).mode & 0o777, 0o600)
})

test('R4: a write that power loss cut short, anywhere, leaves the text before or the new one', () => {
  for (const next of ['a much longer text than the one that stood there', 'b']) {
    for (const writes of [1, 2]) {
      const path = newTwin('begun')
      const twin = new Twin(path)
      if (writes === 2) twin.replace('a text in between')
      const file = join(path, String(writes % 2))
      const before = readFileSync(file)
      const held = twin.text
      twin.replace(next)
      const whole = readFileSync(file)
      for (let landed = 0; landed < whole.length; landed++) {
        writeFileSync(file, Buffer.concat([whole.subarray(0, landed), before.subarray(landed)]))
        const { text } = new Twin(path)
        assert.ok(text === held || text === next, `${landed} bytes landed: ${text}`)
        writeFileSync(file, whole.subarray(0, landed))
        assert.ok([held, next].includes(new Twin(path).text), `${landed} bytes alone`)
      }
    }
  }
})

test('a twin that is missing, or damaged in both files, is not made up', () => {
  assert.throws(() => new Twin(join(folder, 'none')), { name: 'SignerFault' })
  const path = newTwin('kept')
  for (const name of ['0', '1']) writeFileSync(join(path, name), '0 4 00\nkept')
  assert.throws(() => new Twin(path), { name: 'SignerFault', message: /is missing or damaged/ })
  assert.throws(() => Twin.create(path, 'anew'), { code: 'EEXIST' })
})
