/**
 * The simulated network: line sockets and HTTP between hosts, over links that can be slow, cut, or lose what was sent.
 * A connection keeps its order, as TCP does; requests overtake each other, get lost on the way there or back, and arrive
 * twice. What a cut link holds back arrives when it is whole again, unless the connection broke meanwhile.
 * @module
 */

import { EventEmitter } from 'node:events'
import { fault } from './disk.ts'
import type { Random } from './random.ts'
import type { Host, Process, Scheduler } from './scheduler.ts'

export interface HttpRequest {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Undefined: the body is a stream, and comes through `HttpExchange`. */
  readonly body: string | undefined
}

/** What a server does with a request. */
export interface HttpExchange {
  answer(answer: HttpAnswer): void
  write(bytes: Uint8Array | string): void
  end(): void
  /** Called when whoever asked has gone. */
  onGone(gone: () => void): void
}

export type HttpHandler = (request: HttpRequest, exchange: HttpExchange) => void

/** How bad the network is at the moment. */
export interface Weather {
  latencyMilliseconds: number
  /** How often a message takes a hundred times as long. */
  delayed: number
  /** How often a request gets lost on its way, how often its answer. */
  lost: number
  duplicated: number
}

/** Somebody between two hosts: gives an answer of their own, or undefined to let the request through. */
export type Interceptor = (request: HttpRequest, from: Host, to: string) => HttpAnswer | undefined

/** When something was sent, by true time, and how wrong its sender's clock was then. */
export interface Sent {
  readonly at: number
  readonly skewMilliseconds: number
}

interface Lane {
  /** Nothing on it arrives before what was sent earlier. */
  clearAt: number
}

interface Held {
  readonly from: Host
  readonly to: Host
  readonly arrive: () => void
}

export class Network {
  readonly weather: Weather = { latencyMilliseconds: 1, delayed: 0, lost: 0, duplicated: 0 }
  interceptor: Interceptor | undefined
  /** Hears every request that reaches a server. */
  onRequest: (request: HttpRequest) => void = () => {}
  /** Hears what a server has answered, when it arrives. */
  onAnswer: (from: string, to: Host, text: string, sent: Sent) => void = () => {}
  readonly #scheduler: Scheduler
  readonly #random: Random
  /** Always alive: what is on the wire belongs to nobody. */
  readonly #wire: Process
  readonly #listeners = new Map<string, { process: Process; accept: (socket: SimulatedSocket) => void }>()
  readonly #servers = new Map<string, { process: Process; handle: HttpHandler }>()
  readonly #cut = new Set<string>()
  #held: Held[] = []

  constructor(scheduler: Scheduler, random: Random, wire: Process) {
    this.#scheduler = scheduler
    this.#random = random
    this.#wire = wire
  }

  cut(one: string, other: string): void {
    this.#cut.add(linkOf(one, other))
  }

  heal(one: string, other: string): void {
    this.#cut.delete(linkOf(one, other))
    this.#release()
  }

  healAll(): void {
    this.#cut.clear()
    this.#release()
  }

  isCut(one: string, other: string): boolean {
    return one !== other && this.#cut.has(linkOf(one, other))
  }

