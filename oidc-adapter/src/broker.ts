/**
 * The broker, as an issuer reaches it: over HTTPS with a certificate of its own, or over a socket on the same machine. Either
 * way the far end knows the realm, and no request names one. Interface: spec/broker.openapi.json, spec/signing.md.
 * @module
 */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { text as textOf } from 'node:stream/consumers'
import { keepConnected, LineError } from '@countersign/lines'
import { type JsonObject, parseObject } from '@countersign/validator/json'

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

  async function ask(path: string, text: string, signal: AbortSignal): Promise<Answer> {
    const asking = request({
      agent,
      ...credentials(),
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port: port || 443,
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      signal,
    })
    asking.end(text)
    try {
      const [response] = (await once(asking, 'response')) as [IncomingMessage]
      return { status: response.statusCode ?? 0, content: await textOf(response) }
    } catch (error) {
      // The broker was just closing the connection, as when it is configured anew. A token that nobody got may be made twice.
      const isLeftOver = asking.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
      if (isLeftOver) return ask(path, text, signal)
      throw error
    }
  }

  async function post(path: string, body: object): Promise<string> {
    const { status, content } = await ask(
      path,
      JSON.stringify(body),
      AbortSignal.timeout(ISSUE_MILLISECONDS_MAX),
    ).catch((error: Error) => {
      throw new LineError('disconnected', `the broker cannot be reached: ${error.message}`, {
        retryable: true,
      })
    })
    return readToken(status, content)
  }

  return {
    issue: (type, claims, alg) => post('/v1/issue', { type, claims, alg }),
    close: () => agent.destroy(),
  }
}

interface Answer {
  readonly status: number
  readonly content: string
}

/** Throws `LineError`. What stands between may answer in the broker's place, in words of its own. */
function readToken(status: number, content: string): string {
  const { token, code, detail, retryable } = readObject(content)
  if (status === 200 && typeof token === 'string') return token
  if (status !== 200 && typeof code === 'string')
    throw new LineError(code, String(detail), { retryable: retryable === true })
  throw new LineError('disconnected', `what answers ${status} there is not the broker`, {
    retryable: status >= 500,
  })
}

function readObject(content: string): JsonObject {
  try {
    return parseObject(content)
  } catch {
    return {}
  }
}
