/**
 * The control plane: which keys are trusted now, made known to every validator within moments. It cannot leave the
 * charter, cannot invent a key, and publishes nothing that the witness has not logged.
 * @module
 */

import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openBrokerAdmin } from '@countersign/broker/client'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import { readPrivateFile } from '@countersign/validator/private-file'
import { listActs } from './acts.ts'
import { addCanaries, createCanaries, PROOFS_MAX } from './canary.ts'
import { openCharters } from './charters.ts'
import type { Acks, CommandAnswer, Rotation } from './client.ts'
import { applyCommand, noTrust, readCommand } from './command.ts'
import type { AuthorityConfig } from './config.ts'
import { Denial } from './denial.ts'
import { brokenGlass } from './glass.ts'
import { createHerald } from './herald.ts'
import { openManifestKeys } from './init.ts'
import { createKeeper, type Keeper } from './keeper.ts'
import { createLease, type Lease } from './lease.ts'
import { type Slot, slotsOf } from './lifecycle.ts'
import { addObservation } from './observe.ts'
import { addPages } from './pages.ts'
import { createProposals } from './proposals.ts'
import { openPublisher, type Publisher } from './publisher.ts'
import { openRegistry } from './registry.ts'
import { createRelay } from './relay.ts'
import { describeSlot, type Hearing } from './rotation.ts'
import { addRoutes } from './routes.ts'
import { openStore } from './store.ts'
import { createWaiting } from './waiting.ts'
import { connectWitness } from './witness.ts'

/** How often time is asked whether something is due; each failure in a row lets it wait one step longer. */
const keepMilliseconds = { step: 1000, most: 30_000 }
const keepMillisecondsAtFirst = { step: 100, most: 1000 }
/** Witness and broker may start later, or anew: that is worth a line only when it lasts. */
const FAILURES_SILENT_MAX = 10

/** How often is looked whether another process has written something, and whether one still leads. */
const LOOK_MILLISECONDS = 250

