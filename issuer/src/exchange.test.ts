/**
 * Goal: a token exchange narrows and never renews, and a token that was not issued here is no better for being
 * presented here. Method: real exchanges over HTTP, with tokens that the test world signs as a thief would.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { after, before, test } from 'node:test'
import { mailAudience, tenants } from '@countersign/validator/testing'
import { decodeJwt } from 'jose'
import { tokenExchange } from './config.ts'
import { FakeBrowser } from './fake-browser.ts'
import { type Answer, authorize, codeFrom, exchangeCode, post, signIn } from './flows.ts'
import { calendarAudience, clientIds, passSeconds, startTestIssuer, type TestIssuer } from './testing.ts'

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

let consumer: TestIssuer
let enterprise: TestIssuer
before(async () => {
  consumer = await startTestIssuer('consumer')
  enterprise = await startTestIssuer('enterprise', { world: consumer.world })
})
after(() => Promise.all([consumer.stop(), enterprise.stop()]))

test('an exchange keeps subject, session and audience, names the actor, and lives no longer', async () => {
  const { access_token = '' } = await exchangeCode(
    consumer,
    await codeFrom(consumer, { scope: 'openid mail.read mail.send' }),
  )
  passSeconds(100)
  const answer = await exchange(consumer, access_token, { scope: 'mail.read' })
  assert.equal(answer['issued_token_type'], accessTokenType)
  assert.equal(answer['expires_in'], 200)
  assert.equal(answer['scope'], 'mail.read')
  const [subject, result] = [decodeJwt(access_token), decodeJwt(answer.access_token ?? '')]
  for (const claim of ['iss', 'sub', 'aud', 'tid', 'sid', 'auth_time', 'exp'])
    assert.equal(result[claim], subject[claim], claim)
  assert.deepEqual(result['act'], { sub: clientIds.mailService })
  assert.equal(result['client_id'], clientIds.mailService)
  assert.notEqual(result.jti, subject.jti)
  const { accepted } = consumer.validator.decide(answer.access_token ?? '')
  assert.ok(accepted, 'receipt and all')
})

test('T200 an exchange widens neither scope nor audience', async () => {
  const { access_token = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  assert.equal(
    (await exchange(consumer, access_token, { scope: 'mail.read mail.send' })).error,
    'invalid_scope',
  )
  for (const target of ['audience', 'resource']) {
    const wide = await exchange(consumer, access_token, { [target]: calendarAudience })
    assert.equal(wide.error, 'invalid_target')
  }
  const both = { audience: mailAudience, resource: calendarAudience }
  assert.equal((await exchange(consumer, access_token, both)).error, 'invalid_target')
  // A token for one service, in the hands of another.
  assert.equal(
    (await exchange(consumer, access_token, {}, clientIds.calendarService)).error,
    'invalid_target',
  )
})

test('F3 T091 T200: exchanging a token again and again never lengthens its life, nor lets a client act twice', async () => {
  const { access_token = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  const endsAt = decodeJwt(access_token).exp
  passSeconds(60)
  const first = await exchange(consumer, access_token)
  assert.equal(decodeJwt(first.access_token ?? '').exp, endsAt)
  assert.equal(
    (await exchange(consumer, first.access_token)).error,
    'invalid_grant',
    'its own work is no proof',
  )
  passSeconds(60)
  const second = await exchange(consumer, first.access_token, {}, clientIds.secondMailService)
  const claims = decodeJwt(second.access_token ?? '')
  assert.equal(claims.exp, endsAt)
  assert.deepEqual(claims['act'], { sub: clientIds.secondMailService, act: { sub: clientIds.mailService } })
  assert.equal(
    (await exchange(consumer, second.access_token)).error,
    'invalid_grant',
    'also further up the chain',
  )
  passSeconds(181)
  assert.equal(
    (await exchange(consumer, second.access_token)).error,
    'invalid_grant',
    'and then it has expired',
  )
})

test('F3 T091 T201: a token forged with a stolen key is no proof, and its use is the alarm', async () => {
  const forged = consumer.world.issue({ receipt: null, claims: { sub: randomUUID(), scope: 'mail.read' } })
  const seen = consumer.sightings.length
  const answer = await exchange(consumer, forged)
  assert.equal(answer.error, 'invalid_grant')
  const [sighting] = consumer.sightings.slice(seen)
  assert.equal(sighting?.verdict, 'receipt_missing')
  assert.equal(sighting?.signatureValid, true)
})

test('T200 T201 subject tokens of another realm, tenant, type, audience, or of a killed key are refused', async () => {
  const { world } = consumer
  const idToken = (await exchangeCode(consumer, await codeFrom(consumer))).id_token
  const northwind = await post(
    enterprise,
    '/token',
    clientIds.service,
    { grant_type: 'client_credentials' },
    { issuer: enterprise.issuers[1] ?? '' },
  )
  const refused: Readonly<Record<string, string | undefined>> = {
    'other realm': world.issue({ realm: 'enterprise' }),
    'ID token': idToken,
    'logout token': world.issue({ type: 'logout' }),
    'other audience': world.issue({ claims: { aud: 'https://elsewhere.example' } }),
    expired: world.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } }),
    garbage: 'a.b.c',
    empty: '',
  }
  for (const [what, token] of Object.entries(refused)) {
    assert.equal((await exchange(consumer, token)).status, 400, what)
  }
  assert.equal((await exchange(enterprise, northwind.access_token)).error, 'invalid_grant', 'other tenant')

  const { access_token } = await serviceToken(consumer)
  world.setState(world.keys.consumer.kid, 'blocked')
  assert.equal((await exchange(consumer, access_token)).error, 'invalid_grant', 'killed key')
  world.setState(world.keys.consumer.kid, 'active')
})

test('F14 T089: no actor token is taken, least of all an unsigned one around a signed one', async () => {
  const { access_token = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  const unsigned = (payload: object): string =>
    `${segment({ alg: 'none', typ: 'at+jwt' })}.${segment(payload)}.`
  const wrapped = unsigned({ ...decodeJwt(access_token), sub: randomUUID(), actortoken: access_token })
  assert.equal((await exchange(consumer, wrapped)).error, 'invalid_grant', 'as the subject token')
  for (const actor_token of [wrapped, access_token]) {
    const actor = { actor_token, actor_token_type: accessTokenType }
    assert.equal(
      (await exchange(consumer, access_token, actor)).error,
      'invalid_request',
      'as the actor token',
    )
  }
})

test('T090 a service of one tenant gets no token in the name of a person of another', async () => {
  const [, northwind = ''] = enterprise.issuers
  const person = await exchangeCode(enterprise, await codeFrom(enterprise))
  const crossed = await exchange(enterprise, person.access_token, {}, clientIds.mailService, northwind)
  assert.equal(crossed.error, 'invalid_grant')
  assert.equal(decodeJwt(person.access_token ?? '')['tid'], tenants.fabrikam)
})

test('T161 T200: a bound token is exchanged only with its key, and what comes of it is bound to the same', async () => {
  const key = dpopKey()
  const { url, verifier } = await authorize(consumer)
  const { url: answer } = await signIn(new FakeBrowser(consumer), url)
  const grant = {
    grant_type: 'authorization_code',
    code: answer.searchParams.get('code') ?? '',
    redirect_uri: url.searchParams.get('redirect_uri') ?? '',
    code_verifier: verifier,
  }
  const dpop = (by = key): { readonly headers: Record<string, string> } => ({
    headers: { dpop: by.prove(`${consumer.issuers[0]}/token`) },
  })
  const bound = await post(consumer, '/token', clientIds.web, grant, dpop())
  assert.equal(bound['token_type'], 'DPoP')
  const request = {
    grant_type: tokenExchange,
    subject_token: bound.access_token ?? '',
    subject_token_type: accessTokenType,
  }
  assert.equal(
    (await post(consumer, '/token', clientIds.mailService, request)).error,
    'invalid_grant',
    'no proof',
  )
  const other = await post(consumer, '/token', clientIds.mailService, request, dpop(dpopKey()))
  assert.equal(other.error, 'invalid_grant', 'another key')
  const kept = await post(consumer, '/token', clientIds.mailService, request, dpop())
  assert.equal(kept['token_type'], 'DPoP')
  assert.deepEqual(decodeJwt(kept.access_token ?? '')['cnf'], decodeJwt(bound.access_token ?? '')['cnf'])

  const refresh = { grant_type: 'refresh_token', refresh_token: bound.refresh_token ?? '' }
  assert.equal(
    (await post(consumer, '/token', clientIds.web, refresh)).error,
    'invalid_grant',
    'T156 T157 no downgrade',
  )
  assert.equal(
    (await post(consumer, '/token', clientIds.web, refresh, dpop(dpopKey()))).error,
    'invalid_grant',
  )
  assert.equal((await post(consumer, '/token', clientIds.web, refresh, dpop()))['token_type'], 'DPoP')

  const proof = dpop()
  assert.ok((await post(consumer, '/token', clientIds.mailService, request, proof)).access_token)
  const replayed = await post(consumer, '/token', clientIds.mailService, request, proof)
  assert.equal(replayed.error, 'invalid_grant', 'T150 a proof works once')
  const twin = dpop()
  const twins = await Promise.all(
    [twin, twin].map((each) => post(consumer, '/token', clientIds.mailService, request, each)),
  )
  assert.equal(
    twins.filter(({ access_token }) => access_token !== undefined).length,
    1,
    'also at the same moment',
  )
})

test('T191 a token that was exchanged ends with the one it came from, and with its grant', async () => {
  const person = await exchangeCode(consumer, await codeFrom(consumer))
  const first = await exchange(consumer, person.access_token)
  await post(consumer, '/revoke', clientIds.web, { token: person.access_token ?? '' })
  assert.equal(await isActive(first.access_token), false)
  assert.equal((await exchange(consumer, first.access_token)).error, 'invalid_grant')
  assert.equal((await exchange(consumer, person.access_token)).error, 'invalid_grant')

  const another = await exchangeCode(consumer, await codeFrom(consumer))
  const second = await exchange(consumer, another.access_token)
  assert.equal(await isActive(second.access_token), true)
  await post(consumer, '/revoke', clientIds.web, { token: another.refresh_token ?? '' })
  assert.equal(await isActive(second.access_token), false)

  const service = await serviceToken(consumer)
  const third = await exchange(consumer, service.access_token)
  assert.equal(await isActive(third.access_token), true)
  await post(consumer, '/revoke', clientIds.service, { token: service.access_token ?? '' })
  assert.equal(await isActive(third.access_token), false)
})

test('a client without the grant, and token types that are not access tokens, are refused', async () => {
  const { access_token = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  assert.equal((await exchange(consumer, access_token, {}, clientIds.web)).error, 'invalid_request')
  for (const subject_token_type of ['id_token', 'refresh_token', 'jwt', 'saml2']) {
    const type = `urn:ietf:params:oauth:token-type:${subject_token_type}`
    assert.equal(
      (await exchange(consumer, access_token, { subject_token_type: type })).error,
      'invalid_request',
    )
    assert.equal(
      (await exchange(consumer, access_token, { requested_token_type: type })).error,
      'invalid_request',
    )
  }
})

function exchange(
  realm: TestIssuer,
  subject_token = '',
  change: Readonly<Record<string, string>> = {},
  clientId: string = clientIds.mailService,
  issuer = realm.issuers[0] ?? '',
): Promise<Answer> {
  const request = { grant_type: tokenExchange, subject_token, subject_token_type: accessTokenType, ...change }
  return post(realm, '/token', clientId, request, { issuer })
}

function serviceToken(realm: TestIssuer): Promise<Answer> {
  return post(realm, '/token', clientIds.service, { grant_type: 'client_credentials', scope: 'mail.read' })
}

async function isActive(token = ''): Promise<unknown> {
  return (await post(consumer, '/introspect', clientIds.mailService, { token }))['active']
}

function segment(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** A client's DPoP key (RFC 9449). */
function dpopKey(): { prove(htu: string): string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = publicKey.export({ format: 'jwk' })
  return {
    prove: (htu) => {
      const claims = { htm: 'POST', htu, jti: randomUUID(), iat: Math.floor(Date.now() / 1000) }
      const input = `${segment({ alg: 'ES256', typ: 'dpop+jwt', jwk })}.${segment(claims)}`
      const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      return `${input}.${signature.toString('base64url')}`
    },
  }
}
