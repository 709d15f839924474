/**
 * The decision about one request, whichever way a proxy asked: by its route, the scopes that the proxy asks for besides,
 * the proof that came with a bound token, and the validator's verdict. Everything that a configuration says is in one object,
 * so that another configuration takes its place at once and whole.
 * @module
 */

import { type Denial, denyScope, scopeToken } from '@countersign/validator/bearer'
import { createGuard, type Guard, type GuardedRequest } from '@countersign/validator/guard'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import { bindingsOf, type Shared } from './bindings.ts'
import type { GatewayConfig } from './config.ts'
import { createRouter } from './routes.ts'

export type GateConfig = Pick<
  GatewayConfig,
  | 'scopes'
  | 'routes'
  | 'network_header'
  | 'fingerprint_header'
  | 'original_request'
  | 'dpop'
  | 'client_certificate'
>

export interface Answer {
  readonly status: 200 | 401 | 403
  /** `accepted`, or why not. */
  readonly verdict: string
  readonly headers: Readonly<Record<string, string>>
  /** Of a refusal, as JSON. */
  readonly body?: Denial['body']
  /** Of a token that was refused, what is wrong with it: for the log alone. */
  readonly refusal?: Denial['refusal']
}

export interface Gate {
  /** Where the proxy says what was asked, and by whom. */
  readonly config: GateConfig
  /** `asked`: scopes that the proxy wants besides. */
  decide(request: GuardedRequest, asked?: readonly string[]): Promise<Answer>
}

export interface World extends Shared {
  /** A validator for a route's audience; without one, for the gateway's. */
  validatorFor(audience: string | undefined): Validator
}

/** Throws where something that the configuration says is of no use. */
export function createGate(config: GateConfig, { validatorFor, ...shared }: World): Gate {
  const bindings = bindingsOf(config, shared)
  const guardFor = (audience: string | undefined): Guard =>
    createGuard(validatorFor(audience), { scopes: config.scopes, bindings })
  const routes = (config.routes ?? [{ path: '/', scopes: [] }]).map((route) => ({
    ...route,
    guard: guardFor(route.audience).requiring({
      scopes: route.scopes,
      ...(route.acr !== undefined && { acr: route.acr }),
      ...(route.max_age_seconds !== undefined && { maxAgeSeconds: route.max_age_seconds }),
    }),
  }))
  const unrouted = guardFor(undefined)
  const find = config.routes === undefined ? () => routes[0] : createRouter(routes)

  async function decide(request: GuardedRequest, asked: readonly string[] = []): Promise<Answer> {
    const route = find(request)
    if (route === undefined) return refuseUnrouted(request)
    const scopes = asked.filter((scope) => scopeToken.test(scope))
    const guard = scopes.length > 0 ? route.guard.requiring({ scopes }) : route.guard
    const admission = await guard.admit(request)
    if (!admission.admitted) return refuse(admission.denial)
    // What is no scope, no token has.
    if (scopes.length < asked.length) return refuse(denyScope(asked))
    const headers = { ...admission.headers, ...describe(admission.token) }
    return { status: 200, verdict: 'accepted', headers }
  }

  /** Whatever its token. Of one that is no good it says why: what is forged is evidence, and a canary shows that a kill has come. */
  async function refuseUnrouted(request: GuardedRequest): Promise<Answer> {
    const admission = await unrouted.admit(request)
    if (admission.admitted) return noRoute
    const { denial } = admission
    return denial.status === 401 && denial.reason !== 'token_missing' ? refuse(denial) : noRoute
  }

  return { config, decide }
}

/** Nothing that the client could change about its token would help. */
const noRoute: Answer = {
  status: 403,
  verdict: 'route_unknown',
  headers: { 'x-countersign-reason': 'route_unknown', 'cache-control': 'no-store' },
  body: { reason: 'route_unknown' },
}

function refuse({ status, reason, headers, body, refusal }: Denial): Answer {
  return { status, verdict: reason, headers, body, refusal }
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
