/**
 * Stands for `fastify`: as much of it as the services of ours use, answering over the simulated network. Routes, error
 * handlers, answers and streams behave as theirs do; what is malformed HTTP never gets here.
 * @module
 */

import { EventEmitter } from 'node:events'
import type { HttpExchange, HttpRequest } from './network.ts'
import { theWorld } from './world.ts'

export class LogController {}

interface Request {
  readonly method: string
  readonly url: string
  readonly params: Record<string, string>
  readonly query: Record<string, string>
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

type Handler = (request: Request, reply: Reply) => unknown
type ErrorHandler = (error: Error, request: Request, reply: Reply) => unknown
type Parser = (request: Request, body: string, done: (error: null, body: unknown) => void) => void

interface Route {
  readonly method: string
  readonly segments: readonly string[]
  readonly handler: Handler
  readonly scope: Scope
}

interface Scope {
  errorHandler: ErrorHandler | undefined
  parser: Parser | undefined
}

class Reply {
  readonly raw: ServerResponse
  readonly #exchange: HttpExchange
  readonly #notFound: () => void
  #status = 200
  readonly #headers: Record<string, string> = {}
  isOver = false

  constructor(exchange: HttpExchange, notFound: (reply: Reply) => void) {
    this.#exchange = exchange
    this.raw = new ServerResponse(exchange)
    this.#notFound = () => notFound(this)
  }

  code(status: number): this {
    this.#status = status
    return this
  }

  status(status: number): this {
    return this.code(status)
  }

  header(name: string, value: string | number): this {
    this.#headers[name.toLowerCase()] = String(value)
    return this
  }

  headers(values: Readonly<Record<string, string>>): this {
    for (const [name, value] of Object.entries(values)) this.header(name, value)
    return this
  }

  type(mediaType: string): this {
    return this.header('content-type', mediaType)
  }

  hijack(): this {
    this.isOver = true
    return this
  }

  callNotFound(): this {
    this.#notFound()
    return this
  }

  send(payload?: unknown): this {
    if (this.isOver) return this
    this.isOver = true
    const isText = typeof payload === 'string'
    if (!isText && payload !== undefined && !(payload instanceof Uint8Array))
      this.#headers['content-type'] ??= 'application/json; charset=utf-8'
    const body =
      payload === undefined
        ? ''
        : isText
          ? payload
          : payload instanceof Uint8Array
            ? Buffer.from(payload).toString('latin1')
            : JSON.stringify(payload)
    this.#exchange.answer({ status: this.#status, headers: this.#headers, body })
    return this
  }
}

/** As much of `http.ServerResponse` as a stream is written to. */
class ServerResponse extends EventEmitter {
  useChunkedEncodingByDefault = true
  readonly writableLength = 0
  statusCode = 200
  writableEnded = false
  destroyed = false
  readonly #exchange: HttpExchange

  constructor(exchange: HttpExchange) {
    super()
    this.#exchange = exchange
    exchange.onGone(() => this.destroy())
  }

  writeHead(status: number, headers: Readonly<Record<string, string>> = {}): this {
    this.#exchange.answer({ status, headers, body: undefined })
    return this
  }

  write(bytes: Uint8Array | string): boolean {
    if (!this.destroyed) this.#exchange.write(bytes)
    return true
  }

  end(bytes?: Uint8Array | string): this {
    if (bytes !== undefined) this.write(bytes)
    this.writableEnded = true
    this.#exchange.end()
    return this.destroy()
  }

  destroy(): this {
    if (this.destroyed) return this
    this.destroyed = true
    if (!this.writableEnded) this.#exchange.end()
    const { network, process } = theWorld()
    network.soon(process, () => this.emit('close'))
    return this
  }
}

class Application {
  readonly server = { address: () => ({ address: '127.0.0.1', family: 'IPv4', port: 80 }) }
  readonly #routes: Route[]
  readonly #scope: Scope
  readonly #root: Scope
  readonly #registering: Promise<unknown>[] = []
  #notFound: Handler = (_request, reply) => reply.code(404).send({ error: 'not_found' })
  readonly #hooks: Handler[] = []

