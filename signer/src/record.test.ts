/**
 * Goal: a record never forgets a value that was said to be durable, whatever a crash does to the write after it.
 * Method: every way in which the next write can be cut short or scrambled, byte by byte; then open and look.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createRecord, DurableRecord } from './record.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-record-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = (): string => join(folder, String(files++))

function read<Value>(file: string): Value {
  const record = new DurableRecord<Value>(file)
  record.close()
  return record.value
}

test('the last value written is the value, and only its user may read it', () => {
  const file = newFile()
  createRecord(file, { count: 0 })
  assert.deepEqual(read(file), { count: 0 })
  const record = new DurableRecord<{ count: number }>(file)
  for (let count = 1; count <= 5; count++) {
    record.write({ count })
    assert.deepEqual(read(file), { count })
  }
  record.close()
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('a write that a crash cut short, anywhere, leaves the value before or the new one', () => {
  for (const writes of [1, 2]) {
    const file = newFile()
    createRecord(file, { count: 0 })
    const record = new DurableRecord<unknown>(file)
    for (let count = 1; count < writes; count++) record.write({ count })
    const before = readFileSync(file)
    record.write({ count: writes })
    record.close()
    const whole = readFileSync(file)
    const slot = (writes % 2) * 512
    for (let landed = 0; landed <= 512; landed += landed < 110 ? 1 : 50) {
      writeFileSync(file, Buffer.concat([whole.subarray(0, slot + landed), before.subarray(slot + landed)]))
      const { count } = read<{ count: number }>(file)
      assert.ok(
        count === writes || (count === writes - 1 && landed < 110),
        `${landed} bytes landed: ${count}`,
      )
    }
  }
})

test('a record that is missing, or damaged in both slots, is not made up', () => {
  assert.throws(() => read(join(folder, 'none')), { name: 'SignerFault', message: /none cannot be opened/ })
  const file = newFile()
  createRecord(file, { count: 7 })
  writeFileSync(file, readFileSync(file, 'latin1').replace('"count":7', '"count":8'))
  assert.throws(() => read(file), { name: 'SignerFault', message: /is damaged/ })
  assert.throws(() => createRecord(file, { count: 0 }), { code: 'EEXIST' })
})
