/**
 * Goal: a guard asks for all that it was told to and for nothing else, and cannot be told something that nobody would ask
 * for. Method: guards over a world of trust in memory, and bindings that tell of each call. What frameworks make of it:
 * adapters.test.ts.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Binding, createGuard, type GuardedRequest, type GuardOptions } from './guard.ts'
import { refusals } from './refusal.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator } from './validator.ts'

const world = createTestWorld()
const validator = createValidator({
  realm: 'consumer',
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
})

const guardWith = (options: GuardOptions = {}) => createGuard(validator, { now: () => world.now, ...options })

function requestWith(authorization?: string): GuardedRequest {
  const rawHeaders = authorization === undefined ? [] : ['Authorization', authorization]
  return { source: {}, rawHeaders, method: 'GET', target: '/mail' }
}

const issue = (claims: object = {}): string => world.issue({ claims: { ...claims } })

async function challengeOf(guard: ReturnType<typeof guardWith>, authorization?: string): Promise<string> {
  const admission = await guard.admit(requestWith(authorization))
  return admission.admitted ? 'admitted' : (admission.denial.headers['www-authenticate'] ?? '')
}

test('what is required further down is asked for besides what was required before', async () => {
  const guard = guardWith({ scopes: 'mail.read' })
  const narrower = guard
    .requiring({ scopes: ['mail.send'], acr: 'gold' })
    .requiring({ acr: ['gold', 'silver'] })
  const read = `Bearer ${issue()}`
  assert.equal(await challengeOf(guard, read), 'admitted')
  assert.equal(
    await challengeOf(narrower, read),
    'Bearer error="insufficient_user_authentication", acr_values="gold", scope="mail.read mail.send"',
  )
  assert.equal(
    await challengeOf(narrower, `Bearer ${issue({ acr: 'gold' })}`),
    'Bearer error="insufficient_scope", scope="mail.read mail.send"',
  )
  assert.equal(
    await challengeOf(narrower, `Bearer ${issue({ acr: 'silver', scope: 'mail.read mail.send' })}`),
    'Bearer error="insufficient_user_authentication", acr_values="gold"',
  )
  assert.equal(
    await challengeOf(narrower, `Bearer ${issue({ acr: 'gold', scope: 'mail.read mail.send' })}`),
    'admitted',
  )
})

test('T078: a sign-in is as old as it is, to the second that two clocks may differ', async () => {
  const guard = guardWith({ maxAgeSeconds: 0 })
  const challenge = 'Bearer error="insufficient_user_authentication", max_age="0"'
  for (const [ago, outcome] of [
    [0, 'admitted'],
    [5, 'admitted'],
    [6, challenge],
    [-5, 'admitted'],
    [-6, challenge],
    [Number.NaN, challenge],
  ] as const)
    assert.equal(
      await challengeOf(guard, `Bearer ${issue({ auth_time: world.now - ago })}`),
      outcome,
      `${ago}`,
    )
})

test('T239: what nobody would ask for is refused when the guard is made', () => {
  const wrong: readonly object[] = [
    { scope: 'mail.read' },
    { scopes: '' },
    { scopes: ['mail.read mail.send'] },
    { scopes: ['a"b'] },
    { scopes: [1] },
    { acr: [] },
    { acr: 'a\r\nset-cookie: b' },
    { maxAgeSeconds: -1 },
    { maxAgeSeconds: 0.5 },
    { maxAgeSeconds: '60' },
    { maxAge: 60 },
  ]
  for (const options of wrong) {
    assert.throws(() => guardWith(options), TypeError, JSON.stringify(options))
    assert.throws(() => guardWith().requiring(options), TypeError, JSON.stringify(options))
  }
})

test('V1: a guard without a validator is none', () => {
  for (const nothing of [undefined, {}, { validator: {}, scopes: 'mail.read' }])
    assert.throws(() => createGuard(nothing as never), {
      name: 'TypeError',
      message: 'a guard takes a validator first',
    })
})

/** A binding that finds whatever it is told to, and counts. */
function bindingOf(proof: Awaited<ReturnType<Binding['confirm']>>) {
  const asked: string[] = []
  const scheme = { name: 'DPoP', parameters: 'algs="ES256"' }
  const confirm = async (_request: GuardedRequest, { token }: { readonly token: string }) => {
    asked.push(token)
    return proof
  }
  return { asked, binding: { scheme, confirm } }
}

const bound = { cnf: { jkt: world.keys.consumer.kid } }
const proven = { confirmation: { jkt: world.keys.consumer.kid } }

test('several words in one text are not one of them, and the error says how they are written', () => {
  for (const [scopes, message] of [
    ['a b', /^scopes is not a list of words: write \['a', 'b'\]$/],
    ['a  b', /^scopes is not a list of words$/],
    [['a b'], /^scopes is not a list of words$/],
  ] as const)
    assert.throws(() => guardWith({ scopes }), { name: 'TypeError', message })
})

