/**
 * Sessions and refresh tokens under the manifest's cutoffs: what a validator refuses as a token, its issuer must not
 * make anew from an old sign-in (T191, T195).
 * @module
 */

import type { Cutoff } from '@countersign/validator/manifest'

export interface SignIn {
  readonly realm: string
  readonly tenant: string
  readonly subject: string
  /** Seconds since the epoch. */
  readonly at: number
}

export function isCutOff(cutoffs: readonly Cutoff[], signIn: SignIn): boolean {
  return cutoffs.some(
    // A key's cutoff is about tokens that it signed. A session is signed by none.
    ({ before, kid, realm, tenant, subject }) =>
      signIn.at < before &&
      kid === undefined &&
      (realm === undefined || realm === signIn.realm) &&
      (tenant === undefined || tenant === signIn.tenant) &&
      (subject === undefined || subject === signIn.subject),
  )
}
