/**
 * The peer of the gateway bench: the least that a service can put in front of others with Node and `jose`. It reads the
 * bearer token, verifies signature and the usual claims, and answers 200 with who it is, or 401. A process of its own.
 * @module
 */

import cluster, { type Address, type Worker } from 'node:cluster'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createLocalJWKSet, jwtVerify } from 'jose'

/** What it is told at start, as JSON in its first argument. */
export interface BareGatewayOptions {
  /** So many processes answer. */
  readonly workers: number
  readonly jwks: Parameters<typeof createLocalJWKSet>[0]
  readonly issuer: string
  readonly audience: string
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? '') as BareGatewayOptions
  if (cluster.isPrimary) await start(options)
  else serve(options)
}

async function start({ workers }: BareGatewayOptions): Promise<void> {
  for (let worker = 0; worker < workers; worker++) cluster.fork()
  let port = 0
  for (let worker = 0; worker < workers; worker++) {
    const [, address] = (await once(cluster, 'listening')) as [Worker, Address]
    port = address.port
  }
  process.send?.(`http://127.0.0.1:${port}`)
  process.once('disconnect', () => process.exit(0))
}

function serve({ jwks, issuer, audience }: BareGatewayOptions): void {
  const keys = createLocalJWKSet(jwks)
  const options = { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] }
  createServer({ maxHeaderSize: 80 * 1024 }, async (request, response) => {
    const [, token = ''] = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
    try {
      const { payload } = await jwtVerify(token, keys, options)
      response.writeHead(200, { 'x-auth-subject': String(payload.sub), 'content-length': 0 })
    } catch {
      response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"', 'content-length': 0 })
    }
    response.end()
  }).listen(0, '127.0.0.1')
}
