/**
 * Compact JWS (RFC 7515), read strictly, the public keys that verify it (RFC 7517, 7638) and the five signature
 * algorithms (RFC 7518, 8037, 9964). Nothing here decides whether a key is trusted, or follows what a header names.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { importKey, sha256, signNow, verifyNow } from '#platform'
import { decode, decodeText, encode } from './base64url.ts'
import { BoundedCache } from './cache.ts'
import { type JsonObject, parseObject } from './json.ts'
import { Refusal } from './refusal.ts'

export const algorithms = ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44'] as const
export type Algorithm = (typeof algorithms)[number]

/** A public key as a JWK (RFC 7517); members that are not public are refused where one is read. */
export interface PublicJwk {
  readonly kty: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
  readonly pub?: string
  readonly alg?: string
}

/** The members that a protected header of ours may have, and no other. */
export interface ProtectedHeader {
  readonly alg: Algorithm
  readonly typ?: string
  readonly kid?: string
  readonly rcpt?: string
}

/** A compact JWS of which only the syntax is known. */
export interface UncheckedJws {
  readonly header: JsonObject
  readonly claims: JsonObject
  readonly headerSegment: string
  readonly payloadSegment: string
  readonly signatureSegment: string
  readonly signingInput: string
  readonly signature: Uint8Array
}

export interface CompactJws extends UncheckedJws {
  readonly header: JsonObject & ProtectedHeader
}

export interface Limits {
  readonly tokenCharactersMax: number
  readonly headerCharactersMax: number
}

/** What fits the header of an HTTP request; the receipt of a batch, the longest, fits the second. */
export const tokenLimits: Limits = { tokenCharactersMax: 16 * 1024, headerCharactersMax: 2 * 1024 }

/** Reads a compact JWS whose payload is a JSON object, checks its header, and verifies nothing. */
export function readCompact(token: string, limits: Limits = tokenLimits): CompactJws {
  const jws = parseCompact(token, limits)
  return { ...jws, header: checkHeader(jws.header) }
}

/** Throws `Refusal` with `malformed` or `oversized`, in bounded time whatever the token. */
export function parseCompact(token: string, limits: Limits = tokenLimits): UncheckedJws {
  if (typeof token !== 'string') throw new Refusal('malformed')
  if (token.length > limits.tokenCharactersMax) throw new Refusal('oversized')
  const first = token.indexOf('.')
  const last = token.lastIndexOf('.')
  if (first === last || token.indexOf('.', first + 1) !== last) throw new Refusal('malformed')
  if (first > limits.headerCharactersMax) throw new Refusal('oversized')
  const headerSegment = token.slice(0, first)
  const payloadSegment = token.slice(first + 1, last)
  const signatureSegment = token.slice(last + 1)
  return {
    header: readHeader(decodeText(headerSegment)),
    claims: parseObject(decodeText(payloadSegment)),
    headerSegment,
    payloadSegment,
    signatureSegment,
    signingInput: token.slice(0, last),
    signature: decode(signatureSegment),
  }
}

/** How headers began that end with their receipt, up to its first character, and the members before it. */
const heads = new BoundedCache<JsonObject>(32)
const RECEIPT = ',"rcpt":"'

/** As `parseObject`. The headers of one key differ in the receipt alone, and what stands before that is read once. */
function readHeader(text: string): JsonObject {
  const at = text.indexOf(RECEIPT)
  if (at === -1) return parseObject(text)
  const start = at + RECEIPT.length
  const known = heads.get(text.slice(0, start))
  if (known && /^[\w-]*"}$/.test(text.slice(start))) return { ...known, rcpt: text.slice(start, -2) }
  const header = parseObject(text)
  const { rcpt, ...before } = header
  const head = JSON.stringify(before).slice(0, -1) + RECEIPT
  // Word for word, so that the same head means the same members, whatever receipt comes after it.
  if (`${head}${rcpt}"}` === text) heads.set(head, before)
  return header
}

/** Refuses each algorithm but the five, then each member but the four: what is not there cannot be followed. */
export function checkHeader(header: JsonObject): JsonObject & ProtectedHeader {
  if (!algorithms.includes(header['alg'] as Algorithm)) throw new Refusal('alg_not_allowed')
  for (const name of Object.keys(header)) {
    if (name !== 'alg' && name !== 'typ' && name !== 'kid' && name !== 'rcpt')
      throw new Refusal('header_not_allowed')
    if (typeof header[name] !== 'string') throw new Refusal('malformed')
  }
  return header as JsonObject & ProtectedHeader
}

/** The media type that a `typ` names, without the `application/` that RFC 7515, section 4.1.9 lets a writer leave out. */
export function mediaType(typ: string): string {
  // Only ASCII letters fold: a look-alike of another script must stay one.
  const lower = typ.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower
}

/** Whether `signature` is one by the holder of `key` over `input`, with exactly this algorithm. */
export function verifySignature(
  algorithm: Algorithm,
  key: KeyObject,
  input: string | Uint8Array,
  signature: Uint8Array,
): boolean {
  const isSized = signature.length === 64 || (algorithm !== 'ES256' && algorithm !== 'EdDSA')
  return isSized && answer(algorithm, key, input, signature)
}

/** Whoever says whether a signature is good: the runtime, on the spot. */
let answer = verifyNow

/** Runs `work`, which is synchronous, with somebody else saying so: see settle.ts. */
export function answeredBy<Result>(other: typeof verifyNow, work: () => Result): Result {
  const before = answer
  answer = other
  try {
    return work()
  } finally {
    answer = before
  }
}

/** Signs `input` with a private key of the algorithm; the bytes are as JWS wants them. */
export { signNow as signInput }

/** A JWK is refused: not a public key, too weak, or not for signatures. The message names the member, not its value. */
export class InvalidKey extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'InvalidKey'
  }
}

