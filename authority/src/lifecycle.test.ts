/**
 * Goal: a key moves only forward, a revoked one never moves again, time alone does what the charter asks for, and
 * rotation alone never leaves a slot without a signing key. Method: a slot of made-up keys under a clock that the test
 * turns; random sequences of steps, kills, acknowledgements and outages for what must hold always.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attestKey } from '@countersign/validator/attestation'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import type { KeyState, ManifestKey } from '@countersign/validator/manifest'
import { createTestKey, type TestKey } from '@countersign/validator/testing'
import fc from 'fast-check'
import { noTrust, type Trust, withKeys } from './command.ts'
import {
  activate,
  activeKey,
  age,
  block,
  type Circumstances,
  CLOCK_SKEW_SECONDS,
  dueAt,
  follows,
  handOver,
  isRipe,
  keysMissing,
  retire,
  revoke,
  type Slot,
  scopeOf,
  slotsOf,
  standingNextKey,
  successor,
  windowOf,
} from './lifecycle.ts'
import { keepUp, slotsInNeed } from './upkeep.ts'

const START = 1_800_000_000
const DAY = 24 * 3600
const signingKey = createTestKey('ES256')
const [oldSigner, signer] = [createTestKey('EdDSA'), createTestKey('EdDSA')]
const realm: CharterRealm = {
  issuers: ['https://login.example'],
  tenants: ['11111111-1111-4111-8111-111111111111'],
  tokenTypes: ['access'],
  algorithms: ['ES256'],
  lifetimeSecondsMax: 3600,
  signers: [signer.jwk],
  rotationSeconds: DAY,
  keyAgeSecondsMax: 14 * DAY,
  overlapSeconds: 3660,
  cacheSeconds: 600,
  acknowledgeSeconds: 60,
}
/** Everybody has heard of every key. */
const heard: Circumstances = { isHeard: () => true, isGlassBroken: () => false }
const unheard: Circumstances = { ...heard, isHeard: () => false }

function makeKey(
  kid: string,
  publishedAt: number,
  change: Partial<ManifestKey> = {},
  slot: Slot = slotOf(),
  by: TestKey = signer,
): ManifestKey {
  const scope = {
    kid,
    algorithm: 'ES256',
    realm: 'consumer',
    issuer: 'https://login.example',
    tenants: realm.tenants,
    tokenTypes: realm.tokenTypes,
    audiences: undefined,
    lifetimeSecondsMax: realm.lifetimeSecondsMax,
  } as const
  const { charter } = slot
  return {
    ...scope,
    jwk: signingKey.jwk,
    publicKey: publicKeyOfAll,
    state: 'published',
    revoked: undefined,
    blocked: undefined,
    lifted: undefined,
    early: undefined,
    attestation: attestationBy(by, kid, publishedAt),
    // As for a key that another one signs before.
    notBefore: publishedAt + 2 * charter.cacheSeconds,
    signUntil: publishedAt + charter.keyAgeSecondsMax,
    verifyUntil: publishedAt + charter.keyAgeSecondsMax + charter.overlapSeconds,
    ...change,
  }
}

const publicKeyOfAll = signingKey.privateKey

/** Who attested a key is all that is asked of it here, so it is not signed anew for each. */
function attestationBy(by: TestKey, kid: string, issuedAt: number): string {
  const scope = { ...realm, kid, algorithm: 'ES256', realm: 'consumer', issuer: 'i' } as const
  const name = by.kid
  const made =
    attestations.get(name) ?? attestKey({ ...scope, audiences: undefined, issuedAt }, by.privateKey)
  attestations.set(name, made)
  return made
}

const attestations = new Map<string, string>()

function slotOf(...keys: ManifestKey[]): Slot {
  return { realm: 'consumer', issuer: 'https://login.example', purpose: 'token', charter: realm, keys }
}

/** The name of the key that takes over. */
function takesOver(slot: Slot, now: number, circumstances: Circumstances = heard): string | undefined {
  return successor(slot, now, circumstances)?.kid
}

