/**
 * A person with a browser, as far as the drill needs one: signs in through the pages, keeps cookies, and comes back to see
 * whether the session still holds.
 * @module
 */

import { createHash, randomBytes } from 'node:crypto'
import type { System } from './system.ts'

/** What somebody has who signed in to the consumer realm. */
export interface SignedIn {
  readonly accessToken: string
  readonly refreshToken: string
  readonly client: Client
  /** Asks for another code without showing a page: whether the session cookie is still good. */
  isSignedIn(): Promise<boolean>
}

type Client = System['realms']['consumer']['clients'][number]

export async function signIn({ realms: { consumer } }: System): Promise<SignedIn> {
  const client = consumer.clients.find(({ grant_types }) => grant_types.includes('authorization_code'))
  const person = consumer.people.find(({ totp_secret }) => totp_secret === undefined)
  if (client === undefined || person === undefined) throw new Error('nobody signs in with a password alone')
  const browser = createBrowser(new URL(consumer.issuer).origin)
  const verifier = randomBytes(32).toString('base64url')
  const first = await browser.open(authorizeUrl(consumer.issuer, client, verifier))
  const done = await browser.submit(first, { username: person.username, password: person.password })
  const code = done.url.searchParams.get('code')
  if (code === null) throw new Error('the sign-in did not end with a code')
  const answer = await fetch(`${consumer.issuer}/token`, {
    method: 'POST',
    headers: { authorization: basic(client) },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: client.redirect_uris[0] ?? '',
      code_verifier: verifier,
    }),
  })
  const { access_token = '', refresh_token = '' } = (await answer.json()) as Record<string, string>
  return {
    accessToken: access_token,
    refreshToken: refresh_token,
    client,
    isSignedIn: async () => {
      const url = authorizeUrl(consumer.issuer, client, randomBytes(32).toString('base64url'))
      url.searchParams.set('prompt', 'none')
      return (await browser.open(url)).url.searchParams.has('code')
    },
  }
}

export function basic({ client_id, client_secret }: Pick<Client, 'client_id' | 'client_secret'>): string {
  return `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`
}

function authorizeUrl(issuer: string, client: Client, verifier: string): URL {
  const url = new URL(`${issuer}/authorize`)
  url.search = new URLSearchParams({
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: client.redirect_uris[0] ?? '',
    scope: 'openid read',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }).toString()
  return url
}

/** Where a request led, and what stood there; nothing where it led out of the provider. */
interface Arrival {
  readonly url: URL
  readonly text: string
}

function createBrowser(origin: string) {
  const cookies = new Map<string, string>()

  async function go(url: URL, init: RequestInit = {}): Promise<Arrival> {
    if (url.origin !== origin) return { url, text: '' }
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      ...init,
      headers: { origin, cookie, ...init.headers },
      redirect: 'manual',
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') cookies.delete(name)
      else cookies.set(name, value)
    }
    const text = await response.text()
    const next = response.headers.get('location')
    return next === null ? { url, text } : go(new URL(next, url))
  }

  return {
    open: (url: URL) => go(url),
    /** Sends the form of a page. */
    submit: ({ url, text }: Arrival, fields: Readonly<Record<string, string>>) => {
      const [, action = ''] = /<form[^>]* action="([^"]+)"/.exec(text) ?? []
      return go(new URL(action.replaceAll('&amp;', '&'), url), {
        method: 'POST',
        body: new URLSearchParams(fields),
      })
    },
  }
}
