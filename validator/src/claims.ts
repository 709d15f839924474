/**
 * The claims that every token of ours has (RFC 7519, RFC 9068), each of the right kind or the token is malformed.
 * Whether they may be believed is not asked here. Rule: spec/token.md, section 4.
 * @module
 */

import type { TokenType } from './entry.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import { Refusal } from './refusal.ts'

export interface Claims {
  readonly issuer: string
  /** A SET has none: whom it is about stands in its event. */
  readonly subject: string | undefined
  readonly audiences: readonly string[]
  /** A SET has none: it is its issuer's. */
  readonly tenant: string | undefined
  readonly tokenId: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  /** A SET has none: that something happened stays true. */
  readonly expiresAt: number | undefined
  readonly notBefore: number | undefined
  readonly clientId: string | undefined
  /** `sid`: the session at the issuer that the token came of. */
  readonly session: string | undefined
  readonly scopes: readonly string[]
  /** `cnf` (RFC 7800): the key that a sender must prove to hold. */
  readonly confirmation: JsonObject | undefined
  /** `via`: the tokens that this one was exchanged for, each by its key and time; it is good only while they would be. */
  readonly ancestors: readonly Ancestor[]
  /** What a SET tells of, and no other token has. */
  readonly event: SecurityEvent | undefined
}

/** The one event of a SET (RFC 8417). */
export interface SecurityEvent {
  /** A URI. */
  readonly type: string
  readonly payload: JsonObject
  /** `sub_id`, a subject identifier (RFC 9493). */
  readonly subject: JsonObject
}

export interface Ancestor {
  readonly kid: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

/** Throws `Refusal('malformed')` for a claim that is missing or of another kind than the RFCs say a token of this type has. */
export function readClaims(payload: JsonObject, type: TokenType | undefined): Claims {
  const isSet = type === 'set'
  if (isSet && foreignToSets.some((name) => payload[name] !== undefined)) throw malformed()
  const issuedAt = readTime(payload['iat'])
  const expiresAt = isSet ? undefined : readTime(payload['exp'])
  if (expiresAt !== undefined && expiresAt <= issuedAt) throw malformed()
  return {
    issuer: readText(payload['iss']),
    subject: isSet ? undefined : readText(payload['sub']),
    audiences: readAudiences(payload['aud']),
    tenant: isSet ? undefined : readText(payload['tid']),
    tokenId: readText(payload['jti']),
    issuedAt,
    expiresAt,
    notBefore: optional(payload['nbf'], readTime),
    clientId: optional(payload['client_id'], readText),
    session: optional(payload['sid'], readText),
    scopes: optional(payload['scope'], readScopes) ?? none,
    confirmation: optional(payload['cnf'], readConfirmation),
    ancestors: optional(payload['via'], readAncestors) ?? none,
    event: isSet ? readEvent(payload) : undefined,
  }
}

/** What makes other tokens of ours what they are. A SET has none of it, so that no reader takes it for one of them. */
const foreignToSets = ['sub', 'exp', 'nbf', 'tid', 'client_id', 'scope', 'cnf', 'via', 'nonce', 'sid']

const none: readonly never[] = []

/** RFC 8417 lets a SET tell of several events, and the interoperability profile of CAEP of exactly one. */
export function readEvent({ sub_id: subject, events }: JsonObject): SecurityEvent {
  if (!isObject(subject) || !isObject(events)) throw malformed()
  readText(subject['format'])
  const [[type, payload] = [], ...others] = Object.entries(events)
  if (type === undefined || others.length > 0 || !isObject(payload)) throw malformed()
  return { type: readText(type), payload, subject }
}

function optional<Result>(
  value: JsonValue | undefined,
  read: (value: JsonValue) => Result,
): Result | undefined {
  return value === undefined ? undefined : read(value)
}

function readText(value: JsonValue | undefined): string {
  if (typeof value !== 'string' || value === '') throw malformed()
  return value
}

function readTime(value: JsonValue | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw malformed()
  return value
}

/** One audience or several. None at all is well-formed; it is then nobody's. */
function readAudiences(value: JsonValue | undefined): readonly string[] {
  if (typeof value === 'string') return [value]
  if (!Array.isArray(value)) throw malformed()
  for (const audience of value) if (typeof audience !== 'string') throw malformed()
  return value as readonly string[]
}

/** RFC 6749, section 3.3: tokens with one space between, so that no two readers split them differently. */
const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/

function readScopes(value: JsonValue): readonly string[] {
  if (typeof value !== 'string' || !scopeSyntax.test(value)) throw malformed()
  return value.split(' ')
}

function readConfirmation(value: JsonValue): JsonObject {
  if (!isObject(value)) throw malformed()
  return value
}

/** More than an issuer lets anybody exchange in a row; each costs a look-up. */
const ANCESTORS_MAX = 8

function readAncestors(value: JsonValue): readonly Ancestor[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > ANCESTORS_MAX) throw malformed()
  return value.map((ancestor: JsonValue) => {
    if (!isObject(ancestor)) throw malformed()
    const { kid, iat, ...others } = ancestor
    if (Object.keys(others).length > 0) throw malformed()
    return { kid: readText(kid), issuedAt: readTime(iat) }
  })
}

function malformed(): Refusal {
  return new Refusal('malformed')
}
