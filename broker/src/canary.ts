/**
 * Which canary may be made: only with a key that signs now, and only with the claims that every canary has. Whoever asks
 * chooses the key and the audience and nothing else.
 * @module
 */

import { LineError } from '@countersign/lines'
import type { SigningRequest } from '@countersign/signer/client'
import { canaryClaims, hasCanaries } from '@countersign/validator/canary'
import { readCompact } from '@countersign/validator/jws'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'

/** What is asked of the admin socket. */
export interface CanaryRequest {
  readonly realm: string
  readonly kid: string
  readonly audience: string
}

/** Throws `LineError`. */
export function readCanaryRequest(
  { realm, kid, audience }: Readonly<Partial<Record<keyof CanaryRequest, unknown>>>,
  manifest: Manifest | undefined,
): ManifestKey & { readonly audience: string } {
  if (typeof audience !== 'string' || audience === '') throw new LineError('malformed', 'audience is no name')
  const key = manifest?.keys.get(String(kid))
  if (key === undefined || key.realm !== realm)
    throw new LineError('unknown_key', 'the realm has no such key')
  if (key.state !== 'active' || !hasCanaries(key))
    throw new LineError('no_active_key', 'the key signs no access tokens now')
  return { ...key, audience }
}

export function canaryRequest(key: ManifestKey, audience: string, now: number): SigningRequest {
  const claims = JSON.stringify(canaryClaims(key, audience, now))
  return { type: 'access', claims, alg: key.algorithm }
}

/** The signer chooses its key itself; a canary of another proves nothing about this one. */
export function checkCanary(token: string, kid: string): string {
  if (readCompact(token).header['kid'] === kid) return token
  throw new LineError('no_active_key', 'another key signs in its place')
}
