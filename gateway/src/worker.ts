/**
 * A worker of a gateway: it answers, by what its primary tells it. It follows no authority and acknowledges nothing; it verifies
 * what it is told, asks its primary what all workers have to know together, and reports its own sightings from a folder of its
 * own.
 * @module
 */

import { createPrivateKey } from 'node:crypto'
import { createLog, type Logger } from '@countersign/service'
import type { Snapshot } from '@countersign/service/metrics'
import { connected } from '@countersign/validator/connected'
import type { Enrolment } from '@countersign/validator/enrolment'
import { createReporter } from '@countersign/validator/reporter'
import { openChannel, type Wire } from './channel.ts'
import { createFront } from './front.ts'
import { joinKin, sightingsFolder } from './kin.ts'
import type { Order, Request } from './messages.ts'
import { createMetrics } from './metrics.ts'
import { READY_MILLISECONDS_MAX } from './ready.ts'
import { createRelayed, type Relayed } from './relayed.ts'
import { type Settings, tellProblems, validatorOptions } from './settings.ts'
import { ANSWER_MILLISECONDS_MAX, createSharedReplay } from './shared-replay.ts'

/** What is not done by then is not waited for. */
const STOP_MILLISECONDS_MAX = 3000

/** Runs this process as a worker of the one that made it, until it is told to stop or that one has gone. */
export function runWorker(): void {
  let log = createLog('gateway')
  let worker: Promise<Worker> | undefined
  let relayed: Relayed | undefined
  let stopping: Promise<void> | undefined
  const wire: Wire = {
    send: (message, sent) => process.send?.(message, undefined, {}, sent),
    onMessage: (listener) => void process.on('message', listener),
    onClose: (listener) => void process.on('disconnect', listener),
  }
  const primary = openChannel<Request, Order>(wire, (order) => obey(order))

  function obey(order: Order): unknown {
    switch (order.kind) {
      case 'begin':
        log = log.child({ worker: order.worker })
        relayed = createRelayed({
          trustAnchor: order.trustAnchor,
          pushedRoots: order.settings.config.pushed_roots,
          onProblem: tellProblems(log),
        })
        return begin(order, relayed)
      case 'listen':
        return begun().then((each) => each.listen())
      case 'state':
        return relayed?.take(order.documents)
      case 'freshness':
        return relayed?.renew(order.statement)
      case 'roots':
        return relayed?.takeRoots(order.statement)
      case 'prepare':
        return begun().then((each) => each.prepare(order.settings))
      case 'take':
        return begun().then((each) => each.take(order.settings))
      case 'count':
        return begun().then((each) => each.numbers())
      case 'ping':
        return undefined
      case 'stop':
        return stop()
      default:
        return order satisfies never
    }
  }

  async function begun(): Promise<Worker> {
    if (worker === undefined) throw new Error('nothing was begun')
    return worker
  }

  /** What comes meanwhile waits for it, in order; trust does not. */
  async function begin(order: Order & { readonly kind: 'begin' }, trust: Relayed): Promise<number> {
    const { documents, freshness } = order
    const version = documents === undefined ? 0 : trust.take(documents)
    if (freshness !== undefined) trust.renew(freshness)
    worker = createWorker(order, trust, primary.ask, log)
    await worker
    return Math.max(version, trust.state?.manifest.version ?? 0)
  }

  function stop(): Promise<void> {
    stopping ??= (async () => {
      const late = setTimeout(() => {
        log.error('did not stop in time')
        process.exit(1)
      }, STOP_MILLISECONDS_MAX)
      await (await worker?.catch(() => undefined))?.stop()
      clearTimeout(late)
      process.exit(0)
    })()
    return stopping
  }

  process.on('disconnect', () => void stop())
  process.on('SIGTERM', () => void stop())
  // Whoever sends these means the gateway, and its primary will say what is to be done.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
}

interface Worker {
  listen(): Promise<object>
  prepare(settings: Settings): void
  take(settings: Settings): void
  numbers(): Promise<Snapshot>
  stop(): Promise<void>
}

type Ask = <Answer>(request: Request, milliseconds: number) => Promise<Answer>

async function createWorker(
  { worker, settings, enrolmentKey }: Order & { readonly kind: 'begin' },
  trust: Relayed,
  ask: Ask,
  log: Logger,
): Promise<Worker> {
  const { config } = settings
  joinKin(config.state)
  const privateKey = createPrivateKey({ key: { ...enrolmentKey }, format: 'jwk' })
  const enrolment: Enrolment = { name: config.enrolment.name, privateKey }
  const options = validatorOptions(config, log)
  const reporter =
    config.sentinel === undefined
      ? undefined
      : createReporter({
          sentinel: config.sentinel,
          enrolment,
          folder: sightingsFolder(config.state, worker),
          onProblem: options.onProblem,
        })
  const validator = connected(options, { trust, reporter })
  const metrics = createMetrics({
    worker,
    trust,
    get isReady() {
      return validator.isReady
    },
    watchedSessions: 0,
    connections: () => front.connections(),
  })
  const front = await createFront(settings, {
    validator,
    replay: createSharedReplay((proofs) => ask({ kind: 'proofs', proofs }, ANSWER_MILLISECONDS_MAX)),
    enrolment,
    // Its primary decides for itself: it watches over what it found to be good, and a worker that asks is believed nothing.
    watch: ({ client_id: clientId }, token) =>
      ask<boolean>({ kind: 'watch', clientId, token }, ANSWER_MILLISECONDS_MAX).catch(() => false),
    metrics,
    numbersText: () => ask<string>({ kind: 'numbers' }, ANSWER_MILLISECONDS_MAX),
    log,
  })
  let prepared: (() => void) | undefined
  return {
    listen: async () => {
      await validator.whenReady(READY_MILLISECONDS_MAX)
      return front.listen()
    },
    prepare: (next) => {
      prepared = front.prepare(next)
    },
    take: (next) => {
      // One that began meanwhile was not asked before.
      const take = prepared ?? front.prepare(next)
      prepared = undefined
      take()
    },
    numbers: metrics.snapshot,
    stop: async () => {
      await front.stop()
      await validator.stop()
    },
  }
}
