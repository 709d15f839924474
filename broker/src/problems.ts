/**
 * What goes wrong between a remote issuer and us, as HTTP says it: RFC 9457, with the code that the lines use and whether
 * the same request may be tried again. The rows are API: spec/broker.openapi.json has each, and a test compares.
 * @module
 */

import { LineError } from '@countersign/lines'

/** The body of an answer that is none, `application/problem+json`. */
export interface ProblemBody {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  /** Nothing was signed, and the same request may succeed later. */
  readonly retryable: boolean
}

/**
 * By code. 400 and 422: the request is wrong. 403: it is not for this client, or not in its realm's charter. 409: the keys
 * of the realm do not allow it now. 5xx: one of us is away or at fault.
 */
export const problems: Readonly<Record<string, { readonly status: number; readonly title: string }>> = {
  malformed: { status: 400, title: 'the request is not what this operation takes' },
  unknown_client: { status: 403, title: 'no client is configured for this certificate' },
  certificate_expired: { status: 403, title: 'the certificate has expired since the connection was made' },
  not_found: { status: 404, title: 'there is nothing at this address' },
  method_not_allowed: { status: 405, title: 'this address takes another method' },
  oversized: { status: 413, title: 'the request, or the token that it asks for, is too large' },
  unsupported_media_type: { status: 415, title: 'the body is not application/json' },
  type_mismatch: { status: 422, title: 'there is no such kind of token, or the claims are of another' },
  alg_not_allowed: { status: 422, title: 'there is no such algorithm' },
  clock_off: { status: 422, title: 'iat is more than a minute from the clocks here' },
  lifetime_too_long: { status: 422, title: 'the token would live longer than the charter allows' },
  issued_outside_key_window: { status: 422, title: 'the key does not sign at the time that iat names' },
  key_out_of_scope: { status: 403, title: 'the realm signs no such tokens' },
  issuer_mismatch: { status: 403, title: 'iss is no issuer that this client speaks for' },
  tenant_mismatch: { status: 403, title: 'tid is no tenant of this issuer' },
  no_active_key: { status: 409, title: 'the realm has no key of this algorithm that may sign now' },
  unknown_key: { status: 409, title: 'the key has ended while the token was made' },
  key_not_active: { status: 409, title: 'the key does not sign yet' },
  key_retired: { status: 409, title: 'the key has retired while the token was made' },
  key_blocked: { status: 409, title: 'the key was blocked while the token was made' },
  key_revoked: { status: 409, title: 'the key was revoked while the token was made' },
  rate_limited: { status: 429, title: 'more is asked for than this client, or its key, may have' },
  fault: { status: 500, title: 'the request failed here' },
  serial_repeated: { status: 500, title: 'the counters of the signer went back: its operators have to look' },
  unknown_request: { status: 500, title: 'the signer has forgotten what it prepared' },
  receipt_missing: { status: 502, title: 'the witness gave no receipt' },
  receipt_invalid: { status: 502, title: 'the witness gave a receipt that is not for this token' },
  witness_unavailable: { status: 503, title: 'the witness cannot be reached' },
  witness_failed: { status: 503, title: 'the log of the witness cannot go on' },
  signer_unavailable: { status: 503, title: 'the signer cannot be reached' },
  manifest_stale: { status: 503, title: 'the newest manifest is too old to sign by' },
  keystore_unavailable: { status: 503, title: 'the token that holds the keys cannot be used' },
}

/** Faults of a PKCS#11 token have a word each for whoever runs it (docs/hardware.md), and one for everybody else. */
const keystoreFault = /^(token|pin|session|module|key|mechanism)_/

export function describeProblem(error: unknown): ProblemBody {
  const known = error instanceof LineError ? error : undefined
  const code = known === undefined ? 'fault' : publicCode(known.code)
  const { status, title } = problems[code] ?? (problems['fault'] as (typeof problems)[string])
  return {
    type: `urn:countersign:problem:${code}`,
    title,
    status,
    // Only a `LineError` was written for the other side; the words of a token's driver were not.
    detail: known !== undefined && code === known.code ? known.message : title,
    code,
    retryable: known?.retryable ?? true,
  }
}

function publicCode(code: string): string {
  if (Object.hasOwn(problems, code)) return code
  return keystoreFault.test(code) ? 'keystore_unavailable' : 'fault'
}
