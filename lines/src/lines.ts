/**
 * Requests and answers as JSON lines over one connected socket: how issuer, broker, signer and witness talk.
 *
 *     -> {"id":7,"method":"append","params":{…}}\n
 *     <- {"id":7,"result":{…}}\n     or     {"id":7,"error":{"code":"…","message":"…","retryable":true}}\n
 *
 * Both ends may call. Answers come in any order, so a slow call holds up none behind it. Lines written within one
 * turn of the event loop leave in one write: under load that, not the JSON, is what costs.
 * @module
 */

import { once } from 'node:events'
import { lstat, rm } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { StringDecoder } from 'node:string_decoder'

/** A peer that sends more than this without a newline is not speaking this protocol. */
const LINE_CHARACTERS_MAX = 16 * 1024 * 1024
/** A peer that leaves more than this unread is not reading; what it asks for must not fill our memory. */
const UNREAD_BYTES_MAX = 64 * 1024 * 1024

/** Answers one method. What it throws reaches the caller as a `LineError`, its message only if it is one itself. */
export type Handler = (params: never) => unknown

/** What the other side refused or failed to do. `retryable` says whether the same call may succeed later. */
export class LineError extends Error {
  readonly code: string
  readonly retryable: boolean
  constructor(code: string, message: string, options: { readonly retryable?: boolean } = {}) {
    super(message)
    this.name = 'LineError'
    this.code = code
    this.retryable = options.retryable ?? false
  }
}

/** One end of a connection. */
export interface Peer {
  /**
   * Calls the other side. Rejects with `LineError`: `disconnected` when the socket closed first, `timeout` when
   * `millisecondsMax` have passed; the other side may then still do what it was asked.
   */
  call<Result>(method: string, params: unknown, millisecondsMax?: number): Promise<Result>
  /** Ends the connection once what was said has left; calls still waiting reject. */
  close(): void
  /** Settles when the connection is gone, however that came. */
  readonly closed: Promise<void>
}

interface Waiting {
  readonly resolve: (result: never) => void
  readonly reject: (error: Error) => void
}

interface Message {
  readonly id: number
  readonly method?: string
  readonly params?: never
  readonly result?: never
  readonly error?: { readonly code: string; readonly message: string; readonly retryable: boolean }
}

/** Speaks lines over a connected socket, answering with `handlers` what the other side calls. */
export function speak(socket: Socket, handlers: Readonly<Record<string, Handler>> = {}): Peer {
  const methods = new Map(Object.entries(handlers))
  const waiting = new Map<number, Waiting>()
  const decoder = new StringDecoder('utf8')
  let nextId = 1
  /** What came since the last newline, in pieces: joined once, however many pieces a long line has. */
  let pieces: string[] = []
  let pieceCharacters = 0
  let outgoing = ''

  function send(message: object): void {
    if (outgoing === '') setImmediate(flush)
    outgoing += `${JSON.stringify(message)}\n`
  }

  function flush(): void {
    if (outgoing !== '' && socket.writable) socket.write(outgoing)
    outgoing = ''
    if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy()
  }

  async function answer({ id, method = '', params }: Message): Promise<void> {
    try {
      const handler = methods.get(method)
      if (handler === undefined) throw new LineError('unknown_method', `there is no method ${method}`)
      send({ id, result: (await handler(params as never)) ?? null })
    } catch (error) {
      send({ id, error: describe(error) })
    }
  }

  function giveUpAfter(id: number, milliseconds: number): void {
    const caller = waiting.get(id) as Waiting
    const timer = setTimeout(() => {
      waiting.delete(id)
      caller.reject(new LineError('timeout', 'no answer came in time', { retryable: true }))
    }, milliseconds)
    waiting.set(id, {
      resolve: (result) => {
        clearTimeout(timer)
        caller.resolve(result)
      },
      reject: (error) => {
        clearTimeout(timer)
        caller.reject(error)
      },
    })
  }

  function receive(message: Message): void {
    if (message.method !== undefined) return void answer(message)
    const caller = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.error === undefined) caller?.resolve(message.result as never)
    else caller?.reject(new LineError(message.error.code, message.error.message, message.error))
  }

  socket.on('data', (chunk: Buffer) => {
    const lines = decoder.write(chunk).split('\n')
    const last = lines.pop() ?? ''
    for (const line of lines) {
      const message = parseMessage(pieces.length === 0 ? line : pieces.join('') + line)
      pieces = []
      pieceCharacters = 0
      if (message === undefined) return void socket.destroy()
      receive(message)
    }
    if (last === '') return
    pieces.push(last)
    pieceCharacters += last.length
    if (pieceCharacters > LINE_CHARACTERS_MAX) socket.destroy()
  })
  // The close that follows tells the callers; without a listener an error would end the process.
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      for (const { reject } of waiting.values()) reject(disconnected())
      waiting.clear()
      resolve()
    })
  })

  return {
    call: (method, params, millisecondsMax) =>
      new Promise((resolve, reject) => {
        if (!socket.writable) return reject(disconnected())
        const id = nextId++
        waiting.set(id, { resolve, reject })
        if (millisecondsMax !== undefined) giveUpAfter(id, millisecondsMax)
        send({ id, method, params })
      }),
    close: () => {
      flush()
      socket.end(() => socket.destroy())
    },
    closed,
  }
}

