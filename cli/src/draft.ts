/**
 * An approval as somebody here is about to sign it: begun now, good for as long as an approval may be, under a name that
 * nobody guesses.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { APPROVAL_SECONDS_MAX, type ApprovalTarget, writeApproval } from '@countersign/validator/approval'

/** `proposer` is an operator's id, `charterVersion` that of the charter in force. */
export function draftApproval(
  target: ApprovalTarget,
  {
    reason,
    proposer,
    charterVersion,
  }: { readonly reason: string; readonly proposer: string; readonly charterVersion: number },
): ReturnType<typeof writeApproval> {
  const now = Math.floor(Date.now() / 1000)
  return writeApproval({
    target,
    reason,
    proposer,
    issuedAt: now,
    expiresAt: now + APPROVAL_SECONDS_MAX,
    jti: randomBytes(16).toString('base64url'),
    charterVersion,
  })
}
