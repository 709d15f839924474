/**
 * The claims of a token that is not ours, each of the right kind or the token is refused. Nobody has looked at a signature yet, so a
 * refusal names what it wants by names of ours, and never a word of the token's.
 * @module
 */

import { createHash } from 'node:crypto'
import type { Claims } from './claims.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import type { UncheckedJws } from './jws.ts'
import { type Reason, Refusal } from './refusal.ts'

/** What a provider's own reading adds to what every token has. */
export interface Particular {
  readonly tenant?: string | undefined
  readonly tokenId?: string | undefined
  readonly clientId: string | undefined
  readonly scopes?: readonly string[]
  readonly isIdToken?: boolean
}

/** Claims that every provider's tokens have. */
export function readCommon(payload: JsonObject, jws: UncheckedJws, particular: Particular): Claims {
  const { tenant, tokenId, clientId, isIdToken = false } = particular
  // What only ID tokens, logout tokens and SETs have; many are signed with the keys of access tokens.
  if (payload['events'] !== undefined) refuse('type_mismatch', 'it has events, as SETs and logout tokens do')
  const ofIdToken = isIdToken ? undefined : idTokenClaims.find((name) => payload[name] !== undefined)
  if (ofIdToken !== undefined) refuse('type_mismatch', `it has ${ofIdToken}, as ID tokens do`)
  const [issuedAt, expiresAt] = [readTime(payload, 'iat'), readTime(payload, 'exp')]
  if (expiresAt <= issuedAt) refuse('malformed', 'its exp is not after its iat')
  const { cnf } = payload
  if (cnf !== undefined && !isObject(cnf)) refuseOdd('cnf')
  return {
    issuer: readText(payload, 'iss'),
    subject: readText(payload, 'sub'),
    audiences: typeof payload['aud'] === 'string' ? [readText(payload, 'aud')] : readTexts(payload, 'aud'),
    tenant,
    tokenId: tokenId ?? optionalText(payload, 'jti') ?? nameOf(jws),
    issuedAt,
    expiresAt,
    notBefore: payload['nbf'] === undefined ? undefined : readTime(payload, 'nbf'),
    clientId,
    session: optionalText(payload, 'sid'),
    scopes: particular.scopes ?? (payload['scope'] === undefined ? [] : readScope(payload, 'scope')),
    confirmation: cnf,
    ancestors: [],
    event: undefined,
  }
}

const idTokenClaims = ['nonce', 'at_hash', 'c_hash', 's_hash']

/** ID tokens name no caller. `advice` is for whoever runs a service whose tokens never do. */
export function callerIn(payload: JsonObject, name: string, advice = ''): string {
  if (payload[name] === undefined)
    refuse('type_mismatch', `it has no ${name}, as ID tokens have none${advice}`)
  return readText(payload, name)
}

export function readText(payload: JsonObject, name: string, advice = ''): string {
  const value = given(payload, name, advice)
  return isText(value) ? value : refuseOdd(name)
}

export function optionalText(payload: JsonObject, name: string): string | undefined {
  return payload[name] === undefined ? undefined : readText(payload, name)
}

/** RFC 6749, section 3.3; providers write an empty one for none. */
export function readScope(payload: JsonObject, name: string): readonly string[] {
  const value = payload[name]
  if (typeof value !== 'string') refuseOdd(name)
  return value === '' ? [] : scopeWords(value.split(' '), name)
}

/** A list of what could stand in a scope. */
export function readWords(payload: JsonObject, name: string): readonly string[] {
  return scopeWords(readTexts(payload, name), name)
}

/** `hint` in words of ours: it goes into the log of whoever runs the service. */
export function refuse(reason: Reason, hint: string): never {
  throw new Refusal(reason, { hint })
}

/** Names a token that its issuer did not name: by what was signed, since signatures can be made to differ. */
function nameOf({ signingInput }: UncheckedJws): string {
  return createHash('sha256').update(signingInput).digest('base64url')
}

const scopeWord = /^[\x21\x23-\x5b\x5d-\x7e]+$/

function scopeWords(words: readonly string[], name: string): readonly string[] {
  return words.every((word) => scopeWord.test(word)) ? words : refuseOdd(name)
}

function readTime(payload: JsonObject, name: string): number {
  const value = given(payload, name)
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : refuseOdd(name)
}

function readTexts(payload: JsonObject, name: string): readonly string[] {
  const value = given(payload, name)
  return Array.isArray(value) && value.every(isText) ? value : refuseOdd(name)
}

function isText(value: JsonValue): value is string {
  return typeof value === 'string' && value !== ''
}

function given(payload: JsonObject, name: string, advice = ''): JsonValue {
  const value = payload[name]
  if (value === undefined) refuse('malformed', `it has no ${name}${advice}`)
  return value
}

function refuseOdd(name: string): never {
  refuse('malformed', `its ${name} is of a wrong kind`)
}
