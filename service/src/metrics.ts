/**
 * What a service counts, for Prometheus to read at `GET /metrics`. Labels are names of ours (realms, keys, reasons), never
 * what a presenter of tokens chose: every value that a label ever had is kept.
 * @module
 */

import type { FastifyInstance } from 'fastify'
import {
  type Aggregator,
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  Registry,
} from 'prom-client'

export class Numbers {
  readonly registry: Registry = new Registry()

  counter<Label extends string = never>(
    name: string,
    help: string,
    labels: readonly Label[] = [],
  ): Counter<Label> {
    return new Counter({ name, help, labelNames: labels, registers: [this.registry] })
  }

  gauge<Label extends string = never>(
    name: string,
    help: string,
    labels: readonly Label[] = [],
  ): Gauge<Label> {
    return new Gauge({ name, help, labelNames: labels, registers: [this.registry] })
  }

  /** A gauge that is looked at when somebody asks. `together`: what several processes have in its place, their sum unless it is said. */
  reading(
    name: string,
    help: string,
    read: () => number | Promise<number>,
    together: Aggregator = 'sum',
  ): void {
    new Gauge({
      name,
      help,
      aggregator: together,
      registers: [this.registry],
      async collect() {
        this.set(await read())
      },
    })
  }

  /** `buckets` are the upper bounds of what is told apart. */
  histogram<Label extends string = never>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: readonly Label[] = [],
  ): Histogram<Label> {
    return new Histogram({
      name,
      help,
      labelNames: labels,
      buckets: [...buckets],
      registers: [this.registry],
    })
  }

  /** Memory, processor time and event loop of this process. */
  addProcess(): void {
    collectDefaultMetrics({ register: this.registry })
  }
}

/** The numbers of one process as of now, to be put together with those of others. */
export type Snapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

/** The text format, of several processes together. */
export function formatTogether(snapshots: readonly Snapshot[]): Promise<string> {
  return AggregatorRegistry.aggregate([...snapshots]).metrics()
}

/**
 * What a process counted that has ended, added to what was kept of others: a sum that fell would be taken for a new beginning, and
 * all of it be counted once more.
 */
export function keepCounts(kept: Snapshot, last: Snapshot): Promise<Snapshot> {
  const counts = last.filter(({ type }) => counting.has(`${type}`))
  return AggregatorRegistry.aggregate([kept, counts]).getMetricsAsJSON()
}

const counting: ReadonlySet<string> = new Set(['counter', 'histogram'])

/** Adds `GET /metrics` to a server. What is set rather than read, `refresh` sets before each answer. */
export function serveNumbers(http: FastifyInstance, { registry }: Numbers, refresh?: () => void): void {
  http.get('/metrics', async (_request, reply) => {
    refresh?.()
    return reply.type(registry.contentType).send(await registry.metrics())
  })
}
