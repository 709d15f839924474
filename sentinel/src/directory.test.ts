/**
 * Goal: a validator is heard as soon as it is enrolled, and strangers cost nothing. Method: a directory over an
 * authority that counts how often it is asked, and a clock that the test turns.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestKey } from '@countersign/validator/testing'
import { createDirectory, type Enrolled } from './directory.ts'

test('strangers make the authority be asked once a second, whatever their number', async () => {
  const { keyOf, enrolled, authority, clock } = createWorld()
  enrolled.push({ name: 'gateway', jwk: createTestKey('EdDSA').jwk })
  await Promise.all(Array.from({ length: 100 }, (_, n) => keyOf(`stranger ${n}`)))
  assert.ok(await keyOf('gateway'))
  assert.equal(authority.asked, 1)
  clock.now += 999
  await keyOf('stranger')
  assert.equal(authority.asked, 1)
  clock.now += 1
  await keyOf('stranger')
  assert.equal(authority.asked, 2)
})

test('a validator that was just enrolled is known at the next look', async () => {
  const { keyOf, enrolled, clock } = createWorld()
  assert.equal(await keyOf('gateway'), undefined)
  const { jwk } = createTestKey('EdDSA')
  enrolled.push({ name: 'gateway', jwk })
  clock.now += 1000
  assert.equal(await keyOf('gateway'), jwk)
})

test('what is known stays known while the authority is away, and a failure is not repeated at once', async () => {
  const { keyOf, enrolled, authority, clock } = createWorld()
  const { jwk } = createTestKey('EdDSA')
  enrolled.push({ name: 'gateway', jwk })
  assert.equal(await keyOf('gateway'), jwk)
  authority.isAway = true
  clock.now += 5000
  assert.equal(await keyOf('stranger'), undefined)
  assert.equal(await keyOf('stranger'), undefined)
  assert.equal(await keyOf('gateway'), jwk)
  assert.equal(authority.asked, 2)
})

test('a validator that was removed is not heard for long, and what another says waits for no answer about it', async () => {
  const { keyOf, enrolled, clock } = createWorld()
  const { jwk } = createTestKey('EdDSA')
  enrolled.push({ name: 'taken', jwk }, { name: 'gateway', jwk })
  assert.equal(await keyOf('taken'), jwk)
  enrolled.shift()
  clock.now += 10_000
  assert.equal(await keyOf('gateway'), jwk)
  assert.equal(await keyOf('taken'), undefined)
  assert.equal(await keyOf('gateway'), jwk)
})

function createWorld() {
  const enrolled: Enrolled[] = []
  const clock = { now: 0 }
  const authority = { asked: 0, isAway: false }
  const ask = async (): Promise<readonly Enrolled[]> => {
    authority.asked++
    if (authority.isAway) throw new Error('away')
    return [...enrolled]
  }
  return { enrolled, clock, authority, keyOf: createDirectory(ask, () => clock.now) }
}
