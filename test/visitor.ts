/**
 * Somebody who comes to a running system from outside, with the clients that everybody uses: for the suites here.
 * @module
 */

import * as oidc from 'openid-client'
import { TOTP } from 'otpauth'
import { FakeBrowser } from '../issuer/src/fake-browser.ts'

export interface ClientCredentials {
  readonly client_id: string
  readonly client_secret: string
  readonly redirect_uris: readonly string[]
}

export interface Credentials {
  readonly username: string
  readonly password: string
  readonly totp_secret?: string
}

/** An OpenID client that has read the issuer's metadata. */
export function discover(
  issuer: string,
  { client_id, client_secret }: ClientCredentials,
): Promise<oidc.Configuration> {
  return oidc.discovery(new URL(issuer), client_id, undefined, oidc.ClientSecretBasic(client_secret), {
    // Loopback, where the sample stands.
    execute: [oidc.allowInsecureRequests],
  })
}

/** The code flow with PKCE, through the pages that a person sees. */
export async function signIn(
  client: oidc.Configuration,
  redirect_uri: string,
  person: Credentials,
): ReturnType<typeof oidc.authorizationCodeGrant> {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expected = { expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce() }
  const url = oidc.buildAuthorizationUrl(client, {
    redirect_uri,
    scope: 'openid email read',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expected.expectedState,
    nonce: expected.expectedNonce,
  })
  const answer = await throughThePages(client.serverMetadata().issuer, url, person)
  return oidc.authorizationCodeGrant(client, answer, { pkceCodeVerifier, ...expected })
}

async function throughThePages(issuer: string, url: URL, person: Credentials): Promise<URL> {
  const follow: typeof fetch = (input, init) => fetch(input, { ...init, redirect: 'manual' })
  const browser = new FakeBrowser({ issuers: [issuer], fetch: follow })
  await browser.open(url)
  let arrival = await browser.submit({ username: person.username, password: person.password })
  if (person.totp_secret !== undefined) {
    arrival = await browser.submit({ code: new TOTP({ secret: person.totp_secret }).generate() })
  }
  if (arrival.response !== undefined) throw new Error(`not signed in (${arrival.status}):\n${arrival.text}`)
  return arrival.url
}