test('T124 K3: a key waits twice the slowest cache before it may take over, and then does when its turn comes', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START + DAY - 60)
  const slot = slotOf(active, next)
  assert.equal(takesOver(slot, START + DAY), undefined, 'prepublication is not skipped')
  assert.equal(takesOver(slot, START + DAY - 60 + 2 * realm.cacheSeconds), 'b')
  const early = slotOf(active, makeKey('b', START))
  assert.equal(takesOver(early, START + DAY - 1), undefined, 'the active key has not had its time')
  assert.equal(takesOver(early, START + DAY), 'b')
})

test('F13 K3: a key that somebody has not heard of waits, but not for longer than the active key may sign', () => {
  const active = activate(makeKey('a', START), realm, START)
  const slot = slotOf(active, makeKey('b', START + DAY))
  for (const days of [1, 2, 13.9]) assert.equal(takesOver(slot, START + days * DAY, unheard), undefined)
  assert.equal(takesOver(slot, active.signUntil - CLOCK_SKEW_SECONDS - 1, unheard), undefined)
  assert.equal(takesOver(slot, active.signUntil - CLOCK_SKEW_SECONDS, unheard), 'b')
})

test('A3: while the glass is broken no key waits for caches or silence, but each still has its turn', () => {
  const active = activate(makeKey('a', START), realm, START)
  const slot = slotOf(active, makeKey('b', START + DAY))
  const broken: Circumstances = { ...unheard, isGlassBroken: (name) => name === 'consumer' }
  assert.equal(takesOver(slot, START + DAY - 1, broken), undefined)
  assert.equal(takesOver(slot, START + DAY, unheard), undefined)
  assert.equal(takesOver(slot, START + DAY, broken), 'b')
  const elsewhere: Circumstances = { ...broken, isGlassBroken: (name) => name === 'enterprise' }
  assert.equal(takesOver(slot, START + DAY, elsewhere), undefined)
})

test('T118: after a kill no key takes over by itself, after the natural end of one it does', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START + 1)
  const later = START + 2 * DAY
  for (const killed of [block(active, 'olga', 'stolen', START + 5), revoke(active, 'stolen', START + 5)]) {
    assert.equal(takesOver(slotOf(killed, next), later), undefined)
    const before = retire(activate(makeKey('z', START - DAY), realm, START - DAY), START - 1)
    assert.equal(takesOver(slotOf(before, killed, next), later), undefined, 'a key that ended before it')
    const idle = retire(makeKey('y', START + 10), START + 10 * DAY)
    assert.equal(takesOver(slotOf(killed, idle, next), later), undefined, 'a key that never signed')
  }
  const retired = retire(active, START + 5)
  assert.equal(takesOver(slotOf(retired, next), later), 'b')
  const killedLongBefore = revoke(makeKey('z', START - 9 * DAY), 'lost', START - 8 * DAY)
  assert.equal(takesOver(slotOf(killedLongBefore, retired, next), later), 'b')
  assert.equal(takesOver(slotOf(revoke(age(retired, later), 'stolen', later), next), later), undefined)
})

test('F5: a standing next key is asked for whenever there is none, or the one there would be worn out too soon', () => {
  const active = activate(makeKey('a', START), realm, START)
  const next = makeKey('b', START)
  assert.equal(keysMissing(slotOf(active), START), 1)
  assert.equal(keysMissing(slotOf(active, next), START), 0)
  assert.equal(keysMissing(slotOf(active, block(next, 'olga', 'lost', START)), START), 1)

  // Blocked, and nobody has decided yet: what stands by stays young.
  const killed = block(active, 'olga', 'stolen', START)
  assert.equal(keysMissing(slotOf(killed, next), START + 7 * DAY - 1), 0)
  assert.equal(keysMissing(slotOf(killed, next), START + 7 * DAY), 1)
  const newer = makeKey('c', START + 7 * DAY)
  assert.equal(keysMissing(slotOf(killed, next, newer), START + 7 * DAY), 0)
  assert.equal(standingNextKey(slotOf(killed, next, newer))?.kid, 'c')
})

