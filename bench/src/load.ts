/**
 * A load of HTTP requests that leaves the machine to whoever answers: requests are bytes that were made beforehand, on
 * connections that stay open, one at a time on each; of an answer only status and length are read.
 * @module
 */

import { once } from 'node:events'
import { connect } from 'node:net'
import type { Contender } from './rounds.ts'

/** Few, so that what is measured as time is work and not a queue; enough that nobody waits for this process. */
const CONNECTIONS = 16

export interface LoadOptions {
  readonly url: string
  /** The requests, taken in turn. */
  readonly requests: readonly Uint8Array[]
  /** A pass ends after the last of them; without it they are taken again. */
  readonly once?: boolean
  /** Runs before each pass, outside the measured time. */
  readonly prepare?: () => Promise<void>
  /** Seconds of processor time that the other side has taken so far. */
  readonly processorSeconds?: () => number | undefined
}

export interface LoadContender extends Contender {
  /** The time in milliseconds that a share of the answers came within, over all passes but the first, which warms up. */
  within(share: number): number
  /** Processor time of the other side for a request, over the same passes. */
  secondsPerRequest(): number
}

/** A contender that keeps all connections busy. Its pass throws at an answer that is not 200. */
export function requestsTo(
  name: string,
  { url, requests, once: isOnce = false, prepare, processorSeconds = () => undefined }: LoadOptions,
): LoadContender {
  const delays: number[] = []
  let isWarm = false
  let [seconds, answered] = [0, 0]
  const measure = async (milliseconds: number): Promise<number> => {
    await prepare?.()
    // Anew for each pass: between two of them a server may have closed what nobody used.
    const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(url)))
    const startedAt = performance.now()
    const before = processorSeconds()
    let count = 0
    const keepAsking = async ({ ask }: Connection): Promise<void> => {
      for (let at = startedAt; at - startedAt < milliseconds; ) {
        if (isOnce && count >= requests.length) return
        const request = requests[count++ % requests.length] as Uint8Array
        await ask(request)
        const now = performance.now()
        if (isWarm) delays.push(now - at)
        at = now
      }
    }
    await Promise.all(connections.map(keepAsking))
    const perSecond = (count / (performance.now() - startedAt)) * 1000
    for (const { close } of connections) close()
    if (isWarm) {
      seconds += (processorSeconds() ?? Number.NaN) - (before ?? Number.NaN)
      answered += count
    }
    isWarm = true
    return perSecond
  }
  return {
    name,
    measure,
    secondsPerRequest: () => seconds / answered,
    within: (share) => {
      const sorted = Float64Array.from(delays).sort()
      return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN
    },
  }
}

/** The bytes of a request with this token, with what a proxy would say of the original one. */
export function requestWith(url: string, token: string): Uint8Array {
  const { host, pathname } = new URL(url)
  const lines = [
    `GET ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    'User-Agent: bench',
    'X-Original-Method: GET',
    'X-Original-URI: /inbox/1',
    `Authorization: Bearer ${token}`,
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

interface Connection {
  /** Sends a request and settles with its answer. */
  ask(request: Uint8Array): Promise<void>
  close(): void
}

async function open(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), noDelay: true })
  await once(socket, 'connect')
  let waiting: { resolve(): void; reject(error: Error): void } | undefined
  let held: Buffer | undefined
  const fail = (message: string): void => {
    socket.destroy()
    waiting?.reject(new Error(message))
    waiting = undefined
  }
  socket.on('data', (bytes: Buffer) => {
    held = held === undefined ? bytes : Buffer.concat([held, bytes])
    const length = lengthOf(held)
    if (length === undefined || held.length < length) return
    if (held.toString('latin1', 9, 12) !== '200' || held.length > length) {
      fail(`the answer is ${held.toString('latin1', 0, 300)}`)
      return
    }
    held = undefined
    const { resolve } = waiting ?? {}
    waiting = undefined
    resolve?.()
  })
  socket.on('error', ({ message }) => fail(message))
  socket.on('close', () => fail('the connection was closed'))
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        socket.write(request)
      }),
    close: () => void socket.destroy(),
  }
}

/** Of an answer with head and body; undefined until its head is there. */
function lengthOf(held: Buffer): number | undefined {
  const end = held.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [, length] = /\r\ncontent-length: *(\d+)/i.exec(held.toString('latin1', 0, end)) ?? []
  if (length === undefined) throw new Error('an answer without content-length is not read here')
  return end + 4 + Number(length)
}
