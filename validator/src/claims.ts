/**
 * The claims that every token of ours has (RFC 7519, RFC 9068), each of the right kind or the token is malformed.
 * Whether they may be believed is not asked here. Rule: spec/token.md, section 4.
 * @module
 */

import { isObject, type JsonObject, type JsonValue } from './json.ts'
import { Refusal } from './refusal.ts'

export interface Claims {
  readonly issuer: string
  readonly subject: string
  readonly audiences: readonly string[]
  readonly tenant: string
  readonly tokenId: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
  readonly notBefore: number | undefined
  readonly clientId: string | undefined
  readonly scopes: readonly string[]
  /** `cnf` (RFC 7800): the key that a sender must prove to hold. */
  readonly confirmation: JsonObject | undefined
}

/** Throws `Refusal('malformed')` for a claim that is missing or of another kind than the RFCs say. */
export function readClaims(payload: JsonObject): Claims {
  const claims = {
    issuer: readText(payload['iss']),
    subject: readText(payload['sub']),
    audiences: readAudiences(payload['aud']),
    tenant: readText(payload['tid']),
    tokenId: readText(payload['jti']),
    issuedAt: readTime(payload['iat']),
    expiresAt: readTime(payload['exp']),
    notBefore: optional(payload['nbf'], readTime),
    clientId: optional(payload['client_id'], readText),
    scopes: optional(payload['scope'], readScopes) ?? [],
    confirmation: optional(payload['cnf'], readConfirmation),
  }
  if (claims.expiresAt <= claims.issuedAt) throw new Refusal('malformed')
  return claims
}

function optional<Result>(
  value: JsonValue | undefined,
  read: (value: JsonValue) => Result,
): Result | undefined {
  return value === undefined ? undefined : read(value)
}

function readText(value: JsonValue | undefined): string {
  if (typeof value !== 'string' || value === '') throw new Refusal('malformed')
  return value
}

function readTime(value: JsonValue | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new Refusal('malformed')
  return value
}

/** One audience or several. None at all is well-formed; it is then nobody's. */
function readAudiences(value: JsonValue | undefined): readonly string[] {
  if (typeof value === 'string') return [value]
  if (!Array.isArray(value)) throw new Refusal('malformed')
  for (const audience of value) if (typeof audience !== 'string') throw new Refusal('malformed')
  return value as readonly string[]
}

/** RFC 6749, section 3.3: tokens with one space between, so that no two readers split them differently. */
const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/

function readScopes(value: JsonValue): readonly string[] {
  if (typeof value !== 'string' || !scopeSyntax.test(value)) throw new Refusal('malformed')
  return value.split(' ')
}

function readConfirmation(value: JsonValue): JsonObject {
  if (!isObject(value)) throw new Refusal('malformed')
  return value
}
