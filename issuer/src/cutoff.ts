/**
 * Which sign-ins a kill has ended. What a validator refuses as a token, its issuer must not make anew from an old sign-in:
 * sessions, refresh tokens and grants fall with a cutoff that reaches them, and with a key that could have signed for
 * whoever stole it when they began (T191, T195). Computed from the manifest and stored nowhere, so a lift brings them back.
 * @module
 */

import type { Cutoff, Manifest, ManifestKey } from '@countersign/validator/manifest'

export interface SignIn {
  readonly realm: string
  readonly tenant: string
  readonly subject: string
  /** Seconds since the epoch. */
  readonly at: number
}

export function isEnded({ keys, cutoffs }: Pick<Manifest, 'keys' | 'cutoffs'>, signIn: SignIn): boolean {
  return cutoffs.some((cutoff) => isCutOff(cutoff, signIn)) || keys.values().some((key) => fell(key, signIn))
}

function isCutOff({ before, kid, realm, tenant, subject }: Cutoff, signIn: SignIn): boolean {
  return (
    signIn.at < before &&
    // A key's cutoff is about tokens that it signed, and what those were exchanged for. A session is signed by none.
    kid === undefined &&
    (realm === undefined || realm === signIn.realm) &&
    (tenant === undefined || tenant === signIn.tenant) &&
    (subject === undefined || subject === signIn.subject)
  )
}

/**
 * Whether the key was killed and could sign when this sign-in began. The second of the kill counts as before it. A key that
 * was blocked while it stood ready counts from when it might have signed: the manifest does not say that it never did. One
 * that had retired when it was revoked ends nothing: it left in good order, and opens nothing since.
 */
function fell(key: ManifestKey, { realm, tenant, at }: SignIn): boolean {
  const killedAt = key.blocked?.at ?? key.revoked?.at
  return (
    killedAt !== undefined &&
    killedAt <= key.verifyUntil &&
    key.realm === realm &&
    key.tenants.includes(tenant) &&
    key.tokenTypes.some((type) => type === 'access' || type === 'id') &&
    at >= key.notBefore &&
    at <= Math.min(key.signUntil, killedAt)
  )
}
