/**
 * Reads every log that the manifest names, as it grows: the open one all the time, a sealed one to its end. What was
 * read is written down together with where to go on, so that a log which changes its past while the sentinel is away
 * is found out too.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { checkpointVerifiers } from '@countersign/validator/checkpoint'
import type { TrustState } from '@countersign/validator/manifest'
import {
  epochSource,
  followLog,
  type KnownLog,
  type LogGrowth,
  LogMisbehavior,
  type LogPosition,
} from '@countersign/witness/client'
import type { Alarm } from './alarm.ts'
import type { Finding } from './alert.ts'
import { countIssued } from './coverage.ts'
import { judgeOverdue, takeEntries } from './reconcile.ts'
import type { Database } from './store.ts'
import { countLive } from './usage.ts'

export interface LogReaderOptions {
  readonly database: Database
  readonly alarm: Alarm
  /** URL of the witness. */
  readonly witness: string
  readonly mergeDelaySeconds: number
  readonly pollMilliseconds: number
  readonly onProblem: (problem: Error) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export interface LogState {
  readonly origin: string
  readonly isOpen: boolean
  readonly size: number
  /** Seconds since the epoch: when the log last signed a checkpoint. */
  readonly signedAt: number
}

export interface LogReader {
  /** Follows the logs of this manifest from now on. */
  follow(trust: TrustState): void
  /** Settles when every log was read up to a checkpoint that was asked for after this call, or the time is up. */
  readPast(milliseconds: number): Promise<boolean>
  readonly logs: readonly LogState[]
  stop(): Promise<void>
}

/** A log that contradicted itself is looked at again after so long; it stays an alert. */
const AGAIN_MILLISECONDS = 5000

export function createLogReader(options: LogReaderOptions): LogReader {
  const { database, alarm, now } = options
  const following = new Map<string, Following>()
  const waiting = new Set<() => void>()
  const ending = new AbortController()

  function follow({ charter, manifest }: TrustState): void {
    for (const { origin, witness: name, state } of manifest.logs.values()) {
      const known = following.get(origin)
      const witness = charter.witnesses.find((each) => each.name === name)
      if (known?.isOpen && state === 'sealed') {
        known.isOpen = false
        known.rereading.abort()
      }
      if (known !== undefined || witness === undefined) continue
      const log: KnownLog = {
        source: epochSource(options.witness, origin),
        origin,
        verifiers: checkpointVerifiers(witness, origin),
      }
      const added = {
        origin,
        isOpen: state === 'open',
        size: 0,
        signedAt: 0,
        readPastMs: 0,
        rereading: new AbortController(),
        done: Promise.resolve(),
      }
      following.set(origin, added)
      added.done = readLog(log, added)
    }
  }

  async function readLog(log: KnownLog, following: Following): Promise<void> {
    while (!ending.signal.aborted) {
      try {
        if (await readOn(log, following)) return
      } catch (error) {
        options.onProblem(error as Error)
        if (error instanceof LogMisbehavior)
          await alarm.record(async () => [inconsistent(log.origin, now())]).catch(options.onProblem)
        await delay(AGAIN_MILLISECONDS, undefined, { signal: ending.signal }).catch(() => {})
      }
    }
  }

  /** True once a sealed log was read to its end. */
  async function readOn(log: KnownLog, following: Following): Promise<boolean> {
    following.rereading = new AbortController()
    const signal = AbortSignal.any([ending.signal, following.rereading.signal])
    const { pollMilliseconds, onProblem } = options
    const position = await readPosition(database, log.origin, following.isOpen)
    // What is handed out next was asked for after this.
    let askedMs = now()
    for await (const growth of followLog({ ...log, position, pollMilliseconds, signal, onProblem })) {
      const isWhole = growth.position.size === growth.checkpoint.size
      const isComplete = isWhole && !following.isOpen
      await take(log.origin, growth, askedMs, isComplete)
      following.size = growth.position.size
      following.signedAt = growth.position.signedAt
      if (isWhole) following.readPastMs = isComplete ? Number.POSITIVE_INFINITY : askedMs
      for (const check of waiting) check()
      if (isComplete) return true
      askedMs = now()
    }
    return false
  }

  async function take(
    origin: string,
    growth: LogGrowth,
    askedMs: number,
    isComplete: boolean,
  ): Promise<void> {
    const { entries, position, checkpoint } = growth
    const { size } = position
    await alarm.record(async (session) => {
      const progress = { origin, size, state: JSON.stringify(position), isComplete }
      const differing = await takeEntries(session, progress, entries)
      await countLive(session, entries, now())
      await countIssued(session, origin, entries)
      if (size < checkpoint.size) return differing
      // Nothing can come any more of what a complete log does not hold.
      const overdueMs = isComplete ? Number.MAX_SAFE_INTEGER : askedMs - options.mergeDelaySeconds * 1000
      return [...differing, ...(await judgeOverdue(session, origin, size, overdueMs))]
    })
  }

  function readPast(milliseconds: number): Promise<boolean> {
    const afterMs = now()
    return new Promise((resolve) => {
      const late = setTimeout(() => settle(false), milliseconds)
      const settle = (isPast: boolean): void => {
        clearTimeout(late)
        waiting.delete(check)
        resolve(isPast)
      }
      const check = (): void => {
        const states = [...following.values()]
        if (ending.signal.aborted) settle(false)
        else if (states.length > 0 && states.every(({ readPastMs }) => readPastMs >= afterMs)) settle(true)
      }
      waiting.add(check)
      check()
    })
  }

  return {
    follow,
    readPast,
    get logs() {
      return [...following.values()].map(({ origin, isOpen, size, signedAt }) => ({
        origin,
        isOpen,
        size,
        signedAt,
      }))
    },
    stop: async () => {
      ending.abort()
      for (const check of waiting) check()
      await Promise.all([...following.values()].map(({ done }) => done))
    },
  }
}

interface Following {
  readonly origin: string
  isOpen: boolean
  size: number
  signedAt: number
  /** All that the log held at that time was read. */
  readPastMs: number
  /** Aborted where the log is to be read anew, to see that it has ended. */
  rereading: AbortController
  done: Promise<void>
}

async function readPosition(
  database: Database,
  origin: string,
  isOpen: boolean,
): Promise<LogPosition | undefined> {
  const row = await database
    .selectFrom('logs')
    .select('state')
    .where('origin', '=', origin)
    .executeTakeFirst()
  if (row === undefined) return undefined
  // Written by `take` alone.
  const position = JSON.parse(row.state) as LogPosition
  // The last checkpoint of a sealed log is news once more, since only now is it known to be the last.
  return isOpen ? position : { ...position, note: '' }
}

function inconsistent(origin: string, seenAt: number): Finding {
  return {
    rule: 'log_inconsistent',
    severity: 'critical',
    reason: 'proof_failed',
    realm: null,
    kid: null,
    actor: origin,
    validator: null,
    seenAt,
  }
}
