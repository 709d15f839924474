/**
 * An authority for tests: it delivers the newest manifest of a test world over HTTP on loopback, and can be made to
 * misbehave. It answers as spec/delivery.md says, and verifies nothing that it is sent.
 * @module
 */

import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestWorld } from './testing.ts'

export interface FakeAuthority {
  readonly url: string
  /** The acknowledgements that were posted, as compact JWS. */
  readonly acknowledgements: readonly string[]
  /** The requests that came, as `GET /manifest`. */
  readonly requests: readonly string[]
  /** How many streams are open. */
  readonly streamCount: number
  /** What `GET /manifest` answers and each stream begins with. */
  delivery(): string
  /** Writes an event to every stream. */
  send(event: 'manifest' | 'freshness' | 'roots', data: string): void
  /** Sends what the world published last. */
  push(): void
  /** Answers the paths that begin so in another way than usual; undefined ends that. */
  answer(pathPrefix: string, listener: RequestListener | undefined): void
  /** Settles with the next acknowledgement, or at once when there are `count` already. */
  acknowledged(count?: number): Promise<void>
  /** Settles when the next request for this path has come. */
  asked(path: string): Promise<void>
  /** Cuts every connection; who follows has to come again. */
  disconnect(): void
  stop(): Promise<void>
}

/** Starts to deliver what `world` has published. */
export async function startFakeAuthority(world: TestWorld): Promise<FakeAuthority> {
  const streams = new Set<ServerResponse>()
  const acknowledgements: string[] = []
  const requests: string[] = []
  const happenings = new EventEmitter().setMaxListeners(0)
  const answers = new Map<string, RequestListener>()

  const delivery = (): string => JSON.stringify({ ...world.manifestDocument, freshness: world.freshness() })

  const usual: RequestListener = (request, response) => {
    const [path = ''] = (request.url ?? '').split('?')
    const charter = world.charterDocuments[Number(/^\/charter\/(\d+)$/.exec(path)?.[1]) - 1]
    if (path === '/manifest') answerJson(response, delivery())
    else if (path === '/stream') openStream(response)
    else if (path === '/acks') void takeAcknowledgement(request, response)
    else if (charter !== undefined) answerJson(response, JSON.stringify(charter))
    else response.writeHead(404).end()
  }

  function openStream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(toEvent('manifest', delivery()))
    streams.add(response)
    response.once('close', () => streams.delete(response))
  }

  async function takeAcknowledgement(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    try {
      for await (const chunk of request.setEncoding('utf8')) text += chunk
    } catch {
      // Whoever stops to follow may leave in the middle.
      response.destroy()
      return
    }
    acknowledgements.push(text)
    response.writeHead(204).end()
    happenings.emit('acknowledgement')
  }

  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?')
    requests.push(`${request.method} ${path}`)
    const prefix = answers.keys().find((candidate) => path.startsWith(candidate))
    const listener = answers.get(prefix ?? '') ?? usual
    listener(request, response)
    happenings.emit(path)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const fake: FakeAuthority = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    acknowledgements,
    requests,
    get streamCount() {
      return streams.size
    },
    delivery,
    send: (event, data) => {
      for (const response of streams) response.write(toEvent(event, data))
    },
    push: () => fake.send('manifest', delivery()),
    answer: (pathPrefix, listener) => {
      if (listener === undefined) answers.delete(pathPrefix)
      else answers.set(pathPrefix, listener)
    },
    acknowledged: async (count = acknowledgements.length + 1) => {
      while (acknowledgements.length < count) await once(happenings, 'acknowledgement')
    },
    asked: async (path) => {
      await once(happenings, path)
    },
    disconnect: () => server.closeAllConnections(),
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return fake
}

function answerJson(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(text)
}

function toEvent(event: string, data: string): string {
  return `event: ${event}\ndata: ${data}\n\n`
}