test('whoever runs the service hears of each refusal, with more than the answer says and no token', async () => {
  const heard: (readonly [reason: string, message: string | undefined, target: string])[] = []
  const guard = guardWith({
    scopes: 'mail.read',
    onRefusal: ({ reason, refusal }, { target }) => heard.push([reason, refusal?.message, target]),
  })
  const good = issue()
  await guard.admit(requestWith(`Bearer ${good}`))
  assert.deepEqual(heard, [])
  const { rawHeaders } = requestWith(`Bearer ${good}`)
  const admission = await guard.admit({ ...requestWith(), rawHeaders: [...rawHeaders, ...rawHeaders] })
  assert.ok(!admission.admitted)
  const { malformed } = refusals
  assert.equal(admission.denial.body['error_description'], malformed.message)
  await guard.admit(requestWith('Basic YTpi'))
  await guard.admit(requestWith())
  await guard.requiring({ scopes: 'mail.send' }).admit(requestWith(`Bearer ${good}`))
  await guard.admit(requestWith(`Bearer ${issue({ exp: world.now - 60, iat: world.now - 120 })}`))
  assert.deepEqual(heard, [
    ['malformed', `${malformed.message}: Authorization stands there twice`, '/mail'],
    ['malformed', `${malformed.message}: Authorization is not Bearer and one token`, '/mail'],
    ['token_missing', undefined, '/mail'],
    ['insufficient_scope', undefined, '/mail'],
    ['expired', refusals.expired.message, '/mail'],
  ])
})

test('T154 T156: a bound token counts under its scheme with its proof, and under no other', async () => {
  const { asked, binding } = bindingOf(proven)
  const guard = guardWith({ bindings: [binding] })
  const token = issue(bound)
  assert.equal(await challengeOf(guard, `dpop ${token}`), 'admitted')
  assert.match(await challengeOf(guard, `Bearer ${token}`), /^Bearer error="invalid_token"/)
  assert.match(await challengeOf(guard, `DPoP ${issue()}`), /^DPoP error="invalid_token".*, algs="ES256"$/)
  assert.equal(await challengeOf(guard), 'Bearer, DPoP algs="ES256"')
  assert.equal(asked.length, 2, 'what comes under Bearer has no proof to look for')
})

test('T150: one proof is looked at once, however many guards a request meets', async () => {
  const { asked, binding } = bindingOf(proven)
  const guard = guardWith({ bindings: [binding] })
  const one = requestWith(`DPoP ${issue(bound)}`)
  for (const each of [guard, guard.requiring({ scopes: 'mail.read' })])
    assert.equal((await each.admit(one)).admitted, true)
  assert.equal(asked.length, 1)
  await guard.admit(requestWith(`DPoP ${issue(bound)}`))
  assert.equal(asked.length, 2)
})

test('what a binding wants to be told goes with every answer, and its error is the answer', async () => {
  const headers = { 'dpop-nonce': 'n1' }
  const good = await guardWith({ bindings: [bindingOf({ ...proven, headers }).binding] }).admit(
    requestWith(`DPoP ${issue(bound)}`),
  )
  assert.deepEqual([good.admitted, good.headers], [true, headers])
  const error = { code: 'use_dpop_nonce', description: 'the proof needs a nonce' }
  const bad = await guardWith({ bindings: [bindingOf({ error, headers }).binding] }).admit(
    requestWith(`DPoP ${issue(bound)}`),
  )
  assert.ok(!bad.admitted)
  assert.equal(bad.denial.headers['dpop-nonce'], 'n1')
  assert.equal(
    bad.denial.headers['www-authenticate'],
    'DPoP error="use_dpop_nonce", error_description="the proof needs a nonce", algs="ES256"',
  )
})

test('what fails in a binding or in the validator is thrown as it is', async () => {
  const confirm = (): never => {
    throw new Error('the replay cache is gone')
  }
  const guard = guardWith({ bindings: [{ confirm }] })
  await assert.rejects(guard.admit(requestWith(`Bearer ${issue()}`)), /the replay cache is gone/)
})

test('T118: a token that dies while somebody is asked about its proof does not pass', async () => {
  const own = createTestWorld()
  const dying = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: own.trust,
    now: () => own.now,
  })
  const jkt = own.keys.consumer.kid
  const token = own.issue({ claims: { cnf: { jkt } } })
  const bindingWith = (once: () => Promise<undefined>): Binding => ({
    scheme: { name: 'DPoP', parameters: '' },
    confirm: () => ({ confirmation: { jkt }, once }),
  })
  const reasonWith = async (once: () => Promise<undefined>): Promise<string> => {
    const guard = createGuard(dying, { now: () => own.now, bindings: [bindingWith(once)] })
    const admission = await guard.admit(requestWith(`DPoP ${token}`))
    return admission.admitted ? 'admitted' : admission.denial.reason
  }
  assert.equal(await reasonWith(async () => undefined), 'admitted')
  const kill = async (): Promise<undefined> => {
    own.setState(own.keys.consumer.kid, 'revoked')
    return undefined
  }
  assert.equal(await reasonWith(kill), 'key_revoked')
})
