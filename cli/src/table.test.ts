/**
 * Goal: what a person reads stays readable, however much there is to say. Method: names, few and many.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatNames } from './table.ts'

test('few names are all said, and of many the first, and how many more there are', () => {
  const names = Array.from({ length: 100 }, (_, index) => `v${index}`)
  assert.equal(formatNames(names.slice(0, 2)), 'v0, v1')
  assert.equal(formatNames(names.slice(0, 7)), 'v0, v1, v2, v3, v4, v5, v6')
  assert.equal(formatNames(names), 'v0, v1, v2, v3, v4, v5 and 94 others')
})
