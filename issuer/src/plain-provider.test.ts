/**
 * Goal: a provider that knows nothing of us is protected as it is. Method: a plain `oidc-provider` on loopback, which issues
 * access tokens and rotates its keys; a validator that follows it as it would any other.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { fetchFromLoopback, oidc } from '@countersign/validator/issuers'
import { acceptWithoutReceipt, createValidator } from '@countersign/validator/validator'
import { Provider } from 'oidc-provider'

const audience = 'https://orders.example'

/** A provider of client credentials. Gives its origin, and how to get a token from it. */
async function startPlainProvider(t: TestContext): Promise<{ origin: string; token(): Promise<string> }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const provider = new Provider(origin, {
    clients: [
      {
        client_id: 'shop',
        client_secret: 'a-secret-of-the-test',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'plain-1', alg: 'RS256', use: 'sig' }] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'orders.read',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  })
  server.on('request', provider.callback())
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    origin,
    token: async () => {
      const response = await fetch(`${origin}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa('shop:a-secret-of-the-test')}` },
        body: new URLSearchParams({
          grant_type: 'client_credentials',
          resource: audience,
          scope: 'orders.read',
        }),
      })
      const { access_token: token } = (await response.json()) as { access_token: string }
      return token
    },
  }
}

test('access tokens of a plain oidc-provider are taken as RFC 9068 has them, and no other audience takes them', async (t) => {
  const { origin, token } = await startPlainProvider(t)
  const protect = (name: string) => {
    const validator = createValidator({
      issuers: [oidc(origin, { [fetchFromLoopback]: origin })],
      audience: name,
      [acceptWithoutReceipt]: 'a plain provider logs nothing',
    })
    t.after(validator.stop)
    return validator
  }
  const [orders, mail] = [protect(audience), protect('https://mail.example')]
  await Promise.all([orders.ready(), mail.ready()])
  const shown = await token()
  const { issuer, clientId, scopes, kid } = orders.validate(shown)
  assert.deepEqual([issuer, clientId, scopes, kid], [origin, 'shop', ['orders.read'], 'plain-1'])
  assert.throws(() => mail.validate(shown), { reason: 'audience_mismatch' })
})
