/**
 * Asks a gateway about a token, as a proxy does; and what others write for one.
 * @module
 */

export { findContradictions, gatewayPolicy } from './config.ts'

export type GatewayAnswer =
  | {
      readonly allowed: true
      readonly subject: string
      readonly tenant: string
      readonly issuer: string
      readonly client: string
      readonly scopes: readonly string[]
    }
  | { readonly allowed: false; readonly status: number; readonly reason: string }

/** `scopes` are needed on top of those that the gateway is configured with. Throws when there is no gateway. */
export async function askGateway(
  gateway: string,
  token: string,
  scopes: readonly string[] = [],
): Promise<GatewayAnswer> {
  const url = new URL('/auth', gateway)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, redirect: 'error' })
  await response.arrayBuffer()
  const header = (name: string): string => response.headers.get(name) ?? ''
  if (response.status !== 200)
    return { allowed: false, status: response.status, reason: header('x-countersign-reason') }
  const identity = (name: string): string => decodeURIComponent(header(`x-auth-${name}`))
  return {
    allowed: true,
    subject: identity('subject'),
    tenant: identity('tenant'),
    issuer: identity('issuer'),
    client: identity('client'),
    scopes: header('x-auth-scope')
      .split(' ')
      .filter((scope) => scope !== '')
      .map(decodeURIComponent),
  }
}
