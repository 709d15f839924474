/**
 * The steps of an OpenID client, one function each, for tests that do one of them wrong.
 * @module
 */

import { createHash, randomBytes } from 'node:crypto'
import { TOTP } from 'otpauth'
import { type Arrival, FakeBrowser } from './fake-browser.ts'
import { callback, clientIds, passSeconds, password, type TestIssuer, totpSecret } from './testing.ts'

/** What the token, introspection, revocation and PAR endpoints answer. */
export interface Answer {
  readonly [member: string]: unknown
  readonly status: number
  readonly error?: string
  readonly access_token?: string
  readonly refresh_token?: string
  readonly id_token?: string
}

type Change = Readonly<Record<string, string | undefined>>

/** An authorization request that is right but for `change`; undefined leaves a parameter out. */
export async function authorize(
  realm: TestIssuer,
  change: Change = {},
  issuer = realm.issuers[0] ?? '',
): Promise<{ readonly url: URL; readonly verifier: string }> {
  const verifier = randomBytes(32).toString('base64url')
  const url = new URL(`${issuer}/authorize`)
  const parameters: Change = {
    client_id: clientIds.web,
    response_type: 'code',
    redirect_uri: callback,
    scope: 'openid mail.read',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...change,
  }
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) url.searchParams.set(name, value)
  return { url, verifier }
}

/** Opens the address and goes through every page that comes. */
export async function signIn(browser: FakeBrowser, url: string | URL): Promise<Arrival> {
  let arrival = await browser.open(url)
  if (arrival.text.includes('name="password"')) {
    arrival = await browser.submit({ username: 'ada@home.example', password })
  }
  if (arrival.text.includes('name="code"')) arrival = await browser.submit({ code: nextCode() })
  if (arrival.text.includes('name="answer"')) arrival = await browser.submit({ answer: 'allow' })
  if (arrival.response !== undefined) throw new Error(`not signed in (${arrival.status}):\n${arrival.text}`)
  return arrival
}

/** A code that was issued to the person, and what its client kept for it. */
export interface Code {
  readonly code: string
  readonly verifier: string | undefined
}

export async function codeFrom(realm: TestIssuer, change: Change = {}): Promise<Code> {
  const { url, verifier } = await authorize(realm, change)
  const { url: answer } = await signIn(new FakeBrowser(realm), url)
  return { code: answer.searchParams.get('code') ?? '', verifier }
}

export function exchangeCode(
  realm: TestIssuer,
  { code, verifier }: Code,
  clientId: string = clientIds.web,
): Promise<Answer> {
  const proof = verifier === undefined ? {} : { code_verifier: verifier }
  const grant = { grant_type: 'authorization_code', code, redirect_uri: callback, ...proof }
  return post(realm, '/token', clientId, grant)
}

/** What a client asks of one of the provider's endpoints, authenticated. */
export async function post(
  realm: TestIssuer,
  path: string,
  clientId: string,
  fields: Readonly<Record<string, string>>,
  {
    issuer = realm.issuers[0] ?? '',
    headers = {},
  }: { readonly issuer?: string; readonly headers?: Record<string, string> } = {},
): Promise<Answer> {
  const credentials = [clientId, realm.secrets[clientId] ?? ''].map(encodeURIComponent).join(':')
  const response = await realm.fetch(`${issuer}${path}`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}`, ...headers },
    body: new URLSearchParams(fields),
  })
  const text = await response.text()
  return { status: response.status, ...(text === '' ? {} : (JSON.parse(text) as object)) }
}

/** The code that the person's authenticator shows once it has moved on from the last. */
export function nextCode(): string {
  passSeconds(30)
  return new TOTP({ secret: totpSecret }).generate()
}