test('F5 K2: where keys may grow hardly older than a turn, each turn gets one young key, known in time', () => {
  const charter = { ...realm, keyAgeSecondsMax: DAY + 1200 }
  const slot = { ...slotOf(), charter }
  const active = activate(makeKey('a', START, {}, slot), charter, START)
  const next = makeKey('b', START, {}, slot)
  const due = dueAt({ ...slot, keys: [active, next] }) as number
  assert.ok(due < active.signUntil)
  const missing = (keys: ManifestKey[], now: number): number => keysMissing({ ...slot, keys }, now)
  const asked = due - 1200 - 60 - CLOCK_SKEW_SECONDS
  assert.equal(missing([active, next], asked - 1), 0)
  assert.equal(missing([active, next], asked), 1)
  const young = makeKey('c', asked, {}, slot)
  for (const now of [asked, due, due + 3600]) assert.equal(missing([active, next, young], now), 0, 'once')
  assert.equal(takesOver({ ...slot, keys: [active, next, young] }, due), 'c')
})

test('a realm that moves to another signer gets its next key there, and waits for that one', () => {
  const charter = { ...realm, signers: [oldSigner.jwk, signer.jwk] }
  const active = activate(makeKey('a', START, {}, slotOf(), oldSigner), charter, START)
  const left = makeKey('b', START, {}, slotOf(), oldSigner)
  const slot = (...keys: ManifestKey[]): Slot => ({ ...slotOf(...keys), charter })
  assert.equal(keysMissing(slot(active, left), START + 5), 1)
  const moved = makeKey('c', START + DAY - 10)
  assert.equal(keysMissing(slot(active, left, moved), START + DAY), 0)
  assert.equal(standingNextKey(slot(active, left, moved))?.kid, 'c', 'although the other was made before')
  assert.equal(takesOver(slot(active, left, moved), START + DAY), undefined)
  assert.equal(takesOver(slot(active, left, moved), moved.notBefore), 'c')
  assert.equal(takesOver(slot(active, left), active.signUntil - 1), 'b', 'better than none')
})

test('F5 K5: age counts from when a key was made, so an old key is not made young by using it late', () => {
  const key = makeKey('a', START)
  assert.equal(activate(key, realm, START + 10 * DAY).signUntil, START + 14 * DAY)
  assert.equal(age(key, START + 14 * DAY - 1), key)
  assert.equal(age(key, START + 14 * DAY).state, 'retired')
  assert.equal(windowOf(slotOf(), START, START - 50).signUntil, START - 50 + 14 * DAY)
  assert.equal(windowOf(slotOf(), START, START + 50).signUntil, START + 14 * DAY)
})

test('F5: nothing that is past its end takes over, however long nobody looked', () => {
  const active = activate(makeKey('a', START), realm, START)
  const slot = slotOf(active, makeKey('b', START))
  assert.equal(takesOver(slot, START + 14 * DAY - 1), 'b')
  assert.equal(takesOver(slot, START + 40 * DAY), undefined)
})

test('K4: a key verifies for the overlap of its charter after it stops signing, and no longer', () => {
  const key = makeKey('a', START, windowOf(slotOf(), START))
  assert.equal(key.verifyUntil - key.signUntil, realm.overlapSeconds)
  const active = activate(key, realm, START)
  assert.equal(active.verifyUntil - active.signUntil, realm.overlapSeconds)
  const retiring = retire(active, START + DAY)
  assert.equal(retiring.verifyUntil, START + DAY + CLOCK_SKEW_SECONDS + realm.overlapSeconds)
})

test('at the very start two keys are made, and the first signs at once', () => {
  assert.equal(keysMissing(slotOf(), START), 2)
  assert.equal(keysMissing(slotOf(makeKey('a', START)), START), 1)
  const first = makeKey('a', START, windowOf(slotOf(), START))
  const second = makeKey('b', START, windowOf(slotOf(first), START))
  assert.deepEqual([first.notBefore, second.notBefore], [START, START])
  assert.equal(keysMissing(slotOf(first, second), START), 0)
  assert.notEqual(takesOver(slotOf(first, second), START), undefined)
  assert.equal(takesOver(slotOf(first, second), START, unheard), undefined)
  assert.equal(takesOver(slotOf(), START), undefined)
})

test('a slot that nothing signs in, or soon will not, does not wait for caches', () => {
  const active = activate(makeKey('a', START), realm, START)
  const soon = active.signUntil - 300
  assert.ok(windowOf(slotOf(active), soon).notBefore < active.signUntil)
  assert.equal(windowOf(slotOf(active), START).notBefore, START + 1200, 'there is time')
  const retired = retire(active, START + DAY)
  assert.equal(windowOf(slotOf(retired), START + 2 * DAY).notBefore, START + 2 * DAY)
  const killed = block(active, 'olga', 'stolen', START)
  assert.equal(windowOf(slotOf(killed), START + 5).notBefore, START + 5, 'killed, with nothing beside it')
  assert.equal(windowOf(slotOf(killed, makeKey('b', START)), START + 5).notBefore, START + 5 + 1200)
})

