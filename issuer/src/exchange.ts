/**
 * Token exchange (RFC 8693) inside one tenant: a service that was handed an access token gets one of its own to act
 * with, in the name of the same subject. An exchange only narrows. The result has the audience of the subject token,
 * at most its scope, its binding, and never lives longer, so that nothing can be renewed by exchanging it (F3, T091).
 *
 * The subject token is validated like at any protected service, receipt included: a forged one is refused here too.
 * The actor is the client that asks, authenticated; an actor token is refused, whatever it wraps (F14, T089).
 * @module
 */

import { hash } from 'node:crypto'
import type { Confirmation } from '@countersign/validator/confirmation'
import { isObject, type JsonObject } from '@countersign/validator/json'
import type { ValidatedToken } from '@countersign/validator/validator'
import { errors } from 'oidc-provider'
import {
  buildTokenResponse,
  checkDpopReplay,
  checkDpopRequired,
  validateDpop,
} from 'oidc-provider/lib/helpers/grants.js'
import { type ClientCertificates, refuseKeyOf } from './certificate.ts'
import { tokenExchange } from './config.ts'
import { tokenTypeOf } from './introspection.ts'
import { generateTokenId, type Issue, made } from './issuance.ts'
import { type Desk, examine } from './presented.ts'

export interface ExchangeOptions {
  readonly desk: Desk
  readonly issue: Issue
  /** Audiences that a client may handle tokens of. */
  readonly audiencesOf: (clientId: string) => readonly string[]
  readonly lifetimeSeconds: number
  /** Left out: no token is bound to a certificate. */
  readonly certificates: ClientCertificates | undefined
  /** Seconds since the epoch. */
  readonly now: () => number
}

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

/** Clients that may stand behind one another in `act`, the one that asks included. */
const ACTORS_MAX = 3

interface Parameters {
  readonly subject_token?: string
  readonly subject_token_type?: string
  readonly actor_token?: string
  readonly actor_token_type?: string
  readonly requested_token_type?: string
  readonly audience?: string
  readonly resource?: string
  readonly scope?: string
}

const parameters = [
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'audience',
  'resource',
  'scope',
] as const

export function registerTokenExchange(options: ExchangeOptions): void {
  const { desk, issue, audiencesOf, lifetimeSeconds, certificates, now } = options
  const { provider, accessTokens } = desk

  provider.registerGrantType<Parameters>(
    tokenExchange,
    async (ctx) => {
      const { client, params } = ctx.oidc
      checkTypes(params)
      const dpop = await validateDpop(provider, ctx)
      checkDpopRequired(provider, ctx, dpop)
      await checkDpopReplay(provider, ctx, dpop, client.clientId)

      const subject = await examine(desk, params.subject_token ?? '')
      if (subject === undefined) throw new errors.InvalidGrant('the subject token is not good here')
      const certificate = certificates?.of(ctx.req)
      refuseKeyOf(certificate, dpop?.thumbprint)
      if (client.tlsClientCertificateBoundAccessTokens && certificate === undefined)
        throw new errors.InvalidGrant('mutual TLS client certificate not provided')
      const cnf = keepBinding(
        subject,
        { jkt: dpop?.thumbprint, 'x5t#S256': certificate && hash('sha256', certificate.raw, 'base64url') },
        client.tlsClientCertificateBoundAccessTokens === true,
      )
      const audience = chooseAudience(subject, params, audiencesOf(client.clientId))
      const scope = narrowScope(subject, params.scope)
      const act = extendActors(subject, client.clientId)

      const iat = now()
      const exp = Math.min(subject.expiresAt, iat + lifetimeSeconds)
      const jti = generateTokenId()
      const { tokenId: parent } = subject
      await accessTokens.remember({
        jti,
        parent,
        grantId: await accessTokens.grantOf(parent),
        expiresAt: exp,
      })
      // Asked again now that the new token hangs on the old one: a revocation in between has missed one of the two.
      if (await accessTokens.isRevoked(parent)) throw new errors.InvalidGrant('revoked')
      const { sid, auth_time, acr, amr, via } = subject.claims
      const { kid, issuedAt } = subject
      const accessToken = await made(
        issue('access', {
          iss: provider.issuer,
          sub: subject.subject,
          aud: audience,
          client_id: client.clientId,
          iat,
          exp,
          jti,
          scope: scope || undefined,
          tid: subject.tenant,
          act,
          // So that every validator refuses it once what it came from is refused: the key that signs it may be another.
          via: [...(Array.isArray(via) ? via : []), { kid, iat: issuedAt }],
          cnf,
          sid,
          auth_time,
          acr,
          amr,
        }),
      )
      ctx.body = buildTokenResponse(provider, {
        accessToken,
        tokenType: tokenTypeOf(cnf),
        issuedTokenType: accessTokenType,
        expiresIn: exp - iat,
        ...(scope !== '' && { scope }),
      })
    },
    parameters,
  )
}

