/**
 * Goal: simulated time passes only by events, in their order, each with its promises settled before the next; and the dead do
 * nothing. Method: small schedules whose traces are known.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Disk } from './disk.ts'
import { Process, Scheduler } from './scheduler.ts'

const newProcess = (): Process =>
  new Process('process', { name: 'host', skewMilliseconds: 0, disk: new Disk() }, 0)

test('events come in the order of their times, and at one time as they were asked for', async () => {
  const scheduler = new Scheduler()
  const process = newProcess()
  const seen: string[] = []
  for (const [name, at] of [
    ['c', 20],
    ['a', 5],
    ['b', 20],
  ] as const)
    scheduler.after(at, process, () => seen.push(`${name} ${scheduler.now}`))
  await scheduler.run(30)
  assert.deepEqual(seen, ['a 5', 'c 20', 'b 20'])
  assert.equal(scheduler.now, 30)
})

test('promises settle before the next event, as the process whose event it was', async () => {
  const scheduler = new Scheduler()
  const [one, other] = [newProcess(), newProcess()]
  const seen: string[] = []
  scheduler.after(1, one, () => {
    void Promise.resolve()
      .then(() => {})
      .then(() => seen.push(scheduler.current === one ? 'settled' : 'settled elsewhere'))
  })
  scheduler.after(1, other, () => seen.push('next'))
  await scheduler.run(2)
  assert.deepEqual(seen, ['settled', 'next'])
  assert.equal(scheduler.current, undefined)
})

test('what a process waited for does not come to pass once it has ended', async () => {
  const scheduler = new Scheduler()
  const process = newProcess()
  let heard = 0
  process.onEnd(() => heard++)
  scheduler.after(1, process, () => process.end())
  scheduler.after(2, process, () => assert.fail('a dead process ran'))
  await scheduler.run(10)
  process.end()
  assert.equal(heard, 1)
})
