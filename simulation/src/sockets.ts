/**
 * Node's `net.createServer` and `fetch` over the simulated network.
 * @module
 */

import { EventEmitter } from 'node:events'
import type { SimulatedSocket } from './network.ts'
import { theWorld } from './world.ts'

class SimulatedServer extends EventEmitter {
  readonly #accept: (socket: SimulatedSocket) => void
  #path = ''
  readonly #process = theWorld().process

  constructor(accept: (socket: SimulatedSocket) => void) {
    super()
    this.#accept = accept
  }

  listen(path: string): this {
    const { network } = theWorld()
    this.#path = path
    network.soon(this.#process, () => {
      try {
        network.listen(path, this.#process, this.#accept)
        this.emit('listening')
      } catch (error) {
        this.emit('error', error)
      }
    })
    return this
  }

  close(): this {
    const { network } = theWorld()
    network.unlisten(this.#path, this.#process)
    network.soon(this.#process, () => this.emit('close'))
    return this
  }

  unref(): this {
    return this
  }
}

export function createServer(accept: (socket: SimulatedSocket) => void): SimulatedServer {
  return new SimulatedServer(accept)
}

/** What a `fetch` answers, with as much of `Response` as is used. */
class SimulatedResponse {
  readonly status: number
  readonly url: string
  readonly headers: Headers
  readonly body: Body

  constructor(status: number, url: string, headers: Readonly<Record<string, string>>, body: Body) {
    this.status = status
    this.url = url
    this.headers = new Headers(headers)
    this.body = body
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  async text(): Promise<string> {
    let text = ''
    for await (const bytes of this.body) text += bytes.toString()
    return text
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }
}

/** A body that comes in pieces, for one reader. */
class Body implements AsyncIterableIterator<Buffer> {
  readonly #pieces: Buffer[] = []
  readonly #cancel: () => void
  #failure: unknown
  #isOver = false
  #reader: { resolve: (result: IteratorResult<Buffer>) => void; reject: (error: unknown) => void } | undefined

  constructor(cancel: () => void) {
    this.#cancel = cancel
  }

  push(bytes: Buffer): void {
    this.#pieces.push(bytes)
    this.#wake()
  }

  end(failure?: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#failure = failure
    this.#wake()
  }

  next(): Promise<IteratorResult<Buffer>> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject }
      this.#wake()
    })
  }

  async return(): Promise<IteratorResult<Buffer>> {
    this.#cancel()
    return { done: true, value: undefined }
  }

  cancel(): Promise<void> {
    this.#cancel()
    return Promise.resolve()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #wake(): void {
    const reader = this.#reader
    const piece = this.#pieces.shift()
    if (reader === undefined || (piece === undefined && !this.#isOver)) {
      if (piece !== undefined) this.#pieces.unshift(piece)
      return
    }
    this.#reader = undefined
    if (piece !== undefined) reader.resolve({ done: false, value: piece })
    else if (this.#failure !== undefined) reader.reject(this.#failure)
    else reader.resolve({ done: true, value: undefined })
  }
}

export function simulatedFetch(input: URL | string, init: RequestInit = {}): Promise<SimulatedResponse> {
  const { network, process } = theWorld()
  const url = new URL(input)
  return new Promise((resolve, reject) => {
    const { signal } = init
    if (signal?.aborted) return reject(signal.reason)
    let giveUp = (): void => {}
    const body = new Body(() => {
      forget()
      giveUp()
    })
    const abort = (): void => {
      giveUp()
      reject(signal?.reason)
      body.end(signal?.reason)
    }
    const forget = (): void => signal?.removeEventListener('abort', abort)
    signal?.addEventListener('abort', abort, { once: true })
    const fail = (): void => {
      forget()
      reject(new TypeError('fetch failed'))
      body.end(new TypeError('terminated'))
    }
    const request = {
      method: init.method ?? 'GET',
      url,
      headers: Object.fromEntries(new Headers(init.headers)),
      body: String(init.body ?? ''),
    }
    giveUp = network.request(process, request, {
      answer: ({ status, headers, body: text }) => {
        resolve(new SimulatedResponse(status, url.href, headers, body))
        if (text === undefined) return
        forget()
        if (text !== '') body.push(Buffer.from(text))
        body.end()
      },
      bytes: (bytes) => body.push(bytes),
      end: () => {
        forget()
        body.end()
      },
      fail,
    })
  })
}
