/**
 * Goal: a record never forgets a value that was said to be durable, whatever a crash does to the write after it.
 * Method: every way in which the next write can be cut short or scrambled, byte by byte; then open and look.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createRecord, openRecord } from './record.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-record-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = (): string => join(folder, String(files++))

async function read(file: string): Promise<unknown> {
  const record = await openRecord(file)
  await record.close()
  return record.value
}

test('the last value written is the value, and only its user may read it', async () => {
  const file = newFile()
  await createRecord(file, { count: 0 })
  assert.deepEqual(await read(file), { count: 0 })
  const record = await openRecord<{ count: number }>(file)
  for (let count = 1; count <= 5; count++) {
    await record.write({ count })
    assert.deepEqual(await read(file), { count })
  }
  await record.close()
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('a write that a crash cut short, anywhere, leaves the value before or the new one', async () => {
  for (const writes of [1, 2]) {
    const file = newFile()
    await createRecord(file, { count: 0 })
    const record = await openRecord(file)
    for (let count = 1; count < writes; count++) await record.write({ count })
    const before = readFileSync(file)
    await record.write({ count: writes })
    await record.close()
    const whole = readFileSync(file)
    const slot = (writes % 2) * 512
    for (let landed = 0; landed <= 512; landed += landed < 110 ? 1 : 50) {
      writeFileSync(file, Buffer.concat([whole.subarray(0, slot + landed), before.subarray(slot + landed)]))
      const { count } = (await read(file)) as { count: number }
      assert.ok(
        count === writes || (count === writes - 1 && landed < 110),
        `${landed} bytes landed: ${count}`,
      )
    }
  }
})

test('a record that is missing, or damaged in both slots, is not made up', async () => {
  await assert.rejects(openRecord(join(folder, 'none')), {
    name: 'SignerFault',
    message: /none cannot be opened/,
  })
  const file = newFile()
  await createRecord(file, { count: 7 })
  writeFileSync(file, readFileSync(file, 'latin1').replace('"count":7', '"count":8'))
  await assert.rejects(openRecord(file), { name: 'SignerFault', message: /is damaged/ })
  await assert.rejects(createRecord(file, { count: 0 }), { code: 'EEXIST' })
})

test('writes that come while one is under way become one, and all of them wait for it', async () => {
  const file = newFile()
  await createRecord(file, 0)
  const record = await openRecord<number>(file)
  await Promise.all(Array.from({ length: 100 }, (_, at) => record.write(at + 1)))
  assert.equal(await read(file), 100)
  const n = Math.max(
    ...[...readFileSync(file, 'latin1').matchAll(/"n":(\d+)/g)].map(([, digits]) => Number(digits)),
  )
  assert.ok(n <= 3, `${n} writes`)
  await record.close()
})
