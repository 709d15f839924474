/**
 * One HTTP server for all tenants of a realm: each provider answers below the path of its issuer. The paths are compared
 * as they came, undecoded, so that no spelling of one tenant's path reaches another (T186).
 * @module
 */

import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, type ServerOptions, type Server as TlsServer } from 'node:https'
import { clientEndpoints } from './provider.ts'
import { AUDIENCE_PATH, metadataPath } from './signals/routes.ts'

export interface Mounted {
  /** Without its path, this is where the whole realm is. */
  readonly issuer: string
  readonly answer: (request: IncomingMessage, response: ServerResponse) => unknown
}

/** Room for a token with its receipt in a header, and for the cookies beside it. */
const HEADER_BYTES_MAX = 64 * 1024
const REQUEST_MILLISECONDS_MAX = 30_000

export function createRealmServer(mounted: readonly Mounted[]): Server {
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, route(mounted))
  server.requestTimeout = REQUEST_MILLISECONDS_MAX
  return server
}

/** For clients that come with certificates. What is for people, or for everybody, is at the realm's own address alone. */
export function createMutualTlsServer(mounted: readonly Mounted[], options: ServerOptions): TlsServer {
  const answer = route(mounted, isForClients)
  const server = createTlsServer({ ...options, maxHeaderSize: HEADER_BYTES_MAX }, answer)
  server.requestTimeout = REQUEST_MILLISECONDS_MAX
  return server
}

function isForClients(path: string): boolean {
  const [plain = ''] = path.split('?')
  return Object.values<string>(clientEndpoints).includes(plain) || plain.startsWith(`${AUDIENCE_PATH}/`)
}

/** `isServed` is asked with the path behind that of an issuer. */
function route(
  mounted: readonly Mounted[],
  isServed: (path: string) => boolean = () => true,
): RequestListener {
  const mounts = mounted.map(({ issuer, answer }): Mount => {
    const { host, protocol, pathname } = new URL(issuer)
    return { host, scheme: protocol.slice(0, -1), path: pathname.replace(/\/$/, ''), answer }
  })
  return (request, response) => {
    const { url = '/' } = request
    // Browsers ask each host for one, whatever the page says.
    if (url === '/favicon.ico')
      return void response.writeHead(204, { 'cache-control': 'max-age=86400' }).end()
    const mount = mounts.find(({ path }) => url.startsWith(`${path}/`))
    if (mount === undefined) return answerWellKnown(url, request, response)
    const path = url.slice(mount.path.length)
    if (isServed(path)) answerAt(mount, path, request, response)
    else notFound(response)
  }

  /** OpenID SSF 1.0, section 7.2: the path of an issuer comes after the well-known one, not before it. */
  function answerWellKnown(url: string, request: IncomingMessage, response: ServerResponse): void {
    const mount = mounts.find(({ path }) => url === `${metadataPath}${path}`)
    if (mount === undefined || !isServed(metadataPath)) notFound(response)
    else answerAt(mount, metadataPath, request, response)
  }
}

function answerAt(mount: Mount, path: string, request: IncomingMessage, response: ServerResponse): void {
  // Said by the client or by a proxy, and believed from neither: the address of an issuer is its own (T181).
  request.headers.host = mount.host
  request.headers['x-forwarded-proto'] = mount.scheme
  delete request.headers['x-forwarded-host']
  request.url = path
  mount.answer(request, response)
}

interface Mount extends Pick<Mounted, 'answer'> {
  readonly host: string
  readonly scheme: string
  readonly path: string
}

function notFound(response: ServerResponse): void {
  response.writeHead(404, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end('{"error":"not_found","error_description":"there is nothing at this address"}')
}
