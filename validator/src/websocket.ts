/**
 * The guard in front of WebSockets, with the package `ws`:
 *
 *     const sockets = new WebSocketServer({ noServer: true })
 *     server.on('upgrade', protect(guard, sockets, (socket, { token }) => socket.send(token.subject)))
 *
 * The upgrade itself is refused without a good token. The socket is then held by its token: when that ends, it is closed
 * with one word that says why, and nothing that still arrives is heard. The close code is 4401 where a new token would do,
 * and 1008 (policy violation) where the token was ended for a reason.
 * @module
 */

import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Denial, toAnswer } from './bearer.ts'
import type { Guard } from './guard.ts'
import { type Guarded, readIncoming } from './incoming.ts'
import type { Refusal } from './refusal.ts'
import type { ValidatedToken } from './validator.ts'

export type { Guarded } from './incoming.ts'

/** The part of a `WebSocket` of `ws` that is used here. */
export interface SocketLike {
  close(code: number, reason: string): void
  once(event: 'close', listener: () => void): unknown
  removeAllListeners(event: 'message'): unknown
}

/** The part of a `WebSocketServer` of `ws` that is used here. */
export interface SocketServerLike<Socket> {
  handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    opened: (socket: Socket, request: IncomingMessage) => void,
  ): void
}

/** Private use (RFC 6455, section 7.4.2) for what HTTP says with 401; the others are registered. */
const closeCodes = { expired: 4401, ended: 1008, failed: 1011 } as const

/** As everywhere in Node, a failure of the handler that nobody awaits ends the process; the socket is closed before. */
export function protect<Socket extends SocketLike>(
  guard: Guard,
  sockets: SocketServerLike<Socket>,
  handler: (socket: Socket, request: Guarded<IncomingMessage>) => unknown,
): (request: IncomingMessage, stream: Duplex, head: Buffer) => Promise<void> {
  async function serve(socket: Socket, request: Guarded<IncomingMessage>): Promise<void> {
    holdSocket(guard, request.token, socket)
    try {
      await handler(socket, request)
    } catch (error) {
      socket.close(closeCodes.failed, 'server_error')
      throw error
    }
  }

  return async (request, stream, head) => {
    // Until `sockets` has it, a stream that breaks would have no listener, and end the process.
    const giveUp = (): void => void stream.destroy()
    stream.on('error', giveUp)
    let served: Promise<void> | undefined
    try {
      const admission = await guard.admit(readIncoming(request))
      if (!admission.admitted) return refuse(stream, admission.denial)
      const guarded = Object.assign(request, { token: admission.token })
      stream.off('error', giveUp)
      // In the callback, since the first message may be among what came with the upgrade.
      sockets.handleUpgrade(request, stream, head, (socket) => {
        served = serve(socket, guarded)
      })
    } catch (error) {
      giveUp()
      throw error
    }
    await served
  }
}

function holdSocket(guard: Guard, token: ValidatedToken, socket: SocketLike): void {
  const { signal, release } = guard.hold(token)
  signal.addEventListener('abort', () => {
    // Closing waits for the peer to agree, who may go on talking instead.
    socket.removeAllListeners('message')
    const { reason = 'server_error' } = signal.reason as Partial<Refusal>
    socket.close(reason === 'expired' ? closeCodes.expired : closeCodes.ended, reason)
  })
  socket.once('close', release)
}

function refuse(stream: Duplex, denial: Denial): void {
  const { status, headers, text } = toAnswer(denial)
  const all = { ...headers, 'content-length': String(Buffer.byteLength(text)), connection: 'close' }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  stream.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${text}`)
}
