/**
 * What the validator needs of whatever it runs on, as Node has it. platform-web.ts has the same names for runtimes that
 * have the globals of the web and no more; which of the two `#platform` means is said in package.json. Nothing here decides
 * anything: sizes, strengths and forms are checked by whoever calls.
 * @module
 */

import { isUtf8 } from 'node:buffer'
import { constants, createPublicKey, createVerify, hash, type KeyObject, sign, verify } from 'node:crypto'
import type { Algorithm, PublicJwk } from './jws.ts'

/** By way of a string: Node makes one in half the time that it takes for a Buffer, and these hashes are what receipts cost. */
export function sha256(data: string | Uint8Array): Uint8Array {
  return Buffer.from(hash('sha256', data, 'binary'), 'latin1')
}

export function encodeBase64url(bytes: Uint8Array): string {
  return view(bytes).toString('base64url')
}

/** Undefined for anything that `encodeBase64url` would not have written. */
export function decodeBase64url(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64url')
  // Node's decoder skips what it does not know; writing the bytes back shows whether it had to.
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** Where a text is between its two forms; as large as a token may be. */
const texts = Buffer.alloc(16 * 1024)

/** The same for base64url of UTF-8, given as text. */
export function decodeBase64urlText(text: string): string | undefined {
  if (text.length > texts.length) {
    const bytes = decodeBase64url(text)
    return bytes && decodeUtf8(bytes)
  }
  const length = texts.write(text, 'base64url')
  if (texts.toString('base64url', 0, length) !== text) return undefined
  const decoded = texts.toString('utf8', 0, length)
  // What stands for bytes that are no UTF-8 may also have been meant.
  return decoded.includes('\ufffd') && !isUtf8(texts.subarray(0, length)) ? undefined : decoded
}

export function encodeUtf8(text: string): Uint8Array {
  return Buffer.from(text)
}

/** Undefined for what is no UTF-8. A byte order mark stays. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  return isUtf8(bytes) ? view(bytes).toString() : undefined
}

/** A name for a few bytes, which is theirs alone: a character for each. */
export function latin1(bytes: Uint8Array): string {
  return view(bytes).toString('latin1')
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0
}

function view({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** Throws where the members make no key. */
export function importKey(jwk: PublicJwk): KeyObject {
  return createPublicKey({ key: { ...jwk }, format: 'jwk' })
}

/** The public half of a private key. */
export function publicJwkOf(privateKey: KeyObject): object {
  return createPublicKey(privateKey).export({ format: 'jwk' })
}

/** Whether the holder of `key` signed `input`, found out on the spot. */
export function verifyNow(
  algorithm: Algorithm,
  key: KeyObject,
  input: string | Uint8Array,
  signature: Uint8Array,
): boolean {
  // Takes the string as it is, and is faster than the one-shot call by what reading both JSON objects costs.
  if (algorithm === 'ES256') return createVerify('sha256').update(input).verify(rawEcdsa(key), signature)
  return verify(digestOf(algorithm), toBytes(input), keyFor(algorithm, key), signature)
}

/** The same on a thread of Node's own pool. */
export function verifyLater(
  algorithm: Algorithm,
  key: KeyObject,
  input: string | Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, isSigned: boolean): void => (error ? reject(error) : resolve(isSigned))
    verify(digestOf(algorithm), toBytes(input), keyFor(algorithm, key), signature, done)
  })
}

/** Signs with a private key of the algorithm; the bytes are as JWS wants them. */
export function signNow(algorithm: Algorithm, key: KeyObject, input: string | Uint8Array): Uint8Array {
  return sign(digestOf(algorithm), toBytes(input), keyFor(algorithm, key))
}

function toBytes(input: string | Uint8Array): Uint8Array {
  return typeof input === 'string' ? Buffer.from(input) : input
}

/** Ed25519 and ML-DSA hash for themselves. */
function digestOf(algorithm: Algorithm): 'sha256' | null {
  return algorithm === 'EdDSA' || algorithm === 'ML-DSA-44' ? null : 'sha256'
}

function keyFor(algorithm: Algorithm, key: KeyObject) {
  if (algorithm === 'ES256') return rawEcdsa(key)
  // RFC 7518, section 3.5: the salt is as long as the hash.
  return algorithm === 'PS256' ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : { key }
}

/** RFC 7518, section 3.4: r || s, where everybody else writes DER. */
function rawEcdsa(key: KeyObject): { readonly key: KeyObject; readonly dsaEncoding: 'ieee-p1363' } {
  return { key, dsaEncoding: 'ieee-p1363' }
}

/** Somebody left out a check, and whoever runs the process is to know. */
export function warn(message: string): void {
  process.emitWarning(message, { code: 'COUNTERSIGN_WEAKENED' })
}
