/**
 * Goal: a stock OpenID client signs a person in, gets tokens that any library verifies, refreshes, introspects and
 * revokes them; and none of the ways around that works. Method: `openid-client` against the real server, with a
 * browser that fills in the pages; `jose`, `oauth4webapi` and `fast-jwt` judge the tokens, receipts and all.
 */

import assert from 'node:assert/strict'
import { createPublicKey, type webcrypto } from 'node:crypto'
import { after, before, test } from 'node:test'
import { mailAudience, tenants } from '@countersign/validator/testing'
import { createVerifier } from 'fast-jwt'
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import * as oidc from 'openid-client'
import { FakeBrowser } from './fake-browser.ts'
import { authorize, codeFrom, exchangeCode, post, signIn } from './flows.ts'
import {
  calendarAudience,
  callback,
  clientIds,
  passSeconds,
  startTestIssuer,
  type TestIssuer,
} from './testing.ts'

let consumer: TestIssuer
let enterprise: TestIssuer
before(async () => {
  consumer = await startTestIssuer('consumer')
  enterprise = await startTestIssuer('enterprise', { world: consumer.world })
})
after(() => Promise.all([consumer.stop(), enterprise.stop()]))

test('openid-client: code flow, refresh, introspection and revocation in both realms', async () => {
  for (const realm of [consumer, enterprise]) {
    const [issuer = ''] = realm.issuers
    const client = await oidc.discovery(
      new URL(issuer),
      clientIds.web,
      undefined,
      oidc.ClientSecretBasic(realm.secrets[clientIds.web]),
      { [oidc.customFetch]: realm.fetch as oidc.CustomFetch },
    )
    const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
    const expected = { expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce() }
    const url = oidc.buildAuthorizationUrl(client, {
      redirect_uri: callback,
      scope: 'openid email mail.read',
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
      state: expected.expectedState,
      nonce: expected.expectedNonce,
    })
    const { url: answer } = await signIn(new FakeBrowser(realm), url)
    const tokens = await oidc.authorizationCodeGrant(client, answer, { pkceCodeVerifier, ...expected })
    const claims = tokens.claims()
    assert.equal(claims?.iss, issuer)
    assert.equal(claims?.['email_verified'], false, 'nobody has verified it')
    assert.deepEqual(claims?.['amr'], realm === enterprise ? ['pwd', 'otp', 'mfa'] : ['pwd'])

    const refreshed = await oidc.refreshTokenGrant(client, tokens.refresh_token ?? '')
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
    const facts = await oidc.tokenIntrospection(client, refreshed.access_token)
    assert.equal(facts.active, true)
    assert.equal(facts.sub, claims?.sub)
    assert.equal(facts.scope, 'mail.read')
    assert.equal(facts['sid'], claims?.['sid'])

    await oidc.tokenRevocation(client, refreshed.access_token)
    assert.deepEqual(await oidc.tokenIntrospection(client, refreshed.access_token), { active: false })
    await oidc.tokenRevocation(client, refreshed.refresh_token ?? '')
    assert.deepEqual(await oidc.tokenIntrospection(client, tokens.access_token), { active: false })
    await assert.rejects(oidc.refreshTokenGrant(client, refreshed.refresh_token ?? ''), {
      error: 'invalid_grant',
    })
  }
})

