/**
 * Keys and signatures of the simulation. Keys come from a fixed sequence, so that making one costs nothing and every run
 * has the same. Signatures by ES256 and Ed25519 are real. One that was made here is known to be good and is not verified
 * again, which changes no verdict; any other is verified. ML-DSA-44, twenty times as slow to sign, is only stood in for: what
 * it cosigns here no simulated process reads.
 * @module
 */

import crypto, { type KeyObject } from 'node:crypto'
import { Random } from './random.ts'

const { createECDH, createPrivateKey, createPublicKey, generateKeyPairSync, hash, sign, verify } = crypto

export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

type Kind = 'ec' | 'ed25519' | 'rsa' | 'ml-dsa-44'

const pools: Record<Kind, KeyPair[]> = { ec: [], ed25519: [], rsa: [], 'ml-dsa-44': [] }
const publicByJwk = new Map<string, KeyObject>()
const publicByPrivate = new WeakMap<KeyObject, KeyObject>()
const privateByJwk = new Map<string, KeyObject>()
const names = new WeakMap<KeyObject, string>()

/** The keys of one run, which takes them from the beginning of the sequence. */
export class Keys {
  readonly #next: Record<Kind, number> = { ec: 0, ed25519: 0, rsa: 0, 'ml-dsa-44': 0 }
  /** By signature, what was signed and by whom. */
  readonly #made = new Map<string, { readonly signer: string; readonly data: Uint8Array }>()

  make(kind: string): KeyPair {
    const pool = pools[kind as Kind]
    const index = this.#next[kind as Kind]++
    pool[index] ??= makeKey(kind as Kind, index)
    return pool[index]
  }

  /** A private key from its JWK. */
  read(jwk: crypto.webcrypto.JsonWebKey): KeyObject {
    return privateKeyOf({ key: jwk })
  }

  sign(algorithm: string | null, data: Uint8Array, key: SignKey): Buffer {
    const privateKey = 'key' in key ? key.key : key
    const isStandIn = privateKey.asymmetricKeyType?.startsWith('ml-dsa') === true
    const signature = isStandIn ? standIn(data) : sign(algorithm, data, key as KeyObject)
    this.#made.set(signature.toString('latin1'), { signer: nameOf(privateKey), data: Uint8Array.from(data) })
    return signature
  }

  verify(algorithm: string | null, data: Uint8Array, key: SignKey, signature: Uint8Array): boolean {
    const made = this.#made.get(Buffer.from(signature).toString('latin1'))
    const publicKey = 'key' in key ? key.key : key
    const isMade = made?.signer === nameOf(publicKey) && Buffer.compare(made.data, data) === 0
    return isMade || verify(algorithm, data, key as KeyObject, signature)
  }
}

type SignKey = KeyObject | { readonly key: KeyObject; readonly dsaEncoding?: 'ieee-p1363' }

/** `createPublicKey`, once per key. */
export function publicKeyOf(input: KeyObject | { readonly key: crypto.webcrypto.JsonWebKey }): KeyObject {
  if (!('key' in input)) {
    const known = publicByPrivate.get(input) ?? createPublicKey(input)
    publicByPrivate.set(input, known)
    return known
  }
  const { kty, x, y, n, pub } = input.key as Record<string, string>
  const name = `${kty} ${x} ${y} ${n} ${pub}`
  const known = publicByJwk.get(name) ?? createPublicKey({ key: input.key, format: 'jwk' })
  publicByJwk.set(name, known)
  return known
}

/** `createPrivateKey`, once per key. */
export function privateKeyOf(input: { readonly key: crypto.webcrypto.JsonWebKey }): KeyObject {
  const { x, d, priv } = input.key as Record<string, string>
  const name = `${x} ${d} ${priv}`
  const known = privateByJwk.get(name) ?? createPrivateKey({ key: input.key, format: 'jwk' })
  privateByJwk.set(name, known)
  return known
}

function makeKey(kind: Kind, index: number): KeyPair {
  const secret = new Random(index * 7919 + kind.length).bytes(32)
  switch (kind) {
    case 'ed25519':
      return pairOf(
        createPrivateKey({
          // RFC 8410: everything before the secret is the same for each Ed25519 key.
          key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret]),
          format: 'der',
          type: 'pkcs8',
        }),
      )
    case 'ec': {
      const curve = createECDH('prime256v1')
      secret[0] = (secret[0] as number) & 0x7f
      curve.setPrivateKey(secret)
      const point = curve.getPublicKey()
      const part = (from: number): string => point.subarray(from, from + 32).toString('base64url')
      const jwk = { kty: 'EC', crv: 'P-256', x: part(1), y: part(33), d: secret.toString('base64url') }
      return pairOf(createPrivateKey({ key: jwk, format: 'jwk' }))
    }
    case 'rsa':
      return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'ml-dsa-44':
      return generateKeyPairSync('ml-dsa-44')
    default:
      return kind satisfies never
  }
}

function pairOf(privateKey: KeyObject): KeyPair {
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

function nameOf(key: KeyObject): string {
  const known = names.get(key)
  if (known !== undefined) return known
  const half = key.type === 'private' ? publicKeyOf(key) : key
  const { x, n, pub } = half.export({ format: 'jwk' }) as Record<string, string>
  const name = x ?? n ?? pub ?? ''
  names.set(key, name)
  return name
}

const ML_DSA_44_SIGNATURE_BYTES = 2420

function standIn(data: Uint8Array): Buffer {
  return Buffer.alloc(ML_DSA_44_SIGNATURE_BYTES, hash('sha256', data, 'buffer'))
}
