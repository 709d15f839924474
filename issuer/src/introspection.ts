/**
 * Introspection (RFC 7662) and revocation (RFC 7009). oidc-provider answers these for tokens that it stores; ours are
 * JWTs, judged here by the validator and the list of revoked ones. Both ask who the client is, tell nothing about
 * tokens that are not the client's business, and never repeat what a token says unless it is good (T202, T204).
 * @module
 */

import type { IncomingMessage } from 'node:http'
import { isObject, type JsonValue } from '@countersign/validator/json'
import { errors, type Provider } from 'oidc-provider'
import { readForm } from './form.ts'
import type { Context, Middleware } from './middleware.ts'
import { type Desk, examine } from './presented.ts'

export interface IntrospectionOptions {
  readonly desk: Desk
  /** Audiences that a client may handle tokens of. */
  readonly audiencesOf: (clientId: string) => readonly string[]
  readonly revokeGrant: (grantId: string) => Promise<void>
  /** Whether a client that signs in with certificates came with one of its own. */
  readonly isSignedInByCertificate: (clientId: string, request: IncomingMessage) => boolean
}

export const introspectionPath = '/introspect'
export const revocationPath = '/revoke'

type Client = NonNullable<Awaited<ReturnType<Provider['Client']['find']>>>

export function createIntrospection(options: IntrospectionOptions): Middleware {
  const { desk, audiencesOf, revokeGrant, isSignedInByCertificate } = options
  const { provider, people } = desk

  return async (ctx, next) => {
    if (ctx.method !== 'POST') return next()
    if (ctx.path !== introspectionPath && ctx.path !== revocationPath) return next()
    ctx.set('cache-control', 'no-store')
    const form = await readForm(ctx.req)
    const client = await authenticate(ctx, form)
    const token = form.get('token')
    if (token === undefined) throw new errors.InvalidRequest('token is missing')
    if (ctx.path === introspectionPath) {
      ctx.body = (await introspect(client, token)) ?? { active: false }
    } else {
      await revoke(client, token)
      ctx.status = 200
      ctx.body = ''
    }
  }

  async function introspect(client: Client, token: string): Promise<object | undefined> {
    const refreshToken = await findRefreshToken(client, token)
    if (refreshToken !== undefined) {
      const { accountId = '', authTime, scope, iat, exp } = refreshToken
      const person = await people.find(accountId)
      if (!refreshToken.isValid || person === undefined || person.validAfter > iat) return undefined
      if (desk.isSignInEnded(accountId, authTime ?? iat)) return undefined
      return {
        active: true,
        iss: provider.issuer,
        client_id: client.clientId,
        sub: accountId,
        scope,
        iat,
        exp,
      }
    }
    const validated = await examine(desk, token)
    if (validated === undefined) return undefined
    const { clientId, audiences, claims } = validated
    const allowed = audiencesOf(client.clientId)
    const concerns = clientId === client.clientId || audiences.some((audience) => allowed.includes(audience))
    if (!concerns) return undefined
    return { ...claims, active: true, token_type: tokenTypeOf(claims['cnf']) }
  }

  /** Says nothing about a token that is unknown, already dead, or another client's (T208). */
  async function revoke(client: Client, token: string): Promise<void> {
    const refreshToken = await findRefreshToken(client, token)
    if (refreshToken?.grantId !== undefined) return revokeGrant(refreshToken.grantId)
    const validated = await examine(desk, token)
    if (validated?.clientId !== client.clientId) return
    await desk.accessTokens.revoke(validated.tokenId, validated.expiresAt)
  }

  async function findRefreshToken(client: Client, token: string) {
    // A JWT is none, and not worth a look-up.
    if (token.includes('.')) return undefined
    const found = await provider.RefreshToken.find(token, { ignoreExpiration: true })
    return found?.clientId === client.clientId ? found : undefined
  }

  /** Basic, form or certificate, one of them (RFC 6749, section 2.3.1). */
  async function authenticate(ctx: Context, form: ReadonlyMap<string, string>): Promise<Client> {
    const header = ctx.get('authorization')
    const posted = form.get('client_secret')
    if (header !== '' && posted !== undefined)
      throw new errors.InvalidRequest('one client authentication only')
    const [id, secret] = header === '' ? [form.get('client_id'), posted] : readBasic(header)
    const client = id === undefined ? undefined : await provider.Client.find(id)
    if (client !== undefined && secret !== undefined && (await client.compareClientSecret(secret)))
      return client
    const isWithoutSecret = header === '' && posted === undefined
    if (client !== undefined && isWithoutSecret && isSignedInByCertificate(client.clientId, ctx.req))
      return client
    if (header !== '') ctx.set('www-authenticate', `Basic realm="${provider.issuer}"`)
    throw new errors.InvalidClientAuth('no such client, or it has shown something else')
  }
}

/** A token that is bound to a certificate comes under `Bearer` (RFC 8705). */
export function tokenTypeOf(cnf: JsonValue | undefined): 'Bearer' | 'DPoP' {
  return isObject(cnf) && cnf['jkt'] !== undefined ? 'DPoP' : 'Bearer'
}

function readBasic(header: string): readonly [string?, string?] {
  const [, credentials = ''] = /^basic ([A-Za-z0-9+/]+=*)$/i.exec(header) ?? []
  const [, id, secret] = /^([^:]+):(.+)$/s.exec(Buffer.from(credentials, 'base64').toString('utf8')) ?? []
  if (id === undefined || secret === undefined) return []
  try {
    return [formDecode(id), formDecode(secret)]
  } catch {
    return []
  }
}

function formDecode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}