test('jose, oauth4webapi and fast-jwt verify our tokens unchanged, and refuse those of the other realm', async () => {
  for (const [realm, other] of [
    [consumer, enterprise],
    [enterprise, consumer],
  ] as const) {
    const [issuer = ''] = realm.issuers
    const [own, foreign] = await Promise.all([serviceToken(realm), serviceToken(other)])

    const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`), { [customFetch]: realm.fetch as typeof fetch })
    const expected = { issuer, audience: mailAudience, typ: 'at+jwt', algorithms: ['ES256'] }
    const { protectedHeader } = await jwtVerify(own, keys, expected)
    assert.ok(protectedHeader['rcpt'], 'the receipt travels in the header')
    await assert.rejects(jwtVerify(foreign, keys, expected), { code: 'ERR_JWKS_NO_MATCHING_KEY' })

    const over = { [oauth.customFetch]: (url: string, init: object) => realm.fetch(url, init) }
    const server = await oauth
      .discoveryRequest(new URL(issuer), over)
      .then((response) => oauth.processDiscoveryResponse(new URL(issuer), response))
    const validate = (token: string) => {
      const request = new Request(mailAudience, { headers: { authorization: `Bearer ${token}` } })
      return oauth.validateJwtAccessToken(server, request, mailAudience, over)
    }
    assert.equal((await validate(own)).client_id, clientIds.service)
    await assert.rejects(validate(foreign))

    const set = (await (await realm.fetch(`${issuer}/jwks`)).json()) as {
      keys: (webcrypto.JsonWebKey & { kid: string })[]
    }
    const verifyWithFastJwt = (token: string): unknown => {
      const { kid } = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as {
        kid: string
      }
      const jwk = set.keys.find((key) => key.kid === kid)
      assert.ok(jwk, 'the realm has no such key')
      const key = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
      return createVerifier({ key, allowedIss: issuer, allowedAud: mailAudience, algorithms: ['ES256'] })(
        token,
      )
    }
    assert.ok(verifyWithFastJwt(own))
    assert.throws(() => verifyWithFastJwt(foreign))
  }
})

test('the key set holds the live keys of its realm, each with its issuer, and nothing private', async () => {
  for (const realm of [consumer, enterprise]) {
    const name = realm === consumer ? 'consumer' : 'enterprise'
    const response = await realm.fetch(`${realm.issuers[0]}/jwks`)
    assert.equal(response.headers.get('cache-control'), 'public, max-age=60')
    const { keys } = (await response.json()) as { keys: Record<string, string>[] }
    const manifest = [...realm.world.state.manifest.keys.values()].filter((key) => key.realm === name)
    assert.deepEqual(new Set(keys.map(({ kid }) => kid)), new Set(manifest.map(({ kid }) => kid)))
    for (const key of keys) {
      assert.equal(key['issuer'], manifest[0]?.issuer)
      assert.equal(key['d'], undefined)
    }
  }
})

test('T093 a key that is blocked or retired leaves the key set at once, also under other spellings of its path', async () => {
  const realm = await startTestIssuer('consumer')
  const { kid } = realm.world.keys.consumer
  const [issuer] = realm.issuers
  for (const path of ['/jwks', '/JWKS', '/jwks/']) {
    realm.world.setState(kid, 'active')
    assert.ok((await (await realm.fetch(`${issuer}${path}`)).text()).includes(kid))
    for (const state of ['blocked', 'retired'] as const) {
      realm.world.setState(kid, state)
      assert.ok(!(await (await realm.fetch(`${issuer}${path}`)).text()).includes(kid), `${state} ${path}`)
    }
  }
  await realm.stop()
})

test('T181 Host and X-Forwarded-Host change no address that the provider gives out', async () => {
  for (const issuer of [...consumer.issuers, ...enterprise.issuers]) {
    const realm = consumer.issuers.includes(issuer) ? consumer : enterprise
    const url = `${issuer}/.well-known/openid-configuration`
    const forged = {
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'http',
      forwarded: 'host=evil.example',
    }
    const metadata = (await (await realm.fetch(url, { headers: forged })).json()) as Record<string, unknown>
    assert.equal(metadata['issuer'], issuer)
    for (const [name, value] of Object.entries(metadata)) {
      if (/_endpoint$|_uri$/.test(name))
        assert.ok(String(value).startsWith(`${issuer}/`), `${name}: ${value}`)
    }
  }
})

test('T168 T175 T170 T169: no implicit, password, device or hybrid flow, no registration, no request objects', async () => {
  const [issuer = ''] = consumer.issuers
  const metadata = await (await consumer.fetch(`${issuer}/.well-known/openid-configuration`)).json()
  const {
    response_types_supported,
    grant_types_supported,
    registration_endpoint,
    request_parameter_supported,
  } = metadata as Record<string, unknown>
  assert.deepEqual(response_types_supported, ['code'])
  assert.ok(!['implicit', 'password'].some((grant) => (grant_types_supported as string[]).includes(grant)))
  assert.equal(registration_endpoint, undefined)
  assert.equal(request_parameter_supported, undefined)
  for (const response_type of ['token', 'id_token', 'code id_token', 'id_token token', 'none']) {
    const { url } = await new FakeBrowser(consumer).open((await authorize(consumer, { response_type })).url)
    assert.equal(
      url.searchParams.get('error') ?? new URLSearchParams(url.hash.slice(1)).get('error'),
      'unsupported_response_type',
    )
  }
  const passwordGrant = { grant_type: 'password', username: 'ada@home.example', password: 'x' }
  assert.equal((await post(consumer, '/token', clientIds.web, passwordGrant)).error, 'unsupported_grant_type')
  assert.equal((await consumer.fetch(`${issuer}/reg`, { method: 'POST' })).status, 404)
  const { url } = await new FakeBrowser(consumer).open(
    (await authorize(consumer, { request: 'eyJhbGciOiJub25lIn0.e30.' })).url,
  )
  assert.equal(url.searchParams.get('error'), 'request_not_supported')
})

test('T162 T163 only a registered redirect URI, character for character, is ever redirected to', async () => {
  const wrong = [
    'https://app.example/callback/../evil',
    'https://app.example/callback/',
    'https://app.example/callback?x=1',
    'https://app.example/callback#x',
    'https://app.example:443/callback',
    'https://APP.example/callback',
    'https://app.example.evil.example/callback',
    'https://app.example@evil.example/callback',
    'http://app.example/callback',
    'https://аpp.example/callback',
    'https://app.example/%63allback',
    'http://localhost/callback',
    'javascript:alert(1)',
    'https://other.example/callback',
  ]
  for (const redirect_uri of wrong) {
    // With an error besides, which must not be sent there either.
    for (const extra of [{}, { scope: '"' }, { response_type: 'token' }, { prompt: 'none' }]) {
      const arrival = await new FakeBrowser(consumer).open(
        (await authorize(consumer, { redirect_uri, ...extra })).url,
      )
      assert.ok(arrival.response !== undefined && arrival.status === 400, `${redirect_uri} was left for`)
      assert.ok(!arrival.text.includes('evil.example'))
    }
  }
  const twice = (await authorize(consumer)).url
  twice.searchParams.append('redirect_uri', 'https://evil.example/')
  assert.equal((await new FakeBrowser(consumer).open(twice)).status, 400)
})

test('T165 PKCE is asked for always, S256 only, and the verifier is the one of this code', async () => {
  const none = { code_challenge: undefined, code_challenge_method: undefined }
  const plain = { code_challenge: 'a'.repeat(43), code_challenge_method: 'plain' }
  const silentPlain = { code_challenge: 'a'.repeat(43), code_challenge_method: undefined }
  for (const change of [none, plain, silentPlain]) {
    const { url } = await new FakeBrowser(consumer).open((await authorize(consumer, change)).url)
    assert.equal(url.searchParams.get('error'), 'invalid_request')
  }
  const [first, second] = [await codeFrom(consumer), await codeFrom(consumer)]
  for (const code_verifier of [undefined, second.verifier, 'a'.repeat(43)]) {
    const answer = await exchangeCode(consumer, { ...first, verifier: code_verifier })
    assert.equal(answer.error, 'invalid_grant')
  }
})

test('T166 a code works once, for its own client, within its time; used twice, all that came of it ends', async () => {
  const used = await codeFrom(consumer)
  const tokens = await exchangeCode(consumer, used)
  assert.equal(await isActive(consumer, tokens.access_token), true)
  assert.equal((await exchangeCode(consumer, used)).error, 'invalid_grant')
  assert.equal(await isActive(consumer, tokens.access_token), false)
  assert.equal((await refresh(consumer, tokens.refresh_token)).error, 'invalid_grant')

  const foreign = await codeFrom(consumer)
  assert.equal((await exchangeCode(consumer, foreign, clientIds.otherWeb)).error, 'invalid_grant')

  const late = await codeFrom(consumer)
  passSeconds(61)
  assert.equal((await exchangeCode(consumer, late)).error, 'invalid_grant')
})

test('T166 of two requests that use a code at the same moment, not both get tokens', async () => {
  const code = await codeFrom(consumer)
  const answers = await Promise.all([exchangeCode(consumer, code), exchangeCode(consumer, code)])
  assert.ok(answers.filter(({ access_token }) => access_token !== undefined).length <= 1)
  for (const { access_token } of answers) {
    if (access_token !== undefined) assert.equal(await isActive(consumer, access_token), false)
  }
})

test('T167 T096 state and nonce come back as they were, and the answer names its issuer', async () => {
  const { url } = await signIn(
    new FakeBrowser(consumer),
    (await authorize(consumer, { state: 's&=#', nonce: 'n' })).url,
  )
  assert.equal(url.searchParams.get('state'), 's&=#')
  assert.equal(url.searchParams.get('iss'), consumer.issuers[0])
})

test('T171 a pushed request is its client’s, works once, and nothing but our own URN is fetched', async () => {
  const { url, verifier } = await authorize(consumer)
  const pushed = await post(consumer, '/par', clientIds.web, Object.fromEntries(url.searchParams))
  const use = (client_id: string, request_uri: unknown): URL => {
    const target = new URL(url.origin + url.pathname)
    target.search = new URLSearchParams({ client_id, request_uri: String(request_uri) }).toString()
    return target
  }
  assert.equal(
    (await new FakeBrowser(consumer).open(use(clientIds.otherWeb, pushed['request_uri']))).status,
    400,
  )
  const { url: answer } = await signIn(new FakeBrowser(consumer), use(clientIds.web, pushed['request_uri']))
  const tokens = await exchangeCode(consumer, { code: answer.searchParams.get('code') ?? '', verifier })
  assert.ok(tokens.access_token)
  assert.equal((await new FakeBrowser(consumer).open(use(clientIds.web, pushed['request_uri']))).status, 400)
  assert.equal(
    (await new FakeBrowser(consumer).open(use(clientIds.web, 'https://evil.example/r'))).status,
    400,
  )
})

test('T169 what an answer in a form carries cannot become markup', async () => {
  const state = '"><script>alert(1)</script>'
  const browser = new FakeBrowser(consumer)
  await signIn(browser, (await authorize(consumer)).url)
  const { text } = await browser.open((await authorize(consumer, { response_mode: 'form_post', state })).url)
  assert.match(text, /name="code"/)
  assert.ok(!text.includes('<script>alert'))
})

test('T173 T177 T207 no client assertion, no device flow, no signed introspection answer: what is not there is not attacked', async () => {
  const assertion = {
    grant_type: 'client_credentials',
    client_id: clientIds.service,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: consumer.world.issue({ claims: { sub: clientIds.service, iss: clientIds.service } }),
  }
  const [issuer = ''] = consumer.issuers
  for (const path of ['/token', '/introspect', '/revoke', '/par']) {
    const body = new URLSearchParams({ ...assertion, token: 'x' })
    assert.equal((await consumer.fetch(issuer + path, { method: 'POST', body })).status, 401, path)
  }
  for (const path of ['/device', '/device/auth', '/backchannel', '/me', '/challenge', '/credential']) {
    assert.equal((await consumer.fetch(issuer + path, { method: 'POST' })).status, 404, path)
  }
  const token = await serviceToken(consumer)
  const jwt = { headers: { accept: 'application/token-introspection+jwt' } }
  assert.equal((await post(consumer, '/introspect', clientIds.service, { token }, jwt))['active'], true)
})

test('T188 a refresh token used twice ends its family, on both sides', async () => {
  const first = await exchangeCode(consumer, await codeFrom(consumer))
  const second = await refresh(consumer, first.refresh_token)
  assert.ok(second.access_token)
  assert.equal((await refresh(consumer, first.refresh_token)).error, 'invalid_grant')
  assert.equal((await refresh(consumer, second.refresh_token)).error, 'invalid_grant')
  for (const token of [first.access_token, second.access_token])
    assert.equal(await isActive(consumer, token), false)
})

test('T189 of two refreshes at the same moment one is a replay: there is no grace, the family ends', async () => {
  const { refresh_token } = await exchangeCode(consumer, await codeFrom(consumer))
  const answers = await Promise.all([refresh(consumer, refresh_token), refresh(consumer, refresh_token)])
  assert.ok(answers.some(({ error }) => error === 'invalid_grant'))
  for (const answer of answers) {
    assert.equal((await refresh(consumer, answer.refresh_token ?? 'none')).error, 'invalid_grant')
    if (answer.access_token !== undefined) assert.equal(await isActive(consumer, answer.access_token), false)
  }
})

test('T190 a refresh token is good for its own client and tenant alone, and widens nothing', async () => {
  const { refresh_token = '' } = await exchangeCode(enterprise, await codeFrom(enterprise))
  const grant = { grant_type: 'refresh_token', refresh_token }
  assert.equal((await post(enterprise, '/token', clientIds.otherWeb, grant)).error, 'invalid_grant')
  const northwind = enterprise.issuers[1] ?? ''
  assert.equal(
    (await post(enterprise, '/token', clientIds.web, grant, { issuer: northwind })).error,
    'invalid_grant',
  )
  assert.equal((await post(consumer, '/token', clientIds.web, grant)).error, 'invalid_grant')
  const wider = { ...grant, scope: 'openid mail.read mail.send' }
  assert.equal((await post(enterprise, '/token', clientIds.web, wider)).error, 'invalid_scope')
  const { access_token, refresh_token: next = '' } = await post(enterprise, '/token', clientIds.web, grant)
  assert.ok(access_token, 'and none of that used it up')
  const elsewhere = { grant_type: 'refresh_token', refresh_token: next, resource: calendarAudience }
  assert.equal((await post(enterprise, '/token', clientIds.web, elsewhere)).error, 'invalid_target')
})

test('T192 refreshing does not push back the end of a grant', async () => {
  const offline = { scope: 'openid offline_access', prompt: 'consent' }
  let { refresh_token } = await exchangeCode(consumer, await codeFrom(consumer, offline))
  const endsAt = await expiryOf(consumer, refresh_token)
  for (let day = 1; day <= 13; day++) {
    passSeconds(86_400)
    consumer.world.publish()
    refresh_token = (await refresh(consumer, refresh_token)).refresh_token
    assert.equal(await expiryOf(consumer, refresh_token), endsAt)
  }
  passSeconds(86_401)
  assert.equal((await refresh(consumer, refresh_token)).error, 'invalid_grant')
})

test('T191 a cutoff in the manifest ends refresh tokens and sessions from before it', async () => {
  const realm = await startTestIssuer('enterprise')
  const browser = new FakeBrowser(realm)
  const { url, verifier } = await authorize(realm)
  const { url: answer } = await signIn(browser, url)
  const tokens = await exchangeCode(realm, { code: answer.searchParams.get('code') ?? '', verifier })
  const [tenant] = [tenants.fabrikam]
  realm.world.publish(() => ({ cutoffs: [{ tenant, before: Math.floor(Date.now() / 1000) + 1 }] }))
  assert.equal((await refresh(realm, tokens.refresh_token)).error, 'invalid_grant')
  assert.equal(await isActive(realm, tokens.access_token), false)
  assert.match((await browser.open((await authorize(realm)).url)).text, /Sign in/, 'the session is over')
  await realm.stop()
})

test('T237 whatever goes wrong behind the broker, the client gets no token and no detail', async () => {
  consumer.fault = new Error('key 1234 at /var/secret')
  try {
    const [issuer = ''] = consumer.issuers
    const body = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientIds.service,
      client_secret: consumer.secrets[clientIds.service] ?? '',
    })
    const response = await consumer.fetch(`${issuer}/token`, { method: 'POST', body })
    assert.equal(response.status, 503)
    assert.doesNotMatch(await response.text(), /secret|1234/)
  } finally {
    consumer.fault = undefined
  }
})

async function serviceToken(realm: TestIssuer): Promise<string> {
  const answer = await post(realm, '/token', clientIds.service, {
    grant_type: 'client_credentials',
    scope: 'mail.read',
  })
  return answer.access_token ?? ''
}

function refresh(realm: TestIssuer, refresh_token = '') {
  return post(realm, '/token', clientIds.web, { grant_type: 'refresh_token', refresh_token })
}

async function isActive(realm: TestIssuer, token = ''): Promise<unknown> {
  return (await post(realm, '/introspect', clientIds.web, { token }))['active']
}

async function expiryOf(realm: TestIssuer, token = ''): Promise<unknown> {
  return (await post(realm, '/introspect', clientIds.web, { token }))['exp']
}
