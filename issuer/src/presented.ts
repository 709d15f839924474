/**
 * Access tokens that come back to their issuer, to be exchanged, introspected or revoked. Nothing in one is believed
 * before the validator, with receipt and key state, has said that it is good; and then it must be this tenant's, and
 * not revoked.
 * @module
 */

import { claimedConfirmation } from '@countersign/validator/confirmation'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { Provider } from 'oidc-provider'
import type { People } from './people.ts'
import type { AccessTokens } from './revocation.ts'

export interface Desk {
  readonly provider: Provider
  /** Of access tokens of this realm, for each of its audiences. */
  readonly validator: Validator
  readonly accessTokens: AccessTokens
  readonly people: People
  /** Whether a sign-in of that time has been ended since, by the manifest. */
  readonly isSignInEnded: (subject: string, signedInAt: number) => boolean
}

/**
 * The token if it is good here and now, else undefined. Who presents it is not its sender, so a binding to a key
 * (`cnf`) is not asked of them: the caller asks it, or passes it on.
 */
export async function examine(desk: Desk, token: string): Promise<ValidatedToken | undefined> {
  const decision = desk.validator.decide(token, { confirmation: claimedConfirmation(token) })
  if (!decision.accepted) return undefined
  const { issuer, tokenId, subject, issuedAt, claims } = decision.token
  // Another tenant of this realm has the same keys and audiences (T206).
  if (issuer !== desk.provider.issuer) return undefined
  if (await desk.accessTokens.isRevoked(tokenId)) return undefined
  if (!(await mayAct(desk, subject, issuedAt))) return undefined
  // Its own key may live, and the sign-in that it came of have fallen with another.
  const { auth_time: signedInAt } = claims
  if (typeof signedInAt === 'number' && desk.isSignInEnded(subject, signedInAt)) return undefined
  return decision.token
}

/** A service speaks for itself; a person must still be one of ours, and not have been expelled since. */
async function mayAct({ provider, people }: Desk, subject: string, issuedAt: number): Promise<boolean> {
  if ((await provider.Client.find(subject)) !== undefined) return true
  const person = await people.find(subject)
  return person !== undefined && person.validAfter <= issuedAt
}
