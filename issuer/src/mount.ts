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
import { metadataPath } from './signals/routes.ts'

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

function route(mounted: readonly Mounted[]): RequestListener {
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
    answerAt(mount, url.slice(mount.path.length), request, response)
  }

  /** OpenID SSF 1.0, section 7.2: the path of an issuer comes after the well-known one, not before it. */
  function answerWellKnown(url: string, request: IncomingMessage, response: ServerResponse): void {
    const mount = mounts.find(({ path }) => url === `${metadataPath}${path}`)
    if (mount === undefined) notFound(response)
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
