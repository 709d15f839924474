/**
 * The workers of a gateway as processes: as many as are wanted, behind one port. One that ends is replaced, and so is one that
 * does not answer: nobody knows what it would decide by if it woke up. What they are told, and what a version is, is for
 * primary.ts to say.
 * @module
 */

import cluster, { type Worker as WorkerProcess } from 'node:cluster'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@countersign/service'
import type { Snapshot } from '@countersign/service/metrics'
import { type Channel, openChannel, type Wire } from './channel.ts'
import type { Places } from './front.ts'
import type { Order, Request } from './messages.ts'

export interface Member {
  readonly worker: number
  readonly ask: Channel<Order>['ask']
  /** What it has said that it decides by. */
  version: number
  /** Whether it may answer anybody. What it decides by then counts. */
  serves: boolean
  /** Whether it has begun to. */
  listens: boolean
  /** What it counted, when it was asked last. */
  numbers: Snapshot
}

export interface FleetOptions {
  readonly workers: number
  readonly log: Logger
  /** Told before all else, and answered with a version. */
  begin(worker: number): Order & { readonly kind: 'begin' }
  answer(request: Request): unknown
  /** The newest version: who decides by anything older does not begin to serve. */
  newest(): number
  /** One has ended that nobody told to. */
  onEnd(member: Member): void
}

export interface Fleet {
  readonly members: readonly Member[]
  /** Settles when all of them listen; rejects when one ends before that. */
  start(): Promise<Places>
  /** Tells all, and waits for nobody. What is answered is a version. */
  tell(order: Order & { readonly kind: 'state' | 'freshness' | 'roots' }): void
  /** Settles once all that serve decide by that version or a newer one. */
  whenApplied(version: number): Promise<void>
  stop(): Promise<void>
}

/** A worker that turns its event loop answers at once; so long nothing but a machine that stands still takes. */
const HANG_MILLISECONDS_MAX = 10_000
const PING_MILLISECONDS = 2000
/** One that ends as soon as it has begun will most likely do so again. */
const PAUSE_MILLISECONDS = { first: 100, last: 5000 } as const
const HEALTHY_MILLISECONDS = 10_000
/** Less than a service has to stop. */
const STOP_MILLISECONDS_MAX = 3500

export function createFleet(options: FleetOptions): Fleet {
  const { log } = options
  const members = new Map<WorkerProcess, Member>()
  const waiting = new Set<() => void>()
  const failures = new Map<number, number>()
  const timers = new Set<NodeJS.Timeout>()
  let isStopping = false
  // Each takes connections from the port itself, so one that hangs takes none, and one that dies leaves none with nobody. Handed
  // out by the primary, a connection on its way to a worker that dies stays open for ever.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ exec: fileURLToPath(new URL('./main.ts', import.meta.url)), args: [] })

  /** Makes one, and settles when it listens. Rejects when it ends before that. */
  async function make(worker: number): Promise<Places> {
    const forked = cluster.fork()
    const begunAt = performance.now()
    const { ask } = openChannel<Order, Request>(wireOf(forked), options.answer)
    const member: Member = { worker, ask, version: 0, serves: false, listens: false, numbers: [] }
    members.set(forked, member)
    void watch(forked, member)
    const ended = once(forked, 'exit').then(([code, signal]: unknown[]) => {
      members.delete(forked)
      wake()
      if (isStopping) return
      options.onEnd(member)
      log.error({ worker, code, signal }, 'a worker has ended and is replaced')
      replace(worker, performance.now() - begunAt)
    })
    const listening = listen(member)
    listening.catch(() => forked.process.kill('SIGKILL'))
    const gone = ended.then(() => Promise.reject(new Error(`worker ${worker} ended at its start`)))
    return Promise.race([listening, gone])
  }

  async function listen(member: Member): Promise<Places> {
    applied(member, await member.ask<number>(options.begin(member.worker)))
    // What is newer was sent already, and each answer is waited for here.
    while (member.version < options.newest()) await new Promise<void>((resolve) => waiting.add(resolve))
    // In one turn with the question: from here on nothing is acknowledged without it.
    member.serves = true
    const places = await member.ask<Places>({ kind: 'listen' })
    member.listens = true
    log.info({ worker: member.worker }, 'a worker answers')
    return places
  }

  function applied(member: Member, version: number): void {
    member.version = Math.max(member.version, version)
    wake()
  }

  function wake(): void {
    const all = [...waiting]
    waiting.clear()
    for (const resolve of all) resolve()
  }

  function replace(worker: number, lifeMilliseconds: number): void {
    const count = lifeMilliseconds > HEALTHY_MILLISECONDS ? 0 : (failures.get(worker) ?? 0)
    failures.set(worker, count + 1)
    const { first, last } = PAUSE_MILLISECONDS
    const timer = setTimeout(
      () => {
        timers.delete(timer)
        // That it did not come is heard of by its end.
        make(worker).catch(() => {})
      },
      Math.min(last, first * 2 ** count),
    )
    timers.add(timer)
  }

  /** Ends a worker that does not answer: what it was told it has not applied, and those who asked it wait. */
  async function watch(forked: WorkerProcess, member: Member): Promise<void> {
    while (!forked.isDead() && !isStopping) {
      const pause = new Promise((resolve) => setTimeout(resolve, PING_MILLISECONDS).unref())
      const isAlive = await member.ask({ kind: 'ping' }, HANG_MILLISECONDS_MAX).then(
        () => true,
        () => false,
      )
      if (!isAlive && !forked.isDead()) {
        log.error({ worker: member.worker }, 'a worker does not answer and is ended')
        forked.process.kill('SIGKILL')
        return
      }
      await pause
    }
  }

  return {
    get members() {
      return [...members.values()]
    },
    start: async () => {
      const places = await Promise.all(Array.from({ length: options.workers }, (_, n) => make(n + 1)))
      return places[0] as Places
    },
    tell: (order) => {
      for (const [forked, member] of members) {
        member.ask<number>(order).then(
          (version) => order.kind === 'state' && applied(member, version),
          (problem: Error) => {
            if (isStopping || forked.isDead()) return
            log.error({ worker: member.worker, problem: problem.message }, `did not take: ${order.kind}`)
            // Its successor verifies everything from the first document on.
            if (order.kind === 'state') forked.process.kill('SIGKILL')
          },
        )
      }
    },
    whenApplied: async (version) => {
      const isApplied = (): boolean =>
        [...members.values()].every((member) => !member.serves || member.version >= version)
      while (!isApplied()) await new Promise<void>((resolve) => waiting.add(resolve))
    },
    stop: async () => {
      isStopping = true
      for (const timer of timers) clearTimeout(timer)
      const all = [...members]
      const late = setTimeout(() => {
        for (const [forked] of all) forked.process.kill('SIGKILL')
      }, STOP_MILLISECONDS_MAX)
      await Promise.all(
        all.map(async ([forked, { ask }]) => {
          const gone = forked.isDead() ? undefined : once(forked, 'exit')
          ask({ kind: 'stop' }).catch(() => {})
          await gone
        }),
      )
      clearTimeout(late)
    },
  }
}

function wireOf(forked: WorkerProcess): Wire {
  return {
    send: (message, sent) => {
      if (forked.isConnected()) forked.send(message, (error) => sent(error))
      else sent(new Error('not connected'))
    },
    onMessage: (listener) => void forked.on('message', listener),
    onClose: (listener) => void forked.on('exit', listener),
  }
}
