/**
 * ID tokens that come back as a hint, to sign out or to name the person expected (OpenID Connect Core, section
 * 3.1.2.1). They may have expired long ago, and identify a session all the same; every other check is made, as of
 * the time at which the token was issued.
 * @module
 */

import { decode } from './base64url.ts'
import { type JsonObject, parseObject } from './json.ts'
import type { TrustSource } from './manifest.ts'
import { createValidator } from './validator.ts'

/** Throws `Refusal`. */
export function createHintValidator(realm: string, issuer: string, trust: TrustSource) {
  return (token: string, clientId: string): { header: JsonObject; payload: JsonObject } => {
    const [header = '', payload = ''] = token.split('.')
    const { iat } = parseObject(decode(payload))
    const issuedAt = typeof iat === 'number' ? iat : 0
    const validator = createValidator({
      realm,
      audience: clientId,
      tokenType: 'id',
      trust,
      now: () => issuedAt,
    })
    const { claims } = validator.validate(token)
    if (claims['iss'] !== issuer) throw new TypeError('the hint is of another issuer')
    return { header: parseObject(decode(header)), payload: claims }
  }
}
