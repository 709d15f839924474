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
  malformed: { status: 401, message: 'the token is not a compact JWS with the claims that every token has' },
  oversized: { status: 401, message: 'the token is larger than this validator reads' },
  alg_not_allowed: { status: 401, message: 'the signature algorithm is not one that is allowed here' },
  header_not_allowed: { status: 401, message: 'the protected header carries a member that is not allowed' },
  type_mismatch: { status: 401, message: 'the token is of another type than the one asked for' },
  unknown_key: { status: 401, message: 'the manifest names no such key' },
  key_out_of_scope: { status: 403, message: 'the key may not sign such a token' },
  key_not_active: { status: 401, message: 'the key is published but not active' },
  key_retired: { status: 401, message: 'the key is retired' },
  key_blocked: { status: 401, message: 'the key is blocked' },
  key_revoked: { status: 401, message: 'the key is revoked' },
  issuer_mismatch: { status: 403, message: 'the key may not speak for this issuer' },
  tenant_mismatch: { status: 403, message: 'the tenant is not one that this issuer speaks for' },
  audience_mismatch: { status: 403, message: 'the token is meant for another audience' },
  signature_invalid: { status: 401, message: 'the signature does not verify' },
  receipt_missing: { status: 401, message: 'no witness vouches that the token was issued' },
  receipt_invalid: { status: 401, message: 'the receipt does not show that this token was issued' },
  expired: { status: 401, message: 'the token has expired' },
  not_yet_valid: { status: 401, message: 'the token is not valid yet' },
  lifetime_too_long: { status: 401, message: 'the token lives longer than its key allows' },
  issued_outside_key_window: { status: 401, message: 'the token was issued while its key was not signing' },
  issued_before_cutoff: { status: 401, message: 'the token was issued before a cutoff that concerns it' },
  sender_mismatch: { status: 401, message: 'the sender is not whom the token is for' },
  manifest_stale: { status: 401, message: 'the manifest is too old to decide by' },
}

/** A token is refused: expected, coded, and free of anything from the token but the key's name. */
export class Refusal extends Error {
  readonly reason: Reason
  /** What an HTTP service answers. */
  readonly status: 401 | 403
  /** Where the token's key is known. */
  readonly kid: string | undefined
  /** `hint` says more for whoever reads it, in words of ours alone. */
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
