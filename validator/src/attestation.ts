/**
 * A signer's word that it made a key and holds it: what keeps the authority from inventing keys. Signed by the signer's
 * identity key, which the charter names. Format: spec/manifest.md, section 3.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { realmTokenTypes } from './charter.ts'
import { readPayload } from './document.ts'
import type { JsonObject } from './json.ts'
import { algorithms, type PublicJwk } from './jws.ts'
import type { KeyScope } from './manifest.ts'
import { keyName, Members } from './members.ts'
import { readStatement, signStatement, verifyStatement } from './statement.ts'

const TYPE = 'key-attestation+jwt'

/** What a signer says about a key: the widest scope that a manifest may give it. */
export interface AttestedKey extends KeyScope {
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

/** Signs, with a signer's identity key, that it holds the key `kid` for this scope. */
export function attestKey(key: AttestedKey, identityKey: KeyObject): string {
  return signStatement(TYPE, { ...writeScope(key), iat: key.issuedAt }, identityKey)
}

/** Throws `DocumentRefusal` unless the attestation is by one of these signers. */
export function verifyAttestation(attestation: string, signers: readonly PublicJwk[]): AttestedKey {
  return readAttestedKey(verifyStatement(attestation, TYPE, signers))
}

/** What an attestation says whose signature was verified before. */
export function readAttestation(attestation: string): AttestedKey {
  return readAttestedKey(readStatement(attestation, TYPE))
}

/** Thumbprint of the identity key whose attestation this says it is; unverified. */
export function attestedBy(attestation: string): string | undefined {
  const [header = ''] = attestation.split('.', 1)
  const { kid } = readPayload(header)
  return typeof kid === 'string' ? kid : undefined
}

/** The members of a key's scope, on the wire of attestation and manifest. */
export function writeScope(scope: KeyScope): object {
  return {
    kid: scope.kid,
    alg: scope.algorithm,
    realm: scope.realm,
    iss: scope.issuer,
    tenants: scope.tenants,
    token_types: scope.tokenTypes,
    ...(scope.audiences && { audiences: scope.audiences }),
    max_ttl: scope.lifetimeSecondsMax,
  }
}

/** Reads what `writeScope` wrote. */
export function readScope(members: Members): KeyScope {
  return {
    kid: members.text('kid', keyName),
    algorithm: members.oneOf('alg', algorithms),
    realm: members.text('realm'),
    issuer: members.text('iss'),
    tenants: members.set('tenants', /^.{1,64}$/u),
    tokenTypes: members.setOf('token_types', realmTokenTypes),
    audiences: members.has('audiences') ? members.set('audiences', /^.{1,512}$/u) : undefined,
    lifetimeSecondsMax: members.integer('max_ttl', 1, 2 ** 32),
  }
}

/** Whether `inner` allows nothing that `outer` does not. */
export function isWithin(inner: KeyScope, outer: KeyScope): boolean {
  const { audiences } = outer
  return (
    inner.kid === outer.kid &&
    inner.algorithm === outer.algorithm &&
    inner.realm === outer.realm &&
    inner.issuer === outer.issuer &&
    isSubset(inner.tenants, outer.tenants) &&
    isSubset(inner.tokenTypes, outer.tokenTypes) &&
    (audiences === undefined || (inner.audiences !== undefined && isSubset(inner.audiences, audiences))) &&
    inner.lifetimeSecondsMax <= outer.lifetimeSecondsMax
  )
}

export function isSubset(inner: readonly string[], outer: readonly string[]): boolean {
  const set = new Set(outer)
  return inner.every((item) => set.has(item))
}

function readAttestedKey(payload: JsonObject): AttestedKey {
  const members = new Members(payload, 'attestation')
  const attested = { ...readScope(members), issuedAt: members.time('iat') }
  members.end()
  return attested
}
