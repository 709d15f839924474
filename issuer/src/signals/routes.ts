/**
 * The transmitter over HTTP: its metadata for everybody, and the management of streams for clients with an access token of
 * this very tenant, made for this transmitter, with the scope for it. The token comes in the `Authorization` header alone,
 * with proof of what it is bound to.
 * @module
 */

import type { IncomingMessage } from 'node:http'
import type { Guard } from '@countersign/validator/guard'
import { readIncoming } from '@countersign/validator/incoming'
import { type JsonObject, parseObject } from '@countersign/validator/json'
import { Refusal } from '@countersign/validator/refusal'
import { deliveryMethods } from '@countersign/validator/ssf-events'
import { tokenTypeOf } from '../introspection.ts'
import type { Context, Middleware } from '../middleware.ts'
import type { Desk as TokenDesk } from '../presented.ts'
import { routes } from '../provider.ts'
import {
  type Answer,
  addSubject,
  createStream,
  Declined,
  type Desk,
  deleteStream,
  paths,
  pollStream,
  readStatus,
  readStreams,
  removeSubject,
  replaceStream,
  updateStatus,
  updateStream,
  verifyStream,
} from './management.ts'

/** What a client's token must allow: to read how a stream is, or everything. */
export const signalScopes = { read: 'ssf.read', manage: 'ssf.manage' } as const

/** Behind the realm's URL: the audience of tokens for its transmitters. Which tenant's it is, the issuer of a token says. */
export const AUDIENCE_PATH = '/ssf'

export const metadataPath = '/.well-known/ssf-configuration'

const BODY_BYTES_MAX = 256 * 1024

/** What says whether a token is good here. */
export interface Tokens extends Pick<TokenDesk, 'accessTokens' | 'provider'> {
  readonly guard: Guard
  /** Where a request comes from, for the sighting. */
  readonly networkOf: (request: IncomingMessage) => string
}

export interface RouteOptions {
  readonly desk: Desk
  readonly tokens: Tokens
  readonly audience: string
}

export function createSignalRoutes({ desk, tokens, audience }: RouteOptions): Middleware {
  const metadata = describeTransmitter(desk.issuer)
  return async (ctx, next) => {
    if (ctx.path === metadataPath && (ctx.method === 'GET' || ctx.method === 'HEAD')) {
      ctx.set('cache-control', 'public, max-age=3600')
      ctx.set('access-control-allow-origin', '*')
      ctx.type = 'application/json'
      ctx.body = JSON.stringify(metadata)
      return
    }
    const verb = findVerb(ctx)
    if (verb === undefined) return next()
    ctx.set('cache-control', 'no-store')
    try {
      const clientId = await authorize(ctx, verb.scopes)
      const { status, body, headers = {} } = await verb.answer(desk, clientId, ctx)
      ctx.set({ ...headers })
      ctx.status = status
      if (body === undefined) ctx.body = null
      else {
        ctx.type = 'application/json'
        ctx.body = JSON.stringify(body)
      }
      // Without a body koa makes a 204 of it.
      ctx.status = status
    } catch (error) {
      if (!(error instanceof Declined)) throw error
      ctx.set({ ...error.headers })
      ctx.status = error.status
      ctx.body = { error: errorNames[error.status] ?? 'invalid_request', error_description: error.message }
    }
  }

  /** The client that asks. Throws `Declined`. */
  async function authorize(ctx: Context, scopes: readonly string[]): Promise<string> {
    const network = tokens.networkOf(ctx.req)
    const admission = await tokens.guard.admit(readIncoming(ctx.req, { network }))
    ctx.set({ ...admission.headers })
    if (!admission.admitted) {
      const { headers, body } = admission.denial
      const { 'www-authenticate': challenge = 'Bearer' } = headers
      // Whatever is wrong with a token, another one is needed: 401 (RFC 6750, section 3.1).
      throw new Declined(401, body['error_description'] ?? 'an access token of this issuer is needed', {
        'www-authenticate': challenge,
      })
    }
    const { token } = admission
    const scheme = tokenTypeOf(token.claims['cnf'])
    const isForUs = token.issuer === desk.issuer && token.audiences.includes(audience)
    if (!isForUs || (await tokens.accessTokens.isRevoked(token.tokenId)))
      throw new Declined(401, 'the access token is not good here', {
        'www-authenticate': `${scheme} error="invalid_token"`,
      })
    // A stream is a client's. A person's token, or one that came by exchange, speaks for somebody else.
    const { clientId } = token
    const isClient = clientId !== undefined && token.subject === clientId && token.claims['act'] === undefined
    if (!isClient || (await tokens.provider.Client.find(clientId)) === undefined)
      throw new Declined(403, 'streams are for clients that speak for themselves')
    if (!token.scopes.some((scope) => scopes.includes(scope)))
      throw new Declined(403, 'the access token does not reach that far', {
        'www-authenticate': `${scheme} error="insufficient_scope", scope="${scopes[0]}"`,
      })
    return clientId
  }
}

