/**
 * Goal: an attacker gets few guesses whatever they spread them over, and nobody can be locked out of their account by
 * a stranger (T185). Method: each way to spread guesses, on a clock that the test turns; then random histories, of
 * which no account may have been open to more guesses than the limits say.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { Attempts } from './attempts.ts'

const WINDOW_SECONDS = 900

test('one address gets five guesses at an account, and five more once the window is over', () => {
  const clock = { now: 0 }
  const attempts = new Attempts(() => clock.now)
  assert.equal(
    heard(attempts, 20, () => ['ada', 'a1']),
    5,
  )
  assert.equal(attempts.take('ada', 'a1'), WINDOW_SECONDS)
  clock.now = 899
  assert.equal(attempts.take('ada', 'a1'), 1)
  clock.now = 900
  assert.equal(
    heard(attempts, 20, () => ['ada', 'a1']),
    5,
  )
})

test('one address gets fifty guesses over all accounts, a hundred addresses get a hundred at one account', () => {
  assert.equal(
    heard(new Attempts(() => 0), 500, (nth) => [`account ${nth}`, 'a1']),
    50,
  )
  assert.equal(
    heard(new Attempts(() => 0), 500, (nth) => ['ada', `a${nth}`]),
    100,
  )
})

test('the owner comes in from where they came in before, however many strangers guess', () => {
  const attempts = new Attempts(() => 0)
  assert.equal(attempts.take('ada', 'home'), 0)
  attempts.succeeded('ada', 'home')
  assert.equal(
    heard(attempts, 500, (nth) => ['ada', `a${nth}`]),
    100,
  )
  assert.ok(attempts.take('ada', 'a new place') > 0)
  assert.equal(attempts.take('ada', 'home'), 0)
})

test('what is guessed at takes no more memory the longer its name is', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const attempts = new Attempts(() => 0)
  const used = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const before = used()
  for (let nth = 0; nth < 200; nth++) attempts.take(`${nth}${'x'.repeat(200_000)}`, `a${nth}`)
  const grown = used() - before
  assert.ok(grown < 5_000_000, `${grown} bytes`)
  assert.equal(attempts.take('ada', 'a1'), 0)
})

test('guesses that are right count against nobody', () => {
  const attempts = new Attempts(() => 0)
  for (let nth = 0; nth < 500; nth++) {
    assert.equal(attempts.take(`account ${nth}`, 'an office'), 0)
    attempts.succeeded(`account ${nth}`, 'an office')
  }
})

test('in no window of any history does an account stand open to more wrong guesses than the limits say', () => {
  const guess = fc.record({
    account: fc.constantFrom('ada', 'ben'),
    address: fc.constantFrom('a1', 'a2', 'a3'),
    pause: fc.integer({ min: 0, max: 200 }),
    right: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(guess, { maxLength: 200 }), (history) => {
      const clock = { now: 0 }
      const attempts = new Attempts(() => clock.now)
      const wrong: { readonly at: number; readonly pair: string }[] = []
      for (const { account, address, pause, right } of history) {
        clock.now += pause
        if (attempts.take(account, address) > 0) continue
        if (right) attempts.succeeded(account, address)
        else wrong.push({ at: clock.now, pair: `${account} ${address}` })
      }
      // Whoever knows the password resets their own count, so only pairs that never got it right are judged.
      const righted = new Set(
        history.filter(({ right }) => right).map(({ account, address }) => `${account} ${address}`),
      )
      for (const { at, pair } of wrong) {
        if (righted.has(pair)) continue
        const inWindow = wrong.filter(
          (other) => other.pair === pair && other.at >= at && other.at < at + WINDOW_SECONDS,
        )
        // A window may begin in the middle of a counter's.
        assert.ok(inWindow.length <= 10, `${inWindow.length} guesses at ${pair}`)
      }
    }),
    { seed: 1, numRuns: 200 },
  )
})

/** How many of the guesses were heard. */
function heard(attempts: Attempts, count: number, guess: (nth: number) => readonly [string, string]): number {
  return Array.from({ length: count }, (_, nth) => attempts.take(...guess(nth))).filter((wait) => wait === 0)
    .length
}
