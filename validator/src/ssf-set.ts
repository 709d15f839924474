/**
 * A SET of a foreign transmitter (RFC 8417, as OpenID SSF 1.0 and the interoperability profile of CAEP narrow it), read
 * strictly: RS256, `secevent+jwt`, one event, the issuer and audience that were configured. It carries no receipt of ours, and
 * its header may say more than ours do; nothing that it says there is followed.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { readEvent, type SecurityEvent } from './claims.ts'
import { headerTypes } from './entry.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { mediaType, parseCompact, verifySignature } from './jws.ts'
import { Refusal } from './refusal.ts'

/** The words of RFC 8935, section 2.4, and that of OpenID SSF 1.0, section 8.1.4.1. */
export type SetErrorCode =
  | 'invalid_request'
  | 'invalid_key'
  | 'invalid_issuer'
  | 'invalid_audience'
  | 'authentication_failed'
  | 'access_denied'
  | 'invalid_state'

/** A SET is refused; the message says why and nothing of what it holds. */
export class SetRefusal extends Error {
  readonly code: SetErrorCode
  constructor(code: SetErrorCode, message: string) {
    super(message)
    this.name = 'SetRefusal'
    this.code = code
  }
}

export interface ForeignSet {
  readonly issuer: string
  readonly jti: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly event: SecurityEvent
}

export interface SetQuestion {
  readonly issuer: string
  readonly audiences: readonly string[]
  /** The transmitter's key of this name, asked for only once issuer and audience are right. */
  readonly keyOf: (kid: string) => Promise<KeyObject | undefined>
  /** Seconds since the epoch. */
  readonly now: () => number
}

const CLOCK_AHEAD_SECONDS_MAX = 60
const JTI_CHARACTERS_MAX = 256
const KID_CHARACTERS_MAX = 256

/** Throws `SetRefusal`. Rejects otherwise where the keys cannot be had: that is not the SET's fault. */
export async function verifySet(text: string, question: SetQuestion): Promise<ForeignSet> {
  const { issuer, audiences, keyOf, now } = question
  const { header, claims, signingInput, signature } = refuseMalformed(() => parseCompact(text))
  checkType(header)
  const kid = checkAlgorithm(header)
  checkIssuer(claims, issuer)
  checkAudience(claims, audiences)
  const key = await keyOf(kid)
  if (key === undefined) throw new SetRefusal('invalid_key', 'the transmitter has no such key')
  if (!verifySignature('RS256', key, signingInput, signature))
    throw new SetRefusal('authentication_failed', 'the signature does not verify')
  const issuedAt = checkTime(claims, now())
  checkKind(claims)
  return { issuer, jti: readTokenId(claims), issuedAt, event: refuseMalformed(() => readEvent(claims)) }
}

function checkType({ typ }: JsonObject): void {
  if (typeof typ !== 'string' || mediaType(typ) !== headerTypes.set)
    throw new SetRefusal('invalid_request', 'typ is not secevent+jwt')
}

/** What `crit` asks for would have to be understood, and none of it is. */
function checkAlgorithm({ alg, kid, crit }: JsonObject): string {
  if (alg !== 'RS256') throw new SetRefusal('invalid_key', 'alg is not RS256')
  if (crit !== undefined) throw new SetRefusal('invalid_request', 'the header asks for an extension')
  if (typeof kid !== 'string' || kid.length > KID_CHARACTERS_MAX)
    throw new SetRefusal('invalid_key', 'the header names no key')
  return kid
}

function checkIssuer({ iss }: JsonObject, issuer: string): void {
  if (iss !== issuer) throw new SetRefusal('invalid_issuer', 'the issuer is another one')
}

function checkAudience({ aud }: JsonObject, own: readonly string[]): void {
  const named: readonly (JsonValue | undefined)[] = Array.isArray(aud) ? aud : [aud]
  if (!named.some((audience) => typeof audience === 'string' && own.includes(audience)))
    throw new SetRefusal('invalid_audience', 'the audience is another one')
}

/** However old: an outbox may have kept it for days. */
function checkTime({ iat }: JsonObject, now: number): number {
  if (typeof iat !== 'number' || !Number.isSafeInteger(iat) || iat < 0)
    throw new SetRefusal('invalid_request', 'iat is not a time')
  if (iat > now + CLOCK_AHEAD_SECONDS_MAX) throw new SetRefusal('invalid_request', 'iat is still to come')
  return iat
}

/** OpenID SSF 1.0, section 4.1: what makes other tokens what they are is not in a SET. */
function checkKind(claims: JsonObject): void {
  for (const name of ['sub', 'exp', 'nbf', 'nonce'])
    if (claims[name] !== undefined) throw new SetRefusal('invalid_request', `a SET has no ${name}`)
}

function readTokenId({ jti }: JsonObject): string {
  if (typeof jti !== 'string' || jti === '' || jti.length > JTI_CHARACTERS_MAX)
    throw new SetRefusal('invalid_request', 'jti is not a name')
  return jti
}

function refuseMalformed<Result>(read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    if (error instanceof Refusal) throw new SetRefusal('invalid_request', 'it is no SET with one event')
    throw error
  }
}