  sentBy({ skewMilliseconds }: Host): Sent {
    return { at: this.#scheduler.now, skewMilliseconds }
  }

  /** Sends over a link; `arrive` runs on the wire, and enters whom it concerns. */
  send(from: Host, to: Host, lane: Lane | undefined, arrive: () => void): void {
    const { latencyMilliseconds, delayed } = this.weather
    const local = from === to
    const mean = local ? 0.05 : latencyMilliseconds
    const slow = !local && this.#random.chance(delayed) ? 100 : 1
    const at = Math.max(
      this.#scheduler.now + mean * this.#random.between(0.5, 2) * slow,
      lane === undefined ? 0 : lane.clearAt,
    )
    if (lane !== undefined) lane.clearAt = at
    this.#scheduler.after(at - this.#scheduler.now, this.#wire, () => {
      if (this.isCut(from.name, to.name)) this.#held.push({ from, to, arrive })
      else arrive()
    })
  }

  enter(process: Process, run: () => void): void {
    this.#scheduler.enter(process, run)
  }

  /** Runs as `process`, soon. */
  soon(process: Process, run: () => void): void {
    this.#scheduler.after(0, process, run)
  }

  listen(path: string, process: Process, accept: (socket: SimulatedSocket) => void): void {
    if (this.#listeners.get(path)?.process.isAlive) throw fault('EADDRINUSE', path)
    const listener = { process, accept }
    this.#listeners.set(path, listener)
    process.onEnd(() => this.unlisten(path, process))
  }

  unlisten(path: string, process: Process): void {
    if (this.#listeners.get(path)?.process === process) this.#listeners.delete(path)
  }

  /** A connection that is made soon, or fails soon. */
  connect(path: string, process: Process): SimulatedSocket {
    const socket = new SimulatedSocket(this, process)
    const listener = this.#listeners.get(path)
    const target = listener?.process
    if (target === undefined || this.isCut(process.host.name, target.host.name)) {
      this.soon(process, () => socket.fail(fault('ECONNREFUSED', path)))
      return socket
    }
    this.send(process.host, target.host, undefined, () => {
      if (!target.isAlive || this.#listeners.get(path) !== listener) {
        this.enter(process, () => socket.fail(fault('ECONNREFUSED', path)))
        return
      }
      const accepted = new SimulatedSocket(this, target)
      accepted.join(socket)
      this.enter(target, () => listener?.accept(accepted))
      this.soon(process, () => socket.emit('connect'))
    })
    return socket
  }

  /** Two ends of a connection between a process and its child. */
  pair(one: Process, other: Process): readonly [SimulatedSocket, SimulatedSocket] {
    const ends = [new SimulatedSocket(this, one), new SimulatedSocket(this, other)] as const
    ends[0].join(ends[1])
    return ends
  }

  serve(process: Process, handle: HttpHandler): void {
    this.#servers.set(process.host.name, { process, handle })
    process.onEnd(() => this.unserve(process))
  }

  unserve(process: Process): void {
    if (this.#servers.get(process.host.name)?.process === process) this.#servers.delete(process.host.name)
  }

  /** Sends a request; `hear` is called as the process that asked. Gives back how to give it up. */
  request(
    process: Process,
    request: HttpRequest,
    hear: {
      readonly answer: (answer: HttpAnswer) => void
      readonly bytes: (bytes: Buffer) => void
      readonly end: () => void
      readonly fail: () => void
    },
  ): () => void {
    const { host } = process
    const name = request.url.hostname
    const forged = this.interceptor?.(request, host, name)
    if (forged !== undefined) {
      this.#scheduler.after(1, process, () => hear.answer(forged))
      return () => {}
    }
    const server = this.#servers.get(name)
    if (server === undefined || this.isCut(host.name, name)) {
      // Refused where nobody listens; where the link is cut, nothing ever comes back.
      if (server === undefined) this.soon(process, hear.fail)
      return () => {}
    }
    const exchange = new Exchange(this, process, server.process, hear, this.#random.chance(this.weather.lost))
    if (this.#random.chance(this.weather.lost)) return () => {}
    const deliver = (to: Exchange): void =>
      this.send(host, server.process.host, undefined, () => {
        if (!server.process.isAlive || this.#servers.get(name) !== server) return to.refuse()
        this.onRequest(request)
        this.enter(server.process, () => server.handle(request, to))
      })
    deliver(exchange)
    if (this.#random.chance(this.weather.duplicated)) {
      deliver(new Exchange(this, process, server.process, silence, true))
    }
    return () => exchange.giveUp()
  }

  #release(): void {
    const held = this.#held
    this.#held = []
    for (const { from, to, arrive } of held) {
      if (this.isCut(from.name, to.name)) this.#held.push({ from, to, arrive })
      // In the order in which it was held, so that each connection keeps its own.
      else this.#scheduler.after(0.1, this.#wire, arrive)
    }
  }
}

const silence = { answer: () => {}, bytes: () => {}, end: () => {}, fail: () => {} }

/** A request under way. */
class Exchange implements HttpExchange {
  readonly #network: Network
  readonly #client: Process
  readonly #server: Process
  readonly #hear: Parameters<Network['request']>[2]
  readonly #isLost: boolean
  readonly #back: Lane = { clearAt: 0 }
  readonly #forget: (() => void)[]
  #gone: () => void = () => {}
  #isOver = false

  constructor(
    network: Network,
    client: Process,
    server: Process,
    hear: Parameters<Network['request']>[2],
    isLost: boolean,
  ) {
    this.#network = network
    this.#client = client
    this.#server = server
    this.#hear = hear
    this.#isLost = isLost
    this.#forget = [server.onEnd(() => this.#break()), client.onEnd(() => this.giveUp())]
  }

  answer(answer: HttpAnswer): void {
    if (answer.body !== undefined) this.#finish()
    const sent = this.#network.sentBy(this.#server.host)
    this.#tell(() => {
      this.#network.onAnswer(this.#server.host.name, this.#client.host, answer.body ?? '', sent)
      this.#hear.answer(answer)
    })
  }

  write(bytes: Uint8Array | string): void {
    const copy = Buffer.from(bytes as Uint8Array)
    const sent = this.#network.sentBy(this.#server.host)
    this.#tell(() => {
      this.#network.onAnswer(this.#server.host.name, this.#client.host, copy.toString(), sent)
      this.#hear.bytes(copy)
    })
  }

  end(): void {
    this.#finish()
    this.#tell(this.#hear.end)
  }

  onGone(gone: () => void): void {
    this.#gone = gone
  }

  refuse(): void {
    this.#finish()
    this.#network.enter(this.#client, this.#hear.fail)
  }

  /** Whoever asked does not wait any longer; the server learns of it when word reaches it. */
  giveUp(): void {
    if (this.#isOver) return
    this.#finish()
    this.#network.send(this.#client.host, this.#server.host, undefined, () => {
      this.#network.enter(this.#server, this.#gone)
    })
  }

  #break(): void {
    if (this.#isOver) return
    this.#finish()
    this.#tell(this.#hear.fail)
  }

  #tell(hear: () => void): void {
    if (this.#isLost || !this.#client.isAlive) return
    this.#network.send(this.#server.host, this.#client.host, this.#back, () => {
      this.#network.enter(this.#client, hear)
    })
  }

  #finish(): void {
    this.#isOver = true
    for (const forget of this.#forget.splice(0)) forget()
  }
}

