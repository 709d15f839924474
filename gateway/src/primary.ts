/**
 * A gateway of several processes: this one follows the authority, and its workers decide. To the authority it is one validator,
 * and what it acknowledges all of them have applied: each newer state goes to every worker, which verifies it for itself and
 * says so, and the acknowledgement waits for the last. What has to be known together is known here: proofs that were shown,
 * sessions that end with their token, numbers.
 * @module
 */

import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Logger, Running } from '@countersign/service'
import { formatTogether, keepCounts, type Snapshot } from '@countersign/service/metrics'
import { parseTrustAnchor, type TrustAnchor } from '@countersign/validator/charter'
import { type ConnectedValidator, connected } from '@countersign/validator/connected'
import { readEnrolment } from '@countersign/validator/enrolment'
import { followManifest } from '@countersign/validator/follow'
import type { JsonObject } from '@countersign/validator/json'
import { createReplayCache } from '@countersign/validator/replay'
import type { GatewayConfig } from './config.ts'
import { createFleet } from './fleet.ts'
import { createKickers } from './kickers.ts'
import { takeOver } from './kin.ts'
import type { Order, Request } from './messages.ts'
import { createMetrics } from './metrics.ts'
import { readyOf } from './ready.ts'
import { reload } from './reload.ts'
import { readNextSettings, readSettings, type Settings, validatorOptions } from './settings.ts'

export interface PrimaryOptions {
  readonly config: GatewayConfig
  readonly workers: number
  readonly log: Logger
  reread(): GatewayConfig
}

/** So long a worker may take to look at a configuration, or to count. */
const PREPARE_MILLISECONDS_MAX = 5000
const COUNT_MILLISECONDS_MAX = 1000

export async function startPrimary({
  config: first,
  workers,
  log: unnamed,
  reread,
}: PrimaryOptions): Promise<Running> {
  const log = unnamed.child({ worker: 'primary' })
  const config = await withPorts(first)
  const enrolment = readEnrolment(config.enrolment.name, config.enrolment.key)
  const enrolmentKey = enrolment.privateKey.export({ format: 'jwk' }) as JsonObject
  const trustAnchor: TrustAnchor = JSON.parse(readFileSync(config.trust_anchor, 'utf8'))
  let settings = readSettings(config)
  await takeOver(config.state, 1)
  const options = validatorOptions(config, log)
  const replay = createReplayCache()
  let freshness: string | undefined
  let charterCount = 0
  let departed: Snapshot = []
  let departing = Promise.resolve()

  const fleet = createFleet({
    workers,
    log,
    begin,
    answer,
    newest: () => follower.state?.manifest.version ?? 0,
    onEnd: (member) => {
      metrics.countReplacement()
      departing = departing.then(async () => {
        departed = await keepCounts(departed, member.numbers)
      })
    },
  })
  const follower = followManifest({
    authority: config.authority,
    trustAnchor: parseTrustAnchor(trustAnchor),
    stateFile: join(config.state, 'manifest.json'),
    enrolment,
    pushedRoots: config.pushed_roots,
    onState: tellState,
    onFreshness: (statement) => {
      freshness = statement
      fleet.tell({ kind: 'freshness', statement })
    },
    onRoots: (statement) => fleet.tell({ kind: 'roots', statement }),
    whenApplied: fleet.whenApplied,
    onProblem: options.onProblem,
    onMisbehavior: options.onProblem,
  })
  let deciding: ConnectedValidator | undefined
  const kickers = createKickers(own, log)
  const metrics = createMetrics({
    trust: follower,
    isReady: true,
    get watchedSessions() {
      return kickers.watched
    },
    connections: async () => 0,
    workers: () => fleet.members.filter(({ listens }) => listens).length,
  })

  /** Watches over what mail servers opened, and reports nothing: a worker has seen the token. */
  function own(): ConnectedValidator {
    deciding ??= connected(options, { trust: follower })
    return deciding
  }

  function begin(worker: number): Order & { readonly kind: 'begin' } {
    const { documents } = follower
    return { kind: 'begin', worker, settings, trustAnchor, enrolmentKey, documents, freshness }
  }

  function tellState(): void {
    const { documents } = follower
    if (documents === undefined) return
    const { charters, manifest } = documents
    const news = charters.slice(charterCount)
    charterCount = charters.length
    fleet.tell({ kind: 'state', documents: { charters: news, manifest } })
  }

  function answer(request: Request): unknown {
    switch (request.kind) {
      case 'proofs':
        return Promise.all(request.proofs.map((proof) => replay.add(proof)))
      case 'watch': {
        const decision = own().decide(request.token)
        return decision.accepted && kickers.watch(request.clientId, decision.token)
      }
      case 'numbers':
        return numbersOfAll()
      default:
        return request satisfies never
    }
  }

  async function numbersOfAll(): Promise<string> {
    const asked = fleet.members.map(async (member) => {
      // Who does not answer has what it had: a sum that falls would be taken for a new beginning.
      member.numbers = await member
        .ask<Snapshot>({ kind: 'count' }, COUNT_MILLISECONDS_MAX)
        .catch(() => member.numbers)
      return member.numbers
    })
    return formatTogether([departed, await metrics.snapshot(), ...(await Promise.all(asked))])
  }

  /** One after the other. */
  let reloading = Promise.resolve()
  const readAgain = (): Promise<void> =>
    takeNext(readNextSettings(keepPorts(reread(), first, config), settings))
  function onReload(): void {
    reloading = reloading.then(() => reload(readAgain, metrics, log))
  }

  /** All workers take it, or none. */
  async function takeNext(next: Settings): Promise<void> {
    const asked = fleet.members
    await Promise.all(
      asked.map(({ ask, worker }) =>
        ask({ kind: 'prepare', settings: next }, PREPARE_MILLISECONDS_MAX).catch((problem: Error) => {
          // One that has ended meanwhile has nothing against it.
          if (fleet.members.some((member) => member.worker === worker && member.ask === ask))
            throw new Error(`worker ${worker}: ${problem.message}`)
        }),
      ),
    )
    kickers.take(next.clients)
    settings = next
    await Promise.all(
      fleet.members.map(({ ask }) =>
        ask({ kind: 'take', settings: next }, PREPARE_MILLISECONDS_MAX).catch(() => {}),
      ),
    )
  }

  async function stop(): Promise<void> {
    process.off('SIGHUP', onReload)
    await fleet.stop()
    kickers.stop()
    await (deciding ?? follower).stop()
  }

  try {
    kickers.take(settings.clients)
    // Before the workers wait for the authority: unheard, the signal would end all of them.
    process.on('SIGHUP', onReload)
    const places = await fleet.start()
    return { ready: { ...readyOf(config, places), workers }, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * With its ports: a worker that listens on a free one shares it with the others, and when all of them end at once their
 * successors would have another.
 */
async function withPorts(config: GatewayConfig): Promise<GatewayConfig> {
  const { listen, envoy } = config
  const port = listen.port === 0 ? await freePort() : listen.port
  if (envoy === undefined) return { ...config, listen: { port } }
  return { ...config, listen: { port }, envoy: { port: envoy.port === 0 ? await freePort() : envoy.port } }
}

/** What was left to us to choose was not changed where it is left to us again. */
function keepPorts(next: GatewayConfig, first: GatewayConfig, now: GatewayConfig): GatewayConfig {
  const isSame = next.listen.port === first.listen.port && next.envoy?.port === first.envoy?.port
  return isSame ? { ...next, listen: now.listen, envoy: now.envoy } : next
}

async function freePort(): Promise<number> {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { readonly port: number }
      server.close(() => resolve(port))
    })
  })
}
