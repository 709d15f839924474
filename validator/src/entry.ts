/**
 * What the log stores for one token: no personal data, 90 bytes. Format: spec/entry.md.
 *
 *     uint8 version = 1; uint8 token_type; opaque key_thumbprint[32]; uint64 issued_at; uint64 expires_at;
 *     uint64 serial; opaque payload_sha256[32];
 * @module
 */

import { sha256 } from '#platform'
import { decode } from './base64url.ts'
import { Refusal } from './refusal.ts'

/** Leaf hash of an encoded entry. */
export { leafHash } from './tree.ts'

export const ENTRY_BYTES = 90
const VERSION = 1

/** Written into the entry as the number that stands here. */
export const tokenTypes = { access: 1, id: 2, logout: 3, set: 4, manifest: 16 } as const
export type TokenType = keyof typeof tokenTypes

/** `typ` of the protected header, by token type. RFC 9068, OpenID Connect Core, Back-Channel Logout, RFC 8417. */
export const headerTypes: Readonly<Record<TokenType, string>> = {
  access: 'at+jwt',
  id: 'JWT',
  logout: 'logout+jwt',
  set: 'secevent+jwt',
  manifest: 'key-manifest+jwt',
}

export interface Entry {
  readonly tokenType: TokenType
  /** RFC 7638, SHA-256, 32 bytes: the decoded `kid`. */
  readonly keyThumbprint: Uint8Array
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** Counts up by one per key inside the signer. */
  readonly serial: number
  /** SHA-256 over the ASCII payload segment of the token. */
  readonly payloadSha256: Uint8Array
}

/** What of a token its entry is made from; the serial comes from the signer, and later from the receipt. */
export interface EntryParts {
  readonly tokenType: TokenType
  readonly kid: string
  readonly issuedAt: number
  /** A token that names no end, as a SET may, has `issuedAt` here: it promises nothing beyond its issue. */
  readonly expiresAt: number
  readonly serial: number
  readonly payloadSegment: string
}

/** The entry that a token has, or should have, in the log. Throws `Refusal('malformed')` for a kid that is no thumbprint. */
export function entryOf({ tokenType, kid, issuedAt, expiresAt, serial, payloadSegment }: EntryParts): Entry {
  return {
    tokenType,
    keyThumbprint: decode(kid),
    issuedAt,
    expiresAt,
    serial,
    payloadSha256: sha256(payloadSegment),
  }
}

/** Throws `Refusal('malformed')` for an entry that cannot be written exactly: a fraction, a number below zero. */
export function encodeEntry(entry: Entry): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES)
  setThumbprint(bytes, entry.keyThumbprint)
  setParts(bytes, entry, entry.payloadSha256)
  return bytes
}

/** A leaf, which is an entry after a zero: of the last token, and most have the same key. */
const leaf = new Uint8Array(1 + ENTRY_BYTES)
const entryInLeaf = leaf.subarray(1)
let kidInLeaf = ''

/** The same as `leafHash(encodeEntry(entryOf(parts)))`, at half the price. */
export function leafHashOf(parts: EntryParts): Uint8Array {
  if (parts.kid !== kidInLeaf) {
    setThumbprint(entryInLeaf, decode(parts.kid))
    kidInLeaf = parts.kid
  }
  setParts(entryInLeaf, parts, sha256(parts.payloadSegment))
  return sha256(leaf)
}

function setThumbprint(bytes: Uint8Array, thumbprint: Uint8Array): void {
  if (thumbprint.length !== 32) throw new Refusal('malformed')
  bytes.set(thumbprint, 2)
}

/** Everything but the thumbprint. */
function setParts(
  bytes: Uint8Array,
  { tokenType, issuedAt, expiresAt, serial }: Pick<Entry, 'tokenType' | 'issuedAt' | 'expiresAt' | 'serial'>,
  payloadSha256: Uint8Array,
): void {
  if (payloadSha256.length !== 32) throw new Refusal('malformed')
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  bytes[0] = VERSION
  bytes[1] = tokenTypes[tokenType]
  writeUint64(view, 34, issuedAt)
  writeUint64(view, 42, expiresAt)
  writeUint64(view, 50, serial)
  bytes.set(payloadSha256, 58)
}

/** Throws `Refusal('malformed')` for anything that `encodeEntry` would not have written. */
export function decodeEntry(bytes: Uint8Array): Entry {
  if (bytes.length !== ENTRY_BYTES || bytes[0] !== VERSION) throw new Refusal('malformed')
  const [tokenType] = Object.entries(tokenTypes).find(([, number]) => number === bytes[1]) ?? []
  if (tokenType === undefined) throw new Refusal('malformed')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    tokenType: tokenType as TokenType,
    keyThumbprint: bytes.slice(2, 34),
    issuedAt: readUint64(view, 34),
    expiresAt: readUint64(view, 42),
    serial: readUint64(view, 50),
    payloadSha256: bytes.slice(58, 90),
  }
}

/** Numbers stay below 2^53, so that each is exact here and in every JSON that it came from. */
function writeUint64(view: DataView, offset: number, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new Refusal('malformed')
  view.setUint32(offset, Math.floor(value / 2 ** 32))
  view.setUint32(offset + 4, value % 2 ** 32)
}

function readUint64(view: DataView, offset: number): number {
  const value = view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4)
  if (!Number.isSafeInteger(value)) throw new Refusal('malformed')
  return value
}
