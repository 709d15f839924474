/**
 * The broker for issuers that are not ours, on other machines and in any language: HTTPS with mutual TLS. What the socket is
 * at home the certificate is here: it decides the realm and the issuers, and no request can name others. Interface:
 * spec/broker.openapi.json, which a test compares with this.
 *
 * No request is idempotent, and none needs to be: a token whose answer was lost is in the log and in nobody's hands, which
 * costs a serial; whoever asks again gets another.
 * @module
 */

import { constants } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createSecureContext, type TLSSocket } from 'node:tls'
import { LineError } from '@countersign/lines'
import type { Logger } from '@countersign/service'
import type { Problem, SigningRequest } from '@countersign/signer/client'
import { isObject, type JsonObject, parseObject } from '@countersign/validator/json'
import { KEY_SET_SECONDS, type KeySet } from '@countersign/validator/key-set'
import { Refusal } from '@countersign/validator/refusal'
import { fitsIssuer } from '@countersign/validator/scope'
import { type Allowance, createAllowance } from './allowance.ts'
import { findClient, type Presented } from './clients.ts'
import type { RemoteClient, RemoteConfig } from './config.ts'
import type { Issued } from './issue.ts'
import { describeProblem, type ProblemBody } from './problems.ts'

/** What a realm does for its remote issuers. */
export interface RemoteRealm {
  issue(request: SigningRequest): Promise<Issued>
  /** The realm's live keys of these issuers. */
  keySet(issuers: readonly string[]): KeySet
  health(issuers: readonly string[]): Promise<Health>
}

/** Whether the realm could issue a token now. */
export interface Health {
  readonly signer: 'ready' | 'unavailable'
  readonly witness: 'ready' | 'unavailable'
  /** Whether a key of these issuers signs now: after a kill none may. */
  readonly key: 'active' | 'none'
  readonly manifest_version: number
}

export interface Remote {
  readonly port: number
  /** Reads the certificates anew, for other clients perhaps, and gives what takes them up. Throws when they cannot be used. */
  prepare(config: RemoteConfig): () => void
  close(): Promise<void>
}

/** As many as the sockets take in a call. */
const REQUESTS_PER_CALL_MAX = 256
const BODY_BYTES_MAX = 4 * 1024 * 1024
const CONNECTIONS_MAX = 1024
/** One client cannot take the connections of all. Certificates of nobody count as one. */
const CONNECTIONS_PER_CLIENT_MAX = 128
const HANDSHAKE_MILLISECONDS_MAX = 5000
const REQUEST_MILLISECONDS_MAX = 15_000
const WATCH_MILLISECONDS = 2000

export async function serveRemote(
  config: RemoteConfig,
  realms: ReadonlyMap<string, RemoteRealm>,
  log: Logger,
): Promise<Remote> {
  let current = accept(config)
  const server = createServer(limits(config), (request, response) => {
    const { connections } = current
    const socket = request.socket as TLSSocket
    connections.set(socket, response)
    response.once('close', () => connections.has(socket) && connections.set(socket, undefined))
    void answer(request, response, current, realms, log)
  })
  server.headersTimeout = REQUEST_MILLISECONDS_MAX
  server.requestTimeout = REQUEST_MILLISECONDS_MAX
  server.maxConnections = CONNECTIONS_MAX
  const open = new Map<string, number>()
  server.on('secureConnection', (socket) => {
    const { connections, config } = current
    const certificate = certificateOf(socket)
    const name = (certificate && findClient(config.clients, certificate)?.name) ?? ''
    const count = open.get(name) ?? 0
    if (count >= CONNECTIONS_PER_CLIENT_MAX) return void socket.destroy()
    open.set(name, count + 1)
    connections.set(socket, undefined)
    socket.once('close', () => {
      open.set(name, (open.get(name) ?? 1) - 1)
      connections.delete(socket)
    })
  })
  // A stranger at the door is no event: whoever has a certificate learns from TLS what is wrong with it.
  server.on('tlsClientError', (error) => log.info({ error: error.message }, 'a handshake failed'))
  server.listen(config.listen.port, config.listen.host)
  await once(server, 'listening')

  let tried = contentOf(config)
  const prepare = (newer: RemoteConfig): (() => void) => {
    const content = contentOf(newer)
    const credentials = secureOptions(newer)
    return () => {
      tried = content
      server.setSecureContext(credentials)
      const before = current
      current = accept(newer, before)
      endConnections(before)
    }
  }
  const watch = setInterval(() => {
    const content = contentOf(current.config)
    if (content === tried) return
    tried = content
    try {
      prepare(current.config)()
      log.info('certificates were read anew')
    } catch (error) {
      // As when key and certificate are written one after the other: the next change is tried again.
      log.error({ error: (error as Error).message }, 'certificates cannot be used; those before stay in use')
    }
  }, WATCH_MILLISECONDS).unref()

  return {
    port: (server.address() as AddressInfo).port,
    prepare,
    close: async () => {
      clearInterval(watch)
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      const late = setTimeout(() => server.closeAllConnections(), CLOSE_MILLISECONDS_MAX)
      await closed
      clearTimeout(late)
    },
  }
}

