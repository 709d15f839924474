/**
 * Goal: a signature that no entry stands for shows, an entry that no signature stands for shows once, and work under
 * way never does. Method: the three accounts as they can be taken at any moment of honest and dishonest work.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Accounts, compareCounts, type KeyCounter, type KeyEntries } from './counts.ts'

test('D1 T145: a signature without an entry is critical, whatever the log held before', () => {
  const found = compare({ before: [logged(4)], counters: [signed(6)], after: [logged(5)] })
  assert.deepEqual(found, [['signatures_not_entries', 'more_signatures', 'critical']])
  assert.deepEqual(compare({ before: [], counters: [signed(1)], after: [] }), [
    ['signatures_not_entries', 'more_signatures', 'critical'],
  ])
})

test('D1 T139: an entry that was never signed is a warning, once', () => {
  const accounts = { before: [logged(5)], counters: [signed(4)], after: [logged(7)] }
  assert.deepEqual(compare(accounts), [['signatures_not_entries', 'more_entries', 'warning']])
  assert.deepEqual([...compareCounts(accounts, 0).orphans], [['k', 1]])
  const later = { before: [logged(9, 1)], counters: [signed(8)], after: [logged(9, 1)] }
  assert.deepEqual(compare(later), [])
  const another = { before: [logged(11, 1)], counters: [signed(9)], after: [logged(11, 1)] }
  assert.deepEqual(compare(another), [['signatures_not_entries', 'more_entries', 'warning']])
})

test('T144: a signer restored from an old copy would give serials again', () => {
  const restored = { realm: 'consumer', kid: 'k', signed: 3, lastSerial: 3 }
  const found = compare({ before: [logged(9)], counters: [restored], after: [logged(9)] })
  assert.ok(found.some(([, reason, severity]) => reason === 'serial_behind' && severity === 'critical'))
})

test('a key that no signer counts, as of a retired keystore, is left alone', () => {
  assert.deepEqual(compare({ before: [logged(5)], counters: [], after: [logged(5)] }), [])
})

test('D1 T267: honest work under way is no difference, at whatever moment each account is taken', () => {
  // Each token is logged and later signed. The accounts are taken at three moments, in their order; the first is so
  // long before the second that what was logged by then is signed.
  const moments = fc
    .array(fc.nat(1000), { minLength: 3, maxLength: 3 })
    .map((all) => all.toSorted((a, b) => a - b))
  const tokens = fc.array(fc.record({ loggedAt: fc.nat(1000), delay: fc.nat(400) }), { maxLength: 50 })
  fc.assert(
    fc.property(moments, tokens, ([early = 0, counted = 0, late = 0], work) => {
      const before = work.filter(
        ({ loggedAt, delay }) => loggedAt + delay <= early || loggedAt < early - 400,
      ).length
      const signatures = work.filter(({ loggedAt, delay }) => loggedAt + delay <= counted).length
      const after = work.filter(({ loggedAt }) => loggedAt <= late).length
      const accounts = {
        before: [logged(before)],
        counters: [signed(signatures, 1000)],
        after: [logged(after)],
      }
      assert.deepEqual(compare(accounts), [])
    }),
    { seed: 4 },
  )
})

function compare(accounts: Accounts): string[][] {
  return compareCounts(accounts, 0).findings.map(({ rule, reason, severity }) => [rule, reason, severity])
}

function logged(entries: number, orphans = 0): KeyEntries {
  return { kid: 'k', entries, last_serial: entries, orphans }
}

function signed(count: number, lastSerial = 100): KeyCounter {
  return { realm: 'consumer', kid: 'k', signed: count, lastSerial }
}
