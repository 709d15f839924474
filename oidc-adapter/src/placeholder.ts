/**
 * Keys that let oidc-provider believe it could sign. It puts every JWT together itself, and what its own key signed is thrown
 * away before anything leaves; no key set names such a key, so it opens nothing.
 * @module
 */

import { generateKeyPairSync } from 'node:crypto'
import type { JWK, JWKS } from 'oidc-provider'

/** What a token may be signed with: what the realm has a key of. */
export type PlaceholderAlgorithm = 'ES256' | 'EdDSA' | 'PS256' | 'RS256'

/**
 * For `jwks` in the provider's configuration: made at each start and kept nowhere. The algorithms are those that clients may
 * have their ID tokens signed with, and discovery shows.
 */
export function placeholderKeys(algorithms: readonly PlaceholderAlgorithm[]): JWKS {
  return { keys: algorithms.map((alg) => ({ ...generate(alg), alg, use: 'sig' }) as JWK) }
}

function generate(algorithm: PlaceholderAlgorithm): object {
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
    case 'EdDSA':
      return generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
    case 'PS256':
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
    default:
      throw algorithm satisfies never
  }
}
