/**
 * Goal: how much of the traffic comes by a validator is a number that cannot be talked up. Method: a whole sentinel with real
 * validators over a log that the world's witness filled, and tokens that some of them, several or none of them see.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fetchCoverage, type KeyCoverage } from './client.ts'
import { startTestSentinel, type TestSentinel } from './testing.ts'

let sentinel: TestSentinel
before(async () => {
  sentinel = await startTestSentinel({
    policy: { auto_block: [], silent_seconds: 60, merge_delay_seconds: 0.01, retention_days: 1 },
  })
})
after(() => sentinel.stop())

async function coverageOf(kid: string, fits: (key: KeyCoverage) => boolean): Promise<KeyCoverage> {
  for (;;) {
    const key = (await fetchCoverage(sentinel.url)).find((each) => each.kid === kid)
    if (key !== undefined && fits(key)) return key
  }
}

test('V6 V7: of the tokens issued those count that a validator accepted, each once, and across a restart', async () => {
  const { world } = sentinel
  const { kid } = world.keys.consumer
  const [gateway, webmail] = [await sentinel.enrol('gateway'), await sentinel.enrol('webmail')]
  const [first = '', second = '', third = ''] = Array.from({ length: 5 }, () => world.issue())
  for (const token of [first, second, third]) gateway.validate(token)
  // Seen by two, or again from elsewhere, it is one token.
  webmail.validate(first)
  gateway.validate(second, { network: '192.0.2.1' })
  // Refused, or never to be shown to a service, it is none of them.
  assert.equal(gateway.decide(world.issue({ claims: { aud: 'https://other.example' } })).accepted, false)
  world.issue({ type: 'id' })
  await gateway.reporter.flush()
  await webmail.reporter.flush()
  const counted = ({ issued, accepted }: KeyCoverage): boolean => issued >= 6 && accepted >= 3
  const expected = { realm: 'consumer', kid, issued: 6, accepted: 3 }
  assert.deepEqual(await coverageOf(kid, counted), expected)
  await sentinel.restart()
  assert.deepEqual(await coverageOf(kid, counted), expected)
  const later = await sentinel.enrol('later')
  later.validate(world.issue())
  await later.reporter.flush()
  assert.deepEqual(await coverageOf(kid, ({ accepted }) => accepted === 4), {
    ...expected,
    issued: 7,
    accepted: 4,
  })
})

test('V7: a key that ended is no part of what is covered', async () => {
  const { world } = sentinel
  const { kid } = world.keys.consumer
  world.setState(kid, 'blocked')
  sentinel.tell()
  while ((await fetchCoverage(sentinel.url)).some((key) => key.kid === kid));
  assert.ok((await fetchCoverage(sentinel.url)).some(({ realm }) => realm === 'enterprise'))
})
