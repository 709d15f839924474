/**
 * Goal: introspection and revocation tell and do nothing for anybody but the client concerned. Method: each endpoint
 * with each kind of wrong caller and wrong token; `active` is the only thing that a refused question may learn.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeFrom, exchangeCode, post } from './flows.ts'
import { clientIds, passSeconds, startTestIssuer, type TestIssuer } from './testing.ts'

const inactive = { status: 200, active: false }

let consumer: TestIssuer
let enterprise: TestIssuer
before(async () => {
  consumer = await startTestIssuer('consumer')
  enterprise = await startTestIssuer('enterprise', { world: consumer.world })
})
after(() => Promise.all([consumer.stop(), enterprise.stop()]))

test('T202 T174 nothing is told without the secret of a client, given in one way', async () => {
  const { access_token: token = '' } = await serviceToken(consumer)
  const [issuer = ''] = consumer.issuers
  const { service } = clientIds
  const secret = consumer.secrets[service] ?? ''
  const basic = (id: string, password: string): Record<string, string> => ({
    authorization: `Basic ${Buffer.from([id, password].map(encodeURIComponent).join(':')).toString('base64')}`,
  })
  const attempts: readonly (readonly [object, Record<string, string>, number])[] = [
    [{ token }, {}, 401],
    [{ token, client_id: service }, {}, 401],
    [{ token, client_id: service, client_secret: `${secret}x` }, {}, 401],
    [{ token, client_id: service, client_secret: '' }, {}, 401],
    [{ token, client_id: 'nobody', client_secret: secret }, {}, 401],
    [{ token, client_id: clientIds.web, client_secret: secret }, {}, 401],
    // The hash that the database holds is not the secret.
    [{ token, client_id: service, client_secret: 'kept as a hash' }, {}, 401],
    [{ token }, basic(service, 'wrong'), 401],
    [{ token }, { authorization: `Bearer ${token}` }, 401],
    [{ token, client_secret: secret }, basic(service, secret), 400],
    [{ token, client_id: service, client_secret: secret }, {}, 200],
    [{ token }, basic(service, secret), 200],
  ]
  for (const path of ['/introspect', '/revoke']) {
    for (const [fields, headers, status] of path === '/revoke' ? attempts.slice(0, 10) : attempts) {
      const response = await consumer.fetch(issuer + path, {
        method: 'POST',
        headers,
        body: new URLSearchParams({ ...fields }),
      })
      assert.equal(response.status, status, `${path} ${JSON.stringify(Object.keys(fields))}`)
      assert.equal(response.headers.get('cache-control'), 'no-store')
    }
  }
  const inUrl = `${issuer}/introspect?client_id=${service}&client_secret=${encodeURIComponent(secret)}`
  const asked = await consumer.fetch(inUrl, { method: 'POST', body: new URLSearchParams({ token }) })
  assert.equal(asked.status, 401, 'a secret in a URL is none')
  assert.equal((await consumer.fetch(`${issuer}/introspect?token=${token}`)).status, 404)
})

test('T204 of a token that is not good nothing is repeated, whatever it claims', async () => {
  const { world } = consumer
  const claims = { sub: clientIds.web, scope: 'mail.read' }
  const refused = [
    world.issue({ claims, receipt: null }),
    world.issue({ claims, key: world.keys.enterprise }),
    `${world.issue({ claims }).split('.').slice(0, 2).join('.')}.AAAA`,
    world.issue({ claims, type: 'id' }),
    world.issue({ claims: { ...claims, aud: 'https://elsewhere.example' } }),
    'x',
    '',
    '..',
    'a'.repeat(50_000),
  ]
  for (const token of refused) assert.deepEqual(await introspect(consumer, token), inactive)
  assert.equal(
    (await introspect(consumer, world.issue({ claims })))['sub'],
    clientIds.web,
    'of a good one it is',
  )
  const nobody = { ...claims, sub: 'attacker-chosen' }
  assert.deepEqual(
    await introspect(consumer, world.issue({ claims: nobody })),
    inactive,
    'nobody here has that name',
  )
  assert.equal((await post(consumer, '/introspect', clientIds.service, {})).error, 'invalid_request')
  assert.equal((await introspect(consumer, 'a'.repeat(100_000))).status, 413)
})

test('T206 a token of one tenant or realm is nothing at another, though clients and keys are the same', async () => {
  const [fabrikam = '', northwind = ''] = enterprise.issuers
  const { access_token = '' } = await serviceToken(enterprise)
  const ask = (issuer: string) =>
    post(enterprise, '/introspect', clientIds.service, { token: access_token }, { issuer })
  assert.equal((await ask(fabrikam))['active'], true)
  assert.deepEqual(await ask(northwind), inactive)
  assert.deepEqual(await introspect(consumer, access_token), inactive)
  await post(enterprise, '/revoke', clientIds.service, { token: access_token }, { issuer: northwind })
  assert.equal((await ask(fabrikam))['active'], true, 'nor is it revoked from there')
})

test('a client asks about its own tokens, and about those for its audience', async () => {
  const { access_token: mail = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  assert.equal((await introspect(consumer, mail, clientIds.web))['active'], true)
  assert.equal((await introspect(consumer, mail, clientIds.mailService))['active'], true)
  assert.deepEqual(await introspect(consumer, mail, clientIds.calendarService), inactive)
})

test('T208 a client revokes nothing of another, and does not learn that it exists', async () => {
  const tokens = await exchangeCode(consumer, await codeFrom(consumer))
  for (const token of [tokens.access_token ?? '', tokens.refresh_token ?? '']) {
    for (const token_type_hint of ['access_token', 'refresh_token', 'x']) {
      const answer = await post(consumer, '/revoke', clientIds.otherWeb, { token, token_type_hint })
      assert.deepEqual(answer, { status: 200 })
    }
    assert.equal((await introspect(consumer, token, clientIds.web))['active'], true)
    assert.deepEqual(await introspect(consumer, tokens.refresh_token ?? '', clientIds.otherWeb), inactive)
  }
  assert.deepEqual(await post(consumer, '/revoke', clientIds.otherWeb, { token: 'unknown' }), { status: 200 })
})

test('T203 T205 T195 T209: the answer follows revocation, the key and the manifest at once', async () => {
  const { world } = consumer
  const { kid } = world.keys.consumer
  const { access_token: token = '' } = await serviceToken(consumer)
  assert.equal((await introspect(consumer, token))['active'], true)
  world.setState(kid, 'blocked')
  assert.deepEqual(await introspect(consumer, token), inactive)
  world.setState(kid, 'active')
  assert.equal((await introspect(consumer, token))['active'], true)
  world.publish(() => ({ cutoffs: [{ realm: 'consumer', before: world.now + 1 }] }))
  assert.deepEqual(await introspect(consumer, token), inactive)
  world.publish(() => ({ cutoffs: [] }))
  await post(consumer, '/revoke', clientIds.service, { token })
  assert.deepEqual(await introspect(consumer, token), inactive)
  // Elsewhere it is good until it expires: five minutes, and no longer.
  assert.equal(consumer.validator.decide(token).accepted, true)
  passSeconds(306)
  assert.equal(consumer.validator.decide(token).accepted, false)
})

function introspect(realm: TestIssuer, token: string, clientId: string = clientIds.service) {
  return post(realm, '/introspect', clientId, { token })
}

function serviceToken(realm: TestIssuer) {
  return post(realm, '/token', clientIds.service, { grant_type: 'client_credentials', scope: 'mail.read' })
}
