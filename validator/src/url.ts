/**
 * URLs that somebody else wrote. `URL.parse` would do the same, and came to Node after 20.12.
 * @module
 */

/** Null for a text that is none. */
export function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}
