/**
 * The open streams of the validators (server-sent events). An event is made bytes once and then written to each
 * stream as it is, so that a thousand validators cost a thousand writes and nothing else.
 * @module
 */

import type { ServerResponse } from 'node:http'

/** A stream that has not taken this much is cut; its validator connects anew and starts from the newest manifest. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024

export interface Streams {
  /** Opens a stream: `first` is what it starts with, `validator` the name it gives itself, for display only. */
  open(response: ServerResponse, validator: string | undefined, first: readonly StreamEvent[]): void
  /** Writes one event to every stream. */
  send(event: StreamEvent): void
  /** The names under which streams are open now. */
  connected(): ReadonlySet<string>
  close(): void
}

export interface StreamEvent {
  readonly event: 'manifest' | 'freshness'
  readonly id?: number
  /** One line. */
  readonly data: string
}

export function createStreams(): Streams {
  const open = new Map<ServerResponse, string | undefined>()
  return {
    open: (response, validator, first) => {
      // Not chunked: each event is one write to the socket, with no framing to compute per stream.
      response.useChunkedEncodingByDefault = false
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.write(Buffer.concat([Buffer.from('retry: 1000\n\n'), ...first.map(toBytes)]))
      open.set(response, validator)
      response.once('close', () => open.delete(response))
      // What broke it is of no interest here; the validator connects anew.
      response.on('error', () => response.destroy())
    },
    send: (event) => {
      const bytes = toBytes(event)
      for (const response of open.keys()) {
        if (response.writableLength > BACKLOG_BYTES_MAX) response.destroy()
        else response.write(bytes)
      }
    },
    connected: () => new Set([...open.values()].filter((name) => name !== undefined)),
    close: () => {
      for (const response of open.keys()) response.destroy()
    },
  }
}

function toBytes({ event, id, data }: StreamEvent): Buffer {
  return Buffer.from(`event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`)
}
