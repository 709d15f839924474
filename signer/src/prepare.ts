/**
 * The first phase: whether a request may be signed at all, with which key, and the payload that would be. The claims
 * are read here, from their text, by the very functions that a validator reads and checks them with; what leaves is
 * written anew, so that nothing but what was understood is ever signed. Rules: spec/signing.md, section 2.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { LineError } from '@countersign/lines'
import { type Claims, readClaims } from '@countersign/validator/claims'
import { encodePayload } from '@countersign/validator/document'
import type { TokenType } from '@countersign/validator/entry'
import { isObject, type JsonObject, type JsonValue, parseObject } from '@countersign/validator/json'
import { type Algorithm, algorithms } from '@countersign/validator/jws'
import type { ManifestKey } from '@countersign/validator/manifest'
import { Refusal } from '@countersign/validator/refusal'
import { checkScope, fitsIssuer } from '@countersign/validator/scope'

/** What an issuer wants signed. */
export interface SigningRequest {
  readonly type: TokenType
  /** A JSON object, as text. */
  readonly claims: string
  /** ES256 unless said otherwise. */
  readonly alg?: Algorithm | undefined
}

/** A request that may be signed. */
export interface Draft {
  readonly type: TokenType
  readonly key: ManifestKey
  readonly issuedAt: number
  readonly expiresAt: number
  readonly payloadSegment: string
}

/** A clock that differs by more is wrong, and so would be every time in the token. */
const CLOCK_DIFFERENCE_SECONDS_MAX = 60
/** With header, receipt and the longest signature, a token stays within what a validator reads. */
const PAYLOAD_CHARACTERS_MAX = 10 * 1024
/** 128 bits in base64url: a shorter name could be guessed, and with it the payload behind a hash in the log. */
const TOKEN_ID_CHARACTERS_MIN = 22

/**
 * Decides about a request; `keys` are those of the realm that may sign now. Throws `Refusal` with the reason that a
 * validator would give, or `LineError` for what only a signer asks.
 */
export function draftToken(request: unknown, keys: readonly ManifestKey[], now: number): Draft {
  const { type, claims: text, alg = 'ES256' } = readRequest(request)
  const given = parseObject(text)
  checkNumbers(given)
  const payload = Object.hasOwn(given, 'jti') ? given : { ...given, jti: newTokenId() }
  const claims = readPlainly(payload, type)
  // A SET names no end; its entry then has its beginning there.
  const { issuedAt, expiresAt = issuedAt } = claims
  checkType(type, payload)
  checkNames(claims)
  checkClock(claims, now)
  const key = pickKey(keys, type, alg, claims.issuer)
  checkScope(key, {
    type,
    algorithm: alg,
    issuer: claims.issuer,
    tenant: claims.tenant,
    audiences: claims.audiences,
    lifetimeSeconds: expiresAt - issuedAt,
  })
  checkWindow(key, claims)
  const payloadSegment = encodePayload(payload)
  if (payloadSegment.length > PAYLOAD_CHARACTERS_MAX) throw new Refusal('oversized')
  return { type, key, issuedAt, expiresAt, payloadSegment }
}

/** A member that is not known may be meant to change what is signed: a key's name, a header, a digest. */
function readRequest(request: unknown): SigningRequest {
  if (!isObject(request as JsonObject)) throw new Refusal('malformed')
  const { type, claims, alg, ...others } = request as JsonObject
  if (Object.keys(others).length > 0) throw new Refusal('malformed')
  if (!signableTypes.includes(type as TokenType)) throw new Refusal('type_mismatch')
  if (typeof claims !== 'string') throw new Refusal('malformed')
  if (claims.length > PAYLOAD_CHARACTERS_MAX) throw new Refusal('oversized')
  if (alg !== undefined && !algorithms.includes(alg as Algorithm)) throw new Refusal('alg_not_allowed')
  return { type: type as TokenType, claims, alg: alg as Algorithm | undefined }
}

