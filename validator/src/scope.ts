/**
 * Whether a key may vouch for these claims. The signer asks before it signs and every validator before it accepts, so
 * the two cannot come to differ. Pure: no clock, no I/O. Rule: spec/scope.md.
 * @module
 */

import type { TokenType } from './entry.ts'
import type { Algorithm } from './jws.ts'
import type { KeyScope } from './manifest.ts'
import { Refusal } from './refusal.ts'

/** What of a token a key's scope speaks about. */
export interface ScopedClaims {
  readonly type: TokenType
  readonly algorithm: Algorithm
  readonly issuer: string
  /** Undefined where the token names none, as a SET: it is its issuer's. */
  readonly tenant: string | undefined
  readonly audiences: readonly string[]
  readonly lifetimeSeconds: number
}

/** Throws `Refusal` unless all of the claims lie inside the key's scope. */
export function checkScope(key: KeyScope, token: ScopedClaims): void {
  checkKeyScope(key, token)
  checkIssuerScope(key, token)
  checkLifetimeScope(key, token)
}

/** `key_out_of_scope`: the key signs no such tokens, or not for such an audience. */
export function checkKeyScope(key: KeyScope, token: ScopedClaims): void {
  const { kid, algorithm, tokenTypes, audiences } = key
  const isInScope =
    token.algorithm === algorithm &&
    tokenTypes.includes(token.type) &&
    // Each audience, not one: a token is good at all that it names.
    (audiences === undefined || token.audiences.every((audience) => audiences.includes(audience)))
  if (!isInScope) throw new Refusal('key_out_of_scope', { kid })
}

/** `issuer_mismatch`, `tenant_mismatch`: the key does not speak for this issuer, or not for this tenant of it. */
export function checkIssuerScope(key: KeyScope, token: ScopedClaims): void {
  const { kid } = key
  const issuerTenant = tenantOf(key.issuer, token.issuer)
  if (issuerTenant === undefined) throw new Refusal('issuer_mismatch', { kid })
  const tenant = tenantFor(key, token)
  const isOwn = tenant !== undefined && key.tenants.includes(tenant)
  if (!isOwn || (issuerTenant !== '' && issuerTenant !== tenant))
    throw new Refusal('tenant_mismatch', { kid })
}

/**
 * The tenant that a token belongs to: the one that it names, else the one in its issuer, else the only one that the key
 * speaks for. Undefined where that leaves it open.
 */
export function tenantFor(
  key: Pick<KeyScope, 'issuer' | 'tenants'>,
  { issuer, tenant }: Pick<ScopedClaims, 'issuer' | 'tenant'>,
): string | undefined {
  const [only, ...others] = key.tenants
  return tenant ?? (tenantOf(key.issuer, issuer) || (others.length === 0 ? only : undefined))
}

/** `lifetime_too_long`: the token outlives what the key may give. */
export function checkLifetimeScope(key: KeyScope, token: ScopedClaims): void {
  if (token.lifetimeSeconds > key.lifetimeSecondsMax) throw new Refusal('lifetime_too_long', { kid: key.kid })
}

/** Whether an issuer is the one of a template, or one of its many. */
export function fitsIssuer(template: string, issuer: string): boolean {
  return tenantOf(template, issuer) !== undefined
}

const PLACEHOLDER = '{tenantid}'

/**
 * What stands for `{tenantid}` in an issuer of this template; empty for a template without one, undefined for an
 * issuer that does not fit. Issuers are compared as text, never as URLs: two that name one host stay two issuers.
 */
function tenantOf(template: string, issuer: string): string | undefined {
  const at = template.indexOf(PLACEHOLDER)
  if (at === -1) return issuer === template ? '' : undefined
  const tail = template.slice(at + PLACEHOLDER.length)
  if (issuer.length <= at + tail.length) return undefined
  if (!issuer.startsWith(template.slice(0, at)) || !issuer.endsWith(tail)) return undefined
  const tenant = issuer.slice(at, issuer.length - tail.length)
  return /[/?#@]/.test(tenant) ? undefined : tenant
}
