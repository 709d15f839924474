/**
 * Time-based one-time passwords (RFC 6238): six digits, 30 s, one step of drift either way.
 * @module
 */

import { Secret, TOTP } from 'otpauth'

const STEP_SECONDS = 30
const DRIFT_STEPS_MAX = 1

/**
 * The step that a code stands for, or undefined for a wrong one. It counts only if it is later than the last one
 * used: a code that was watched over a shoulder is worth nothing (RFC 6238, section 5.2; T240).
 */
export function matchTotp(secret: string, code: string, now: number): number | undefined {
  if (!/^[0-9]{6}$/.test(code)) return undefined
  const totp = new TOTP({ secret: Secret.fromBase32(secret), period: STEP_SECONDS, digits: 6 })
  const drift = totp.validate({ token: code, timestamp: now * 1000, window: DRIFT_STEPS_MAX })
  return drift === null ? undefined : Math.floor(now / STEP_SECONDS) + drift
}
