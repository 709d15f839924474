/**
 * Goal: whatever state an interrupted migration is found in, the next step is the right one, and steps taken one after the
 * other end with every old key gone and never a moment without one that signs. Method: a realm of two slots that does what
 * each step says, interrupted before every one.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MovingKey, nextStep, type Standing, type Step, type Wish } from './migration.ts'

const [OLD, NEW] = ['old', 'new']
const CACHES_SECONDS = 1200
const TOKEN_SECONDS = 3660

function newRealm(): Standing {
  const keys = ['token', 'set'].flatMap((slot): MovingKey[] => [
    { kid: `${slot} active`, state: 'active', signer: OLD, slot, notBefore: 0, verifyUntil: 100_000 },
    { kid: `${slot} next`, state: 'published', signer: OLD, slot, notBefore: 0, verifyUntil: 200_000 },
  ])
  return {
    target: undefined,
    isConfigured: false,
    isAloneConfigured: false,
    running: [OLD],
    chartered: [OLD],
    keys,
    leaving: 0,
    now: 1000,
  }
}

/** The realm after this step, as authority, broker and time make it. */
function after(step: Step, realm: Standing): Standing {
  const { keys, now } = realm
  const change = (kid: string, of: Partial<MovingKey>): readonly MovingKey[] =>
    keys.map((key) => (key.kid === kid ? { ...key, ...of } : key))
  const handOver = (slot: string, kid: string): readonly MovingKey[] =>
    keys.map((key) => {
      if (key.slot === slot && key.state === 'active')
        return { ...key, state: 'retiring', verifyUntil: now + TOKEN_SECONDS }
      return key.kid === kid ? { ...key, state: 'active' } : key
    })
  switch (step.step) {
    case 'make':
      return { ...realm, target: NEW }
    case 'configure':
      return { ...realm, isConfigured: true, running: [OLD, NEW] }
    case 'name':
      return { ...realm, chartered: [OLD, NEW] }
    case 'await-keys': {
      const made = ['token', 'set'].map(
        (slot): MovingKey => ({
          kid: `${slot} moved`,
          state: 'published',
          signer: NEW,
          slot,
          notBefore: now + CACHES_SECONDS,
          verifyUntil: 300_000,
        }),
      )
      return { ...realm, keys: [...keys, ...made] }
    }
    case 'activate':
    case 'hand-over':
      return { ...realm, keys: handOver(step.kid.split(' ')[0] as string, step.kid) }
    case 'retire':
      return { ...realm, keys: change(step.kid, { state: 'retired' }) }
    case 'revoke':
      return { ...realm, keys: change(step.kid, { state: 'revoked' }) }
    case 'await-caches':
      return { ...realm, now: step.until }
    case 'await-expiry':
      return {
        ...realm,
        now: step.until,
        keys: keys.map((key) => (key.state === 'retiring' ? { ...key, state: 'retired' } : key)),
      }
    case 'unname':
      return { ...realm, chartered: [NEW] }
    case 'unconfigure':
      return { ...realm, isAloneConfigured: true, running: [NEW], leaving: 1 }
    case 'destroy':
      return { ...realm, leaving: 0 }
    case 'done':
      return realm
    default:
      return step satisfies never
  }
}

function run(wish: Wish, start = newRealm()): { readonly steps: readonly string[]; readonly end: Standing } {
  const steps: string[] = []
  let realm = start
  for (let step = nextStep(realm, wish); step.step !== 'done'; step = nextStep(realm, wish)) {
    steps.push(step.step)
    assert.ok(steps.length < 50, `no end: ${steps.slice(-5)}`)
    realm = after(step, realm)
    for (const slot of ['token', 'set'])
      assert.equal(
        realm.keys.filter((key) => key.slot === slot && key.state === 'active').length,
        1,
        step.step,
      )
  }
  return { steps, end: realm }
}

test('a realm moves with a key that signs at every moment, and ends with none of the old ones', () => {
  const { steps, end } = run({ isEarly: false, isRevoking: false })
  assert.deepEqual(steps, [
    ...['make', 'configure', 'name', 'await-keys', 'await-caches', 'hand-over', 'hand-over'],
    ...['retire', 'retire', 'await-expiry', 'revoke', 'revoke', 'revoke', 'revoke'],
    ...['unname', 'unconfigure', 'destroy'],
  ])
  assert.deepEqual([end.running, end.chartered, end.leaving], [[NEW], [NEW], 0])
  assert.ok(end.keys.every(({ signer, state }) => signer === NEW || state === 'revoked'))
})

test('with two people it waits for no cache, and after a theft for no token', () => {
  const { steps, end } = run({ isEarly: true, isRevoking: true })
  assert.deepEqual(
    steps.filter((step) => step.startsWith('await-')),
    ['await-keys'],
  )
  assert.ok(end.keys.every(({ signer, state }) => signer === NEW || state === 'revoked'))
})

test('what is not yet there at a step is asked for again, and no step is taken twice', () => {
  // The broker was ended between two steps: its configuration has the new keystore, and no signer of it runs.
  const named = { ...newRealm(), target: NEW, isConfigured: true, chartered: [OLD, NEW] }
  assert.equal(nextStep(named, { isEarly: false, isRevoking: false }).step, 'configure')
  const { end } = run({ isEarly: false, isRevoking: false })
  assert.equal(nextStep(end, { isEarly: false, isRevoking: false }).step, 'done')
  assert.equal(nextStep({ ...end, leaving: 1 }, { isEarly: false, isRevoking: false }).step, 'destroy')
})

test('a key of the old keystore that was blocked is revoked before it is destroyed', () => {
  const realm = newRealm()
  const keys = realm.keys.map(
    (key): MovingKey => (key.kid === 'set next' ? { ...key, state: 'blocked' } : key),
  )
  const { steps, end } = run({ isEarly: false, isRevoking: false }, { ...realm, keys })
  assert.ok(steps.includes('revoke'))
  assert.equal(end.keys.find(({ kid }) => kid === 'set next')?.state, 'revoked')
})
