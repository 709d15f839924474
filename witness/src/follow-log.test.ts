/**
 * Goal: whoever follows a log sees each entry once, proven, and notices when the log shows another past. Method: a real
 * log on a disk in memory that grows; then logs that fork, roll back and repeat themselves, under the same keys.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { followLog, type LogGrowth, type LogPosition } from './follow-log.ts'
import { ownVerifiers } from './identity.ts'
import { WitnessLog } from './log.ts'
import { LogMisbehavior } from './misbehavior.ts'
import type { LogSource } from './source.ts'
import { type FaultyDisk, initialDisk, sourceOf, testEntry, testIdentity, testNow } from './testing.ts'

interface Clock {
  now: number
}

function open(disk: FaultyDisk, clock: Clock): Promise<WitnessLog> {
  return WitnessLog.open({ disk, now: () => clock.now }, testIdentity)
}

async function append(log: WitnessLog, from: number, to: number, salt = 0): Promise<void> {
  const serials = Array.from({ length: to - from }, (_, at) => from + at)
  await Promise.all(
    serials.map((serial) => {
      const { bytes, entry } = testEntry(serial, { expiresAt: testNow + 300 + salt })
      return log.append(bytes, entry)
    }),
  )
  await log.publish()
}

const origin = 'witness.test/1'
const verifiers = ownVerifiers(testIdentity, origin)

function follow(source: LogSource, clock: Clock, position?: LogPosition): AsyncGenerator<LogGrowth> {
  return followLog({ source, origin, verifiers, now: () => clock.now, pollMilliseconds: 1, position })
}

async function next(growths: AsyncGenerator<LogGrowth>): Promise<LogGrowth> {
  const { value, done } = await growths.next()
  assert.ok(done !== true)
  return value
}

/** Two logs under one name and key: alike up to `common` entries, and then not. */
async function fork(clock: Clock, common: number): Promise<[WitnessLog, WitnessLog]> {
  const disk = await initialDisk()
  const one = await open(disk, clock)
  await append(one, 1, common + 1)
  return [one, await open(disk.restart(), clock)]
}

test('each entry is handed out once, in order, as the log grows', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  const growths = follow(sourceOf(log), clock)
  assert.deepEqual((await next(growths)).entries, [])
  const seen: number[] = []
  let serial = 1
  for (const count of [1, 2, 300, 5]) {
    clock.now++
    await append(log, serial, serial + count)
    serial += count
    const { entries, position, checkpoint } = await next(growths)
    assert.equal(entries.length, count)
    assert.equal(position.size, checkpoint.size)
    assert.equal(position.signedAt, clock.now)
    for (const { index, entry } of entries) {
      assert.equal(entry.serial, index + 1)
      seen.push(index)
    }
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 308 }, (_, index) => index),
  )
  await growths.return(undefined)
})

test('L6: an idle log shows that it lives: its checkpoint is renewed, and the follower hears of it', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  const growths = follow(sourceOf(log), clock)
  await next(growths)
  for (let renewal = 1; renewal <= 3; renewal++) {
    clock.now += 4
    await log.publishIfDue()
    clock.now += 1
    await log.publishIfDue()
    const { entries, position } = await next(growths)
    assert.deepEqual([entries.length, position.signedAt], [0, testNow + 5 * renewal])
  }
  await growths.return(undefined)
})

test('a large log is handed out in parts, each proven and each a place to go on from', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  await append(log, 1, 9001)
  let position: LogPosition | undefined
  const sizes: number[] = []
  while (position?.size !== 9000) {
    const growths = follow(sourceOf(log), clock, position)
    const growth = await next(growths)
    assert.equal(growth.entries[0]?.index, position?.size ?? 0)
    position = JSON.parse(JSON.stringify(growth.position)) as LogPosition
    sizes.push(position.size)
    await growths.return(undefined)
  }
  assert.deepEqual(sizes, [4096, 8192, 9000])
})

test('T136: a log that shows two followers different entries is found out, with the proof', async () => {
  const clock = { now: testNow }
  const [one, other] = await fork(clock, 10)
  clock.now++
  await append(one, 11, 13)
  await append(other, 11, 15, 1)
  const growths = follow(sourceOf(one), clock)
  const { position } = await next(growths)
  await growths.return(undefined)
  clock.now++
  await other.publish()
  await assert.rejects(next(follow(sourceOf(other), clock, position)), (error) => {
    assert.ok(error instanceof LogMisbehavior)
    assert.equal(error.code, 'forked')
    assert.deepEqual(error.notes, [one.checkpoint(), other.checkpoint()])
    return true
  })
})

test('T136: two roots of one size are a fork, whatever the time', async () => {
  const clock = { now: testNow }
  const [one, other] = await fork(clock, 3)
  await append(one, 4, 6)
  await append(other, 4, 6, 1)
  const growths = follow(sourceOf(one), clock)
  const { position } = await next(growths)
  await assert.rejects(next(follow(sourceOf(other), clock, position)), { code: 'forked' })
  await growths.return(undefined)
})

test('T135: a log that loses entries is found out once it signs that it has fewer', async () => {
  const clock = { now: testNow }
  const [longer, shorter] = await fork(clock, 4)
  await append(longer, 5, 9)
  const growths = follow(sourceOf(longer), clock)
  const { position } = await next(growths)
  await growths.return(undefined)
  clock.now++
  await shorter.publish()
  await assert.rejects(next(follow(sourceOf(shorter), clock, position)), { code: 'rolled_back' })
})

test('T133: an old checkpoint served again is passed over, so that the log looks silent and not new', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  await append(log, 1, 5)
  const old = log.checkpoint() ?? ''
  clock.now += 5
  await append(log, 5, 9)
  let note: string | undefined = log.checkpoint()
  const honest = sourceOf(log)
  let askedCount = 0
  const source: LogSource = {
    read: async (path) => {
      if (path !== 'checkpoint') return honest.read(path)
      if (++askedCount === 20) note = log.checkpoint()
      return note === undefined ? undefined : Buffer.from(note)
    },
  }
  const growths = follow(source, clock)
  assert.equal((await next(growths)).position.size, 8)
  note = old
  clock.now += 5
  await append(log, 9, 10)
  // Nothing is heard of the old one; what comes next is the new one, entry 9 alone.
  const { entries, position } = await next(growths)
  assert.deepEqual([entries.map(({ index }) => index), position.signedAt], [[8], clock.now])
  assert.ok(askedCount >= 20)
  await growths.return(undefined)
})

test('T148: a checkpoint that is not what it should be ends the following', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  const source: LogSource = {
    read: async () => Buffer.from((log.checkpoint() ?? '').replace('\n0\n', '\n00\n')),
  }
  await assert.rejects(next(follow(source, clock)), { name: 'LogMisbehavior', code: 'checkpoint_invalid' })
})

test('a log that does not answer is asked again, until told to stop', async () => {
  const clock = { now: testNow }
  const log = await open(await initialDisk(), clock)
  const honest = sourceOf(log)
  const problems: string[] = []
  const stopping = new AbortController()
  const growths = followLog({
    origin,
    verifiers,
    source: {
      read: async (path) => {
        if (problems.length < 3) throw new Error('away')
        return honest.read(path)
      },
    },
    now: () => clock.now,
    pollMilliseconds: 1,
    signal: stopping.signal,
    onProblem: ({ message }) => void problems.push(message),
  })
  await next(growths)
  assert.deepEqual(problems, ['away', 'away', 'away'])
  stopping.abort()
  assert.ok((await growths.next()).done)
})
