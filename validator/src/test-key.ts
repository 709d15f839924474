/**
 * Key pairs that are made from a name, the same ones each time, for test vectors that can be made again byte for byte without
 * any private key being stored. Everybody can make them: nothing here is for production.
 * @module
 */

import { checkPrimeSync, createPrivateKey, createPublicKey, hash, type KeyObject } from 'node:crypto'
import { importPublicJwk } from './jws.ts'
import type { TestKey } from './testing.ts'

/** The key pair of this name. Both algorithms sign without any randomness. */
export function createNamedKey(name: string, algorithm: 'EdDSA' | 'RS256'): TestKey {
  const privateKey = algorithm === 'EdDSA' ? ed25519(name) : rsa(name)
  const shown = createPublicKey(privateKey).export({ format: 'jwk' })
  const { kid, jwk } = importPublicJwk({ ...shown, alg: algorithm })
  return { kid, algorithm, jwk, privateKey }
}

/** RFC 8410, section 7: what stands before the seed in a PKCS #8 key. */
const ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

function ed25519(name: string): KeyObject {
  const key = Buffer.concat([ED25519_PREFIX, hash('sha256', name, 'buffer')])
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

const EXPONENT = 65_537n
const PRIME_BYTES = 128

/** 2048 bits. */
function rsa(name: string): KeyObject {
  const [p, q] = [primeOf(`${name} p`), primeOf(`${name} q`)]
  const d = inverse(EXPONENT, (p - 1n) * (q - 1n))
  const members = { n: p * q, e: EXPONENT, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) }
  const jwk = Object.fromEntries(Object.entries(members).map(([member, value]) => [member, encode(value)]))
  return createPrivateKey({ key: { kty: 'RSA', ...jwk }, format: 'jwk' })
}

/** The first prime from a number that the name gives, with its two highest bits set, so that a product of two is long enough. */
function primeOf(name: string): bigint {
  const start = hash('shake256', name, { outputEncoding: 'hex', outputLength: PRIME_BYTES })
  let candidate = BigInt(`0x${start}`) | (3n << BigInt(8 * PRIME_BYTES - 2)) | 1n
  while ((candidate - 1n) % EXPONENT === 0n || !checkPrimeSync(candidate)) candidate += 2n
  return candidate
}

/** Of `value` modulo `modulus`, by Euclid. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [rest, next] = [modulus, value % modulus]
  let [before, factor] = [0n, 1n]
  while (next !== 0n) {
    const quotient = rest / next
    ;[rest, next] = [next, rest - quotient * next]
    ;[before, factor] = [factor, before - quotient * factor]
  }
  return ((before % modulus) + modulus) % modulus
}

function encode(value: bigint): string {
  const hex = value.toString(16)
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
}
