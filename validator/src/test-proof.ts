/**
 * A holder of a key who makes DPoP proofs (RFC 9449), for tests. Nothing here is for production.
 * @module
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, randomUUID, sign } from 'node:crypto'
import { type PublicJwk, thumbprint } from './jws.ts'

export interface TestHolder {
  readonly jkt: string
  /** `now` in seconds since the epoch; `claims` are laid over the usual ones. */
  prove(
    request: {
      readonly method?: string
      readonly url: string
      readonly token?: string
      readonly now?: number
    },
    claims?: Readonly<Record<string, unknown>>,
  ): string
}

/** `key`: PEM, on P-256. Left out: a new one. */
export function createTestHolder(key?: string): TestHolder {
  const privateKey =
    key === undefined ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey : createPrivateKey(key)
  const publicKey = createPublicKey(privateKey)
  const jwk = publicKey.export({ format: 'jwk' }) as PublicJwk
  const segment = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return {
    jkt: thumbprint(jwk),
    prove: ({ method = 'GET', url, token, now = Math.floor(Date.now() / 1000) }, claims) => {
      const ath = token === undefined ? undefined : hash('sha256', token, 'base64url')
      const usual = { htm: method, htu: url, jti: randomUUID(), iat: now, ath }
      const input = `${segment({ typ: 'dpop+jwt', alg: 'ES256', jwk })}.${segment({ ...usual, ...claims })}`
      const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      return `${input}.${signature.toString('base64url')}`
    },
  }
}