function checkTypes(params: Parameters): void {
  if (params.subject_token === undefined || params.subject_token_type !== accessTokenType) {
    throw new errors.InvalidRequest('an access token is asked for as the subject token')
  }
  if (params.requested_token_type !== undefined && params.requested_token_type !== accessTokenType) {
    throw new errors.InvalidRequest('only access tokens are issued in exchange')
  }
  if (params.actor_token !== undefined || params.actor_token_type !== undefined) {
    throw new errors.InvalidRequest('the actor is the client that asks; no other is taken')
  }
}

/** A bound token is exchanged by whoever proves what it is bound to, and its successor stays bound to that (T161). */
function keepBinding(
  subject: ValidatedToken,
  proven: Confirmation,
  certificateBound: boolean,
): JsonObject | undefined {
  const { jkt, 'x5t#S256': x5t } = proven
  const { cnf } = subject.claims
  if (!isObject(cnf)) {
    if (jkt !== undefined) return { jkt }
    return certificateBound && x5t !== undefined ? { 'x5t#S256': x5t } : undefined
  }
  const isProven = Object.entries(cnf).every(
    ([method, value]) => value === proven[method as keyof Confirmation],
  )
  if (isProven && cnf['jkt'] === jkt) return cnf
  throw new errors.InvalidGrant('the subject token is bound to what was not proven')
}

/** One of the subject token's own: a token for one service is no key to another. */
function chooseAudience(subject: ValidatedToken, params: Parameters, allowed: readonly string[]): string {
  const { audience, resource } = params
  if (audience !== undefined && resource !== undefined && audience !== resource) {
    throw new errors.InvalidTarget('audience and resource differ')
  }
  const wanted = audience ?? resource ?? subject.audiences[0]
  if (wanted === undefined || !subject.audiences.includes(wanted) || !allowed.includes(wanted)) {
    throw new errors.InvalidTarget('the audience is not one of the subject token that this client may handle')
  }
  return wanted
}

function narrowScope(subject: ValidatedToken, wanted: string | undefined): string {
  if (wanted === undefined) return subject.scopes.join(' ')
  const beyond = wanted.split(' ').filter((scope) => !subject.scopes.includes(scope))
  if (beyond.length > 0) {
    throw new errors.InvalidScope('the subject token does not have this scope', beyond.join(' '))
  }
  return wanted
}

/** `act` (RFC 8693, section 4.1): who acts now, and in it whoever did before. Nobody stands in it twice (T081). */
function extendActors(subject: ValidatedToken, clientId: string): JsonObject {
  const { act: before } = subject.claims
  const actors = [clientId]
  for (let act = before; isObject(act); act = act['act']) {
    if (act['sub'] === clientId) throw new errors.InvalidGrant('this client has acted already')
    actors.push(String(act['sub']))
  }
  if (actors.length > ACTORS_MAX) throw new errors.InvalidGrant('too many have acted already')
  return { sub: clientId, ...(before !== undefined && { act: before }) }
}