/** One end of a connection, with as much of `net.Socket` as lines are spoken over. */
export class SimulatedSocket extends EventEmitter {
  writable = true
  readonly writableLength = 0
  readonly process: Process
  readonly #network: Network
  readonly #lane: Lane = { clearAt: 0 }
  readonly #unread: Buffer[] = []
  #peer: SimulatedSocket | undefined
  #isClosed = false

  constructor(network: Network, process: Process) {
    super()
    this.#network = network
    this.process = process
    this.on('newListener', (event) => {
      if (event === 'data' && this.#unread.length > 0) this.#flow()
    })
    process.onEnd(() => this.#leave())
  }

  join(peer: SimulatedSocket): void {
    this.#peer = peer
    peer.#peer = this
  }

  fail(error: Error): void {
    this.writable = false
    this.emit('error', error)
    this.#close()
  }

  write(text: string | Uint8Array): boolean {
    const peer = this.#peer
    if (!this.writable || peer === undefined) return false
    const bytes = Buffer.from(text as Uint8Array)
    this.#network.send(this.process.host, peer.process.host, this.#lane, () => {
      this.#network.enter(peer.process, () => peer.#receive(bytes))
    })
    return true
  }

  end(done?: () => void): this {
    this.#leave()
    if (done !== undefined) this.#network.soon(this.process, done)
    return this
  }

  destroy(): this {
    this.#leave()
    return this
  }

  #receive(bytes: Buffer): void {
    if (this.#isClosed) return
    // Nobody reads yet: a process that has just been started.
    if (this.listenerCount('data') === 0) this.#unread.push(bytes)
    else this.emit('data', bytes)
  }

  #flow(): void {
    this.#network.soon(this.process, () => {
      for (const bytes of this.#unread.splice(0)) this.#receive(bytes)
    })
  }

  #leave(): void {
    if (this.#isClosed) return
    const peer = this.#peer
    if (peer !== undefined) {
      this.#network.send(this.process.host, peer.process.host, this.#lane, () => {
        this.#network.enter(peer.process, () => peer.#close())
      })
    }
    this.#network.soon(this.process, () => this.#close())
    this.writable = false
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.writable = false
    this.emit('close')
  }
}

function linkOf(one: string, other: string): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`
}