export interface Clocks {
  /** Seconds since the epoch. */
  readonly now?: () => number
  /** Milliseconds, on a clock that never jumps. */
  readonly monotonic?: () => number
}

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
  { now = () => Date.now() / 1000, monotonic }: Clocks = {},
): Promise<Authority> {
  const manifestKeys = openManifestKeys(config.data)
  const enrolmentToken = readPrivateFile(config.enrolment_token)
  const trustAnchor = readFileSync(config.trust_anchor, 'utf8')
  const store = await openStore(join(config.data, 'authority.db'))
  const lease = createLease(store, `${hostname()} ${process.pid}`, monotonic)
  await lease.look()
  const anchor = parseTrustAnchor(JSON.parse(trustAnchor))
  const charters = await withLeader(lease, () => openCharters(store, config.charter, anchor))
  const witness = connectWitness(config.witness_socket)
  const broker = openBrokerAdmin(config.broker_socket)
  const herald = createHerald(manifestKeys.under)
  const relay = createRelay({
    after: witness.roots,
    isWanted: herald.wantRoots,
    deliver: herald.tellRoots,
  })
  const registry = await openRegistry(store, now, (error) => {
    log.error({ error: error.message }, 'acknowledgements were not stored')
  })
  const complain = (error: Error): void => log.error({ error: error.message }, 'the store does not answer')
  const waiting = createWaiting()
  const canaries = createCanaries({
    // Who stands by has none made: each is in the log for good.
    manifest: () => (lease.isHeld ? publisher.newest?.manifest : undefined),
    probes: registry.probes,
    broker,
    hasApplied: registry.hasApplied,
    onDone: store.addProof,
    onProblem: (error) => log.debug({ error: error.message }, 'a canary waits'),
    proofs: await store.proofs(PROOFS_MAX),
    now,
  })
  const publisher: Publisher = await openPublisher({
    store,
    charters,
    manifestKeys,
    witness,
    lifetimeSeconds: config.manifest_lifetime_seconds,
    now,
    leads: () => lease.isHeld,
    onPublished: (published, asOf) => {
      registry.note(published.manifest)
      herald.proclaim(published, asOf)
      canaries.wake()
    },
    // A validator that it removed, say.
    onFinished: () => void registry.follow().catch(complain),
  })
  // When the witness is away, the keeper asks again.
  await publisher.compareWithLog().catch(async (error) => {
    if (!isBehind(error)) return
    witness.close()
    await lease.release()
    await store.close()
    throw error
  })
  const keeper = createKeeper({
    charter: () => charters.newest,
    publisher,
    broker,
    circumstances: {
      isHeard: ({ kid, realm }) => hearing(kid, realm)?.waitsFor.length === 0,
      isGlassBroken: (realm) =>
        brokenGlass(publisher.newest?.manifest ?? noTrust, realm, now()) !== undefined,
    },
    now,
  })

  function hearing(kid: string, realm: string): Hearing | undefined {
    return registry.hearing(kid, charters.newest.realms.get(realm)?.acknowledgeSeconds ?? 0)
  }

  function slots(): Slot[] {
    return slotsOf(charters.newest, publisher.newest?.manifest.keys.values() ?? [])
  }

  function rotation(): Rotation {
    const describe = (slot: Slot) => describeSlot(slot, (key) => hearing(key.kid, key.realm), now())
    return { leader: lease.isHeld, slots: slots().map(describe) }
  }

  function acks(): Acks {
    return registry.progress(publisher.newest?.manifest.version ?? 0, herald.connected())
  }

  /** For whoever commanded: so many look at the acknowledgements that looking again and again would slow them. */
  async function acksOnce(patience?: {
    readonly version: number
    readonly milliseconds: number
  }): Promise<Acks> {
    if (patience === undefined) return acks()
    const { version, milliseconds } = patience
    const isReached = (): boolean => {
      const connected = herald.connected()
      return [...connected].every((name) => !registry.isEnrolled(name) || registry.hasApplied(name, version))
    }
    await waiting.until(isReached, milliseconds)
    return acks()
  }

  async function command(token: string): Promise<CommandAnswer> {
    const receivedAt = performance.now()
    const at = Math.floor(now())
    const charter = charters.newest
    let given = readCommand(token, charter, at)
    const answer = await publisher
      .carryOut(async (trust, time) => {
        if (publisher.newest === undefined) throw new Denial('no_manifest_yet')
        // Somebody may have been an operator when they asked and be none now.
        if (charters.newest !== charter) given = readCommand(token, charters.newest, at)
        if (await store.isCommandKnown(given.jti)) throw new Denial('command_replayed')
        return {
          trust: applyCommand(trust, charters.newest, given, time),
          records: { command: { command: given, token, at: time } },
        }
      })
      .catch((error) => {
        // A manifest that has no room for it, say.
        if (!(error instanceof DocumentRefusal)) throw error
        throw new Denial('command_impossible', error.message)
      })
    const { op, by, iss, realm, kid, reason } = given
    log.info({ op, by, iss, realm, kid, reason, ...answer }, 'a command was carried out')
    // Nobody here can sign a canary as somebody else.
    if ((op === 'block' || op === 'revoke') && kid !== undefined && iss === undefined) {
      canaries.prove(kid, answer.version, receivedAt).catch(complain)
    }
    return answer
  }

  /** Dated before it is looked whether it is true, so that it is true however long this process is held up between. */
  async function vouch(): Promise<void> {
    const asOf = now()
    const { newest } = publisher
    const later = await store.manifestsAfter(newest?.manifest.version ?? 0)
    if (later.length === 0 && publisher.newest === newest) herald.vouch(asOf)
  }

  const startedAt = now()
  await publisher.follow()
  canaries.wake()
  if (publisher.newest !== undefined) herald.proclaim(publisher.newest, startedAt)
  const http = createHttp(log)
  addRoutes(http, {
    trustAnchor,
    enrolmentToken,
    manifest: () => herald.manifest,
    charter: charters.textOf,
    acks: acksOnce,
    enrolled: registry.enrolled,
    openStream: (response, listener) => {
      herald.openStream(response, listener)
      if (listener.wantsRoots) relay.wake()
    },
    manifestOf: async (version) => {
      const document = await store.manifest(version)
      return document && JSON.stringify(document)
    },
    acts: (before) => listActs(store, charters, before),
    command,
    proposals: createProposals({ store, charters, publisher, registry, now }),
    acknowledge: (statement) => {
      registry.acknowledge(statement, herald.sha256Of)
      canaries.heard()
      waiting.wake()
    },
    enrol: async (request) => {
      await registry.enrol(request)
      canaries.wake()
    },
  })
  addCanaries(http, canaries)
  addObservation(http, { rotation, slots, acks })
  addPages(http)
  await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const { port } = http.server.address() as AddressInfo

  const vouching = setInterval(() => void vouch().catch(complain), config.freshness_seconds * 1000)
  const stopping = new AbortController()
  const standing = standBy(
    { lease, log, signal: stopping.signal, complain },
    {
      changes: store.writtenByOthers,
      follow: async () => {
        await publisher.follow()
        await registry.follow()
      },
    },
  )
  // Ends by itself only when this folder proves to be an old copy: then nothing that it says is vouched for any more.
  const keeping = keepOn(keeper, publisher, log, stopping.signal).finally(() => clearInterval(vouching))

  return {
    ready: { url: `http://127.0.0.1:${port}` },
    keeper,
    publisher,
    stop: async () => {
      stopping.abort()
      relay.stop()
      herald.close()
      waiting.end()
      await http.close()
      witness.close()
      broker.close()
      await Promise.all([keeping, standing, canaries.stop()])
      await publisher.settled()
      await registry.close()
      await lease.release()
      await store.close()
    },
  }
}

/** What of the store another process may change. */
interface Followed {
  /** Another number when there is something to follow. */
  changes(): Promise<number>
  follow(): Promise<void>
}

interface Standing {
  readonly lease: Lease
  readonly log: Logger
  readonly signal: AbortSignal
  complain(error: Error): void
}

/** Follows what other processes write, and leads when nobody else does. */
async function standBy(
  { lease, log, signal, complain }: Standing,
  { changes, follow }: Followed,
): Promise<void> {
  let seen = 0
  let led = lease.isHeld
  if (!led) log.warn('stands by: another authority on this data folder leads')
  const look = async (): Promise<void> => {
    const latest = await changes()
    if (latest !== seen) await follow()
    seen = latest
    const leads = await lease.look()
    if (leads !== led) log.warn(leads ? 'leads from now on' : 'leads no longer')
    led = leads
  }
  while (!signal.aborted) {
    await look().catch(complain)
    await delay(LOOK_MILLISECONDS, undefined, { signal }).catch(() => {})
  }
}

/** Opens what only a leader may make the first time, waiting until there is one. */
async function withLeader<Opened>(lease: Lease, open: () => Promise<Opened>): Promise<Opened> {
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof Denial && error.code === 'not_leader')) throw error
      await delay(LOOK_MILLISECONDS)
      await lease.look()
    }
  }
}

/** Does what is due, again and again. Says when something has been missing for a while, and when it is back. */
async function keepOn(keeper: Keeper, publisher: Publisher, log: Logger, signal: AbortSignal): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    // Who stands by compares as well: it vouches for what it delivers.
    const due = publisher.leads ? keeper.keep() : publisher.compareWithLog()
    const error: Error | undefined = await due.catch((reason) => reason)
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
