/**
 * The answer to a proxy that asks whether a request may pass. It depends on the `Authorization` header, the scopes
 * that are asked for and the validator's verdict, and on nothing else of the request.
 * @module
 */

import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import { admit, denyScope } from '@countersign/validator/bearer'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayConfig } from './config.ts'

/** `/auth`, by whatever method; and `/auth/…`, since Envoy puts a path of its own in front of its client's. */
export function serveAuth(
  http: FastifyInstance,
  validator: Validator,
  config: Pick<GatewayConfig, 'scopes' | 'network_header'>,
): void {
  for (const method of METHODS) if (!http.supportedMethods.includes(method)) http.addHttpMethod(method)
  // Answered before the body is looked at: it belongs to the resource, whatever its type, size or errors.
  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { status, headers } = authorize(validator, request, config)
    await reply.code(status).headers(headers).send()
  }
  for (const url of ['/auth', '/auth/*']) http.all(url, { onRequest }, () => {})
}

interface Answer {
  readonly status: 200 | 401 | 403
  readonly headers: Readonly<Record<string, string>>
}

/** 200 with who it is, or 401 or 403 with why not. */
function authorize(
  validator: Validator,
  request: FastifyRequest,
  config: Pick<GatewayConfig, 'scopes' | 'network_header'>,
): Answer {
  const admission = admit(validator, request.raw.rawHeaders, networkOf(request, config.network_header))
  if (!admission.admitted) return admission.denial
  const { token } = admission
  const scopes = requiredScopes(config.scopes, request.url)
  if (!scopes.every((scope) => token.scopes.includes(scope))) return denyScope(scopes)
  return { status: 200, headers: describe(token) }
}

/**
 * Scopes that a request needs: those of the configuration, and each of each `?scope=`. A query can only add, since a
 * proxy may pass on its client's.
 */
function requiredScopes(always: readonly string[], url: string): string[] {
  const [, query = ''] = url.split(/\?(.*)/s)
  const asked = new URLSearchParams(query).getAll('scope')
  return [...always, ...asked.flatMap((scopes) => scopes.split(' ')).filter((scope) => scope !== '')]
}

/** Every header is there, even if empty, so that a proxy which copies them overwrites what its client sent. */
function describe(token: ValidatedToken): Record<string, string> {
  return {
    'x-auth-subject': headerValue(token.subject),
    'x-auth-tenant': headerValue(token.tenant),
    'x-auth-issuer': headerValue(token.issuer),
    'x-auth-client': headerValue(token.clientId ?? ''),
    'x-auth-scope': token.scopes.map(headerValue).join(' '),
    'cache-control': 'no-store',
  }
}

/** Percent-encoded where HTTP would cut, join or misread it; no two values become the same. */
function headerValue(text: string): string {
  return text.replace(/[^\x21-\x7e]|%/gu, encodeURIComponent)
}

/** The peer is the proxy; its client's address is what the proxy says, if it is told where. */
function networkOf(request: FastifyRequest, header: string | undefined): string | undefined {
  if (header === undefined) return request.ip
  const value = request.headers[header]
  return typeof value === 'string' && isIP(value) !== 0 ? value : undefined
}
