/**
 * The keys of a realm as foreign clients read them (RFC 7517): those that may sign now, or did for tokens that have
 * not expired, or will next. Never another realm's, and each says whose it is in `issuer`.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Algorithm } from '@countersign/validator/jws'
import type { KeyState, Manifest, ManifestKey } from '@countersign/validator/manifest'

/** How long a client may keep the set. A new key waits at least twice as long before it signs. */
export const KEY_SET_SECONDS = 60

const live: readonly KeyState[] = ['published', 'active', 'retiring']

export function keySetOf(manifest: Manifest | undefined, realm: string, tenant: string): { keys: object[] } {
  const keys = liveKeys(manifest, realm).filter(({ tenants }) => tenants.includes(tenant))
  return {
    keys: keys.map(({ jwk, kid, algorithm, issuer }) => ({
      ...jwk,
      kid,
      alg: algorithm,
      use: 'sig',
      issuer,
    })),
  }
}

/** A public key for each algorithm that the realm signs ID tokens with. */
export function keyPerAlgorithm(
  manifest: Manifest | undefined,
  realm: string,
): ReadonlyMap<Algorithm, KeyObject> {
  const keys = liveKeys(manifest, realm).filter(({ tokenTypes }) => tokenTypes.includes('id'))
  return new Map(keys.map(({ algorithm, publicKey }) => [algorithm, publicKey]))
}

function liveKeys(manifest: Manifest | undefined, realm: string): readonly ManifestKey[] {
  return [...(manifest?.keys.values() ?? [])].filter((key) => key.realm === realm && live.includes(key.state))
}