/** Manifests are signed by the authority alone, with a key that no signer has. */
const signableTypes: readonly TokenType[] = ['access', 'id', 'logout', 'set']

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/** What tells the kinds apart where somebody forgets to compare `typ`; each may only look like itself. */
function checkType(type: TokenType, { client_id, events, nonce }: JsonObject): void {
  if (type === 'access' && typeof client_id !== 'string') throw malformed('client_id: missing')
  const isEvent = type === 'logout' || type === 'set'
  if (isEvent !== isObject(events)) throw new Refusal('type_mismatch')
  const isLogout = isObject(events) && Object.hasOwn(events, LOGOUT_EVENT)
  if (isLogout !== (type === 'logout')) throw new Refusal('type_mismatch')
  if (isEvent && nonce !== undefined) throw new Refusal('type_mismatch')
}

/** Whoever sent a larger integer meant another than what is left of it in a double (RFC 7493, section 2.2). */
function checkNumbers(value: JsonValue | undefined): void {
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value))
    throw malformed('an integer beyond 2^53 - 1, which readers take for different ones: send it as a text')
  if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) checkNumbers(each)
}

/** As a validator will; to an issuer it can be said which claim is at fault. */
function readPlainly(payload: JsonObject, type: TokenType): Claims {
  try {
    return readClaims(payload, type)
  } catch {
    const names = claimsAtFault(payload, type)
    if (names.length === 0) throw malformed('exp: not after iat')
    throw malformed(`${names.join(', ')}: missing, or not what a token of this type has there`)
  }
}

/** Each claim is tried among others that are good, so that what is good is said in one place. */
function claimsAtFault(payload: JsonObject, type: TokenType): readonly string[] {
  const good: JsonObject =
    type === 'set'
      ? { iss: 'a', aud: 'a', jti: 'a', iat: 0, sub_id: { format: 'a' }, events: { a: {} } }
      : { iss: 'a', sub: 'a', aud: 'a', tid: 'a', jti: 'a', iat: 0, exp: Number.MAX_SAFE_INTEGER }
  return Object.keys({ ...good, ...payload }).filter((name) => {
    try {
      readClaims({ ...good, [name]: payload[name] }, type)
      return false
    } catch {
      return true
    }
  })
}

function malformed(message: string): LineError {
  return new LineError('malformed', message)
}

function checkNames({ audiences, tokenId }: Claims): void {
  if (audiences.length === 0 || audiences.includes('')) throw malformed('aud: names nobody')
  if (tokenId.length < TOKEN_ID_CHARACTERS_MIN)
    throw malformed(`jti: shorter than ${TOKEN_ID_CHARACTERS_MIN} characters; left out, one is added`)
}

function checkClock({ issuedAt }: Claims, now: number): void {
  if (Math.abs(issuedAt - now) > CLOCK_DIFFERENCE_SECONDS_MAX)
    throw new LineError('clock_off', `iat differs from the signer's clock by more than a minute`)
}

/** The newest of those that sign this type for this issuer; with none, one that names what is out of scope. */
function pickKey(
  keys: readonly ManifestKey[],
  type: TokenType,
  algorithm: Algorithm,
  issuer: string,
): ManifestKey {
  const able = keys.filter((key) => key.algorithm === algorithm)
  const ofType = able.filter((key) => key.tokenTypes.includes(type))
  const fitting = ofType.filter((key) => fitsIssuer(key.issuer, issuer))
  const [first, ...others] = [fitting, ofType, able].find(({ length }) => length > 0) ?? []
  if (first === undefined) throw new LineError('no_active_key', `no ${algorithm} key may sign now`)
  return others.reduce((newest, key) => (key.notBefore > newest.notBefore ? key : newest), first)
}

/** The clocks of issuer and signer may differ; the token must not say that it was made when its key did not sign. */
function checkWindow({ kid, notBefore, signUntil }: ManifestKey, { issuedAt }: Claims): void {
  if (issuedAt < notBefore || issuedAt > signUntil) throw new Refusal('issued_outside_key_window', { kid })
}

function newTokenId(): string {
  return randomBytes(TOKEN_ID_BYTES).toString('base64url')
}

const TOKEN_ID_BYTES = 16
