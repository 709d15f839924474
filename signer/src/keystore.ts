/**
 * Where a realm's private keys are: in a file under a passphrase, or inside a hardware token. Whatever uses keys asks this
 * interface, and no call of it gives one away: keys sign where they are.
 * @module
 */

import type { AttestedKey } from '@countersign/validator/attestation'
import type { Algorithm, ImportedKey, PublicJwk } from '@countersign/validator/jws'
import type { TokenFault } from './fault.ts'

/** `low`: whoever copies a file and a passphrase has the keys. `hardware`: nobody copies them. */
export type Protection = 'low' | 'hardware'

/** As JWS has it; later where a token takes its time. Throws `TokenFault` when the token has gone. */
export type Sign = (input: string) => Uint8Array | Promise<Uint8Array>

/** A key that signs. */
export interface UsableKey {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly jwk: PublicJwk
  readonly sign: Sign
}

/** A signing key with what it was attested for, and when. */
export interface HeldKey extends UsableKey {
  readonly attested: AttestedKey
  readonly attestation: string
}

/** What is kept beside a new key; only who has seen its public half can say it. */
export type Vouching = Pick<HeldKey, 'attested' | 'attestation'>

export interface Keystore {
  readonly protection: Protection
  /** Signs attestations and nothing else. */
  readonly identity: UsableKey
  /** In the order in which they were made. */
  readonly keys: readonly HeldKey[]
  /** Why nothing can be signed at the moment. Asking makes a token that has gone be looked for. */
  readonly problem: TokenFault | undefined
  /**
   * Makes a key, and keeps it once `vouch` has said what for; durable when it settles. When `vouch` throws, the key is
   * destroyed. One call at a time, also of `destroy`.
   */
  make(algorithm: Algorithm, vouch: (key: UsableKey) => Promise<Vouching>): Promise<HeldKey>
  /** Destroys keys: what no longer exists cannot be stolen. A token that is away destroys them when it is back. */
  destroy(kids: ReadonlySet<string>): Promise<void>
  /** Destroys the identity key too, and whatever else is of this keystore. Says how many keys are left of it. */
  destroyAll(): Promise<number>
  close(): Promise<void>
}

/** What a key that was just imported signs with. */
export function usable({ kid, algorithm, jwk }: ImportedKey, sign: Sign): UsableKey {
  return { kid, algorithm, jwk, sign }
}
