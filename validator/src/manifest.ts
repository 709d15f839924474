/**
 * The manifest: the keys that are trusted now, each with its scope and state, and what was cut off. Signed by the
 * authority, always inside the charter, and itself logged.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Charter } from './charter.ts'
import type { TokenType } from './entry.ts'
import type { Algorithm, PublicJwk } from './jws.ts'

export type KeyState = 'published' | 'active' | 'retiring' | 'retired' | 'blocked' | 'revoked'

/** What a key may vouch for. The signer asks `checkScope` with it before it signs, a validator before it accepts. */
export interface KeyScope {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly realm: string
  /** Issuer template; `{tenantid}` stands for any tenant of `tenants`. */
  readonly issuer: string
  readonly tenants: readonly string[]
  readonly tokenTypes: readonly TokenType[]
  /** Undefined: any audience. */
  readonly audiences: readonly string[] | undefined
  readonly lifetimeSecondsMax: number
}

export interface ManifestKey extends KeyScope {
  readonly jwk: PublicJwk
  readonly publicKey: KeyObject
  readonly state: KeyState
  /** Seconds since the epoch: tokens issued before `notBefore` or after `signUntil` were not signed by the signer. */
  readonly notBefore: number
  readonly signUntil: number
  readonly verifyUntil: number
  readonly revoked: { readonly at: number; readonly reason: string } | undefined
  readonly blocked: { readonly at: number; readonly reason: string; readonly by: string } | undefined
  /** Compact JWS by the signer's identity key. */
  readonly attestation: string
}

/** A log that receipts may come from: one epoch of a witness of the charter. */
export interface ManifestLog {
  readonly origin: string
  readonly witness: string
  /** First four bytes as in a signed note, as a number: what a receipt names its log by. */
  readonly receiptKeyId: number
  readonly receiptKey: KeyObject
  readonly state: 'open' | 'sealed'
}

/** Refuse tokens issued before `before`, of whatever is named; each member given must match. */
export interface Cutoff {
  readonly realm?: string
  readonly kid?: string
  readonly tenant?: string
  readonly subject?: string
  readonly before: number
}

export interface Manifest {
  readonly version: number
  readonly charterVersion: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly keys: ReadonlyMap<string, ManifestKey>
  readonly logs: ReadonlyMap<number, ManifestLog>
  readonly cutoffs: readonly Cutoff[]
}

/** What a validator decides by. A new object for each new version, so that caches can hang on its identity. */
export interface TrustState {
  readonly charter: Charter
  readonly manifest: Manifest
}

/** Where a validator gets its trust from: a follower of the authority, or a fixed state in tests. */
export interface TrustSource {
  /** The newest verified state; undefined before the first. */
  readonly state: TrustState | undefined
  /** Seconds since the authority last vouched that `state` is the newest, on a clock that never jumps. */
  ageSeconds(): number
}
