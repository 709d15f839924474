/**
 * Compact JWS, read strictly, and the five signature algorithms.
 * @module
 */

export type Algorithm = 'ES256' | 'EdDSA' | 'PS256' | 'RS256' | 'ML-DSA-44'

/** A public key as a JWK (RFC 7517); members that are not public are refused where one is read. */
export interface PublicJwk {
  readonly kty: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
  readonly pub?: string
  readonly alg?: string
}
