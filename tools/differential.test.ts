/**
 * Goal: where this validator and other libraries disagree about a token, we know it and can say why; and nothing that we accept is
 * refused by them. Method: every twist of tools/differential.ts alone, every two of them, and edits of a good token's text that nobody
 * signed. Seeded.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  differentialPage,
  disagrees,
  page,
  readers,
  rows,
  twisted,
  twists,
  type Verdicts,
  verdictsOn,
} from './differential.ts'
import { root } from './source.ts'

const all = await rows()
const good = twisted([])

test('all four accept the good token', async () => {
  assert.deepEqual(Object.values(await verdictsOn(good)), [true, true, true, true])
})

test('T037 T047 T054 T057 T061 T067 each disagreement is explained, and nothing is explained that is none', () => {
  assert.deepEqual(
    all.filter((row) => disagrees(row) && row.twist.why === undefined).map(({ twist }) => twist.name),
    [],
  )
  assert.deepEqual(
    all.filter((row) => !disagrees(row) && row.twist.why !== undefined).map(({ twist }) => twist.name),
    [],
  )
})

test('docs/differential.md is what was found (node tools/differential.ts rewrites it)', () => {
  assert.equal(readFileSync(join(root, page), 'utf8'), differentialPage(all))
})

test('whatever this validator accepts, the others accept', () => {
  const alone = all.filter((row) => row.verdicts.countersign && disagrees(row))
  assert.deepEqual(
    alone.map(({ twist }) => twist.name),
    [],
  )
})

// Otherwise two twists that are known each could open a way together that is not.
test('T037 T054 any two twists together are refused by whoever refuses one of them', async () => {
  const surprises: string[] = []
  let tried = 0
  for (const one of all) {
    for (const two of all) {
      if (one.twist.of >= two.twist.of) continue
      const verdicts = await verdictsOn(twisted([one.twist, two.twist]))
      tried++
      for (const reader of readers) {
        const expected = one.verdicts[reader] && two.verdicts[reader]
        // Two twists can undo each other, as when the whole token is written anew; but not for us.
        if (verdicts[reader] === expected || (reader !== 'countersign' && !verdicts.countersign)) continue
        surprises.push(`${reader}: ${one.twist.name} + ${two.twist.name}: ${verdicts[reader]}`)
      }
    }
  }
  assert.ok(tried > 2000, `${tried}`)
  assert.deepEqual(surprises, [])
})

test('T049 T050 T051 an edit that nobody signed is accepted by nobody, but as another writing of the same token', async () => {
  const edit = fc.record({
    at: fc.nat({ max: good.length }),
    cut: fc.nat({ max: 2 }),
    put: fc.constantFrom('', '', 'A', '=', '.', ' ', '\n', '-', '_', '+', '/', '\0', '\u00e9', '%3d'),
  })
  const otherWritings = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 2 }), async (edits) => {
      const text = edits.reduce(
        (before, { at, cut, put }) => before.slice(0, at) + put + before.slice(at + cut),
        good,
      )
      const verdicts: Verdicts = await verdictsOn(text)
      if (text === good) return
      assert.equal(verdicts.countersign, false)
      for (const reader of readers) {
        if (!verdicts[reader]) continue
        assert.equal(rewritten(text), good, `${reader} accepted ${text}`)
        otherWritings.add(reader)
      }
    }),
    { seed: 12, numRuns: 4000 },
  )
  assert.ok(otherWritings.size > 0, 'no other writing was tried')
  assert.ok(twists.length > 100)
})

/** The token as who decodes it generously reads it, written anew. */
function rewritten(text: string): string {
  return text
    .split('.')
    .map((segment) => Buffer.from(segment, 'base64url').toString('base64url'))
    .join('.')
}
