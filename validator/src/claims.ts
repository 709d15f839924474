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
  /** `via`: the tokens that this one was exchanged for, each by its key and time; it is good only while they would be. */
  readonly ancestors: readonly Ancestor[]
}

export interface Ancestor {
  readonly kid: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
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
    ancestors: optional(payload['via'], readAncestors) ?? [],
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

/** More than an issuer lets anybody exchange in a row; each costs a look-up. */
const ANCESTORS_MAX = 8

function readAncestors(value: JsonValue): readonly Ancestor[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > ANCESTORS_MAX)
    throw new Refusal('malformed')
  return value.map((ancestor: JsonValue) => {
    if (!isObject(ancestor)) throw new Refusal('malformed')
    const { kid, iat, ...others } = ancestor
    if (Object.keys(others).length > 0) throw new Refusal('malformed')
    return { kid: readText(kid), issuedAt: readTime(iat) }
  })
}
