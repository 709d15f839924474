/**
 * Time-based one-time passwords (RFC 6238): six digits, 30 s, one step of drift either way. A secret is sealed with
 * AES-256-GCM and bound to its person, so that the database file alone gives no second factor away, and none can be
 * moved to another person.
 * @module
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { Secret, TOTP } from 'otpauth'

const STEP_SECONDS = 30
const DRIFT_STEPS_MAX = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16

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

export function sealTotpSecret(secret: string, owner: string, key: Buffer): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(owner))
  const sealed = Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return sealed.toString('base64url')
}

export function openTotpSecret(sealed: string, owner: string, key: Buffer): string {
  const bytes = Buffer.from(sealed, 'base64url')
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES))
    .setAAD(Buffer.from(owner))
    .setAuthTag(bytes.subarray(-TAG_BYTES))
  return decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
}
