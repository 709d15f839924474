/**
 * Goal: every request gets its own result, once, in bounded time and memory, however many come and whatever the work
 * does. Method: work that the test holds back and lets go by hand; a clock that it moves.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { batch } from './batch.ts'

const limits = {
  batchMax: 4,
  batchWorthwhile: 2,
  batchesUnderWayMax: 2,
  waitingMax: 10,
  waitMillisecondsMax: 1000,
}

/** Work whose batches wait until they are let go. */
function heldWork() {
  const batches: { readonly requests: readonly number[]; readonly letGo: () => void }[] = []
  const work = async (requests: readonly number[]): Promise<readonly number[]> => {
    await new Promise<void>((resolve) => batches.push({ requests, letGo: resolve }))
    return requests.map((request) => request * 2)
  }
  return { batches, work }
}

test('a lone request goes at once, and those of one turn go together', async () => {
  const { batches, work } = heldWork()
  const add = batch(work, limits)
  const results = Promise.all([add(1), add(2), add(3)])
  await nextTurn()
  await nextTurn()
  assert.deepEqual(
    batches.map(({ requests }) => requests),
    [[1, 2, 3]],
  )
  batches[0]?.letGo()
  assert.deepEqual(await results, [2, 4, 6])
})

test('a few that come while others are under way wait for them; enough of them do not', async () => {
  const { batches, work } = heldWork()
  const add = batch(work, limits)
  const results = [add(1)]
  await nextTurn()
  await nextTurn()
  results.push(add(2))
  await nextTurn()
  await nextTurn()
  assert.deepEqual(
    batches.map(({ requests }) => requests),
    [[1]],
  )
  results.push(add(3))
  await nextTurn()
  await nextTurn()
  assert.deepEqual(
    batches.map(({ requests }) => requests),
    [[1], [2, 3]],
  )
  batches[0]?.letGo()
  results.push(add(4))
  await nextTurn()
  await nextTurn()
  batches[1]?.letGo()
  await nextTurn()
  await nextTurn()
  batches[2]?.letGo()
  assert.deepEqual(await Promise.all(results), [2, 4, 6, 8])
})

test('what comes while others are under way waits for the next batch, and no batch is too large', async () => {
  const { batches, work } = heldWork()
  const add = batch(work, limits)
  const results = [add(0)]
  await nextTurn()
  await nextTurn()
  for (let n = 1; n <= 10; n++) results.push(add(n))
  await nextTurn()
  await nextTurn()
  assert.deepEqual(
    batches.map(({ requests }) => requests),
    [[0], [1, 2, 3, 4]],
  )
  batches[0]?.letGo()
  assert.equal(await results[0], 0)
  await nextTurn()
  assert.deepEqual(
    batches.map(({ requests }) => requests),
    [[0], [1, 2, 3, 4], [5, 6, 7, 8]],
  )
  for (let at = 1; at < 4; at++) {
    batches[at]?.letGo()
    await nextTurn()
    await nextTurn()
  }
  assert.deepEqual(await Promise.all(results), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20])
})

test('T265: more than can wait, and what waits too long, is told to come again', async () => {
  const { batches, work } = heldWork()
  let milliseconds = 0
  const add = batch(work, limits, () => milliseconds)
  const begun = [add(1)]
  await nextTurn()
  await nextTurn()
  begun.push(add(2), add(3))
  await nextTurn()
  await nextTurn()
  const waiting = Array.from({ length: 10 }, (_, n) => add(10 + n))
  await assert.rejects(add(99), { code: 'rate_limited', retryable: true })
  milliseconds = 1001
  const late = assert.rejects(waiting[0] as Promise<number>, { code: 'rate_limited', retryable: true })
  for (const each of waiting.slice(1)) each.catch(() => {})
  batches[0]?.letGo()
  await late
  batches[1]?.letGo()
  assert.deepEqual(await Promise.all(begun), [2, 4, 6])
  const after = add(7)
  await nextTurn()
  await nextTurn()
  batches[2]?.letGo()
  assert.equal(await after, 14)
})

test('T266: asked for more than a module can sign, it signs all it can, and the rest hears so in bounded time', async () => {
  // A module of 1,000 signatures a second, asked for 5,000 a second, in the time of a clock that the test moves.
  const [perSecond, askedPerSecond, seconds] = [1000, 5000, 4]
  const bounds = { ...limits, batchMax: 32, batchWorthwhile: 32, waitingMax: 4000, waitMillisecondsMax: 1000 }
  let milliseconds = 0
  let [asked, served, refused, slowest] = [0, 0, 0, 0]
  const underWay: { readonly endsAt: number; readonly letGo: () => void }[] = []
  const add = batch<number, number>(
    async (requests) => {
      const busyUntil = underWay.at(-1)?.endsAt ?? milliseconds
      const endsAt = busyUntil + (requests.length / perSecond) * 1000
      await new Promise<void>((letGo) => underWay.push({ endsAt, letGo }))
      return requests
    },
    bounds,
    () => milliseconds,
  )
  for (; milliseconds < seconds * 1000; milliseconds++) {
    while (underWay[0] !== undefined && underWay[0].endsAt <= milliseconds) underWay.shift()?.letGo()
    for (; asked < (milliseconds / 1000) * askedPerSecond; asked++) {
      const since = milliseconds
      void add(asked).then(
        (result) => {
          assert.equal(typeof result, 'number')
          served++
          slowest = Math.max(slowest, milliseconds - since)
        },
        ({ code, retryable }: { readonly code: string; readonly retryable: boolean }) => {
          assert.deepEqual([code, retryable], ['rate_limited', true])
          refused++
        },
      )
    }
    for (let turn = 0; turn < 4; turn++) await nextTurn()
  }
  const waiting = asked - served - refused
  assert.ok(served > 0.98 * perSecond * seconds - 2 * bounds.batchMax, `only ${served} served`)
  assert.ok(waiting <= bounds.waitingMax + 2 * bounds.batchMax, `${waiting} wait`)
  assert.ok(slowest <= bounds.waitMillisecondsMax + 3 * bounds.batchMax, `${slowest} ms`)
  assert.ok(refused > 0)
})

test('work that fails fails its own requests, and the next batch goes on', async () => {
  const add = batch<number, number>(async (requests) => {
    if (requests.includes(13)) throw new Error('unlucky')
    return requests
  }, limits)
  await assert.rejects(Promise.all([add(13), add(1)]), /unlucky/)
  assert.equal(await add(2), 2)
})

test('over any load, each request gets its own result', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat({ max: 3 }), { maxLength: 60 }), async (pauses) => {
      const add = batch(
        async (requests: readonly number[]) => {
          for (let turns = requests.length % 3; turns > 0; turns--) await nextTurn()
          return requests.map((request) => request + 1)
        },
        { ...limits, waitingMax: 100 },
      )
      const results: Promise<number>[] = []
      for (const [at, pause] of pauses.entries()) {
        results.push(add(at))
        if (pause === 0) await nextTurn()
      }
      assert.deepEqual(
        await Promise.all(results),
        pauses.map((_, at) => at + 1),
      )
    }),
    { seed: 3, numRuns: 50 },
  )
})
