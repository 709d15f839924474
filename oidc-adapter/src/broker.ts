/**
 * The broker, as an issuer reaches it: over HTTPS with a certificate of its own, or over a socket on the same machine. Either
 * way the far end knows the realm, and no request names one. Interface: spec/broker.openapi.json, spec/signing.md.
 * @module
 */

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { json } from 'node:stream/consumers'
import { keepConnected, LineError } from '@countersign/lines'
import type { JsonObject } from '@countersign/validator/json'

export interface RemoteBroker {
  /** Such as `https://broker.example:8443`. */
  readonly url: string
  /** Files (PEM): the client's key and certificate, and who signs the broker's. */
  readonly key: string
  readonly cert: string
  readonly ca: string
}

export type BrokerAddress = RemoteBroker | { readonly socket: string }

export type IssuedType = 'access' | 'id' | 'logout'

/** Rejects with `LineError`, whose `retryable` says whether the same may be asked again. */
export type Issue = (type: IssuedType, claims: JsonObject, alg: string) => Promise<string>

export interface Broker {
  readonly issue: Issue
  close(): void
}

/** More than all the waits on the way. */
const ISSUE_MILLISECONDS_MAX = 20_000
const CONNECTIONS_MAX = 32

export function connectBroker(address: BrokerAddress): Broker {
  return 'socket' in address ? overSocket(address.socket) : overHttps(address)
}

function overSocket(socket: string): Broker {
  const line = keepConnected(socket, ISSUE_MILLISECONDS_MAX)
  return {
    issue: async (type, claims, alg) => {
      const params = { type, claims: JSON.stringify(claims), alg }
      return (await line.call<{ readonly token: string }>('issue', params)).token
    },
    close: line.close,
  }
}

function overHttps({ url, key, cert, ca }: RemoteBroker): Broker {
  const { protocol, hostname, port, pathname } = new URL(url)
  if (protocol !== 'https:' || pathname !== '/')
    throw new Error(`${url} is not the https: origin of a broker`)
  // Read for each connection, so that a renewed certificate is taken up without a start.
  const credentials = (): object => ({
    key: readFileSync(key),
    cert: readFileSync(cert),
    ca: readFileSync(ca),
    minVersion: 'TLSv1.3',
  })
  credentials()
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX })

  async function post(path: string, body: object): Promise<unknown> {
    const text = JSON.stringify(body)
    const asking = request({
      agent,
      ...credentials(),
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port: port || 443,
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      signal: AbortSignal.timeout(ISSUE_MILLISECONDS_MAX),
    })
    const answered = new Promise<{ status: number; content: unknown }>((resolve, reject) => {
      asking.once('error', reject)
      asking.once('response', (response) => {
        json(response).then((content) => resolve({ status: response.statusCode ?? 0, content }), reject)
      })
    })
    asking.end(text)
    const { status, content } = await answered.catch((error: Error) => {
      throw new LineError('disconnected', `the broker cannot be reached: ${error.message}`, {
        retryable: true,
      })
    })
    if (status !== 200) throw problemOf(content)
    return content
  }

  return {
    issue: async (type, claims, alg) => {
      const { token } = (await post('/v1/issue', { type, claims, alg })) as { readonly token: string }
      return token
    },
    close: () => agent.destroy(),
  }
}

function problemOf(content: unknown): LineError {
  const { code, detail, retryable } = content as Readonly<Record<string, unknown>>
  return new LineError(String(code), String(detail), { retryable: retryable === true })
}
