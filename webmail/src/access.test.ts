/**
 * Goal: what was shown stays readable by whom it was shown to, whatever became of a line that was not written whole. Method:
 * a disk that is full in the middle of a line, and a file that a crash left so.
 */

import assert from 'node:assert/strict'
import fs, { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, mock, test } from 'node:test'
import type { ValidatedToken } from '@countersign/validator/validator'
import { openAccessRecord } from './access.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-accesses-'))
after(() => rmSync(folder, { recursive: true }))
const token = { issuer: 'https://login.example', subject: 'ada', kid: 'k' } as unknown as ValidatedToken
const ids = (file: string): readonly string[] => {
  const record = openAccessRecord(file)
  const messages = record.list(token).map(({ message }) => message)
  record.close()
  return messages
}

test('a disk that is full in the middle of a line shows nothing, and costs no other line', () => {
  const file = join(folder, 'full.jsonl')
  const record = openAccessRecord(file)
  record.add(token, [{ id: 'a' }], 'n')
  const { writeSync } = fs
  let room = 20
  const full = mock.method(fs, 'writeSync', (descriptor: number, bytes: Uint8Array, from = 0) => {
    if (room === 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    const written = writeSync(descriptor, bytes, from, Math.min(room, bytes.length - from))
    room -= written
    return written
  })
  syncBuiltinESMExports()
  assert.throws(() => record.add(token, [{ id: 'b' }], 'n'), { code: 'ENOSPC' })
  full.mock.restore()
  syncBuiltinESMExports()
  record.add(token, [{ id: 'c' }], 'n')
  record.close()
  assert.deepEqual(ids(file), ['c', 'a'])
})

test('what a crash left of a line costs no other line', () => {
  const file = join(folder, 'torn.jsonl')
  const record = openAccessRecord(file)
  record.add(token, [{ id: 'a' }], 'n')
  record.close()
  appendFileSync(file, '{"at":1,"iss":"https://lo')
  const reopened = openAccessRecord(file)
  reopened.add(token, [{ id: 'b' }], 'n')
  reopened.close()
  assert.deepEqual(ids(file), ['b', 'a'])
})
