/**
 * A browser without a screen, for tests: it keeps cookies as a browser would, follows redirects inside the provider,
 * stops where one leads out of it, and fills in the form of the page that it stands on.
 * @module
 */

import type { TestIssuer } from './testing.ts'

/** What came of a step: a page of the provider, or where it sent the browser away to. */
export interface Arrival {
  readonly status: number
  readonly url: URL
  /** Undefined where the browser left the provider. */
  readonly response: Response | undefined
  readonly text: string
}

/** A provider, and how to reach it. Its `fetch` follows no redirect. */
export type Visited = Pick<TestIssuer, 'issuers' | 'fetch'>

interface Cookie {
  readonly name: string
  readonly value: string
  readonly path: string
  readonly attributes: string
}

const REDIRECTS_MAX = 10

export class FakeBrowser {
  readonly #issuer: Visited
  readonly #cookies = new Map<string, Cookie>()
  /** Sent along with each form; undefined for none. */
  origin: string | undefined
  here: Arrival | undefined

  constructor(issuer: Visited) {
    this.#issuer = issuer
    this.origin = new URL(issuer.issuers[0] ?? '').origin
  }

  get cookies(): readonly Cookie[] {
    return [...this.#cookies.values()]
  }

  /** For a test that steals or plants one. */
  plant(cookie: Cookie): void {
    this.#cookies.set(`${cookie.name} ${cookie.path}`, cookie)
  }

  open(url: string | URL): Promise<Arrival> {
    return this.#go(new URL(url), { method: 'GET' })
  }

  /** Sends the form of the page, its hidden fields included. */
  submit(fields: Readonly<Record<string, string>>): Promise<Arrival> {
    const { text = '', url } = this.here ?? {}
    const [, action] = /<form[^>]* action="([^"]+)"/.exec(text) ?? []
    if (action === undefined || url === undefined) throw new Error(`no form on the page:\n${text}`)
    const hidden = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)]
    const values = Object.fromEntries(hidden.map(([, name = '', value = '']) => [name, unescapeHtml(value)]))
    return this.post(new URL(unescapeHtml(action), url), { ...values, ...fields })
  }

  post(url: string | URL, fields: Readonly<Record<string, string>>): Promise<Arrival> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', ...this.#originHeader() }
    return this.#go(new URL(url), { method: 'POST', headers, body: new URLSearchParams(fields).toString() })
  }

  #originHeader(): Record<string, string> {
    return this.origin === undefined ? {} : { origin: this.origin }
  }

  async #go(target: URL, request: RequestInit): Promise<Arrival> {
    let [url, init] = [target, request]
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      if (!this.#issuer.issuers.some((issuer) => new URL(issuer).origin === url.origin)) {
        this.here = { status: 0, url, response: undefined, text: '' }
        return this.here
      }
      const headers = new Headers(init.headers)
      headers.set('accept', 'text/html')
      headers.set('cookie', this.#cookieHeader(url))
      const response = await this.#issuer.fetch(url, { ...init, headers })
      for (const line of response.headers.getSetCookie()) this.#keep(line, url)
      const location = response.headers.get('location')
      if (location === null) {
        this.here = { status: response.status, url, response, text: await response.text() }
        return this.here
      }
      await response.body?.cancel()
      url = new URL(location, url)
      init = { method: 'GET' }
    }
    throw new Error('the redirects do not end')
  }

  #cookieHeader(url: URL): string {
    return [...this.#cookies.values()]
      .filter(({ path }) => url.pathname === path || url.pathname.startsWith(path.replace(/\/?$/, '/')))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
  }

  #keep(line: string, url: URL): void {
    const [, name = '', value = '', attributes = ''] = /^([^=]+)=([^;]*)(.*)$/.exec(line) ?? []
    const [, path = '/'] = /; path=([^;]+)/i.exec(attributes) ?? []
    const [, expires] = /; expires=([^;]+)/i.exec(attributes) ?? []
    // What a browser would refuse, a test should not get away with.
    if (/^__(Host|Secure)-/.test(name) && !/; secure/i.test(attributes))
      throw new Error(`${name} is not secure`)
    if (name.startsWith('__Host-') && path !== '/') throw new Error(`${name} is not for the whole host`)
    if (url.protocol !== 'https:' && /; secure/i.test(attributes))
      throw new Error(`${name} over ${url.protocol}`)
    const gone = expires !== undefined && Date.parse(expires) < Date.now()
    if (gone) this.#cookies.delete(`${name} ${path}`)
    else this.#cookies.set(`${name} ${path}`, { name, value, path, attributes })
  }
}

function unescapeHtml(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
}
