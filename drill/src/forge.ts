/**
 * The forger's bench: tokens with any header and claims, signed by whatever was stolen. Plain `jose` and `node:crypto`,
 * as an attacker has them.
 * @module
 */

import { randomUUID } from 'node:crypto'
import { CompactSign, importJWK, type JWK } from 'jose'

export type StolenKey = JWK & { readonly kid: string }

export interface Forgery {
  readonly key: StolenKey
  readonly claims: Readonly<Record<string, unknown>>
  /** Joins the protected header, or replaces members of it. */
  readonly header?: Readonly<Record<string, unknown>>
}

/** A token that only its signature makes genuine. */
export async function forge({ key, claims, header = {} }: Forgery): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid, ...header })
    .sign(await importJWK(key, 'ES256'))
}

/** A token with no signature at all. */
export function unsigned(
  claims: Readonly<Record<string, unknown>>,
  header: object = { alg: 'none', typ: 'JWT' },
): string {
  return `${segment(header)}.${segment(claims)}.`
}

/** Claims of an access token that the account named would have got. */
export function accessClaims(
  victim: Readonly<Record<'iss' | 'sub' | 'tid' | 'aud', string>>,
): Record<string, unknown> {
  const iat = Math.floor(Date.now() / 1000)
  return { ...victim, client_id: 'forger', scope: 'read write', iat, exp: iat + 600, jti: randomUUID() }
}

export function segment(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
