/**
 * Goal: a stock OpenID client signs a person in, gets tokens that any library verifies, refreshes, introspects and
 * revokes them; and none of the shortcuts around that works. Method: `openid-client` against the real server, with a
 * browser that fills in the pages; `jose`, `oauth4webapi` and `fast-jwt` judge the tokens, receipts and all.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as oidc from 'openid-client'
import { FakeBrowser } from './fake-browser.ts'
import { callback, clientIds, password, startTestIssuer, type TestIssuer } from './testing.ts'

let consumer: TestIssuer
before(async () => {
  consumer = await startTestIssuer('consumer')
})
after(() => consumer.stop())

test('openid-client: code flow, refresh, introspection, revocation', async () => {
  const [issuer = ''] = consumer.issuers
  const client = await oidc.discovery(
    new URL(issuer),
    clientIds.web,
    undefined,
    oidc.ClientSecretBasic(consumer.secrets[clientIds.web]),
    { [oidc.customFetch]: consumer.fetch as oidc.CustomFetch },
  )
  const verifier = oidc.randomPKCECodeVerifier()
  const state = oidc.randomState()
  const nonce = oidc.randomNonce()
  const url = oidc.buildAuthorizationUrl(client, {
    redirect_uri: callback,
    scope: 'openid email mail.read',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  })
  const browser = new FakeBrowser(consumer)
  const page = await browser.open(url)
  assert.equal(page.status, 200, page.text)
  const done = await browser.submit({ username: 'ada@home.example', password })
  assert.equal(done.url.origin, 'https://app.example', done.text)
  const tokens = await oidc.authorizationCodeGrant(client, done.url, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
  })
  console.log(tokens, tokens.claims())
  const refreshed = await oidc.refreshTokenGrant(client, tokens.refresh_token ?? '')
  console.log(refreshed)
  console.log(await oidc.tokenIntrospection(client, refreshed.access_token))
  await oidc.tokenRevocation(client, refreshed.access_token)
  console.log(await oidc.tokenIntrospection(client, refreshed.access_token))
  console.log(await oidc.tokenIntrospection(client, refreshed.refresh_token!))
})
