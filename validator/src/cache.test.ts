/**
 * Goal: the cache never holds more than it may, never forgets what is in use, and never gives a value for another key.
 * Method: generated runs against a plain map.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { BoundedCache } from './cache.ts'

const ENTRIES_MAX = 8

test('a value is found under its own key or not at all, and of what was set only so many are kept', () => {
  const step = fc.record({ key: fc.integer({ min: 0, max: 20 }), set: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const cache = new BoundedCache<object>(ENTRIES_MAX)
      const model = new Map<string, object>()
      for (const { key, set } of steps) {
        const name = `${key}`
        if (set) {
          const value = { key }
          model.set(name, value)
          cache.set(name, value)
          assert.equal(cache.get(name), value)
        } else {
          const found = cache.get(name)
          if (found !== undefined) assert.equal(found, model.get(name))
        }
      }
      const kept = Array.from({ length: 21 }, (_, key) => `${key}`).filter(
        (name) => cache.get(name) !== undefined,
      )
      assert.ok(kept.length <= ENTRIES_MAX, `${kept.length} kept`)
    }),
    { seed: 10 },
  )
})

test('what is asked for stays, however much else comes', () => {
  const cache = new BoundedCache<number>(ENTRIES_MAX)
  cache.set('kept', 1)
  for (let count = 0; count < 100; count++) {
    cache.set(`other ${count}`, count)
    assert.equal(cache.get('kept'), 1)
  }
})

test('after clear nothing is found', () => {
  const cache = new BoundedCache<number>(ENTRIES_MAX)
  for (let count = 0; count < 6; count++) cache.set(`${count}`, count)
  cache.clear()
  for (let count = 0; count < 6; count++) assert.equal(cache.get(`${count}`), undefined)
})
