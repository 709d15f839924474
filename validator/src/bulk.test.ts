/**
 * Goal: many tokens at once get what each would get alone, in their order, by the trust of the moment in which it is given.
 * Method: the same good and bad tokens one by one and in bulk; then kills, slow sources, early ends and failures in between.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { decideAll, decideLater, type Shown } from './bulk.ts'
import type { Reason } from './refusal.ts'
import type { Sighting } from './sighting.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld } from './testing.ts'
import { createValidator, type Decision, type Validator } from './validator.ts'

function validatorOf(world: TestWorld, sightings: Sighting[] = []): Validator {
  return createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
    onSighting: (sighting) => sightings.push(sighting),
  })
}

const wordOf = (decision: Decision): string | Reason =>
  decision.accepted ? decision.token.tokenId : decision.refusal.reason

/** Batches, lone tokens, tokens that were shown before, and what is wrong in every place. */
function tokensOf(world: TestWorld): readonly Shown[] {
  const dead = createTestKey('ES256')
  world.publish(({ keys }) => ({
    keys: [
      ...keys,
      world.draftKey(dead, 'consumer', { state: 'revoked', revoked: { at: world.now, reason: 'stolen' } }),
    ],
  }))
  const batches = Array.from({ length: 6 }, () =>
    world.issueBatch(Array.from({ length: 20 }, () => ({}))),
  ).flat()
  const twisted = batches.map((token, at) => (at % 3 === 0 ? `${token.slice(0, -4)}AAAA` : token))
  const bad = [
    world.issue({ receipt: null }),
    world.issue({ key: dead }),
    world.issue({ key: createTestKey('ES256') }),
    world.issue({ claims: { aud: 'x' } }),
    world.issue({ claims: { cnf: { jkt: 'A'.repeat(43) } } }),
    'x',
    '',
  ]
  const bound = {
    token: world.issue({ claims: { cnf: { jkt: 'A'.repeat(43) } } }),
    sender: { confirmation: { jkt: 'A'.repeat(43) } },
  }
  return [...twisted, ...bad, bound, ...bad, ...Array.from({ length: 20 }, () => world.issue()), ...batches]
}

async function collect(decisions: AsyncIterable<Decision>): Promise<readonly string[]> {
  return (await Array.fromAsync(decisions)).map(wordOf)
}

test('each gets what it would get alone, in order, and is seen as often', async () => {
  const world = createTestWorld()
  const shown = tokensOf(world)
  const alone: Sighting[] = []
  const single = validatorOf(world, alone)
  const expected = shown.map((each) =>
    wordOf(typeof each === 'string' ? single.decide(each) : single.decide(each.token, each.sender)),
  )
  assert.ok(new Set(expected).size > 100)
  for (const concurrency of [1, 2, 7, 64, 1000]) {
    const seen: Sighting[] = []
    assert.deepEqual(await collect(decideAll(validatorOf(world, seen), shown, { concurrency })), expected)
    assert.deepEqual(tally(seen), tally(alone))
  }
})

/** Who was seen in which way, whatever the order: one that is refused waits for less. */
function tally(sightings: readonly Sighting[]): readonly string[] {
  return sightings.map((sighting) => JSON.stringify(sighting)).sort()
}

test('T118 T123 a kill counts for every decision that is given after it, also of what was found good before', async () => {
  const world = createTestWorld()
  const tokens = world.issueBatch(Array.from({ length: 100 }, () => ({})))
  for (const killedAt of [0, 1, 37, 99]) {
    const own = createTestWorld()
    const shown = own.issueBatch(tokens.map(() => ({})))
    const words: string[] = []
    for await (const decision of decideAll(validatorOf(own), shown, { concurrency: 100 })) {
      words.push(wordOf(decision))
      if (words.length === killedAt + 1) own.setState(own.keys.consumer.kid, 'revoked')
    }
    assert.deepEqual(
      words.map((word) => word === 'key_revoked'),
      shown.map((_, at) => at > killedAt),
    )
  }
})

test('no more is taken than is under way, and what is decided is given though nothing more comes', async () => {
  const world = createTestWorld()
  const tokens = world.issueBatch(Array.from({ length: 40 }, () => ({})))
  let taken = 0
  let isReturned = false
  async function* slowly(): AsyncGenerator<string> {
    try {
      for (const token of tokens) {
        taken++
        yield token
        // The last of ten comes when the others have been given, and not before.
        if (taken % 10 === 0) await new Promise<void>((resolve) => (letGo = resolve))
      }
    } finally {
      isReturned = true
    }
  }
  let letGo = (): void => {}
  let given = 0
  for await (const decision of decideAll(validatorOf(world), slowly(), { concurrency: 4 })) {
    assert.ok(decision.accepted)
    given++
    assert.ok(taken - given <= 4, `${taken} taken, ${given} given`)
    if (given % 10 === 0) letGo()
    if (given === 25) break
  }
  await new Promise(setImmediate)
  assert.ok(isReturned && taken <= 30, `${taken}`)
})

test('what gives the tokens fails, or the validator does: those before it are decided, and then it is thrown', async () => {
  const world = createTestWorld()
  const good = world.issue()
  async function* failing(): AsyncGenerator<string> {
    yield good
    yield 'x'
    throw new Error('the queue is gone')
  }
  const words: string[] = []
  const listen = async (
    validator: Validator,
    tokens: AsyncIterable<string> | Iterable<string>,
  ): Promise<void> => {
    for await (const decision of decideAll(validator, tokens)) words.push(wordOf(decision))
  }
  await assert.rejects(listen(validatorOf(world), failing()), { message: 'the queue is gone' })
  assert.equal(words.length, 2)
  const broken: Validator = {
    ...validatorOf(world),
    decide: () => {
      throw new TypeError('a bug')
    },
  }
  await assert.rejects(listen(broken, [good, good, good]), { message: 'a bug' })
  for (const concurrency of [0, -1, 0.5, Number.NaN])
    await assert.rejects(collect(decideAll(validatorOf(world), [good], { concurrency })), TypeError)
  assert.deepEqual(await collect(decideAll(validatorOf(world), [])), [])
})

test('one token alone is decided about in the same way, by the same cache', async () => {
  const world = createTestWorld()
  const validator = validatorOf(world)
  const token = world.issue()
  const later = await decideLater(validator, token)
  assert.ok(later.accepted)
  assert.equal(validator.validate(token), later.token)
  const refused = await decideLater(validator, 'x')
  assert.equal(wordOf(refused), 'malformed')
})