/** A public key, ready to verify. */
export interface ImportedKey {
  readonly algorithm: Algorithm
  readonly key: KeyObject
  /** RFC 7638 thumbprint, SHA-256. */
  readonly kid: string
  /** Only the members that make the key, and `alg`. */
  readonly jwk: PublicJwk
}

/** Reads a public JWK; members of other kinds are left alone. Throws `InvalidKey`. */
export function importPublicJwk(jwk: object): ImportedKey {
  const members = jwk as JsonObject
  for (const name of privateMembers)
    if (Object.hasOwn(members, name)) throw new InvalidKey(`a public key has no ${name}`)
  const { use, key_ops: operations } = members
  if (use !== undefined && use !== 'sig') throw new InvalidKey('use is not sig')
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    throw new InvalidKey('key_ops does not allow verify')
  }
  const { algorithm, jwk: bare } = readKey(members)
  const kid = thumbprint(bare)
  if (members['kid'] !== undefined && members['kid'] !== kid)
    throw new InvalidKey('kid is not the thumbprint')
  try {
    return { algorithm, key: importKey(bare), kid, jwk: bare }
  } catch {
    throw new InvalidKey('the members make no key')
  }
}

/** RFC 7638 with SHA-256, base64url: a `kid` that is this cannot lie. */
export function thumbprint({ kty, crv, x, y, n, e, alg, pub }: PublicJwk): string {
  switch (kty) {
    case 'EC':
      return digest({ crv, kty, x, y })
    case 'OKP':
      return digest({ crv, kty, x })
    case 'RSA':
      return digest({ e, kty, n })
    case 'AKP':
      return digest({ alg, kty, pub })
    default:
      throw new InvalidKey('kty is not one that signs')
  }
}

function digest(members: object): string {
  return encode(sha256(JSON.stringify(members)))
}

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv', 'seed']

/** The members that make a key of each kind, and the one algorithm that it is for. */
function readKey(members: JsonObject): { algorithm: Algorithm; jwk: PublicJwk } {
  const { kty, crv, alg } = members
  if (kty === 'EC' && crv === 'P-256' && (alg ?? 'ES256') === 'ES256') {
    const [x, y] = [readBytes(members, 'x', 32), readBytes(members, 'y', 32)]
    return { algorithm: 'ES256', jwk: { kty, crv, x, y, alg: 'ES256' } }
  }
  if (kty === 'OKP' && crv === 'Ed25519' && (alg ?? 'EdDSA') === 'EdDSA') {
    const x = readBytes(members, 'x', 32)
    if (isSmallOrder(decode(x))) throw new InvalidKey('x is a point of small order')
    return { algorithm: 'EdDSA', jwk: { kty, crv, x, alg: 'EdDSA' } }
  }
  // One algorithm per key: an RSA key without alg would let a header choose.
  if (kty === 'RSA' && (alg === 'PS256' || alg === 'RS256')) {
    const n = readBytes(members, 'n', RSA_MODULUS_BYTES_MIN, RSA_MODULUS_BYTES_MAX)
    if (decode(n)[0] === 0) throw new InvalidKey('n has leading zeros')
    if ((decode(n).at(-1) ?? 0) % 2 === 0) throw new InvalidKey('n is even')
    if (members['e'] !== 'AQAB') throw new InvalidKey('e is not 65537')
    return { algorithm: alg, jwk: { kty, n, e: 'AQAB', alg } }
  }
  if (kty === 'AKP' && alg === 'ML-DSA-44') {
    return { algorithm: alg, jwk: { kty, pub: readBytes(members, 'pub', 1312), alg } }
  }
  throw new InvalidKey('kty, crv and alg name no algorithm that is allowed')
}

const RSA_MODULUS_BYTES_MIN = 256
/** A larger key verifies no better and costs whoever checks a signature. */
const RSA_MODULUS_BYTES_MAX = 512

function readBytes(members: JsonObject, name: string, bytesMin: number, bytesMax = bytesMin): string {
  const text = members[name]
  if (typeof text !== 'string') throw new InvalidKey(`${name} is missing`)
  const { length } = decodeMember(name, text)
  if (length < bytesMin || length > bytesMax) throw new InvalidKey(`${name} has a wrong length`)
  return text
}

function decodeMember(name: string, text: string): Uint8Array {
  try {
    return decode(text)
  } catch {
    throw new InvalidKey(`${name} is not base64url`)
  }
}

/**
 * Anybody can sign for such a key where a verifier does not look. The y coordinates (sign bit cleared, base64url,
 * little-endian) of the points whose order divides eight, with the encodings of two of them that exceed the field.
 */
function isSmallOrder(point: Uint8Array): boolean {
  const y = Uint8Array.from(point)
  y[31] = (y[31] ?? 0) & 0x7f
  const smallOrder = [
    'A'.repeat(43),
    `AQ${'A'.repeat(41)}`,
    'JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU',
    'xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o',
    `7P${'_'.repeat(39)}38`,
    `7f${'_'.repeat(39)}38`,
    `7v${'_'.repeat(39)}38`,
  ]
  return smallOrder.includes(encode(y))
}
