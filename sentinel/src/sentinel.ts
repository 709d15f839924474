/**
 * Finds out that a key was stolen, and blocks it. Validators report what they see, the log says what was issued, the
 * signers say what they signed. Where the three do not agree, or a valid signature was refused, there is an alert; and
 * where the policy says so, the key is blocked before anybody has read it.
 * @module
 */

import { mkdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { createAlarm } from './alarm.ts'
import type { Finding } from './alert.ts'
import type { SentinelConfig } from './config.ts'
import { createContainment } from './containment.ts'
import { createCountAudit } from './counts.ts'
import { createDirectory } from './directory.ts'
import { createIntake } from './intake.ts'
import { createLogReader } from './log-reader.ts'
import { createMetrics } from './metrics.ts'
import { addRoutes } from './routes.ts'
import { forgetOld, openStore } from './store.ts'
import { createUsageIntake } from './usage.ts'
import {
  createPacer,
  createRotationWatch,
  createSilenceWatch,
  findBrokenGlass,
  findFullManifest,
  findOldKeys,
  findStaleLogs,
  findUnenforced,
  findUnheard,
  keyAges,
} from './watch.ts'
import { createWebhook, readWebhookSecret } from './webhook.ts'
import { connectWorld, type World } from './world.ts'

/** How often each thing is looked at. */
const LOOK_MILLISECONDS = { log: 300, conditions: 1000, counts: 5000, age: 3_600_000 } as const

export async function startSentinel(
  config: SentinelConfig,
  log: Logger,
  world: World = connectWorld(config, log),
): Promise<Running> {
  const { policy } = config
  const { trust, now } = world
  const startedSeconds = now() / 1000
  const onProblem = (problem: Error): void => log.warn({ problem: problem.message }, 'not all is well')
  const ending = new AbortController()

  mkdirSync(config.data, { recursive: true, mode: 0o700 })
  const database = await openStore(join(config.data, 'sentinel.sqlite'))
  const alarm = createAlarm({ database, policy, trust, isDelivered: config.webhook !== undefined, now })
  const metrics = createMetrics()
  const reader = createLogReader({
    database,
    alarm,
    witness: config.witness,
    mergeDelaySeconds: policy.merge_delay_seconds,
    pollMilliseconds: LOOK_MILLISECONDS.log,
    onProblem,
    now,
  })
  const containment = createContainment({
    database,
    block: world.block,
    acks: world.acks,
    onContained: ({ ordered_ms }) => metrics.observeBlock((now() - ordered_ms) / 1000),
    onProblem,
    now,
  })
  const webhook =
    config.webhook &&
    createWebhook({
      database,
      alarm,
      url: config.webhook.url,
      secret: readWebhookSecret(config.webhook.key),
      onProblem,
      now,
    })
  alarm.onAlert((alert, isNew) => isNew && metrics.countAlert(alert))
  alarm.onOrder(() => {
    containment.wake()
    webhook?.wake()
  })
  world.onState(reader.follow)

  const findSilent = createSilenceWatch(policy.silent_seconds)
  const findLate = createRotationWatch()
  const pace = createPacer((due) => alarm.record(async () => due))
  const audit = createCountAudit({
    database,
    alarm,
    counters: world.counters,
    readPast: reader.readPast,
    metrics,
    now,
  })

  async function lookAtConditions(): Promise<void> {
    const nowSeconds = now() / 1000
    const acks = await world.acks().catch(onProblem)
    const proofs = await world.proofs().catch(onProblem)
    const rotation = await world.rotation().catch(onProblem)
    const { state } = trust
    metrics.showLogs(reader.logs)
    if (acks) metrics.showSilent(acks.silent.length)
    if (state) metrics.showKeys(keyAges(state, nowSeconds))
    const findings: Finding[] = [
      ...(state ? findOldKeys(state, nowSeconds) : []),
      ...(state ? findBrokenGlass(state, nowSeconds) : []),
      ...(state ? findFullManifest(state, nowSeconds) : []),
      ...(rotation ? findUnheard(rotation, nowSeconds) : []),
      ...(rotation ? findLate(rotation, nowSeconds) : []),
      ...(acks ? findSilent(acks, nowSeconds) : []),
      ...(proofs ? findUnenforced(proofs, state?.manifest.keys ?? new Map(), nowSeconds) : []),
      ...findStaleLogs(reader.logs, startedSeconds, nowSeconds),
    ]
    await pace(findings, nowSeconds)
  }

  async function repeat(milliseconds: number, task: () => Promise<void>): Promise<void> {
    while (!ending.signal.aborted) {
      await task().catch(onProblem)
      await delay(milliseconds, undefined, { signal: ending.signal }).catch(() => {})
    }
  }

  const http = createHttp(log)
  const enrolledKey = createDirectory(world.enrolled)
  const takeReport = createIntake({
    alarm,
    trust,
    enrolledKey,
    onSighting: metrics.countSighting,
    now,
  })
  const takeUsage = createUsageIntake(database, enrolledKey, now)
  addRoutes(http, { database, alarm, metrics, takeReport, takeUsage, trust, now })
  await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const repeating = [
    repeat(LOOK_MILLISECONDS.conditions, lookAtConditions),
    repeat(LOOK_MILLISECONDS.counts, audit),
    repeat(LOOK_MILLISECONDS.age, () => forgetOld(database, policy.retention_days, now())),
  ]
  // Orders of an earlier run that it did not get to.
  containment.wake()

  const { port } = http.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    ready: { url, alerts: `${url}/alerts` },
    stop: async () => {
      ending.abort()
      await http.close()
      await Promise.all([reader.stop(), containment.stop(), webhook?.stop(), world.stop()])
      await Promise.all(repeating)
      await database.destroy()
    },
  }
}
