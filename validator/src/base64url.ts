/**
 * Base64url without padding (RFC 4648, section 5), one text for each byte string: padding, white space, the other
 * alphabet and trailing bits that are not zero are refused, since each would give a second name to the same token.
 * @module
 */

import { Refusal } from './refusal.ts'

export function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}

/** Throws `Refusal('malformed')` for anything that `encode` would not have written. */
export function decode(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url')
  // Node's decoder skips what it does not know; writing the bytes back shows whether it had to.
  if (bytes.toString('base64url') !== text) throw new Refusal('malformed')
  return bytes
}
