/**
 * The charter: what each realm may ever sign, approved by its operators, k of n.
 * @module
 */

import type { TokenType } from './entry.ts'
import type { Algorithm, PublicJwk } from './jws.ts'

/** A person who may approve: `id` is their name in records, `jwk` the key they approve with. */
export interface Operator {
  readonly id: string
  readonly jwk: PublicJwk
}

/** What a validator pins: the operators of a first charter and how many of them must approve one. */
export interface TrustAnchor {
  readonly operators: readonly Operator[]
  readonly threshold: number
}

/** A log operator. Every epoch's log has an origin `name/epoch`; its keys stay the charter's. */
export interface CharterWitness {
  readonly name: string
  /** ES256: signs receipts. */
  readonly receiptKey: PublicJwk
  /** Ed25519, ML-DSA-44: sign checkpoints. */
  readonly checkpointKeys: readonly PublicJwk[]
}

export interface CharterRealm {
  /** Issuer templates; `{tenantid}` stands for any tenant of `tenants`. */
  readonly issuers: readonly string[]
  readonly tenants: readonly string[]
  readonly tokenTypes: readonly TokenType[]
  readonly algorithms: readonly Algorithm[]
  readonly lifetimeSecondsMax: number
  /** The signer's identity key, Ed25519: attests each new signing key. */
  readonly signer: PublicJwk
  readonly rotationSeconds: number
  readonly keyAgeSecondsMax: number
}

export interface Charter extends TrustAnchor {
  readonly version: number
  readonly issuedAt: number
  /** Keys that may sign manifests. */
  readonly manifestKeys: readonly PublicJwk[]
  /** Keys that may block a key and nothing else: the sentinel's. */
  readonly blockKeys: readonly PublicJwk[]
  readonly witnesses: readonly CharterWitness[]
  readonly realms: ReadonlyMap<string, CharterRealm>
}
