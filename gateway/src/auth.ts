/**
 * How a proxy asks over HTTP whether a request may pass: `/auth`, by whatever method. What counts is the `Authorization`
 * header, what the proxy says of the original request where the configuration names the headers, and nothing else.
 * @module
 */

import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import type { GuardedRequest } from '@countersign/validator/guard'
import { headerValues } from '@countersign/validator/headers'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayConfig } from './config.ts'
import type { Answer, Gate, GateConfig } from './gate.ts'

/** Hears of every decision: how it was asked for, how it fell, how long it took. */
export type Witnessed = (
  answer: Pick<Answer, 'verdict' | 'refusal'>,
  seconds: number,
  network: string | undefined,
) => void

/** `/auth`; and `/auth/…`, since Envoy puts a path of its own in front of its client's. `gate` is asked anew each time. */
export function serveAuth(http: FastifyInstance, gate: () => Gate, witnessed: Witnessed = () => {}): void {
  for (const method of METHODS) if (!http.supportedMethods.includes(method)) http.addHttpMethod(method)
  // Answered before the body is looked at: it belongs to the resource, whatever its type, size or errors.
  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const began = performance.now()
    const { config, decide } = gate()
    const asking = guarded(request, config)
    const answer = await decide(asking, askedScopes(request.url, config))
    witnessed(answer, (performance.now() - began) / 1000, asking.network)
    // Fastify's own way of sending costs as much as a verdict that is known. There is no body, and nothing hooks into answers.
    reply.hijack()
    reply.raw.writeHead(answer.status, { ...answer.headers, 'content-length': 0 }).end()
  }
  for (const url of ['/auth', '/auth/*']) http.all(url, { onRequest }, () => {})
}

/** Each of each `?scope=`. A query can only add to the configuration, since a proxy may pass on its client's. */
function askedScopes(url: string, { original_request }: GateConfig): readonly string[] {
  const at = url.indexOf('?')
  // Where the path behind `/auth` is the client's, so is the query, and meant for the application.
  if (at === -1 || (original_request === undefined && url.startsWith('/auth/'))) return nothing
  const asked = new URLSearchParams(url.slice(at + 1)).getAll('scope')
  return asked.flatMap((scopes) => scopes.split(' ')).filter((scope) => scope !== '')
}

const nothing: readonly string[] = []

function guarded(request: FastifyRequest, config: GateConfig): GuardedRequest {
  const { rawHeaders, socket } = request.raw
  return {
    source: request,
    rawHeaders,
    ...originalOf(request, config.original_request),
    network: networkOf(request, config.network_header),
    fingerprint: config.fingerprint_header && headerValues(rawHeaders, config.fingerprint_header)[0],
    peer: socket.remoteAddress,
  }
}

/** What the client asked the proxy for. */
function originalOf(
  { method, url, raw: { rawHeaders } }: FastifyRequest,
  headers: GatewayConfig['original_request'],
): Pick<GuardedRequest, 'method' | 'target' | 'host'> {
  if (headers === undefined) return { method, target: url.replace(/^\/auth(?=\/)/, '') }
  // Several values, and it is nobody's word: nothing was proven for an empty one, and no route has it.
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

/** The peer is the proxy; its client's address is what the proxy says, if it is told where. */
function networkOf(request: FastifyRequest, header: string | undefined): string | undefined {
  if (header === undefined) return request.ip
  const value = request.headers[header]
  return typeof value === 'string' && isIP(value) !== 0 ? value : undefined
}