const errorNames: Readonly<Record<number, string>> = {
  401: 'invalid_token',
  403: 'access_denied',
  404: 'not_found',
  409: 'conflict',
  429: 'too_many_requests',
}

interface Verb {
  readonly scopes: readonly string[]
  answer(desk: Desk, clientId: string, ctx: Context): Promise<Answer>
}

const managing = [signalScopes.manage]
const reading = [signalScopes.read, signalScopes.manage]

/** By method and path. */
const verbs: Readonly<Record<string, Verb>> = {
  [`POST ${paths.configuration}`]: withBody(createStream),
  [`PATCH ${paths.configuration}`]: withBody(updateStream),
  [`PUT ${paths.configuration}`]: withBody(replaceStream),
  [`GET ${paths.configuration}`]: withStreamId(reading, readStreams),
  [`DELETE ${paths.configuration}`]: withStreamId(managing, deleteStream),
  [`GET ${paths.status}`]: withStreamId(reading, readStatus),
  [`POST ${paths.status}`]: withBody(updateStatus),
  [`POST ${paths.addSubject}`]: withBody(addSubject),
  [`POST ${paths.removeSubject}`]: withBody(removeSubject),
  [`POST ${paths.verification}`]: withBody(verifyStream),
}

function findVerb(ctx: Context): Verb | undefined {
  const verb = verbs[`${ctx.method} ${ctx.path}`]
  if (verb !== undefined) return verb
  const [, streamId] = /^\/ssf\/poll\/([\w-]{1,64})$/.exec(ctx.path) ?? []
  if (streamId === undefined || ctx.method !== 'POST') return undefined
  return {
    scopes: managing,
    answer: async (desk, clientId, { req, res }) => {
      const body = await readBody(req)
      const gone = new AbortController()
      res.once('close', () => gone.abort())
      return pollStream(desk, clientId, streamId, body, gone.signal)
    },
  }
}

function withBody(answer: (desk: Desk, clientId: string, body: JsonObject) => Promise<Answer>): Verb {
  return {
    scopes: managing,
    answer: async (desk, clientId, { req }) => answer(desk, clientId, await readBody(req)),
  }
}

function withStreamId(
  scopes: readonly string[],
  answer: (desk: Desk, clientId: string, streamId: string | undefined) => Promise<Answer>,
): Verb {
  return {
    scopes,
    answer: (desk, clientId, { querystring }) => {
      const [id, ...others] = new URLSearchParams(querystring).getAll('stream_id')
      if (others.length > 0) throw new Declined(400, 'stream_id is given twice')
      return answer(desk, clientId, id)
    },
  }
}

async function readBody(request: IncomingMessage): Promise<JsonObject> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Declined(413, 'the body is too long')
    chunks.push(chunk)
  }
  try {
    return parseObject(Buffer.concat(chunks))
  } catch (error) {
    if (error instanceof Refusal) throw new Declined(400, 'the body is not a JSON object')
    throw error
  }
}

/** Section 7.1. */
function describeTransmitter(issuer: string): object {
  return {
    spec_version: '1_0',
    issuer,
    jwks_uri: `${issuer}${routes.jwks}`,
    delivery_methods_supported: Object.values(deliveryMethods),
    configuration_endpoint: `${issuer}${paths.configuration}`,
    status_endpoint: `${issuer}${paths.status}`,
    add_subject_endpoint: `${issuer}${paths.addSubject}`,
    remove_subject_endpoint: `${issuer}${paths.removeSubject}`,
    verification_endpoint: `${issuer}${paths.verification}`,
    authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
    default_subjects: 'ALL',
  }
}
