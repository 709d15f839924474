/**
 * Goal: no serial is given twice and no signature leaves uncounted, whenever the process dies. Method: random lives of
 * takes, counts, crashes and orderly stops; after a crash goes on what was on the disk at that moment.
 */

import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { Counter } from './counter.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-counter-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = (): string => join(folder, String(files++))

type Event = { readonly take: number } | { readonly count: number } | 'crash' | 'stop'

test('T144 K8: over any life, serials only rise, and the count never falls behind what was released', async () => {
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.record({ take: fc.integer({ min: 1, max: 5000 }) }),
    fc.record({ count: fc.integer({ min: 1, max: 200 }) }),
    fc.constant('crash' as const),
    fc.constant('stop' as const),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 30 }), async (life) => {
      let file = newFile()
      let counter = await Counter.create(file)
      let [last, released] = [0, 0]
      for (const happening of life) {
        if (happening === 'crash') {
          const survived = newFile()
          copyFileSync(file, survived)
          await counter.close()
          file = survived
          counter = await Counter.open(file)
        } else if (happening === 'stop') {
          await counter.close()
          counter = await Counter.open(file)
          assert.equal(counter.counts.lastSerial, last, 'an orderly stop skips no serial')
        } else if ('take' in happening) {
          const first = await counter.take(happening.take)
          assert.ok(first > last)
          last = first + happening.take - 1
        } else {
          await counter.count(happening.count)
          released += happening.count
        }
        assert.ok(counter.counts.lastSerial >= last)
        assert.equal(counter.counts.signed, released)
        last = counter.counts.lastSerial
      }
      await counter.close()
    }),
    { seed: 4, numRuns: 60 },
  )
})

test('takes at the same time get serials of their own, without a gap', async () => {
  const counter = await Counter.create(newFile())
  const sizes = [1, 4000, 200, 128, 5000, 1, 1]
  const firsts = await Promise.all(sizes.map((size) => counter.take(size)))
  const given = firsts.flatMap((first, at) =>
    Array.from({ length: sizes[at] as number }, (_, i) => first + i),
  )
  assert.deepEqual(
    given.sort((a, b) => a - b),
    given.map((_, at) => at + 1),
  )
  await counter.close()
})

test('T144: a key whose count is gone does not count from one again', async () => {
  await assert.rejects(Counter.open(join(folder, 'gone')), { name: 'SignerFault' })
})

test('T144: a count restored from a copy repeats serials, which is why the witness remembers them too', async () => {
  const file = newFile()
  const counter = await Counter.create(file)
  copyFileSync(file, `${file}.copy`)
  const restored = await Counter.open(`${file}.copy`)
  assert.equal(await restored.take(1), await counter.take(1))
  await counter.close()
  await restored.close()
})
