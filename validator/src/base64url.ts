/**
 * Base64url without padding (RFC 4648, section 5), one text for each byte string: padding, white space, the other
 * alphabet and trailing bits that are not zero are refused, since each would give a second name to the same token.
 * @module
 */

import { decodeBase64url, decodeBase64urlText } from '#platform'
import { Refusal } from './refusal.ts'

export { encodeBase64url as encode } from '#platform'

/** Throws `Refusal('malformed')` for anything that `encode` would not have written. */
export function decode(text: string): Uint8Array {
  const bytes = decodeBase64url(text)
  if (bytes === undefined) throw new Refusal('malformed')
  return bytes
}

/** The UTF-8 text that was encoded. Throws `Refusal('malformed')`, also for bytes that are none. */
export function decodeText(text: string): string {
  const decoded = decodeBase64urlText(text)
  if (decoded === undefined) throw new Refusal('malformed')
  return decoded
}