/** Connects to a listener on a Unix socket. Rejects when nobody listens. */
export async function connectLines(
  path: string,
  handlers: Readonly<Record<string, Handler>> = {},
): Promise<Peer> {
  const socket = createConnection(path)
  await once(socket, 'connect')
  return speak(socket, handlers)
}

/** A connection to a listener that may not be there yet, or not at the moment. */
export interface Line extends Pick<Peer, 'call'> {
  /** Settles once there is a connection. Rejects with `disconnected` when nobody listens. */
  connect(): Promise<void>
  /** Ends the connection; no other is made. */
  close(): void
}

/**
 * Connects when first called, and anew when the connection is gone. A call rejects with `timeout` after
 * `millisecondsMax` unless it has a limit of its own, and with `disconnected` when nobody listens.
 */
export function keepConnected(path: string, millisecondsMax: number): Line {
  let connection: Promise<Peer> | undefined
  let isClosed = false

  async function connect(): Promise<Peer> {
    try {
      const peer = await connectLines(path)
      void peer.closed.then(() => {
        connection = undefined
      })
      return peer
    } catch {
      connection = undefined
      throw new LineError('disconnected', `nobody listens at ${path}`, { retryable: true })
    }
  }

  async function connected(): Promise<Peer> {
    if (isClosed) throw disconnected()
    connection ??= connect()
    return connection
  }

  return {
    connect: async () => void (await connected()),
    call: async (method, params, milliseconds = millisecondsMax) =>
      (await connected()).call(method, params, milliseconds),
    close: () => {
      isClosed = true
      void connection?.then((peer) => peer.close()).catch(() => {})
    },
  }
}

/** A listener on a Unix socket that only this user may open (mode 0600). */
export interface LineServer {
  close(): Promise<void>
}

/** Listens on a Unix socket; a stale socket file of an earlier run is replaced, a listener that lives is not. */
export async function serveLines(
  path: string,
  handlers: Readonly<Record<string, Handler>>,
): Promise<LineServer> {
  await removeStale(path)
  const peers = new Set<Peer>()
  const server: Server = createServer((socket) => {
    const peer = speak(socket, handlers)
    peers.add(peer)
    void peer.closed.then(() => peers.delete(peer))
  })
  const listening = once(server, 'listening')
  // Set while the socket is made: one made first and narrowed after could be opened in between. Making it is
  // synchronous, so that no other file of this process is born under this mask.
  const mask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(mask)
  }
  await listening
  return {
    close: async () => {
      const stopped = once(server, 'close')
      server.close()
      for (const peer of peers) peer.close()
      await stopped
    },
  }
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  // Anything but a socket is left alone, and `listen` says that the address is in use.
  if (found?.isSocket() !== true) return
  const living = await connectLines(path).catch(() => undefined)
  living?.close()
  if (living !== undefined) throw new Error(`another process listens at ${path}`)
  await rm(path, { force: true })
}

function parseMessage(text: string): Message | undefined {
  try {
    const message: unknown = JSON.parse(text)
    if (!isObject(message) || !('id' in message)) return undefined
    if (!('error' in message) || isObject(message.error)) return message as Message
  } catch {}
  return undefined
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Only a `LineError` was written for the other side; any other message stays on this one. */
function describe(error: unknown): { code: string; message: string; retryable: boolean } {
  if (error instanceof LineError)
    return { code: error.code, message: error.message, retryable: error.retryable }
  return { code: 'fault', message: 'the request failed here', retryable: true }
}

function disconnected(): LineError {
  return new LineError('disconnected', 'the connection closed before the answer came', { retryable: true })
}
