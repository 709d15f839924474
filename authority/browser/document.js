/**
 * A document that somebody is asked to sign. What is shown is read from the very text that is signed, and from nothing
 * that is said about it.
 * @module
 */

import { decode, encode, utf8 } from './base64url.js'

/** @typedef {null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }} Json */
/** @typedef {{ readonly [name: string]: Json }} JsonObject */
/** @typedef {JsonObject} Jwk */

/**
 * @typedef {object} Shown
 * @property {string} segment what is signed
 * @property {string} text the same, decoded
 * @property {JsonObject} payload the same, read
 */

/**
 * Reads a payload segment. Throws unless it is an object written as JSON.stringify writes it: a member that stands
 * there twice, or a number of two readings, could otherwise be shown as one thing and mean another.
 * @param {string} segment
 * @returns {Shown}
 */
export function readSegment(segment) {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(decode(segment))
  const payload = JSON.parse(text)
  if (!isObject(payload) || JSON.stringify(payload) !== text) throw new Error('not written plainly')
  return { segment, text, payload }
}

/**
 * The hash of a payload segment: `charter_sha256` in a manifest. Hexadecimal, in groups that two people can read to
 * each other.
 * @param {string} segment
 */
export async function fingerprint(segment) {
  const hex = Array.from(await sha256(utf8(segment)), (byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.match(/.{4}/g) ?? []
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** What of a key goes into its name, RFC 7638 section 3.2, by kind. */
const namedMembers = /** @type {Readonly<Record<string, readonly string[]>>} */ ({
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  AKP: ['alg', 'kty', 'pub'],
  RSA: ['e', 'kty', 'n'],
})

/**
 * The thumbprint of a public key, which is its name everywhere.
 * @param {Jwk} jwk
 */
export async function thumbprint(jwk) {
  const members = (namedMembers[String(jwk['kty'])] ?? []).map((name) => [name, jwk[name]])
  return encode(await sha256(utf8(JSON.stringify(Object.fromEntries(members)))))
}

/**
 * The algorithm that a key signs documents with.
 * @param {Jwk} jwk
 */
export function algorithmOf({ kty, alg }) {
  return kty === 'EC' ? 'ES256' : kty === 'OKP' ? 'EdDSA' : String(alg ?? kty)
}

/**
 * Names for every public key in these documents: algorithm and thumbprint. Given something else, it says undefined.
 * @param {readonly Json[]} documents
 * @returns {Promise<(item: Json | undefined) => string | undefined>}
 */
export async function nameKeys(documents) {
  /** @type {Map<string, string>} */
  const names = new Map()
  for (const jwk of documents.flatMap(keysIn)) {
    names.set(JSON.stringify(jwk), `${algorithmOf(jwk)} ${await thumbprint(jwk)}`)
  }
  return (item) => names.get(JSON.stringify(item))
}

/**
 * @param {Json} item
 * @returns {readonly Jwk[]}
 */
function keysIn(item) {
  if (typeof item !== 'object' || item === null) return []
  if (isObject(item) && String(item['kty']) in namedMembers) return [item]
  return Object.values(item).flatMap(keysIn)
}

/**
 * @param {unknown} value
 * @returns {value is JsonObject}
 */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
