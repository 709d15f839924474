/**
 * What a token is bound to (`cnf`, RFC 7800), against what its sender has proven to hold. Rule: spec/sender.md, section 1.
 * @module
 */

import type { Claims } from './claims.ts'
import { isObject } from './json.ts'
import { readCompact } from './jws.ts'
import { Refusal } from './refusal.ts'

/** What a sender has proven to hold; each is a SHA-256 in base64url. */
export interface Confirmation {
  /** DPoP (RFC 9449): thumbprint of the public key. */
  readonly jkt?: string | undefined
  /** Mutual TLS (RFC 8705): hash of the certificate. */
  readonly 'x5t#S256'?: string | undefined
}

/**
 * Whether the sender proved all that the token is bound to. A bound token without its proof was stolen. A DPoP proof with
 * a token that is not bound to a key belongs to another token; a certificate does not, since a connection may have one for
 * reasons of its own. A method that is not known here cannot be checked, and so fails.
 */
export function isSender({ confirmation: bound }: Claims, proven: Confirmation | undefined): boolean {
  if (bound === undefined) return proven?.jkt === undefined
  if (bound['jkt'] !== proven?.jkt) return false
  const methods = Object.keys(bound)
  return (
    methods.length > 0 &&
    methods.every((method) => isKnown(method) && isProven(bound[method], proven?.[method]))
  )
}

function isProven(bound: unknown, proven: unknown): boolean {
  return typeof bound === 'string' && bound === proven
}

function isKnown(method: string): method is keyof Confirmation {
  return method === 'jkt' || method === 'x5t#S256'
}

/**
 * What a token says that it is bound to, for whoever is shown one by somebody other than its sender: introspection, token
 * exchange. Claimed, and so good for nothing but to be compared with what the token says.
 */
export function claimedConfirmation(token: string): Confirmation {
  try {
    const { cnf } = readCompact(token).claims
    return isObject(cnf) ? (cnf as Confirmation) : {}
  } catch (error) {
    if (error instanceof Refusal) return {}
    throw error
  }
}
