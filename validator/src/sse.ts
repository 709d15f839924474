/**
 * Server-sent events to whoever showed a good token, for as long as the token is good:
 *
 *     const events = streamEvents(guard, request.token, response)               // Express, node:http; reply.raw, ctx.res
 *     const leave = news.onMail((mail) => events.send({ event: 'mail', data: mail }))
 *     events.signal.addEventListener('abort', leave)
 *
 * The stream ends with its token, and a last event says why in one word:
 *
 *     event: end\n
 *     data: {"reason":"key_blocked"}\n
 *     \n
 *
 * @module
 */

import type { ServerResponse } from 'node:http'
import type { Guard } from './guard.ts'
import type { Refusal } from './refusal.ts'
import type { ValidatedToken } from './validator.ts'

/** One event of a stream; `id` and `event` are left out where they are not given. */
export interface ServerEvent {
  readonly id?: string | undefined
  readonly event?: string | undefined
  /** Sent as JSON. */
  readonly data: unknown
}

/** A stream to write to, for as long as its token is good. */
export interface EventStream {
  /** Sends nothing once the stream is over. */
  send(event: ServerEvent): void
  /** Ends the stream, without a last word. */
  close(): void
  /** Aborts when the stream is over: the token ended, the reader left, or it was closed. */
  readonly signal: AbortSignal
}

/** A reader that leaves so much unread is cut off. */
const UNREAD_BYTES_MAX = 1024 * 1024

const streamHeaders = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
} as const

/** Begins the answer; headers that were set before go with it. */
export function streamEvents(
  guard: Pick<Guard, 'hold'>,
  token: ValidatedToken,
  response: ServerResponse,
): EventStream {
  response.writeHead(200, streamHeaders)
  response.flushHeaders()
  response.on('error', () => response.destroy())
  return openStream(guard, token, {
    write: (text) => void response.write(text),
    end: () => void response.end(),
    cut: () => void response.destroy(),
    unread: () => response.writableLength,
    onClose: (listener) => void response.once('close', listener),
  })
}

/** The same for frameworks that answer with a `Response`, such as Hono. */
export function respondEvents(
  guard: Pick<Guard, 'hold'>,
  token: ValidatedToken,
): { readonly response: Response; readonly events: EventStream } {
  const encoder = new TextEncoder()
  const left = new AbortController()
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>(
    {
      start: (started) => {
        controller = started
      },
      cancel: () => left.abort(),
    },
    { highWaterMark: UNREAD_BYTES_MAX, size: (chunk) => chunk?.byteLength ?? 0 },
  )
  const events = openStream(guard, token, {
    write: (text) => controller?.enqueue(encoder.encode(text)),
    end: () => controller?.close(),
    cut: () => controller?.error(new Error('the reader left too much unread')),
    unread: () => UNREAD_BYTES_MAX - (controller?.desiredSize ?? 0),
    onClose: (listener) => left.signal.addEventListener('abort', listener, { once: true }),
  })
  return { response: new Response(body, { headers: streamHeaders }), events }
}

/** Where events are written to. */
interface Sink {
  write(text: string): void
  end(): void
  /** Ends without caring for what was written and not read. */
  cut(): void
  unread(): number
  onClose(listener: () => void): void
}

function openStream(guard: Pick<Guard, 'hold'>, token: ValidatedToken, sink: Sink): EventStream {
  const over = new AbortController()
  const hold = guard.hold(token)

  function finish(last: () => void): void {
    if (over.signal.aborted) return
    hold.release()
    // Before what listens is told, so that its last words do not come after ours.
    last()
    over.abort()
  }

  hold.signal.addEventListener('abort', () => {
    const { reason = 'server_error' } = hold.signal.reason as Partial<Refusal>
    finish(() => {
      sink.write(toText({ event: 'end', data: { reason } }))
      sink.end()
    })
  })
  sink.onClose(() => finish(() => {}))
  return {
    send: (event) => {
      if (over.signal.aborted) return
      if (sink.unread() > UNREAD_BYTES_MAX) return finish(sink.cut)
      sink.write(toText(event))
    },
    close: () => finish(sink.end),
    signal: over.signal,
  }
}

function toText({ id, event, data }: ServerEvent): string {
  const lines = [
    ...(id === undefined ? [] : [`id: ${oneLine(id)}`]),
    ...(event === undefined ? [] : [`event: ${oneLine(event)}`]),
    // JSON has no line end in it.
    `data: ${JSON.stringify(data ?? null)}`,
  ]
  return `${lines.join('\n')}\n\n`
}

/** A line end would begin another field, in somebody else's words. */
function oneLine(text: string): string {
  return text.replace(/[\r\n\0]/g, '')
}
