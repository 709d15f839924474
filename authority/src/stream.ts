/**
 * The open streams of the validators (server-sent events). An event is made bytes once and then written to each
 * stream as it is, so that a thousand validators cost a thousand writes and nothing else.
 * @module
 */

import type { ServerResponse } from 'node:http'

/** A stream that has not taken this much is cut; its validator connects anew and starts from the newest manifest. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024
/** One that has not taken this much gets no roots: a manifest must not wait behind them. */
const ROOTS_BACKLOG_BYTES_MAX = 256 * 1024

export interface Streams {
  /** Opens a stream, which starts with `first`. */
  open(response: ServerResponse, listener: Listener, first: readonly StreamEvent[]): void
  /** Writes one event to every stream; roots to those that want them. */
  send(event: StreamEvent): void
  /** Whether any stream wants roots. */
  wantRoots(): boolean
  /** The names under which streams are open now. */
  connected(): ReadonlySet<string>
  close(): void
}

/** Who opens a stream. */
export interface Listener {
  /** The name that it gives itself, for display only. */
  readonly validator: string | undefined
  readonly wantsRoots: boolean
}

export interface StreamEvent {
  readonly event: 'manifest' | 'freshness' | 'roots'
  readonly id?: number
  /** One line. */
  readonly data: string
}

export function createStreams(): Streams {
  const open = new Map<ServerResponse, Listener>()
  return {
    open: (response, listener, first) => {
      // Not chunked: each event is one write to the socket, with no framing to compute per stream.
      response.useChunkedEncodingByDefault = false
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.write(Buffer.concat([Buffer.from('retry: 1000\n\n'), ...first.map(toBytes)]))
      open.set(response, listener)
      response.once('close', () => open.delete(response))
      // What broke it is of no interest here; the validator connects anew.
      response.on('error', () => response.destroy())
    },
    send: (event) => {
      const bytes = toBytes(event)
      for (const [response, { wantsRoots }] of open) {
        const { writableLength: backlog } = response
        if (event.event === 'roots' && (!wantsRoots || backlog > ROOTS_BACKLOG_BYTES_MAX)) continue
        if (backlog > BACKLOG_BYTES_MAX) response.destroy()
        else response.write(bytes)
      }
    },
    wantRoots: () => open.values().some(({ wantsRoots }) => wantsRoots),
    connected: () =>
      new Set([...open.values()].map(({ validator }) => validator).filter((name) => name !== undefined)),
    close: () => {
      for (const response of open.keys()) response.destroy()
    },
  }
}

function toBytes({ event, id, data }: StreamEvent): Buffer {
  return Buffer.from(`event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`)
}
