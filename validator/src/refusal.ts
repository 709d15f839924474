/**
 * Why a token is refused: one word per cause, in the order in which a validator asks. The words are API; clients,
 * alerts and runbooks name them, so a row is added here and never renamed.
 * @module
 */

/** A cause of refusal, in one word. In the order in which they are asked; what each means: docs/reasons.md. */
export type Reason =
  | 'malformed'
  | 'oversized'
  | 'alg_not_allowed'
  | 'header_not_allowed'
  | 'type_mismatch'
  | 'unknown_key'
  | 'key_out_of_scope'
  | 'key_not_active'
  | 'key_retired'
  | 'key_blocked'
  | 'key_revoked'
  | 'issuer_mismatch'
  | 'tenant_mismatch'
  | 'audience_mismatch'
  | 'signature_invalid'
  | 'receipt_missing'
  | 'receipt_invalid'
  | 'expired'
  | 'not_yet_valid'
  | 'lifetime_too_long'
  | 'issued_outside_key_window'
  | 'issued_before_cutoff'
  | 'sender_mismatch'
  | 'manifest_stale'

/** One row per reason: what a protected service answers, and a sentence for whoever reads the log. */
export const refusals: Readonly<Record<Reason, { readonly status: 401 | 403; readonly message: string }>> = {
  malformed: unauthorized('the token is not a compact JWS with the claims that every token has'),
  oversized: unauthorized('the token is larger than this validator reads'),
  alg_not_allowed: unauthorized('the signature algorithm is not one that is allowed here'),
  header_not_allowed: unauthorized('the protected header carries a member that is not allowed'),
  type_mismatch: unauthorized('the token is of another type than the one asked for'),
  unknown_key: unauthorized('no such key is known here'),
  key_out_of_scope: forbidden('the key may not sign such a token'),
  key_not_active: unauthorized('the key is published but not active'),
  key_retired: unauthorized('the key is retired'),
  key_blocked: unauthorized('the key is blocked'),
  key_revoked: unauthorized('the key is revoked'),
  issuer_mismatch: forbidden('no key that may speak for this issuer signed it'),
  tenant_mismatch: forbidden('the tenant is not one that this issuer speaks for'),
  audience_mismatch: forbidden('the token is meant for another audience'),
  signature_invalid: unauthorized('the signature does not verify'),
  receipt_missing: unauthorized('no witness vouches that the token was issued'),
  receipt_invalid: unauthorized('the receipt does not show that this token was issued'),
  expired: unauthorized('the token has expired'),
  not_yet_valid: unauthorized('the token is not valid yet'),
  lifetime_too_long: unauthorized('the token lives longer than its key allows'),
  issued_outside_key_window: unauthorized('the token was issued while its key was not signing'),
  issued_before_cutoff: unauthorized('the token was issued before a cutoff that concerns it'),
  sender_mismatch: unauthorized('the sender is not whom the token is for'),
  manifest_stale: unauthorized('what is known here is too old to decide by'),
}

function unauthorized(message: string) {
  return { status: 401, message } as const
}

function forbidden(message: string) {
  return { status: 403, message } as const
}

/** A token is refused: expected, coded, and free of anything from the token but the key's name. */
export class Refusal extends Error {
  readonly reason: Reason
  /** What an HTTP service answers. */
  readonly status: 401 | 403
  /** Where the token's key is known. */
  readonly kid: string | undefined
  /**
   * `hint` says more for whoever runs the service, in words of ours alone: it stands in the message, and in an answer only where it
   * tells the sender what to prove.
   */
  constructor(reason: Reason, context: { readonly kid?: string | undefined; readonly hint?: string } = {}) {
    super(
      context.hint === undefined ? refusals[reason].message : `${refusals[reason].message}: ${context.hint}`,
    )
    this.name = 'Refusal'
    this.reason = reason
    this.status = refusals[reason].status
    this.kid = context.kid
  }
}
