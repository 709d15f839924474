/**
 * Goal: one system per data folder, and a folder whose holder died is free at once. Method: two processes, one of which
 * is killed as it holds the folder.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { writePrivate } from './files.ts'
import { acquireLock } from './lock.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-lock-'))
after(() => rmSync(folder, { recursive: true }))

test('a folder is held by one process, which the other is told of, and falls free when its holder is killed', async (t) => {
  const holds = `
    const { acquireLock } = await import(${JSON.stringify(import.meta.resolve('./lock.ts'))})
    acquireLock(${JSON.stringify(folder)})
    console.log('held')
    setInterval(() => {}, 60_000)`
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', holds], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  assert.throws(() => acquireLock(folder), {
    message: `${folder} is in use by another countersign up (process ${holder.pid})`,
  })
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  acquireLock(folder)()
})

test('a folder that was released can be taken again, whoever stands as its last holder', () => {
  acquireLock(folder)()
  // The first process of the machine lives, and holds nothing here.
  writePrivate(join(folder, 'run', 'holder.json'), { pid: 1 })
  const release = acquireLock(folder)
  writeFileSync(join(folder, 'run', 'holder.json'), '{"pi')
  assert.throws(() => acquireLock(folder), { message: `${folder} is in use by another countersign up` })
  release()
})
