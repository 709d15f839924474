/**
 * The keys of a realm as foreign clients read them (RFC 7517): those that may sign now, or did for tokens that have
 * not expired, or will next. Never another realm's, and each says whose it is in `issuer`.
 * @module
 */

import type { Algorithm, PublicJwk } from './jws.ts'
import type { KeyState, Manifest, ManifestKey } from './manifest.ts'

/** How long a client may keep the set. A new key waits at least twice as long before it signs. */
export const KEY_SET_SECONDS = 60

/** A key as it stands in a set. */
export type PublishedKey = PublicJwk & {
  readonly kid: string
  readonly alg: Algorithm
  readonly use: 'sig'
  /** The issuer, or its template, that the key speaks for. */
  readonly issuer: string
}

export interface KeySet {
  readonly keys: readonly PublishedKey[]
}

const live: readonly KeyState[] = ['published', 'active', 'retiring']

/** The live keys of a realm that `isWanted`. */
export function keySetOf(
  manifest: Manifest | undefined,
  realm: string,
  isWanted: (key: ManifestKey) => boolean = () => true,
): KeySet {
  return {
    keys: liveKeys(manifest, realm)
      .filter(isWanted)
      .map(({ jwk, kid, algorithm, issuer }) => ({ ...jwk, kid, alg: algorithm, use: 'sig', issuer })),
  }
}

export function liveKeys(manifest: Manifest | undefined, realm: string): readonly ManifestKey[] {
  return [...(manifest?.keys.values() ?? [])].filter((key) => key.realm === realm && live.includes(key.state))
}
