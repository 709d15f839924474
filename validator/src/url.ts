/**
 * URLs that somebody else wrote. `URL.parse` would do the same, and came to Node after 20.12.
 * @module
 */

/** Null for a text that is none. */
export function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

/** Nothing that decides trust comes by plain http, but from this machine. */
export function isSecure(url: URL): boolean {
  return url.protocol === 'https:' || isLoopback(url)
}

/** An option that says where something is. Throws `TypeError`. */
export function readSecureUrl(option: string, value: string): URL {
  const url = parseUrl(value)
  if (url !== null && isSecure(url)) return url
  throw new TypeError(`${option} is no https URL`)
}

export function isLoopback({ protocol, hostname }: URL): boolean {
  return protocol === 'http:' && loopback.has(hostname)
}

const loopback: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])
