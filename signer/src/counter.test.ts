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

test('T144 K8: over any life, serials only rise, and the count never falls behind what was released', () => {
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.record({ take: fc.integer({ min: 1, max: 5000 }) }),
    fc.record({ count: fc.integer({ min: 1, max: 200 }) }),
    fc.constant('crash' as const),
    fc.constant('stop' as const),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (life) => {
      let file = newFile()
      let counter = Counter.create(file)
      let [last, released] = [0, 0]
      for (const happening of life) {
        if (happening === 'crash') {
          const survived = newFile()
          copyFileSync(file, survived)
          counter.close()
          file = survived
          counter = new Counter(file)
        } else if (happening === 'stop') {
          counter.close()
          counter = new Counter(file)
          assert.equal(counter.counts.lastSerial, last, 'an orderly stop skips no serial')
        } else if ('take' in happening) {
          const first = counter.take(happening.take)
          assert.ok(first > last)
          last = first + happening.take - 1
        } else {
          counter.count(happening.count)
          released += happening.count
        }
        assert.ok(counter.counts.lastSerial >= last)
        assert.equal(counter.counts.signed, released)
        last = counter.counts.lastSerial
      }
      counter.close()
    }),
    { seed: 4, numRuns: 60 },
  )
})

test('T144: a key whose count is gone does not count from one again', () => {
  assert.throws(() => new Counter(join(folder, 'gone')), { name: 'SignerFault' })
})

test('T144: a count restored from a copy repeats serials, which is why the witness remembers them too', () => {
  const file = newFile()
  const counter = Counter.create(file)
  copyFileSync(file, `${file}.copy`)
  const restored = new Counter(`${file}.copy`)
  assert.equal(restored.take(1), counter.take(1))
  counter.close()
  restored.close()
})
