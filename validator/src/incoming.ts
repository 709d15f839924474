/**
 * A request and an answer of Node's HTTP server, which most frameworks stand on, as a guard reads and writes them.
 * @module
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { TLSSocket } from 'node:tls'
import { toAnswer } from './bearer.ts'
import type { Guard, GuardAdmission, GuardedRequest } from './guard.ts'
import type { ValidatedToken } from './validator.ts'

/** A request whose token was found to be good. */
export type Guarded<Request> = Request & { readonly token: ValidatedToken }

/** What a framework knows better than Node: it may have rewritten the URL, and been told whose address to believe. */
export interface Known {
  readonly target?: string | undefined
  readonly network?: string | undefined
}

/** The request with its token, or undefined after it has been refused. */
export async function admitOrRefuse<Message extends IncomingMessage>(
  guard: Guard,
  message: Message,
  response: Pick<ServerResponse, 'headersSent' | 'setHeader' | 'writeHead'>,
  known?: Known,
): Promise<Guarded<Message> | undefined> {
  const admission = await guard.admit(readIncoming(message, known))
  if (admission.admitted) {
    addHeaders(admission, response)
    return Object.assign(message, { token: admission.token })
  }
  const { status, headers, text } = toAnswer(admission.denial)
  if (!response.headersSent) response.writeHead(status, headers).end(text)
  return undefined
}

/** Whoever answers sends the headers of an admission too. Somebody may have meanwhile, because it took too long for example. */
export function addHeaders(
  { headers }: GuardAdmission,
  response: Pick<ServerResponse, 'headersSent' | 'setHeader'>,
): void {
  if (response.headersSent) return
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
}

export function readIncoming(message: IncomingMessage, known: Known = {}): GuardedRequest {
  const { rawHeaders, method = '', url = '', socket } = message
  return {
    source: message,
    rawHeaders,
    method,
    target: known.target ?? url,
    network: known.network ?? socket.remoteAddress,
    peer: socket.remoteAddress,
    certificate: () => (socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.raw : undefined),
  }
}
