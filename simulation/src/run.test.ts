/**
 * Goal: a seed says everything about its run, real work is done in it, and its invariants hold. Method: run seeds here, one of
 * them twice with others in between, and compare the hashes of their traces; the long runs are those of `npm run simulate`.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { installMachine } from './machine.ts'

installMachine()
const { runSeed } = await import('./run.ts')

test('the same seed gives the same trace, whatever ran before it, and another seed another', async () => {
  const [first, other, again] = [await runSeed(11, 120), await runSeed(12, 120), await runSeed(11, 120)]
  assert.equal(again.traceHash, first.traceHash)
  assert.equal(again.events, first.events)
  assert.notEqual(other.traceHash, first.traceHash)
})

test('R4 L1 L4: in a dozen worlds no invariant breaks, and tokens are issued, accepted and refused', async () => {
  const outcomes = []
  for (let seed = 1; seed <= 12; seed++) outcomes.push(await runSeed(seed, 120))
  assert.deepEqual(
    outcomes.filter(({ broken }) => broken !== undefined).map(({ seed, broken }) => ({ seed, broken })),
    [],
  )
  for (const count of ['issued', 'accepted', 'refused', 'commands', 'crashes'] as const) {
    const total: number = outcomes.reduce((sum, { counts }) => sum + counts[count], 0)
    assert.ok(total > 10, `only ${total} ${count}`)
  }
})

test('a world leaves nothing simulated behind: timers, clocks and files are real again', async () => {
  await runSeed(1, 5)
  assert.ok(Math.abs(Date.now() - performance.timeOrigin - performance.now()) < 60_000)
  const before = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 5))
  assert.ok(performance.now() > before)
})
