/**
 * The gateway's numbers for Prometheus. Labels are names of ours, never what a presenter of tokens chose.
 * @module
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** How a decision was asked for. */
export type Way = 'auth' | 'introspect' | 'envoy'

/** What is looked at when somebody asks for the numbers. */
export interface Observed {
  readonly manifestVersion: number | undefined
  readonly manifestAgeSeconds: number
  readonly isReady: boolean
  readonly watchedSessions: number
  connections(): Promise<number>
}

export interface Metrics {
  countDecision(way: Way, verdict: string, seconds: number): void
  countReload(result: 'taken' | 'refused'): void
  /** The exposition text, and its media type. */
  text(): Promise<string>
  readonly contentType: string
}

export function createMetrics(observed: Observed): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const decisions = new Counter({
    name: 'countersign_gateway_decisions_total',
    help: 'Decisions about tokens, by how they were asked for and how they fell',
    labelNames: ['way', 'verdict'],
    registers,
  })
  const seconds = new Histogram({
    name: 'countersign_gateway_decision_seconds',
    help: 'How long a decision took, without the connection',
    labelNames: ['way'],
    buckets: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1],
    registers,
  })
  const reloads = new Counter({
    name: 'countersign_gateway_reloads_total',
    help: 'Configurations that were read again, by what came of it',
    labelNames: ['result'],
    registers,
  })
  gauge(
    'manifest_version',
    'Version of the manifest that is decided by; 0 without one',
    () => observed.manifestVersion ?? 0,
  )
  gauge(
    'manifest_age_seconds',
    'Since the authority last vouched for the manifest',
    () => observed.manifestAgeSeconds,
  )
  gauge('ready', 'Whether tokens can be accepted', () => Number(observed.isReady))
  gauge('watched_tokens', 'Tokens whose sessions will be ended with them', () => observed.watchedSessions)
  gauge('connections', 'Open connections', () => observed.connections())

  function gauge(name: string, help: string, read: () => number | Promise<number>): void {
    new Gauge({
      name: `countersign_gateway_${name}`,
      help,
      registers,
      async collect() {
        this.set(await read())
      },
    })
  }

  return {
    countDecision: (way, verdict, took) => {
      decisions.inc({ way, verdict })
      seconds.observe({ way }, took)
    },
    countReload: (result) => reloads.inc({ result }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
