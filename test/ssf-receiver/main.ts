/**
 * A receiver of shared signals as somebody else would write it: from OpenID SSF 1.0, RFC 8417, RFC 8935 and RFC 8936, with
 * `jose` to verify, and without a line of ours. A process of its own; the test that starts it tells it by IPC what to do:
 *
 *     {id, verb, ...}  →  {id, result} or {id, error}
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createRemoteJWKSet, customFetch, type JWTPayload, jwtVerify } from 'jose'

interface Metadata {
  readonly issuer: string
  readonly jwks_uri: string
  readonly [endpoint: string]: unknown
}

/** What it says to a SET that arrives, instead of verifying it. */
interface Stance {
  /** 0: it takes the SET in, and the answer never comes. */
  readonly status: number
  readonly err?: string
}

/** What the test says; each verb has its own members. */
interface Order {
  readonly origins: Readonly<Record<string, string>>
  readonly issuer: string
  readonly client: string
  readonly secret: string
  readonly scope: string
  readonly endpoint: string
  readonly method: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: string | object
  readonly headers?: Readonly<Record<string, string>>
  readonly audience?: string
  readonly authorization?: string
  readonly stance?: Stance
  readonly count: number
  readonly text: string
}

interface Arrival {
  readonly jti: string
  readonly payload: JWTPayload
  readonly header: object
  readonly text: string
}

let reach: Readonly<Record<string, string>> = {}
let metadata: Metadata | undefined
let keys: ReturnType<typeof createRemoteJWKSet> | undefined
let audience: string | undefined
let authorization: string | undefined
let stance: Stance | undefined
const arrivals: Arrival[] = []
const refusals: { readonly err: string; readonly headers: object }[] = []
let attempts = 0
let changed = Promise.withResolvers<void>()

/** A transmitter stands at its public URL; here it is somewhere else. */
const go: typeof fetch = (input, init) => {
  const url = String(input)
  const [from = '', to = ''] = Object.entries(reach).find(([origin]) => url.startsWith(origin)) ?? []
  return fetch(url.replace(from, to), { ...init, redirect: 'error' })
}

const verbs: Readonly<Record<string, (order: Order) => unknown>> = {
  reach: ({ origins }) => {
    reach = origins
  },

  /** SSF section 7.2: the well-known path goes between host and path. */
  discover: async ({ issuer }) => {
    const { origin, pathname } = new URL(issuer)
    const path = pathname === '/' ? '' : pathname
    const response = await go(`${origin}/.well-known/ssf-configuration${path}`)
    const text = await response.text()
    if (response.status !== 200) return { status: response.status, text }
    metadata = JSON.parse(text) as Metadata
    if (metadata.issuer !== issuer) throw new Error('the transmitter is another one')
    keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { [customFetch]: go, cooldownDuration: 0 })
    return { status: response.status, type: response.headers.get('content-type'), metadata }
  },

  /** RFC 6749 section 4.4. */
  token: async ({ client, secret, scope }) => {
    const credentials = Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret)}`)
    const response = await go(`${metadata?.issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${credentials.toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope }),
    })
    return response.json()
  },

  /** One call of the management API, or of a polling endpoint. */
  call: async ({ endpoint, method, query, body, headers }) => {
    const base = String(metadata?.[endpoint] ?? endpoint)
    const url = query === undefined ? base : `${base}?${new URLSearchParams(query)}`
    const text = typeof body === 'object' ? JSON.stringify(body) : body
    const response = await go(url, {
      method,
      headers: {
        ...(text !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(text !== undefined && { body: text }),
    })
    const answered = await response.text()
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      text: answered,
      body: answered === '' ? undefined : (JSON.parse(answered) as unknown),
    }
  },

  /** Who it is to the transmitter, and what it wants to read in `Authorization`. */
  expect: (order) => {
    audience = order.audience
    authorization = order.authorization
  },

  stance: (order) => {
    stance = order.stance
  },

  listen: async () => {
    const server = createServer((request, response) => void receive(request, response)).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    return `http://localhost:${(server.address() as AddressInfo).port}/events`
  },

  /** Waits until so many SETs were accepted, and gives all of them. */
  received: async ({ count }) => {
    while (arrivals.length < count) await changed.promise
    return arrivals
  },

  /** Waits until so many requests came, whatever became of them. */
  attempted: async ({ count }) => {
    while (attempts < count) await changed.promise
    return { attempts, refusals }
  },

  verify: async ({ text }) => verifySet(text),
}

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  attempts++
  try {
    if (stance !== undefined && stance.status > 0) return answer(response, stance.status, stance.err)
    if (request.method !== 'POST') return answer(response, 405)
    // RFC 8935 section 2.1.
    if (request.headers['content-type'] !== 'application/secevent+jwt')
      return answer(response, 400, 'invalid_request')
    if (!String(request.headers.accept).includes('application/json'))
      return answer(response, 400, 'invalid_request')
    if (request.headers.authorization !== authorization) return answer(response, 400, 'authentication_failed')
    const arrival = await verifySet(Buffer.concat(chunks).toString('utf8'))
    arrivals.push(arrival)
    if (stance?.status === 0) return
    answer(response, 202)
  } catch (error) {
    refusals.push({ err: (error as Error).message, headers: request.headers })
    answer(response, 400, 'invalid_request')
  } finally {
    changed.resolve()
    changed = Promise.withResolvers()
  }
}

/** RFC 8935 section 2.3: an error is JSON with a code. */
function answer(response: ServerResponse, status: number, err?: string): void {
  if (err === undefined) return void response.writeHead(status).end()
  response.writeHead(status, { 'content-type': 'application/json', 'content-language': 'en' })
  response.end(JSON.stringify({ err, description: `refused: ${err}` }))
}

/** RFC 8417 section 2, SSF section 4, and the interoperability profile of CAEP: RS256, one event. */
async function verifySet(text: string): Promise<Arrival> {
  if (keys === undefined || metadata === undefined) throw new Error('no transmitter is known')
  const { payload, protectedHeader } = await jwtVerify(text, keys, {
    algorithms: ['RS256'],
    issuer: metadata.issuer,
    ...(audience !== undefined && { audience }),
    typ: 'secevent+jwt',
    requiredClaims: ['iat', 'jti', 'events', 'sub_id'],
  })
  for (const name of ['sub', 'exp', 'nbf', 'nonce'])
    if (payload[name] !== undefined) throw new Error(`a SET has no ${name}`)
  if (Object.keys(payload['events'] as object).length !== 1) throw new Error('a SET has one event')
  const { format } = payload['sub_id'] as { readonly format?: unknown }
  if (typeof format !== 'string') throw new Error('sub_id has no format')
  return { jti: String(payload.jti), payload, header: protectedHeader, text }
}

process.on('message', (order: { readonly id: number; readonly verb: string }) => {
  const verb = verbs[order.verb]
  Promise.resolve()
    .then(() => verb?.(order as unknown as Order))
    .then(
      (result) => process.send?.({ id: order.id, result }),
      (error: Error) => process.send?.({ id: order.id, error: error.message }),
    )
})
process.on('disconnect', () => process.exit(0))