/** Who asked before is answered, but nobody is waited for longer. */
const CLOSE_MILLISECONDS_MAX = 1000

/** A configuration in force, with what is counted under it. */
interface Accepted {
  readonly config: RemoteConfig
  readonly allowances: ReadonlyMap<string, Allowance>
  /** Those that were made while it was in force, each with the answer that is under way on it. */
  readonly connections: Map<TLSSocket, ServerResponse | undefined>
}

function accept(config: RemoteConfig, before?: Accepted): Accepted {
  const allowances = config.clients.map(({ name, tokens_per_second }) => {
    const known = before?.config.clients.find((client) => client.name === name)
    const kept = known?.tokens_per_second === tokens_per_second ? before?.allowances.get(name) : undefined
    const atOnce = Math.max(tokens_per_second, REQUESTS_PER_CALL_MAX)
    return [name, kept ?? createAllowance(tokens_per_second, atOnce)] as const
  })
  return { config, allowances: new Map(allowances), connections: new Map() }
}

/** Who was let in by other certificates and lists has to come in by these; what was asked already is still answered. */
function endConnections({ connections }: Accepted): void {
  for (const [socket, response] of connections) {
    if (response === undefined) socket.destroy()
    else if (!response.headersSent) response.setHeader('connection', 'close')
    else response.once('close', () => socket.destroy())
  }
}

function limits(config: RemoteConfig): ServerOptions {
  return {
    ...secureOptions(config),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: HANDSHAKE_MILLISECONDS_MAX,
    maxHeaderSize: 16 * 1024,
  }
}

/** Throws when the files are missing, or do not belong together. */
function secureOptions({ tls: { key, cert, client_ca, crl } }: RemoteConfig) {
  const options = {
    key: readFileSync(key),
    cert: readFileSync(cert),
    ca: readFileSync(client_ca),
    ...(crl !== undefined && { crl: readFileSync(crl) }),
    minVersion: 'TLSv1.3',
    // A resumed session would bring the certificate of its first day, whatever has been revoked since.
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const
  createSecureContext(options)
  return options
}

/** Compared whole: a time that a file system gives may be coarse, or be set to that of another file. */
function contentOf({ tls }: RemoteConfig): string {
  return Object.values(tls)
    .map((file) => (file === undefined ? '' : readOr(file, 'missing')))
    .join()
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return otherwise
  }
}

/** What an operation is given. */
interface Asked {
  readonly client: RemoteClient
  readonly realm: RemoteRealm
  readonly allowance: Allowance
  readonly body: () => Promise<JsonObject>
}

