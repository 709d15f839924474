/**
 * Goal: a key moves only forward, a revoked one never moves again, and time alone does what the charter asks for.
 * Method: a slot of made-up keys under a clock that the test turns; random sequences of steps for what must hold always.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import type { CharterRealm } from '@countersign/validator/charter'
import type { KeyState, ManifestKey } from '@countersign/validator/manifest'
import fc from 'fast-check'
import {
  activate,
  age,
  block,
  CLOCK_SKEW_SECONDS,
  follows,
  keysMissing,
  retire,
  revoke,
  type Slot,
  shouldActivate,
  standingNextKey,
  windowOf,
} from './lifecycle.ts'

const START = 1_800_000_000
const DAY = 24 * 3600
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const realm: CharterRealm = {
  issuers: ['https://login.example'],
  tenants: ['11111111-1111-4111-8111-111111111111'],
  tokenTypes: ['access'],
  algorithms: ['ES256'],
  lifetimeSecondsMax: 3600,
  signers: [{ kty: 'OKP' }],
  rotationSeconds: DAY,
  keyAgeSecondsMax: 14 * DAY,
  overlapSeconds: 3660,
  cacheSeconds: 600,
  acknowledgeSeconds: 60,
}

function makeKey(kid: string, publishedAt: number, change: Partial<ManifestKey> = {}): ManifestKey {
  return {
    kid,
    algorithm: 'ES256',
    realm: 'consumer',
    issuer: 'https://login.example',
    tenants: realm.tenants,
    tokenTypes: realm.tokenTypes,
    audiences: undefined,
    lifetimeSecondsMax: realm.lifetimeSecondsMax,
    jwk: { kty: 'EC' },
    publicKey,
    state: 'published',
    revoked: undefined,
    blocked: undefined,
    attestation: '',
    ...windowOf(realm, publishedAt),
    ...change,
  }
}

function slotOf(...keys: ManifestKey[]): Slot {
  return { realm: 'consumer', issuer: 'https://login.example', charter: realm, keys }
}

test('T124: a key waits twice the slowest cache before it may take over, and then takes over when its turn comes', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START + DAY - 60)
  const slot = slotOf(active, next)
  assert.equal(shouldActivate(slot, START + DAY), false, 'prepublication is not skipped')
  assert.equal(shouldActivate(slot, START + DAY - 60 + 2 * realm.cacheSeconds), true)
  const early = slotOf(active, makeKey('b', START))
  assert.equal(shouldActivate(early, START + DAY - 1), false, 'the active key has not had its time')
  assert.equal(shouldActivate(early, START + DAY), true)
})

test('T118: after a kill no key takes over by itself, after the natural end of one it does', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START + 1)
  const later = START + 2 * DAY
  for (const killed of [block(active, 'olga', 'stolen', START + 5), revoke(active, 'stolen', START + 5)]) {
    assert.equal(shouldActivate(slotOf(killed, next), later), false)
  }
  assert.equal(shouldActivate(slotOf(retire(active, START + 5), next), later), true)
})

test('F5: a standing next key is asked for whenever there is none, or the one there has waited half its life', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START)
  assert.equal(keysMissing(slotOf(active), START), 1)
  assert.equal(keysMissing(slotOf(active, next), START), 0)
  assert.equal(keysMissing(slotOf(active, next), START + 7 * DAY), 1)
  assert.equal(keysMissing(slotOf(active, block(next, 'olga', 'lost', START)), START), 1)
  const newer = makeKey('c', START + 7 * DAY)
  assert.equal(keysMissing(slotOf(active, next, newer), START + 7 * DAY), 0)
  assert.equal(standingNextKey(slotOf(active, next, newer))?.kid, 'c')
})

test('F5: age counts from when a key was made, so an old key is not made young by using it late', () => {
  const key = makeKey('a', START)
  assert.equal(activate(key, realm, START + 10 * DAY).signUntil, START + 14 * DAY)
  assert.equal(age(key, START + 14 * DAY - 1), key)
  assert.equal(age(key, START + 14 * DAY).state, 'retired')
})

test('at the very start two keys are made, and the first signs at once', () => {
  assert.equal(keysMissing(slotOf(), START), 2)
  assert.equal(keysMissing(slotOf(makeKey('a', START)), START), 1)
  const slot = slotOf(makeKey('a', START), makeKey('b', START))
  assert.equal(keysMissing(slot, START), 0)
  assert.equal(shouldActivate(slot, START), true)
  assert.equal(shouldActivate(slotOf(), START), false)
})

test('a key that takes over may sign for issuers whose clocks are behind, but grows no older for it', () => {
  assert.equal(activate(makeKey('a', START - DAY), realm, START).notBefore, START - CLOCK_SKEW_SECONDS)
  const atOnce = activate(makeKey('a', START), realm, START)
  assert.equal(atOnce.signUntil - atOnce.notBefore, realm.keyAgeSecondsMax)
})

test('F4: a retiring key verifies until its last token has expired, and never after', () => {
  const retiring = retire(activate(makeKey('a', START), realm, START), START + DAY)
  const lastToken = START + DAY + CLOCK_SKEW_SECONDS + realm.lifetimeSecondsMax
  assert.equal(retiring.state, 'retiring')
  assert.equal(retiring.verifyUntil, lastToken + CLOCK_SKEW_SECONDS)
  assert.equal(age(retiring, retiring.verifyUntil - 1).state, 'retiring')
  assert.equal(age(retiring, retiring.verifyUntil).state, 'retired')
})

test('F5: a key over age stops signing although nobody rotated', () => {
  const active = activate(makeKey('a', START), realm, START)
  const aged = age(active, active.signUntil)
  assert.equal(aged.state, 'retiring')
  assert.equal(aged.signUntil, active.signUntil)
})

test('R5 F4: whatever is tried, a key only moves forward, and a revoked one not at all', () => {
  const steps: readonly ((key: ManifestKey, now: number) => ManifestKey)[] = [
    (key, now) => (key.state === 'published' ? activate(key, realm, now) : key),
    retire,
    (key, now) => block(key, 'olga', 'suspected', now),
    (key, now) => revoke(key, 'stolen', now),
    age,
  ]
  const step = fc.record({ index: fc.nat(steps.length - 1), seconds: fc.nat(DAY) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (taken) => {
      let key = makeKey('a', START)
      let now = START
      for (const { index, seconds } of taken) {
        now += seconds
        const before = key
        key = (steps[index] ?? age)(key, now)
        if (key === before) continue
        assert.ok(follows(before.state, key.state), `${before.state} became ${key.state}`)
        assert.notEqual(before.state, 'revoked')
        assert.ok(key.signUntil <= before.signUntil, 'the end of signing never moves away')
        assert.ok(key.verifyUntil <= before.verifyUntil, 'the end of verifying never moves away')
      }
    }),
    { seed: 4, numRuns: 500 },
  )
})

test('R5: a second kill changes nothing, and the first reason stays', () => {
  const blocked = block(makeKey('a', START), 'olga', 'first', START)
  assert.equal(block(blocked, 'omar', 'second', START + 1), blocked)
  const revoked = revoke(blocked, 'stolen', START + 2)
  assert.deepEqual(revoked.blocked, { at: START, reason: 'first', by: 'olga' })
  assert.equal(revoke(revoked, 'again', START + 3), revoked)
  assert.equal(block(revoked, 'omar', 'again', START + 3), revoked)
  const states: readonly KeyState[] = ['published', 'active', 'retiring', 'retired', 'blocked', 'revoked']
  assert.ok(states.every((state) => !follows('revoked', state)))
})
