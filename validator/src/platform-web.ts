/**
 * platform.ts for runtimes that have the globals of the web and no more: workers at the edge of a network. Their cryptography
 * is asynchronous, so a signature can only be verified later (see settle.ts), and what cannot wait is done here: hashes, and
 * whether a point lies on its curve, so that the same keys are refused as on Node.
 * @module
 */

import type { KeyObject, webcrypto } from 'node:crypto'
import type { Algorithm, PublicJwk } from './jws.ts'
import { hashBytes } from './sha256.ts'

export function sha256(data: string | Uint8Array): Uint8Array {
  return hashBytes(toBytes(data))
}

export function encodeBase64url(bytes: Uint8Array): string {
  return btoa(latin1(bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** Undefined for anything that `encodeBase64url` would not have written. */
export function decodeBase64url(text: string): Uint8Array | undefined {
  const tail = text.slice(text.length - (text.length % 4))
  if (/[^A-Za-z0-9_-]/.test(text) || !completeTail.test(tail)) return undefined
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = new Uint8Array(binary.length)
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at)
  return bytes
}

/** What may follow the last four characters: one byte or two, and the bits that are left over are zero. */
const completeTail = /^(?:.[AQgw]|..[AEIMQUYcgkosw048])?$/

export function encodeUtf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** Undefined for what is no UTF-8. A byte order mark stays. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** The same for base64url of UTF-8, given as text. */
export function decodeBase64urlText(text: string): string | undefined {
  const bytes = decodeBase64url(text)
  return bytes && decodeUtf8(bytes)
}

/** More arguments than this may not fit the stack. */
const ARGUMENTS_MAX = 4096

export function latin1(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += ARGUMENTS_MAX)
    text += String.fromCharCode(...bytes.subarray(at, at + ARGUMENTS_MAX))
  return text
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at])
}

function toBytes(data: string | Uint8Array): Uint8Array {
  return typeof data === 'string' ? encodeUtf8(data) : data
}

/** What stands for a `KeyObject`: the members of a key, which the runtime sees when the first signature is verified. */
class WebKey {
  readonly asymmetricKeyType: string
  readonly #jwk: PublicJwk
  readonly #handles = new Map<Algorithm, Promise<CryptoKey>>()

  constructor(jwk: PublicJwk) {
    this.asymmetricKeyType = keyTypeOf(jwk)
    this.#jwk = jwk
  }

  export(): PublicJwk {
    return this.#jwk
  }

  handle(algorithm: Algorithm): Promise<CryptoKey> {
    let handle = this.#handles.get(algorithm)
    if (handle === undefined) {
      const { alg, ...members } = this.#jwk
      // The other names of algorithms differ from one runtime to the next, and say nothing that the key does not.
      const jwk = members.kty === 'AKP' ? { ...members, alg } : members
      handle = crypto.subtle.importKey('jwk', jwk as webcrypto.JsonWebKey, importAs[algorithm], false, [
        'verify',
      ])
      this.#handles.set(algorithm, handle)
    }
    return handle
  }
}

/** Throws where the members make no key. One of an algorithm that this runtime does not have is one that verifies nothing. */
export function importKey(jwk: PublicJwk): KeyObject {
  return new WebKey(jwk) as unknown as KeyObject
}

function keyTypeOf({ kty, x = '', y = '' }: PublicJwk): string {
  switch (kty) {
    case 'EC':
      if (!isOnP256(integerOf(x), integerOf(y))) throw new TypeError('the point is not on the curve')
      return 'ec'
    case 'OKP':
      return 'ed25519'
    case 'RSA':
      return 'rsa'
    default:
      return 'ml-dsa-44'
  }
}

/** Only a runtime that says what it supports (Web Cryptography, `SubtleCrypto.supports`) may have what came after that. */
function hasMlDsa(): boolean {
  const { supports } = SubtleCrypto as { supports?: (operation: string, algorithm: string) => boolean }
  return supports?.call(SubtleCrypto, 'verify', 'ML-DSA-44') === true
}

function integerOf(text: string): bigint {
  return BigInt(
    `0x${Array.from(decodeBase64url(text) ?? [], (byte) => byte.toString(16).padStart(2, '0')).join('')}`,
  )
}

/** FIPS 186-4, appendix D.1.2.3: y² = x³ − 3x + b, both below p. */
function isOnP256(x: bigint, y: bigint): boolean {
  return x < P && y < P && (y * y - x * x * x + 3n * x - B) % P === 0n
}
const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn

const sha256Of = { hash: 'SHA-256' } as const
const importAs = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  EdDSA: { name: 'Ed25519' },
  PS256: { name: 'RSA-PSS', ...sha256Of },
  RS256: { name: 'RSASSA-PKCS1-v1_5', ...sha256Of },
  'ML-DSA-44': { name: 'ML-DSA-44' },
} as const satisfies Record<Algorithm, object>
const verifyAs = {
  ...importAs,
  ES256: { name: 'ECDSA', ...sha256Of },
  // RFC 7518, section 3.5: the salt is as long as the hash.
  PS256: { name: 'RSA-PSS', saltLength: 32 },
} as const satisfies Record<Algorithm, object>

/** The runtime cannot say so at once. */
export function verifyNow(
  _algorithm: Algorithm,
  _key: KeyObject,
  _input: string | Uint8Array,
  _signature: Uint8Array,
): boolean {
  throw new TypeError(
    'this runtime verifies no signature synchronously: await what @countersign/validator/edge gives',
  )
}

/**
 * Rejects where the runtime does not have the algorithm, but for ML-DSA: most have none yet, and a document may well name a key
 * that nobody asks an edge about, such as those of a log's checkpoints. What cannot be verified is not good.
 */
export async function verifyLater(
  algorithm: Algorithm,
  key: KeyObject,
  input: string | Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (algorithm === 'ML-DSA-44' && !hasMlDsa()) return false
  try {
    const handle = await (key as unknown as WebKey).handle(algorithm)
    return await crypto.subtle.verify(
      verifyAs[algorithm],
      handle,
      signature as Uint8Array<ArrayBuffer>,
      toBytes(input) as Uint8Array<ArrayBuffer>,
    )
  } catch (error) {
    // Some runtimes look closer at a key than others, and find that nobody can have signed with it.
    if ((error as Error).name === 'DataError') return false
    throw error
  }
}

export function publicJwkOf(_privateKey: KeyObject): object {
  throw new TypeError('private keys are not for this runtime')
}

export function signNow(_algorithm: Algorithm, _key: KeyObject, _input: string | Uint8Array): Uint8Array {
  throw new TypeError('this runtime signs nothing')
}

/** Somebody left out a check, and whoever runs the service is to know. */
export function warn(message: string): void {
  console.warn(message)
}
