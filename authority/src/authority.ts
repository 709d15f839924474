/**
 * The control plane: which keys are trusted now, made known to every validator within moments. It cannot leave the
 * charter, cannot invent a key, and publishes nothing that the witness has not logged.
 * @module
 */

import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openBrokerAdmin } from '@countersign/broker/client'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { readPrivateFile } from '@countersign/validator/private-file'
import { openCharters } from './charters.ts'
import type { Acks, CommandAnswer } from './client.ts'
import { applyCommand, readCommand } from './command.ts'
import type { AuthorityConfig } from './config.ts'
import { Denial } from './denial.ts'
import { createHerald } from './herald.ts'
import { readManifestKey } from './init.ts'
import { createKeeper, type Keeper } from './keeper.ts'
import { openPublisher, type Publisher } from './publisher.ts'
import { openRegistry } from './registry.ts'
import { addRoutes } from './routes.ts'
import { openStore } from './store.ts'
import { connectWitness } from './witness.ts'

/** How often time is asked whether something is due; each failure in a row lets it wait one step longer. */
const keepMilliseconds = { step: 1000, most: 30_000 }
const keepMillisecondsAtFirst = { step: 100, most: 1000 }
/** Witness and broker may start later, or anew: that is worth a line only when it lasts. */
const FAILURES_SILENT_MAX = 10

export interface Authority extends Running {
  readonly keeper: Keeper
  readonly publisher: Publisher
}

/**
 * Starts the authority. It answers at once; until broker and witness have helped to make the first manifest, whoever
 * asks for it is told to come back.
 */
export async function startAuthority(
  config: AuthorityConfig,
  log: Logger,
  { now = () => Date.now() / 1000 }: { readonly now?: () => number } = {},
): Promise<Authority> {
  const manifestKey = readManifestKey(config.data)
  const enrolmentToken = readPrivateFile(config.enrolment_token)
  const trustAnchor = readFileSync(config.trust_anchor, 'utf8')
  const store = await openStore(join(config.data, 'authority.db'))
  const charters = await openCharters(store, config.charter, parseTrustAnchor(JSON.parse(trustAnchor)))
  const charter = charters.newest
  const witness = connectWitness(config.witness_socket)
  const broker = openBrokerAdmin(config.broker_socket)
  const herald = createHerald(manifestKey, now)
  const registry = await openRegistry(store, now, (error) => {
    log.error({ error: error.message }, 'acknowledgements were not stored')
  })
  const publisher = await openPublisher({
    store,
    charter,
    manifestKey,
    witness,
    lifetimeSeconds: config.manifest_lifetime_seconds,
    now,
    onPublished: herald.proclaim,
  })
  // When the witness is away, the keeper asks again.
  await publisher.compareWithLog().catch(async (error) => {
    if (!isBehind(error)) return
    witness.close()
    await store.close()
    throw error
  })
  const keeper = createKeeper({ charter, publisher, broker, allHaveHeard, now })

  function acks(): Acks {
    return registry.progress(publisher.newest?.manifest.version ?? 0, herald.connected())
  }

  function allHaveHeard(): boolean {
    const connected = herald.connected()
    return !acks().silent.some((name) => connected.has(name))
  }

  async function command(token: string): Promise<CommandAnswer> {
    const at = Math.floor(now())
    const given = readCommand(token, charter, at)
    const answer = await publisher.change(
      async (trust) => {
        if (publisher.newest === undefined) throw new Denial('no_manifest_yet')
        if (await store.isCommandKnown(given.jti)) throw new Denial('command_replayed')
        return applyCommand(trust, charter, given, at)
      },
      { command: given, token, at },
    )
    const { op, by, realm, kid, reason } = given
    log.info({ op, by, realm, kid, reason, ...answer }, 'a command was carried out')
    return answer
  }

  if (publisher.newest !== undefined) herald.proclaim(publisher.newest)
  const http = createHttp(log)
  addRoutes(http, {
    trustAnchor,
    enrolmentToken,
    manifest: () => herald.manifest,
    charter: charters.textOf,
    acks,
    enrolled: registry.enrolled,
    openStream: herald.openStream,
    command,
    acknowledge: (statement) => registry.acknowledge(statement, herald.sha256Of),
    enrol: registry.enrol,
  })
  await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const { port } = http.server.address() as AddressInfo

  const vouching = setInterval(herald.vouch, config.freshness_seconds * 1000)
  const stopping = new AbortController()
  // Ends by itself only when this folder proves to be an old copy: then nothing that it says is vouched for any more.
  const keeping = keepOn(keeper, publisher, log, stopping.signal).finally(() => clearInterval(vouching))

  return {
    ready: { url: `http://127.0.0.1:${port}` },
    keeper,
    publisher,
    stop: async () => {
      stopping.abort()
      herald.close()
      await http.close()
      witness.close()
      broker.close()
      await keeping
      await publisher.settled()
      await registry.close()
      await store.close()
    },
  }
}

/** Does what is due, again and again. Says when something has been missing for a while, and when it is back. */
async function keepOn(keeper: Keeper, publisher: Publisher, log: Logger, signal: AbortSignal): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    const error: Error | undefined = await keeper.keep().catch((reason) => reason)
    if (signal.aborted) return
    if (isBehind(error)) return log.fatal({ error: error.message }, 'stopped vouching')
    if (error === undefined && failures >= FAILURES_SILENT_MAX) log.warn('upkeep goes on')
    failures = error === undefined ? 0 : failures + 1
    if (failures === FAILURES_SILENT_MAX) log.warn({ error: error?.message }, 'upkeep waits')
    const { step, most } = publisher.newest === undefined ? keepMillisecondsAtFirst : keepMilliseconds
    await delay(Math.min(most, step * (failures + 1)), undefined, { signal }).catch(() => {})
  }
}

function isBehind(error: unknown): error is Denial {
  return error instanceof Denial && error.code === 'behind_log'
}
