/**
 * One SET to one receiver over HTTP (RFC 8935). The URL came from the receiver, so it is a way into our own network until
 * the addresses behind it have been looked at (T217): each one that its name resolves to, at each delivery, and the
 * connection goes to one of those and to no other, whatever the name resolves to a moment later. No redirect is followed.
 * @module
 */

import { type LookupAddress, lookup } from 'node:dns'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { SET_MEDIA_TYPE } from '@countersign/validator/ssf-events'
import { isLoopbackAddress, isPublicAddress, receiverPorts } from './address.ts'

/** Where receivers may be. */
export interface Reach {
  /** Receivers on this machine, over http too: for a sample or a test, whose receivers nobody else can reach. */
  readonly loopback: boolean
  /** Of a name to its addresses. The system's, unless a test says otherwise. */
  readonly resolve?: Resolve
}

export type Resolve = (
  name: string,
  answer: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void

export interface PushOrder {
  readonly url: string
  readonly authorization: string | undefined
  readonly token: string
}

/** What a receiver answered. */
export interface PushAnswer {
  readonly status: number
  /** Of an error answer, the code that RFC 8935, section 2.4 names. */
  readonly code: string | undefined
  readonly retryAfterSeconds: number | undefined
}

/** No answer came. The message names what failed, not what was sent. */
export class PushFault extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PushFault'
  }
}

const PUSH_MILLISECONDS_MAX = 10_000
const ANSWER_BYTES_MAX = 16 * 1024
const URL_CHARACTERS_MAX = 2048

/** What is wrong with a URL that a receiver gives, as far as it can be told without asking a name server. */
export function findUrlProblem(text: string, reach: Reach): string | undefined {
  if (text.length > URL_CHARACTERS_MAX || !URL.canParse(text)) return 'it is not a URL'
  const { protocol, username, password, hash, port, hostname } = new URL(text)
  if (protocol !== 'https:' && protocol !== 'http:') return 'it is not an https URL'
  if (username !== '' || password !== '') return 'it holds a credential'
  if (hash !== '') return 'it has a fragment'
  if (reach.loopback && isLoopbackName(hostname)) return undefined
  if (protocol !== 'https:') return 'it is not an https URL'
  if (port !== '' && !receiverPorts.includes(Number(port))) return 'its port is not one of a receiver'
  const address = unbracketed(hostname)
  if (isIP(address) !== 0 && !isPublicAddress(address)) return 'its address is not public'
  return undefined
}

/** Throws `PushFault`. */
export async function pushSet(order: PushOrder, reach: Reach, signal: AbortSignal): Promise<PushAnswer> {
  const { url, authorization, token } = order
  const problem = findUrlProblem(url, reach)
  if (problem !== undefined) throw new PushFault(problem)
  const { protocol, hostname } = new URL(url)
  const isAllowed = (address: string): boolean =>
    isPublicAddress(address) || (reach.loopback && isLoopbackName(hostname) && isLoopbackAddress(address))
  return new Promise((resolve, reject) => {
    const send = protocol === 'https:' ? requestHttps : requestHttp
    const request = send(url, {
      method: 'POST',
      // A connection of its own: one from a pool may lead to where the name led before.
      agent: false,
      lookup: guard(reach.resolve ?? resolveBySystem, isAllowed),
      maxHeaderSize: ANSWER_BYTES_MAX,
      signal: AbortSignal.any([signal, AbortSignal.timeout(PUSH_MILLISECONDS_MAX)]),
      headers: {
        'content-type': SET_MEDIA_TYPE,
        'content-length': token.length,
        accept: 'application/json',
        ...(authorization !== undefined && { authorization }),
      },
    })
    request.on('error', (error) => reject(new PushFault(faultOf(error))))
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > ANSWER_BYTES_MAX) response.destroy(new PushFault('the answer is too long'))
        else chunks.push(chunk)
      })
      response.on('error', (error) => reject(new PushFault(faultOf(error))))
      response.on('end', () => {
        const { statusCode = 0, headers } = response
        resolve({
          status: statusCode,
          code: readCode(Buffer.concat(chunks).toString('utf8')),
          retryAfterSeconds: readSeconds(headers['retry-after']),
        })
      })
    })
    request.end(token)
  })
}

/** What becomes of a SET after an answer. */
export type Outcome = 'acknowledged' | 'rejected' | 'retry'

/** What the receiver says of the SET itself, and what no later attempt would change. */
const finalCodes: ReadonlySet<string> = new Set([
  'invalid_request',
  'invalid_issuer',
  'invalid_audience',
  'invalid_state',
])

/** Only 202 acknowledges (RFC 8935, section 2.2): a page of a web server in the way is no receipt. */
export function judgeAnswer({ status, code }: Pick<PushAnswer, 'status' | 'code'>): Outcome {
  if (status === 202) return 'acknowledged'
  return status === 400 && code !== undefined && finalCodes.has(code) ? 'rejected' : 'retry'
}

function guard(resolve: Resolve, isAllowed: (address: string) => boolean): LookupFunction {
  return (name, options, callback) => {
    resolve(name, (error, addresses) => {
      const [first] = addresses
      if (error !== null) callback(error, '')
      // All of them, not one: what is half ours is not a receiver's.
      else if (first === undefined || !addresses.every(({ address }) => isAllowed(address)))
        callback(new PushFault('its name does not lead to public addresses'), '')
      else if (options.all) callback(null, [...addresses])
      else callback(null, first.address, first.family)
    })
  }
}

const resolveBySystem: Resolve = (name, answer) =>
  lookup(name, { all: true }, (error, addresses) => answer(error, addresses ?? []))

function isLoopbackName(hostname: string): boolean {
  return hostname === 'localhost' || isLoopbackAddress(unbracketed(hostname))
}

function unbracketed(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

function faultOf(error: Error & { readonly code?: string }): string {
  return error instanceof PushFault ? error.message : (error.code ?? error.name)
}

function readCode(body: string): string | undefined {
  try {
    const { err } = JSON.parse(body) as { readonly err?: unknown }
    // A stranger's word: it goes into a log.
    return typeof err === 'string' && /^[a-z_]{1,64}$/.test(err) ? err : undefined
  } catch {
    return undefined
  }
}

function readSeconds(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,5}$/.test(value) ? Number(value) : undefined
}
