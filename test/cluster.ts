/**
 * A gateway of several processes, and connections enough to reach each of them.
 * @module
 */

import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { publicHalf } from '../validator/src/document.ts'
import { readEnrolment } from '../validator/src/enrolment.ts'
import { type Edge, type EdgeOptions, startEdge } from './edge.ts'
import { descendants } from './processes.ts'

export const WORKERS = 2

export async function start(t: TestContext, { config, ...options }: EdgeOptions = {}): Promise<Edge> {
  const edge = await startEdge({ config: { workers: WORKERS, ...config }, ...options })
  t.after(() => edge.stop())
  return edge
}

export function workersOf({ gateway }: Edge): number[] {
  return descendants(gateway.process.pid ?? 0).map(({ pid }) => pid)
}

/** Connections of their own that stay open, so many that every worker has some. */
export class Connections {
  readonly #agents: Agent[]
  constructor(t: TestContext, count = 4 * WORKERS) {
    this.#agents = Array.from({ length: count }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
    t.after(() => this.#agents.forEach((agent) => void agent.destroy()))
  }

  /** What each of them is told, one after the other. */
  async ask(edge: Edge, headersOf: (n: number) => object, path = '/auth'): Promise<IncomingMessage[]> {
    const answers: IncomingMessage[] = []
    for (const [n, agent] of this.#agents.entries())
      answers.push(await answerOf(edge.gateway.port, agent, { ...headersOf(n) }, path))
    return answers
  }
}

export async function answerOf(
  port: number,
  agent: Agent | false,
  headers: Record<string, string>,
  path = '/auth',
): Promise<IncomingMessage> {
  const outgoing = request({ host: '127.0.0.1', port, path, agent, headers }).end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  answer.resume()
  await once(answer, 'end')
  return answer
}

/** Whether as many answer as should; a worker that is new is there before it does. */
export async function allAnswer(edge: Edge): Promise<boolean> {
  return (await numberOf(edge, 'countersign_gateway_workers').catch(() => 0)) === WORKERS
}

export function verdicts(answers: readonly IncomingMessage[]): string[] {
  return [
    ...new Set(answers.map(({ statusCode, headers }) => `${headers['x-countersign-reason'] ?? statusCode}`)),
  ]
}

export const withToken = (token: string) => () => ({ authorization: `Bearer ${token}` })

export async function numberOf(edge: Edge, name: string): Promise<number> {
  const url = `http://127.0.0.1:${edge.gateway.port}/metrics`
  // On a connection of its own: who answered the last time may be gone.
  const shown = await (await fetch(url, { headers: { connection: 'close' } })).text()
  const line = shown.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1))
}

export function enrolmentOf({ folder }: Edge) {
  return publicHalf(readEnrolment('gateway', join(folder, 'enrolment.json')).privateKey)
}
