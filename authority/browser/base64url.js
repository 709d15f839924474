/**
 * Base64url as the documents have it: without padding, and each text the only one for its bytes.
 * @module
 */

/** @param {Uint8Array | ArrayBuffer} bytes */
export function encode(bytes) {
  const view = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes)
  const binary = Array.from(view, (byte) => String.fromCharCode(byte)).join('')
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/**
 * Throws where the text is not what `encode` would have written.
 * @param {string} text
 */
export function decode(text) {
  if (!/^[\w-]*$/.test(text)) throw new Error('this is not base64url')
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0))
  if (encode(bytes) !== text) throw new Error('this base64url has more than one reading')
  return bytes
}

/** @param {string} text */
export function utf8(text) {
  return new TextEncoder().encode(text)
}
