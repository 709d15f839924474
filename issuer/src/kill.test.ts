/**
 * Goal: a kill reaches everything that an issuer would go on giving out or vouching for, ends nothing else, and a lift
 * brings all of it back. Method: a person signs in while one key signs and goes on under the next; then the first is
 * killed, and each path is tried.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createTestKey, tenants } from '@countersign/validator/testing'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { tokenExchange } from './config.ts'
import { isEnded } from './cutoff.ts'
import { FakeBrowser } from './fake-browser.ts'
import { authorize, codeFrom, exchangeCode, post, signIn } from './flows.ts'
import { clientIds, passSeconds, password, startTestIssuer, type TestIssuer } from './testing.ts'

let realm: TestIssuer
const next = createTestKey('ES256')
/** Of the person who signed in first. */
let browser: FakeBrowser
let refreshToken = ''
/** By what it is. */
const tokens: Record<string, string> = {}

before(async () => {
  realm = await startTestIssuer('consumer')
  const { world } = realm
  browser = new FakeBrowser(realm)
  const { url, verifier } = await authorize(realm)
  const { url: answer } = await signIn(browser, url)
  const granted = await exchangeCode(realm, { code: answer.searchParams.get('code') ?? '', verifier })
  tokens['access'] = granted.access_token ?? ''
  tokens['exchanged'] = await exchange(tokens['access'])

  passSeconds(10)
  world.publish(({ keys }) => ({
    keys: [
      ...keys.map((key) =>
        key.kid === world.keys.consumer.kid ? { ...key, state: 'retiring' as const } : key,
      ),
      world.draftKey(next, 'consumer', { notBefore: Math.floor(Date.now() / 1000) - 5 }),
    ],
  }))
  realm.key = next
  tokens['exchanged under the next key'] = await exchange(tokens['access'])
  tokens['exchanged twice'] = await exchange(
    tokens['exchanged under the next key'],
    clientIds.secondMailService,
  )
  const refreshed = await refresh(granted.refresh_token)
  tokens['refreshed under the next key'] = refreshed.access_token ?? ''
  refreshToken = refreshed.refresh_token ?? ''
  passSeconds(10)
})
after(() => realm.stop())

for (const state of ['blocked', 'revoked'] as const) {
  test(`T191 T195 T201 T203 R3: a key that is ${state} takes sign-ins and tokens of its time with it`, async () => {
    const { world } = realm
    for (const [name, token] of Object.entries(tokens)) assert.equal(await isActive(token), true, name)
    const { refresh_token: other = '' } = await exchangeCode(realm, await codeFrom(realm))
    const { kid } = world.keys.consumer
    // The second that the kill falls into counts as before it.
    passSeconds(1)
    world.setState(kid, state)

    for (const [name, token] of Object.entries(tokens)) assert.equal(await isActive(token), false, name)
    for (const name of ['access', 'exchanged', 'exchanged under the next key', 'exchanged twice']) {
      const decision = realm.validator.decide(tokens[name] ?? '')
      assert.equal(decision.accepted ? '' : decision.refusal.reason, `key_${state}`, name)
    }
    assert.equal(decodeProtectedHeader(tokens['exchanged twice'] ?? '').kid, next.kid)
    assert.equal(await isActive(refreshToken), false)
    assert.equal((await refresh(refreshToken)).error, 'invalid_grant')
    assert.match((await browser.open((await authorize(realm)).url)).text, /Sign in/, 'the session')
    const silent = await browser.open((await authorize(realm, { prompt: 'none' })).url)
    assert.equal(silent.url.searchParams.get('error'), 'login_required')
    const again = await post(realm, '/token', clientIds.mailService, {
      grant_type: tokenExchange,
      subject_token: tokens['access'] ?? '',
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    })
    assert.equal(again.error, 'invalid_grant')
    assert.equal((await refresh(other)).error, 'invalid_grant', 'it might have signed until the kill')

    passSeconds(1)
    const fresh = await exchangeCode(realm, await codeFrom(realm))
    assert.equal(await isActive(fresh.access_token), true, 'who signs in after the kill is let in')

    // What no command can do to a revoked key: here it shows that nothing was written down.
    world.setState(kid, 'retiring')
    for (const [name, token] of Object.entries(tokens)) assert.equal(await isActive(token), true, name)
    const { access_token, refresh_token = '' } = await refresh(refreshToken)
    assert.equal(await isActive(access_token), true)
    refreshToken = refresh_token
    const { response } = await browser.open((await authorize(realm)).url)
    assert.equal(response, undefined, 'the session is back')
  })
}

