/**
 * Statements: small compact JWS of one type by one known key, such as an attestation, a vouching for freshness or an
 * acknowledgement. The type stands in the protected header, so that no statement can be passed off as another.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { encode } from './base64url.ts'
import { DocumentRefusal, encodePayload, importOnce, publicHalf, refuseAs } from './document.ts'
import type { JsonObject } from './json.ts'
import { type PublicJwk, readCompact, signInput, verifySignature } from './jws.ts'

const limits = { tokenCharactersMax: 1024 * 1024, headerCharactersMax: 1024 }

/** Signs a payload as a statement of this type; `kid` names the key by its thumbprint. */
export function signStatement(type: string, payload: object, privateKey: KeyObject): string {
  const { algorithm, kid } = publicHalf(privateKey)
  const input = `${encodePayload({ alg: algorithm, typ: type, kid })}.${encodePayload(payload)}`
  return `${input}.${encode(signInput(algorithm, privateKey, input))}`
}

/** The payload of a statement by one of `keys`. Throws `DocumentRefusal` for any other text. */
export function verifyStatement(statement: string, type: string, keys: readonly PublicJwk[]): JsonObject {
  const { header, claims, signingInput, signature } = refuseAs(type, () => readCompact(statement, limits))
  if (header.typ !== type) throw new DocumentRefusal('type_mismatch', `this is no ${type}`)
  if (header.rcpt !== undefined) throw new DocumentRefusal('malformed', `a ${type} carries no receipt`)
  const key = keys.map(importOnce).find(({ kid }) => kid === header.kid)
  if (
    key === undefined ||
    key.algorithm !== header.alg ||
    !verifySignature(key.algorithm, key.key, signingInput, signature)
  ) {
    throw new DocumentRefusal('signature_invalid', `a ${type} is not signed by whom it should be`)
  }
  return claims
}

/** The payload of a statement, unverified: for those who must look inside to know whose signature to ask for. */
export function readStatement(statement: string, type: string): JsonObject {
  const { header, claims } = refuseAs(type, () => readCompact(statement, limits))
  if (header.typ !== type) throw new DocumentRefusal('type_mismatch', `this is no ${type}`)
  return claims
}
