/**
 * Where clients with certificates come, if a host of its own asks for them: the same endpoints at another address
 * (`mtls_endpoint_aliases`, RFC 8705, section 5). People are not sent there, so that no browser asks them for one.
 * @module
 */

import type { IncomingMessage } from 'node:http'
import { isObject, type JsonValue } from '@countersign/validator/json'

/** By their names in the metadata, the paths behind an issuer. */
type Endpoints = Readonly<Record<string, string>>

/** Where an issuer is at another address, if there is one. */
export function aliasOf(issuer: string, base: string | undefined): string | undefined {
  return base === undefined ? undefined : `${base}${new URL(issuer).pathname.replace(/\/$/, '')}`
}

export function describeAliases(base: string, endpoints: Endpoints): Endpoints {
  return Object.fromEntries(Object.entries(endpoints).map(([name, path]) => [name, `${base}${path}`]))
}

/**
 * Whether a DPoP proof says that it is for this address of an endpoint. It is one endpoint at both, so which of them was
 * called makes no difference; the proof is checked by whoever asks.
 */
export function isProofFor({ headers: { dpop } }: IncomingMessage, url: string): boolean {
  const [, payload = ''] = typeof dpop === 'string' ? dpop.split('.') : []
  try {
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as JsonValue
    const named = isObject(claims) && typeof claims['htu'] === 'string' ? URL.parse(claims['htu']) : null
    return named !== null && `${named.origin}${named.pathname}` === url
  } catch {
    return false
  }
}
