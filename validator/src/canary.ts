/**
 * Canaries: access tokens for nobody, by which the authority sees after a kill whether a service refuses the killed key.
 * A real one is issued, logged and signed like any token, so no rule needs an exception for it that somebody else could
 * use; it speaks for a subject that no person and no client can have, and asks for no scope. Rule: spec/kill.md, section 3.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { encode } from './base64url.ts'
import { encodePayload } from './document.ts'
import { headerTypes } from './entry.ts'
import type { KeyScope } from './manifest.ts'

/** `sub` and `client_id`. Issuers give it to nobody. */
export const CANARY_SUBJECT = 'canary'

const CANARY_SECONDS_MAX = 3600

/** What the signer is asked to sign. */
export function canaryClaims(key: KeyScope, audience: string, now: number): object {
  const [tid = ''] = key.tenants
  const iat = Math.floor(now)
  return {
    iss: key.issuer.replace('{tenantid}', tid),
    sub: CANARY_SUBJECT,
    client_id: CANARY_SUBJECT,
    aud: audience,
    tid,
    iat,
    exp: iat + Math.min(CANARY_SECONDS_MAX, key.lifetimeSecondsMax),
  }
}

/**
 * Where there is no real one: the same under a signature that nobody made. Whoever knows that the key is dead refuses it for
 * that before looking at the signature; `signature_invalid` says that the key is alive there.
 */
export function unsignedCanary(key: KeyScope, audience: string, now: number): string {
  const claims = { ...canaryClaims(key, audience, now), jti: encode(randomBytes(16)) }
  const header = { alg: key.algorithm, typ: headerTypes.access, kid: key.kid }
  return `${encodePayload(header)}.${encodePayload(claims)}.${encode(randomBytes(SIGNATURE_BYTES))}`
}

const SIGNATURE_BYTES = 64

/** Whether the key signs tokens that a service takes at all: one for events alone does not. */
export function hasCanaries({ tokenTypes }: Pick<KeyScope, 'tokenTypes'>): boolean {
  return tokenTypes.includes('access')
}