test('T191 R3: a person who is asked for consent is asked again when the key of that time was killed', async () => {
  const { world } = realm
  const visitor = new FakeBrowser(realm)
  const ask = async () => (await authorize(realm, { client_id: clientIds.thirdParty })).url
  await signIn(visitor, await ask())
  const { response } = await visitor.open(await ask())
  assert.equal(response, undefined, 'allowed before')
  passSeconds(1)
  world.setState(next.kid, 'blocked')
  realm.key = world.keys.consumer
  passSeconds(1)
  let arrival = await visitor.open(await ask())
  assert.match(arrival.text, /name="password"/)
  arrival = await visitor.submit({ username: 'ada@home.example', password })
  assert.match(arrival.text, /name="answer"/)
  world.setState(next.kid, 'active')
  realm.key = next
})

test('T201 R3: a cutoff by key ends its tokens and what they were exchanged for, and no sign-in', async () => {
  const { world } = realm
  const { kid } = world.keys.consumer
  world.publish(() => ({ cutoffs: [{ kid, before: Math.floor(Date.now() / 1000) + 1 }] }))
  for (const name of ['access', 'exchanged', 'exchanged under the next key', 'exchanged twice'])
    assert.equal(await isActive(tokens[name] ?? ''), false, name)
  assert.equal(await isActive(tokens['refreshed under the next key'] ?? ''), true)
  const { access_token } = await refresh(refreshToken)
  assert.equal(await isActive(access_token), true)
  world.publish(() => ({ cutoffs: [] }))
})

test('what is exchanged says what for, and a service has no sign-in to lose', async () => {
  const { via } = decodeJwt(tokens['exchanged twice'] ?? '')
  assert.deepEqual(
    (via as { kid: string }[]).map(({ kid }) => kid),
    [realm.world.keys.consumer.kid, next.kid],
  )
  const { access_token } = await post(realm, '/token', clientIds.service, {
    grant_type: 'client_credentials',
  })
  realm.world.setState(realm.world.keys.consumer.kid, 'blocked')
  assert.equal(await isActive(access_token, clientIds.service), true)
})

test('R3: which sign-ins fall with a key: of its realm and tenants, while it could sign, until the kill', () => {
  const { world } = realm
  const key = {
    ...world.draftKey(createTestKey('ES256'), 'enterprise'),
    publicKey: undefined as never,
    state: 'blocked' as const,
    notBefore: 100,
    signUntil: 300,
    verifyUntil: 400,
    blocked: { at: 200, reason: 'stolen', by: 'olga' },
  }
  const signedIn = { realm: 'enterprise', tenant: tenants.fabrikam, subject: 'somebody', at: 150 }
  const ends = (change: object, keyChange: object = {}): boolean =>
    isEnded({ keys: new Map([['k', { ...key, ...keyChange }]]), cutoffs: [] }, { ...signedIn, ...change })
  assert.deepEqual(
    [99, 100, 200, 201].map((at) => ends({ at })),
    [false, true, true, false],
  )
  assert.equal(ends({ at: 190 }, { signUntil: 180 }), false, 'it had stopped signing')
  assert.equal(ends({ realm: 'consumer' }), false)
  assert.equal(ends({ tenant: tenants.home }), false)
  assert.equal(ends({}, { blocked: undefined }), false, 'lifted')
  assert.equal(ends({}, { tokenTypes: ['set'] }), false, 'it signs for nobody who signs in')
  const revokedLater = { revoked: { at: 250, reason: 'stolen' } }
  assert.equal(ends({ at: 210 }, revokedLater), false, 'blocked before: since then it was good for nothing')
  assert.equal(ends({ at: 210 }, { ...revokedLater, blocked: undefined }), true)
  const retiredBefore = { blocked: undefined, revoked: { at: 401, reason: 'moved elsewhere' } }
  assert.equal(ends({ at: 210 }, retiredBefore), false, 'it had retired in good order')
})

async function exchange(token: string, clientId: string = clientIds.mailService): Promise<string> {
  const { access_token, error } = await post(realm, '/token', clientId, {
    grant_type: tokenExchange,
    subject_token: token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  })
  assert.equal(error, undefined)
  return access_token ?? ''
}

function refresh(refresh_token = '') {
  return post(realm, '/token', clientIds.web, { grant_type: 'refresh_token', refresh_token })
}

async function isActive(token = '', clientId: string = clientIds.web): Promise<unknown> {
  return (await post(realm, '/introspect', clientId, { token }))['active']
}
