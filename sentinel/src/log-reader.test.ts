/**
 * Goal: what goes wrong while a log is read ends neither the reading nor the process. Method: a log on loopback that
 * contradicts itself, and a book of alerts over a disk that is full.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { createTestWorld } from '@countersign/validator/testing'
import type { Alarm } from './alarm.ts'
import { createLogReader } from './log-reader.ts'
import { openStore } from './store.ts'

test('T135: a log that contradicts itself while its alert cannot be written down ends nothing', async (t) => {
  const server = createServer((_request, response) => void response.end('no checkpoint')).listen(
    0,
    '127.0.0.1',
  )
  after(() => void server.close())
  await once(server, 'listening')
  const database = await openStore(':memory:')
  const told = Promise.withResolvers<void>()
  const problems: string[] = []
  const alarm = { record: () => Promise.reject(new Error('the disk is full')) } as unknown as Alarm
  const reader = createLogReader({
    database,
    alarm,
    witness: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mergeDelaySeconds: 1,
    pollMilliseconds: 10,
    onProblem: ({ message }) => {
      problems.push(message)
      if (problems.length === 2) told.resolve()
    },
    now: Date.now,
  })
  t.after(async () => {
    server.closeAllConnections()
    await reader.stop()
    await database.destroy()
  })
  reader.follow(createTestWorld().state)
  await told.promise
  assert.equal(problems[1], 'the disk is full')
})
