/**
 * What the gateway counts: decisions, reloads, and how far it is.
 * @module
 */

import { Numbers, type Snapshot } from '@countersign/service/metrics'
import type { TrustSource } from '@countersign/validator/manifest'

/** How a decision was asked for. */
export type Way = 'auth' | 'introspect' | 'envoy'

/** What is looked at when somebody asks for the numbers. */
export interface Observed {
  readonly trust: TrustSource
  readonly isReady: boolean
  readonly watchedSessions: number
  connections(): Promise<number>
  /** Which worker of several this process is. Left out: it is none. */
  readonly worker?: number | undefined
  /** How many workers answer, at their primary. Left out: it is none. */
  readonly workers?: (() => number) | undefined
}

export interface Metrics {
  countDecision(way: Way, verdict: string, seconds: number): void
  countReload(result: 'taken' | 'refused'): void
  countReplacement(): void
  /** Of this process, to be put together with those of others. */
  snapshot(): Promise<Snapshot>
  /** Of this process, in the text format. */
  text(): Promise<string>
}

export function createMetrics(observed: Observed): Metrics {
  const numbers = new Numbers()
  numbers.addProcess()
  const decisions = numbers.counter(
    'countersign_gateway_decisions_total',
    'Decisions about tokens, by how they were asked for and how they fell',
    ['way', 'verdict'],
  )
  const seconds = numbers.histogram(
    'countersign_gateway_decision_seconds',
    'How long a decision took, without the connection',
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1],
    ['way'],
  )
  const reloads = numbers.counter(
    'countersign_gateway_reloads_total',
    'Configurations that were read again, by what came of it',
    ['result'],
  )
  const replacements = numbers.counter(
    'countersign_gateway_workers_replaced_total',
    'Workers that ended by themselves, or were ended since they did not answer',
  )
  // Of several processes, the one that is furthest behind.
  numbers.reading(
    'countersign_gateway_manifest_version',
    'Version of the manifest that is decided by; 0 without one',
    () => observed.trust.state?.manifest.version ?? 0,
    'min',
  )
  numbers.reading(
    'countersign_gateway_manifest_age_seconds',
    'Since the authority last vouched for the manifest',
    () => observed.trust.ageSeconds(),
    'max',
  )
  numbers.reading(
    'countersign_gateway_ready',
    'Whether tokens can be accepted',
    () => Number(observed.isReady),
    'min',
  )
  numbers.reading(
    'countersign_gateway_watched_tokens',
    'Tokens whose sessions will be ended with them',
    () => observed.watchedSessions,
  )
  numbers.reading('countersign_gateway_connections', 'Open connections', () => observed.connections())
  if (observed.workers !== undefined)
    numbers.reading('countersign_gateway_workers', 'Workers that answer', observed.workers)
  const heap =
    observed.worker === undefined
      ? undefined
      : numbers.gauge('countersign_gateway_worker_heap_bytes', 'Heap in use, by worker', ['worker'])

  return {
    countDecision: (way, verdict, took) => {
      decisions.inc({ way, verdict })
      seconds.observe({ way }, took)
    },
    countReload: (result) => reloads.inc({ result }),
    countReplacement: () => replacements.inc(),
    snapshot: () => {
      if (observed.worker !== undefined)
        heap?.set({ worker: observed.worker }, process.memoryUsage().heapUsed)
      return numbers.registry.getMetricsAsJSON()
    },
    text: () => numbers.registry.metrics(),
  }
}