interface Answer {
  readonly status: number
  readonly body: object
  readonly headers?: Readonly<Record<string, string>>
}

type Operation = (asked: Asked) => Promise<Answer>

const operations: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  '/v1/issue': {
    POST: async ({ client, realm, allowance, body }) => {
      const request = readRequest(await body(), client)
      spend(allowance, 1)
      const issued = await realm.issue(request)
      if ('error' in issued) throw toLineError(issued)
      return { status: 200, body: { token: issued.token } }
    },
  },
  '/v1/issue-batch': {
    POST: async ({ client, realm, allowance, body }) => {
      const requests = readRequests(await body())
      spend(allowance, requests.length)
      const results = requests.map(async (request) => {
        try {
          const issued = await realm.issue(readRequest(request, client))
          if ('error' in issued) throw toLineError(issued)
          return { token: issued.token }
        } catch (error) {
          return { error: describeProblem(asLineError(error)) }
        }
      })
      return { status: 200, body: { results: await Promise.all(results) } }
    },
  },
  '/v1/jwks': {
    GET: async ({ client, realm }) => ({
      status: 200,
      body: realm.keySet(client.issuers),
      headers: {
        'content-type': 'application/jwk-set+json',
        'cache-control': `public, max-age=${KEY_SET_SECONDS}`,
      },
    }),
  },
  '/v1/health': {
    GET: async ({ client, realm }) => {
      const health = await realm.health(client.issuers)
      const isReady = health.signer === 'ready' && health.witness === 'ready' && health.key === 'active'
      return {
        status: isReady ? 200 : 503,
        body: { realm: client.realm, issuers: client.issuers, ...health },
      }
    },
  },
}

/** Every operation, as `POST /v1/issue`. */
export const operationNames: readonly string[] = Object.entries(operations).flatMap(([path, methods]) =>
  Object.keys(methods).map((method) => `${method} ${path}`),
)

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  accepted: Accepted,
  realms: ReadonlyMap<string, RemoteRealm>,
  log: Logger,
): Promise<void> {
  try {
    const { config, allowances } = accepted
    const client = whoAsks(request.socket as TLSSocket, config.clients)
    const operation = operationOf(request, response)
    const { status, body, headers } = await operation({
      client,
      realm: realms.get(client.realm) as RemoteRealm,
      allowance: allowances.get(client.name) as Allowance,
      body: () => readBody(request),
    })
    send(response, status, body, { 'content-type': 'application/json', ...headers })
  } catch (error) {
    const problem = describeProblem(asLineError(error))
    if (problem.code === 'fault') log.error({ error: (error as Error).message }, 'a remote request failed')
    refuse(request, response, problem)
  }
}

/** Throws `LineError`. TLS has verified the certificate when the connection was made, which may be long ago. */
function whoAsks(socket: TLSSocket, clients: readonly RemoteClient[]): RemoteClient {
  const certificate = certificateOf(socket)
  const client = certificate && findClient(clients, certificate)
  if (certificate === undefined || client === undefined)
    throw new LineError('unknown_client', 'no client is configured for this certificate, or several are')
  if (Date.now() > certificate.endsAt)
    throw new LineError('certificate_expired', 'the certificate has expired since the connection was made')
  return client
}

function certificateOf(socket: TLSSocket): (Presented & { readonly endsAt: number }) | undefined {
  if (!socket.authorized) return undefined
  const known = certificates.get(socket) ?? readCertificate(socket)
  if (known !== undefined) certificates.set(socket, known)
  return known
}

const certificates = new WeakMap<TLSSocket, Presented & { readonly endsAt: number }>()

