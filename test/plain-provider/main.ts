/**
 * An OpenID provider as the README of oidc-provider has one made, with keys of its own, that knows nothing of Countersign.
 * docs/bring-your-own-issuer.md shows how it is moved, and test/byoi.test.ts does to it what is shown there.
 * @module
 */

import { readFileSync } from 'node:fs'
import { errors, Provider } from 'oidc-provider'

const provider = new Provider('https://login.consumer.example', {
  clients: [
    {
      client_id: 'shop',
      client_secret: 'the secret of the shop',
      redirect_uris: ['https://shop.example/callback'],
      post_logout_redirect_uris: ['https://shop.example/'],
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    },
  ],
  jwks: JSON.parse(readFileSync('/etc/login/keys.json', 'utf8')),
  cookies: { keys: ['the secret of the cookies'] },
  claims: { openid: ['sub'], email: ['email'] },
  features: {
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_ctx, audience) => {
        if (audience !== 'https://mail.countersign.example') throw new errors.InvalidTarget()
        return { audience, scope: 'mail.read', accessTokenFormat: 'jwt' }
      },
      useGrantedResource: () => true,
    },
  },
  extraTokenClaims: () => ({ department: 'sales' }),
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, email: `${sub}@login.consumer.example` }),
  }),
})
provider.proxy = true

const server = provider.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify(server.address()))
})