  constructor(routes: Route[] = [], scope?: Scope, root?: Scope) {
    this.#routes = routes
    this.#scope = scope ?? { errorHandler: undefined, parser: undefined }
    this.#root = root ?? this.#scope
  }

  register(plugin: (routes: Application) => Promise<unknown> | unknown): this {
    const scope: Scope = { ...this.#scope }
    this.#registering.push(Promise.resolve(plugin(new Application(this.#routes, scope, this.#root))))
    return this
  }

  get(path: string, ...rest: unknown[]): this {
    return this.#add('GET', path, rest)
  }

  post(path: string, ...rest: unknown[]): this {
    return this.#add('POST', path, rest)
  }

  addHook(_name: string, hook: Handler): this {
    this.#hooks.push(hook)
    return this
  }

  setErrorHandler(handler: ErrorHandler): this {
    this.#scope.errorHandler = handler
    return this
  }

  setNotFoundHandler(handler: Handler): this {
    this.#notFound = handler
    return this
  }

  removeAllContentTypeParsers(): void {}

  addContentTypeParser(_types: unknown, _options: unknown, parser: Parser): this {
    this.#scope.parser = parser
    return this
  }

  async listen(): Promise<string> {
    await Promise.all(this.#registering)
    const { network, process } = theWorld()
    network.serve(process, (request, exchange) => void this.#answer(request, exchange))
    this.#close = () => network.unserve(process)
    return `http://${process.host.name}`
  }

  async close(): Promise<void> {
    this.#close()
  }

  #close: () => void = () => {}

  #add(method: string, path: string, rest: readonly unknown[]): this {
    const handler = rest.at(-1) as Handler
    this.#routes.push({ method, segments: path.split('/'), handler, scope: this.#scope })
    return this
  }

  async #answer({ method, url, headers, body }: HttpRequest, exchange: HttpExchange): Promise<void> {
    const asked = url.pathname.split('/').map(decodeURIComponent)
    const found = this.#routes
      .filter((route) => route.method === method)
      .map((route) => ({ route, params: match(route.segments, asked) }))
      .find(({ params }) => params !== undefined)
    const request: Request = {
      method,
      url: `${url.pathname}${url.search}`,
      params: found?.params ?? {},
      query: Object.fromEntries(url.searchParams),
      headers,
      body: method === 'GET' ? undefined : parseBody(found?.route.scope.parser, headers, body),
    }
    const reply = new Reply(exchange, (missing) => void this.#notFound(request, missing))
    if (found === undefined) return void this.#notFound(request, reply)
    try {
      const result = await found.route.handler(request, reply)
      if (result !== undefined && result !== reply) reply.send(result)
    } catch (error) {
      this.#fail(error as Error, request, reply, found.route.scope)
    }
  }

  /** The handler of a scope may pass on what is not its own, by throwing it again. */
  #fail(error: Error, request: Request, reply: Reply, scope: Scope): void {
    try {
      if (scope.errorHandler === undefined) throw error
      scope.errorHandler(error, request, reply)
    } catch (other) {
      this.#root.errorHandler?.(other as Error, request, reply)
    }
  }
}

function match(route: readonly string[], asked: readonly string[]): Record<string, string> | undefined {
  const params: Record<string, string> = {}
  for (const [at, segment] of route.entries()) {
    if (segment === '*') {
      params['*'] = asked.slice(at).join('/')
      return params
    }
    const given = asked[at]
    if (given === undefined) return undefined
    if (segment.startsWith(':')) params[segment.slice(1)] = given
    else if (segment !== given) return undefined
  }
  return route.length === asked.length ? params : undefined
}

function parseBody(
  parser: Parser | undefined,
  headers: Readonly<Record<string, string>>,
  body: string,
): unknown {
  if (parser === undefined) {
    return headers['content-type']?.startsWith('application/json') ? JSON.parse(body) : body
  }
  let parsed: unknown
  parser({} as Request, body, (_error, result) => {
    parsed = result
  })
  return parsed
}

export default function fastify(_options: object): Application {
  return new Application()
}
