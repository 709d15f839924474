/**
 * What a service counts, for Prometheus to read at `GET /metrics`. Labels are names of ours (realms, keys, reasons), never
 * what a presenter of tokens chose: every value that a label ever had is kept.
 * @module
 */

import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

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

  /** A gauge that is looked at when somebody asks. */
  reading(name: string, help: string, read: () => number | Promise<number>): void {
    new Gauge({
      name,
      help,
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

/** Adds `GET /metrics` to a server. What is set rather than read, `refresh` sets before each answer. */
export function serveNumbers(http: FastifyInstance, { registry }: Numbers, refresh?: () => void): void {
  http.get('/metrics', async (_request, reply) => {
    refresh?.()
    return reply.type(registry.contentType).send(await registry.metrics())
  })
}
