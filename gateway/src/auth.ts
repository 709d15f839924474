/**
 * The answer to a proxy that asks whether a request may pass. It depends on the `Authorization` header, the scopes
 * that are asked for and the validator's verdict; of a bound token, on its proof and on what the proxy says of the original
 * request; and on nothing else.
 * @module
 */

import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import { denyScope, scopeToken } from '@countersign/validator/bearer'
import { createGuard, type Guard, type GuardedRequest } from '@countersign/validator/guard'
import { headerValues } from '@countersign/validator/headers'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { bindingsOf } from './bindings.ts'
import type { GatewayConfig } from './config.ts'

type AuthConfig = Pick<
  GatewayConfig,
  'scopes' | 'network_header' | 'original_request' | 'dpop' | 'client_certificate'
>

/** `/auth`, by whatever method; and `/auth/…`, since Envoy puts a path of its own in front of its client's. */
export function serveAuth(http: FastifyInstance, validator: Validator, config: AuthConfig): void {
  const guard = createGuard(validator, { scopes: config.scopes, bindings: bindingsOf(config) })
  for (const method of METHODS) if (!http.supportedMethods.includes(method)) http.addHttpMethod(method)
  // Answered before the body is looked at: it belongs to the resource, whatever its type, size or errors.
  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { status, headers } = await authorize(guard, request, config)
    await reply.code(status).headers(headers).send()
  }
  for (const url of ['/auth', '/auth/*']) http.all(url, { onRequest }, () => {})
}

interface Answer {
  readonly status: 200 | 401 | 403
  readonly headers: Readonly<Record<string, string>>
}

/** 200 with who it is, or 401 or 403 with why not. */
async function authorize(guard: Guard, request: FastifyRequest, config: AuthConfig): Promise<Answer> {
  const asked = askedScopes(request.url)
  const scopes = asked.filter((scope) => scopeToken.test(scope))
  const admission = await guard.requiring({ scopes }).admit(guarded(request, config))
  if (!admission.admitted) return admission.denial
  // What is no scope, no token has.
  if (scopes.length < asked.length) return denyScope(asked)
  return { status: 200, headers: { ...admission.headers, ...describe(admission.token) } }
}

/** Each of each `?scope=`. A query can only add to the configuration, since a proxy may pass on its client's. */
function askedScopes(url: string): readonly string[] {
  const [, query = ''] = url.split(/\?(.*)/s)
  const asked = new URLSearchParams(query).getAll('scope')
  return asked.flatMap((scopes) => scopes.split(' ')).filter((scope) => scope !== '')
}

function guarded(request: FastifyRequest, config: AuthConfig): GuardedRequest {
  const { rawHeaders, socket } = request.raw
  return {
    source: request,
    rawHeaders,
    ...originalOf(request, config.original_request),
    network: networkOf(request, config.network_header),
    peer: socket.remoteAddress,
  }
}

/** What the client asked the proxy for. */
function originalOf(
  { method, url, raw: { rawHeaders } }: FastifyRequest,
  headers: GatewayConfig['original_request'],
): Pick<GuardedRequest, 'method' | 'target' | 'host'> {
  if (headers === undefined) return { method, target: url.replace(/^\/auth(?=\/)/, '') }
  // Several values, and it is nobody's word: nothing was proven for an empty one.
  const only = (name: string): string => {
    const [value = '', ...others] = headerValues(rawHeaders, name)
    return others.length === 0 ? value : ''
  }
  return {
    method: only(headers.method),
    target: only(headers.uri),
    ...(headers.host !== undefined && { host: only(headers.host) }),
  }
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