test('K10: events take turns in a slot of their own, with keys of the one algorithm that their receivers verify', () => {
  const charter = { ...realm, tokenTypes: ['access', 'id', 'set'], algorithms: ['RS256', 'ES256'] } as const
  const keys = [makeKey('t', START), makeKey('s', START, { algorithm: 'RS256', tokenTypes: ['set'] })]
  const slots = slotsOf(charterOf(charter), keys)
  assert.deepEqual(
    slots.map((slot) => [slot.purpose, slot.keys.map(({ kid }) => kid), scopeOf(slot)]),
    [
      ['token', ['t'], { algorithm: 'ES256', tokenTypes: ['access', 'id'] }],
      ['set', ['s'], { algorithm: 'RS256', tokenTypes: ['set'] }],
    ],
  )
  const purposes = (change: Partial<CharterRealm>): string[] =>
    slotsOf(charterOf({ ...charter, ...change }), []).map(({ purpose }) => purpose)
  assert.deepEqual(purposes({ algorithms: ['ES256'] }), ['token'])
  assert.deepEqual(purposes({ tokenTypes: ['access'] }), ['token'])
  assert.deepEqual(purposes({ tokenTypes: ['set'] }), ['set'])
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

/** What may befall a slot between two looks at it. */
type Event =
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'jump'; readonly seconds: number }
  | { readonly kind: 'kill'; readonly which: 'active' | 'published'; readonly how: 'block' | 'revoke' }
  | { readonly kind: 'rotate' }
  | { readonly kind: 'hearing'; readonly isHeard: boolean }
  | { readonly kind: 'broker'; readonly isAway: boolean }

const isolated = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.nat(DAY) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('jump' as const),
      seconds: fc.integer({ min: -300, max: 300 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('hearing' as const), isHeard: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('broker' as const), isAway: fc.boolean() }) },
)
const withPeople = fc.oneof(
  { weight: 6, arbitrary: isolated },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('kill' as const),
      which: fc.constantFrom('active' as const, 'published' as const),
      how: fc.constantFrom('block' as const, 'revoke' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rotate' as const) }) },
)
const charters = fc.constantFrom<Partial<CharterRealm>>(
  {},
  { keyAgeSecondsMax: DAY + 1200 },
  { rotationSeconds: 3600, cacheSeconds: 1800, keyAgeSecondsMax: 7200, acknowledgeSeconds: 600 },
  { rotationSeconds: 90 * DAY, cacheSeconds: DAY, keyAgeSecondsMax: 100 * DAY },
)

/** A slot as the authority keeps it: looked at again and again, and never less often than every half minute. */
class Kept {
  trust: Trust = noTrust
  charter: Charter
  /** What time it is. */
  #time = START
  /** How far the authority's clock is off. */
  #offset = 0
  #isHeard = true
  #isBrokerAway = false
  #named = 0
  /** The longest wait between looks is passed in steps, so that the end of a window is not slept through. */
  readonly #stepSeconds: number

  constructor(change: Partial<CharterRealm>) {
    this.charter = charterOf({ ...realm, ...change })
    this.#stepSeconds = Math.max(30, Math.floor(this.slot.charter.rotationSeconds / 200))
    this.look()
  }

  get slot(): Slot {
    return slotsOf(this.charter, this.trust.keys.values())[0] as Slot
  }

  /** What the keeper does, once. */
  look(): void {
    // The witness logs no manifest whose time is off by more; somebody sets the clock right, more or less.
    if (Math.abs(this.#offset) > CLOCK_SKEW_SECONDS) {
      this.#offset = Math.sign(this.#offset) * CLOCK_SKEW_SECONDS
      return
    }
    const made = this.#isBrokerAway
      ? []
      : slotsInNeed(this.trust, this.charter, this.#now).map((slot) =>
          makeKey(`k${this.#named++}`, this.#now, windowOf(slot, this.#now), slot),
        )
    const isFirst = this.trust === noTrust
    const before = this.trust
    this.trust = keepUp(before, this.charter, made, isFirst || this.#isHeard ? heard : unheard, this.#now)
    this.#check(before, isFirst)
  }

  happen(event: Event): void {
    switch (event.kind) {
      case 'wait':
        for (let left = event.seconds; left > 0; left -= this.#stepSeconds) {
          this.#time += Math.min(left, this.#stepSeconds)
          this.look()
        }
        return
      case 'jump':
        this.#offset = event.seconds
        return
      case 'hearing':
        this.#isHeard = event.isHeard
        return
      case 'broker':
        this.#isBrokerAway = event.isAway
        return
      case 'kill': {
        const key = this.slot.keys.find(({ state }) => state === event.which)
        if (key === undefined) return
        const killed =
          event.how === 'block' ? block(key, 'olga', 'test', this.#now) : revoke(key, 'test', this.#now)
        this.trust = withKeys(this.trust, [killed])
        return
      }
      case 'rotate': {
        const next = standingNextKey(this.slot)
        if (next === undefined || !isRipe(next, this.#now)) return
        this.trust = withKeys(this.trust, handOver(this.slot, next, this.#now))
        return
      }
      default:
        event satisfies never
    }
  }

  /** By the clock of the signer, which is right. */
  get signs(): boolean {
    const active = activeKey(this.slot)
    return active !== undefined && active.notBefore <= this.#time && this.#time <= active.signUntil
  }

  /** By the clock of the authority. */
  get #now(): number {
    return this.#time + this.#offset
  }

  #check(before: Trust, isFirst: boolean): void {
    const { keys } = this.slot
    assert.ok(keys.filter(({ state }) => state === 'active').length <= 1, 'two active keys')
    for (const key of keys) {
      const was = before.keys.get(key.kid)
      const state = was?.state ?? 'published'
      assert.ok(
        was === undefined || was.state === key.state || follows(state, key.state) || isThrough(was, key),
      )
      assert.ok(
        was !== undefined || isFirst || key.state === 'published',
        'a key signs that nobody could know',
      )
      if (was?.state === 'published' && key.state === 'active') assert.ok(isRipe(was, this.#now), 'too early')
    }
    assert.ok(
      [...before.keys.keys()].every((kid) => this.trust.keys.has(kid)),
      'a key was forgotten',
    )
  }
}

/** One look may take two steps of a key that was overtaken by time: still none of them is skipped. */
function isThrough(was: ManifestKey, key: ManifestKey): boolean {
  return was.state === 'active' && key.state === 'retired' && follows('active', 'retiring')
}

function charterOf(scope: CharterRealm): Charter {
  return { realms: new Map([['consumer', scope]]) } as unknown as Charter
}

test('T124 T118: whatever happens, a slot never has two active keys, no key skips a state or is forgotten', () => {
  fc.assert(
    fc.property(charters, fc.array(withPeople, { maxLength: 30 }), (charter, events) => {
      const kept = new Kept(charter)
      for (const event of events) {
        kept.happen(event)
        kept.look()
      }
    }),
    { seed: 5, numRuns: 150 },
  )
})

test('F13 K3: rotation alone never leaves a slot without a signing key, however clocks jump and validators are silent', () => {
  fc.assert(
    fc.property(charters, fc.array(isolated, { maxLength: 40 }), (charter, events) => {
      const kept = new Kept(charter)
      for (const event of events) {
        // A broker that is away for longer than a key may grow old is no matter of rotation.
        if (event.kind === 'broker') continue
        kept.happen(event)
        kept.look()
        assert.ok(kept.signs, 'nothing signs')
      }
    }),
    { seed: 6, numRuns: 150 },
  )
})

test('F5: when a broker comes back that was away for longer than keys grow old, the slot signs again by itself', () => {
  for (const change of [{}, { keyAgeSecondsMax: DAY + 1200 }]) {
    const kept = new Kept(change)
    kept.happen({ kind: 'broker', isAway: true })
    kept.happen({ kind: 'wait', seconds: 40 * DAY })
    assert.ok(!kept.signs)
    kept.happen({ kind: 'broker', isAway: false })
    kept.look()
    kept.look()
    assert.ok(kept.signs)
  }
})
