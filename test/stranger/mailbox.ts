/**
 * What a stranger protects: it cannot be opened with anything but a token that was validated. Each line that must not compile
 * says so, and the check fails where it does.
 * @module
 */

import type { JsonObject, ValidatedToken } from '@countersign/validator'
import { protect } from '@countersign/validator/node'

export function openMailbox(token: ValidatedToken): {
  readonly of: string
  readonly scopes: readonly string[]
} {
  return { of: token.subject, scopes: token.scopes }
}

/** Never called: these are for the compiler. */
export function mistakes(guard: Parameters<typeof protect>[0], claims: JsonObject, bearer: string): void {
  // @ts-expect-error a token as text was not validated
  openMailbox(bearer)
  // @ts-expect-error claims are no proof that they were checked
  openMailbox(claims)
  // @ts-expect-error nor is an object of the same shape
  openMailbox({ subject: 'ada', scopes: [], claims })
  // @ts-expect-error a request that no guard admitted has no token
  protect(guard, (_request, response) => response.end(openMailbox(response.req.token).of))
}