function readCertificate(socket: TLSSocket): (Presented & { readonly endsAt: number }) | undefined {
  const { fingerprint256, subjectAltName, validTo } = socket.getPeerX509Certificate() ?? {}
  if (fingerprint256 === undefined || validTo === undefined) return undefined
  const authorities: string[] = []
  let { issuerCertificate: issuer } = socket.getPeerCertificate(true)
  // A root is its own issuer.
  for (let last = fingerprint256; issuer !== undefined && issuer.fingerprint256 !== last; ) {
    last = issuer.fingerprint256
    authorities.push(last)
    issuer = issuer.issuerCertificate
  }
  return { fingerprint256, subjectAltName, authorities, endsAt: Date.parse(validTo) }
}

function operationOf({ url = '', method = '' }: IncomingMessage, response: ServerResponse): Operation {
  const methods = Object.hasOwn(operations, url) ? operations[url] : undefined
  if (methods === undefined) throw new LineError('not_found', 'there is nothing at this address')
  const operation = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (operation !== undefined) return operation
  response.setHeader('allow', Object.keys(methods).join(', '))
  throw new LineError('method_not_allowed', `this address takes ${Object.keys(methods).join(', ')}`)
}

/** Throws `LineError` or `Refusal`. */
async function readBody(request: IncomingMessage): Promise<JsonObject> {
  const { 'content-type': type = '', 'content-encoding': encoding } = request.headers
  if (!/^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type) || encoding !== undefined)
    throw new LineError('unsupported_media_type', 'the body has to be application/json, as it is')
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX)
      throw new LineError('oversized', `the body is larger than ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return parseObject(Buffer.concat(chunks))
}

function readRequests({ requests, ...others }: JsonObject): readonly JsonObject[] {
  if (!Array.isArray(requests) || requests.length === 0 || requests.length > REQUESTS_PER_CALL_MAX)
    throw new LineError('malformed', `requests is not a list of 1 to ${REQUESTS_PER_CALL_MAX}`)
  refuseOthers(others)
  return requests as readonly JsonObject[]
}

/** The form, and that the client speaks for this issuer; everything else is the signer's to judge. */
function readRequest(request: JsonObject, { issuers }: RemoteClient): SigningRequest {
  if (!isObject(request)) throw new LineError('malformed', 'a request is not an object')
  const { type, claims, alg, ...others } = request
  refuseOthers(others)
  if (typeof type !== 'string') throw new LineError('malformed', 'type is not a text')
  if (!isObject(claims)) throw new LineError('malformed', 'claims is not an object')
  if (alg !== undefined && typeof alg !== 'string') throw new LineError('malformed', 'alg is not a text')
  const { iss } = claims
  if (typeof iss !== 'string' || !issuers.some((issuer) => fitsIssuer(issuer, iss)))
    throw new LineError('issuer_mismatch', 'iss is no issuer that this client speaks for')
  return { type, claims: JSON.stringify(claims), ...(alg !== undefined && { alg }) } as SigningRequest
}

/** A member that is not known may be meant to change what is signed: a realm, a key, a header. */
function refuseOthers(others: object): void {
  if (Object.keys(others).length > 0)
    throw new LineError('malformed', 'the request has a member that is not known')
}

function spend(allowance: Allowance, count: number): void {
  if (!allowance.take(count))
    throw new LineError('rate_limited', 'this client may have no more at the moment', { retryable: true })
}

function toLineError({ error: { code, message, retryable } }: Problem): LineError {
  return new LineError(code, message, { retryable })
}

function asLineError(error: unknown): unknown {
  return error instanceof Refusal
    ? new LineError(error.reason, 'the body is not one JSON object, plainly written')
    : error
}

function refuse(request: IncomingMessage, response: ServerResponse, problem: ProblemBody): void {
  // What was not read would be taken for the next request.
  if (!request.complete) response.setHeader('connection', 'close')
  send(response, problem.status, problem, {
    'content-type': 'application/problem+json',
    ...(problem.retryable && { 'retry-after': '1' }),
  })
}

function send(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>>,
): void {
  const content = Buffer.from(JSON.stringify(body))
  response.writeHead(status, { 'cache-control': 'no-store', 'content-length': content.length, ...headers })
  response.end(content)
}
