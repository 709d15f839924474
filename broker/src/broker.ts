/**
 * Stands between issuers, witness and signers, and is trusted by none of them: it holds no key, and what it could alter
 * or hold back would not verify. The socket that a request comes in by is its realm, or the certificate is (`remote.ts`); no
 * request can name another.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { keepConnected, type Line, LineError, type LineServer, serveLines } from '@countersign/lines'
import type { Logger, Running } from '@countersign/service'
import {
  type KeyCounts,
  type SignedAnswer,
  type SigningRequest,
  startSigner,
} from '@countersign/signer/client'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { readEnrolment } from '@countersign/validator/enrolment'
import { followManifest } from '@countersign/validator/follow'
import { keySetOf, liveKeys } from '@countersign/validator/key-set'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { fitsIssuer } from '@countersign/validator/scope'
import { batch } from './batch.ts'
import { type CanaryRequest, canaryRequest, checkCanary, readCanaryRequest } from './canary.ts'
import type { SignerStatus } from './client.ts'
import type { BrokerConfig, KeystoreConfig } from './config.ts'
import { createHandover } from './handover.ts'
import { type Issued, issueBatch } from './issue.ts'
import { type Remote, type RemoteRealm, serveRemote } from './remote.ts'
import { RealmSigners } from './signers.ts'
import { type SupervisedSigner, superviseSigner } from './supervise.ts'

/** The witness waits two seconds for a manifest; a disk that takes longer than the rest is as good as none. */
const WITNESS_MILLISECONDS_MAX = 4000
const REQUESTS_PER_CALL_MAX = 256
/** More than a signer takes; it decides what is too long. */
const CLAIMS_CHARACTERS_MAX = 64 * 1024
/** A signer answers from memory, and the sentinel waits two seconds for all of them. */
const COUNTERS_MILLISECONDS_MAX = 1000
const limits = {
  batchMax: 128,
  batchWorthwhile: 32,
  batchesUnderWayMax: 3,
  waitingMax: 8192,
  waitMillisecondsMax: 5000,
}

/** `reread` gives the configuration as it is now, for `reload`. */
export async function startBroker(
  config: BrokerConfig,
  log: Logger,
  reread: () => BrokerConfig = () => config,
): Promise<Running> {
  const trustAnchor = parseTrustAnchor(JSON.parse(readFileSync(config.trust_anchor, 'utf8')))
  const witness = keepConnected(config.witness_socket, WITNESS_MILLISECONDS_MAX)
  const realms = await startRealms(config, log)
  const handover = createHandover(() => {
    const { documents } = follower
    if (documents !== undefined) for (const { signers } of realms.values()) signers.trust(documents)
  })
  const follower = followManifest({
    authority: config.authority,
    trustAnchor,
    enrolment: config.enrolment && readEnrolment(config.enrolment.name, config.enrolment.key),
    onState: ({ manifest }) => handover.take(manifest),
    onProblem: ({ message }) => log.warn({ error: message }, 'trust is not up to date'),
  })
  const servers: LineServer[] = []
  const issuers = new Map<string, Issue>()
  const remotes = new Map<string, RemoteRealm>()
  const manifest = (): Manifest | undefined => follower.state?.manifest
  /** Lets the issuers of realms in, whose signers are there: all of them, or none where a socket cannot be opened. */
  async function admit(
    added: ReadonlyMap<string, Realm>,
    { realms: configured }: BrokerConfig,
  ): Promise<void> {
    const opened = await allOrNone(
      [...added].map(async ([realm, its]) => {
        const issue: Issue = batch<SigningRequest, Issued>(
          (requests) =>
            issueBatch(requests, {
              signers: its.signers,
              witness,
              manifestVersion: () => follower.state?.manifest.version,
              onAlarm: (message) => log.error({ realm }, message),
            }),
          limits,
        )
        const server = await serveLines(configured[realm]?.socket ?? '', realmMethods(issue))
        return { realm, its, issue, server }
      }),
      ({ server }) => server.close(),
    )
    for (const { realm, its, issue, server } of opened) {
      servers.push(server)
      issuers.set(realm, issue)
      remotes.set(realm, remoteRealm(realm, its.signers, { issue, witness, manifest }))
      realms.set(realm, its)
    }
  }
  await admit(realms, config)
  const canary = async (request: CanaryRequest): Promise<{ token: string }> => {
    const key = readCanaryRequest(request, follower.state?.manifest)
    const issue = issuers.get(key.realm)
    if (issue === undefined) throw unknownRealm()
    const { token } = orThrow(await issue(canaryRequest(key, key.audience, Date.now() / 1000)))
    return { token: checkCanary(token, key.kid) }
  }
  let remote: Remote | undefined
  let current = config
  let reloading: Promise<unknown> = Promise.resolve()
  const reload = (): Promise<void> => {
    const reloaded = reloading.then(async () => {
      const now = reread()
      checkReload(current, now)
      const takeUpRemote = prepareRemote(remote, now)
      const started = await startMissing(realms, now, log)
      const added = realmsOf(started.filter(({ realm }) => !realms.has(realm)))
      try {
        await admit(added, now)
      } catch (error) {
        await Promise.all(started.map(({ signer }) => signer.stop()))
        throw new LineError('malformed', `a socket cannot be opened: ${(error as Error).message}`)
      }
      current = now
      if (follower.documents !== undefined)
        for (const { signers } of added.values()) signers.trust(follower.documents)
      await exchangeKeystores(realms, started, now)
      takeUpRemote()
    })
    reloading = reloaded.catch(() => {})
    return reloaded
  }
  servers.push(await serveLines(config.admin_socket, { ...adminMethods(realms, reload, log), canary }))
  if (config.remote !== undefined) remote = await serveRemote(config.remote, remotes, log)
  return {
    ready: { realms: [...realms.keys()], ...(remote && { remote: { port: remote.port } }) },
    reload,
    stop: async () => {
      // First: what it opens is closed as well.
      await reloading
      await Promise.all([remote?.close(), ...servers.map((server) => server.close())])
      await follower.stop()
      handover.stop()
      witness.close()
      await Promise.all(realms.values().map(({ signers }) => signers.stop()))
    },
  }
}

/** A realm's signers, and by what was configured each of them. */
interface Realm {
  readonly signers: RealmSigners
  readonly byKeystore: Map<string, SupervisedSigner>
}

/** A signer that has been started, and what for. */
interface Started {
  readonly realm: string
  /** Of its keystore. */
  readonly name: string
  readonly signer: SupervisedSigner
}

async function startRealms(config: BrokerConfig, log: Logger): Promise<Map<string, Realm>> {
  return realmsOf(await startSigners(new Map(), config, log))
}

/** The signers that the configuration has and these realms have not: all of them, or none where one does not come up. */
function startSigners(
  known: ReadonlyMap<string, Realm>,
  config: BrokerConfig,
  log: Logger,
): Promise<readonly Started[]> {
  const missing = Object.entries(config.realms).flatMap(([realm, { keystores }]) =>
    keystores
      .map((keystore) => ({ realm, keystore, name: nameOf(keystore) }))
      .filter(({ name }) => known.get(realm)?.byKeystore.has(name) !== true),
  )
  return allOrNone(
    missing.map(async ({ realm, keystore, name }) => {
      return { realm, name, signer: await startOne(realm, keystore, config, log) }
    }),
    ({ signer }) => signer.stop(),
  )
}

function realmsOf(started: readonly Started[]): Map<string, Realm> {
  return new Map(
    [...Map.groupBy(started, ({ realm }) => realm)].map(([realm, ofRealm]) => [
      realm,
      {
        signers: new RealmSigners(ofRealm.map(({ signer }) => signer)),
        byKeystore: new Map(ofRealm.map(({ name, signer }) => [name, signer])),
      },
    ]),
  )
}

/** What all of them give; where one rejects, the others are undone first. */
async function allOrNone<Result>(
  all: readonly Promise<Result>[],
  undo: (result: Result) => Promise<void>,
): Promise<readonly Result[]> {
  const settled = await Promise.allSettled(all)
  const done = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  const failed = settled.find(({ status }) => status === 'rejected')
  if (failed === undefined) return done
  await Promise.all(done.map(undo))
  throw (failed as PromiseRejectedResult).reason
}

function startOne(
  realm: string,
  { keystore, folder, passphrase_file, environment }: KeystoreConfig,
  { realms, trust_anchor }: BrokerConfig,
  log: Logger,
): Promise<SupervisedSigner> {
  const place = folder === undefined ? resolve(keystore) : keystore
  const files = {
    realm,
    keystore: place,
    folder: folder ?? dirname(place),
    passphraseFile: resolve(passphrase_file),
    trustAnchor: resolve(trust_anchor),
    environment,
    signaturesPerSecondMax: realms[realm]?.signatures_per_second,
  }
  return superviseSigner({ realm, log, start: () => startSigner(files) })
}

/** What only a start takes up. Of a realm it is its socket and rate. */
const fixedNames = ['admin_socket', 'witness_socket', 'authority', 'trust_anchor', 'enrolment'] as const

/** Throws where something changed that would be passed over, so that nobody takes it for done. */
function checkReload(before: BrokerConfig, now: BrokerConfig): void {
  const changed: string[] = fixedNames.filter((name) => !isDeepStrictEqual(before[name], now[name]))
  for (const [realm, { socket, signatures_per_second: rate }] of Object.entries(before.realms)) {
    const its = now.realms[realm]
    if (its === undefined)
      throw new LineError(
        'malformed',
        `${realm} is gone from the configuration; a realm ends with the broker`,
      )
    if (its.socket !== socket) changed.push(`realms.${realm}.socket`)
    if (its.signatures_per_second !== rate) changed.push(`realms.${realm}.signatures_per_second`)
  }
  if (changed.length > 0)
    throw new LineError('malformed', `${changed.join(', ')}: changes when the broker is started anew`)
}

/** Two that differ in anything are two keystores. */
function nameOf({ keystore, folder, passphrase_file, environment }: KeystoreConfig): string {
  return JSON.stringify([keystore, folder, passphrase_file, environment])
}

async function startMissing(
  known: ReadonlyMap<string, Realm>,
  config: BrokerConfig,
  log: Logger,
): Promise<readonly Started[]> {
  try {
    return await startSigners(known, config, log)
  } catch (error) {
    throw new LineError('signer_not_started', `${(error as Error).message}; the log says why`)
  }
}

/** Takes in what was started before it stops what was removed, so that no realm is ever without a signer. */
async function exchangeKeystores(
  realms: ReadonlyMap<string, Realm>,
  started: readonly Started[],
  config: BrokerConfig,
): Promise<void> {
  for (const [realm, { signers, byKeystore }] of realms) {
    for (const { realm: its, name, signer } of started) {
      if (its !== realm || byKeystore.has(name)) continue
      byKeystore.set(name, signer)
      await signers.add(signer)
    }
    const kept = new Set(config.realms[realm]?.keystores.map(nameOf))
    for (const [name, signer] of byKeystore) {
      if (kept.has(name)) continue
      byKeystore.delete(name)
      await signers.remove(signer)
    }
  }
}

/** Throws where it cannot be taken up; gives what takes it up. */
function prepareRemote(remote: Remote | undefined, { remote: config }: BrokerConfig): () => void {
  if ((remote === undefined) !== (config === undefined))
    throw new LineError('malformed', 'remote begins and ends with the broker; only what is in it can change')
  if (remote === undefined || config === undefined) return () => {}
  try {
    return remote.prepare(config)
  } catch (error) {
    throw new LineError('malformed', `remote.tls cannot be used: ${(error as Error).message}`)
  }
}

type Issue = (request: SigningRequest) => Promise<Issued>

/** What a realm does for issuers elsewhere. */
function remoteRealm(
  realm: string,
  signers: RealmSigners,
  {
    issue,
    witness,
    manifest,
  }: {
    readonly issue: Issue
    readonly witness: Pick<Line, 'connect'>
    readonly manifest: () => Manifest | undefined
  },
): RemoteRealm {
  return {
    issue,
    keySet: (wanted) => keySetOf(manifest(), realm, isOf(wanted)),
    health: async (wanted) => ({
      signer: signers.all.some(({ manifestVersion }) => manifestVersion > 0) ? 'ready' : 'unavailable',
      witness: await witness.connect().then(
        () => 'ready' as const,
        () => 'unavailable' as const,
      ),
      key: liveKeys(manifest(), realm).some((key) => key.state === 'active' && isOf(wanted)(key))
        ? 'active'
        : 'none',
      manifest_version: manifest()?.version ?? 0,
    }),
  }
}

/** Whether a key signs for one of these issuers, each an issuer or a template. */
function isOf(issuers: readonly string[]): (key: ManifestKey) => boolean {
  return (key) => issuers.some((issuer) => fitsIssuer(key.issuer, issuer))
}

/** What the issuer of a realm may ask. */
function realmMethods(issue: Issue) {
  return {
    issue: async (params: never) => orThrow(await issue(readRequest(params))),
    issue_batch: async ({ requests }: { readonly requests: unknown }) => {
      if (!Array.isArray(requests) || requests.length > REQUESTS_PER_CALL_MAX)
        throw new LineError('malformed', `requests is not a list of at most ${REQUESTS_PER_CALL_MAX}`)
      return {
        results: await Promise.all(requests.map((request) => settle(() => issue(readRequest(request))))),
      }
    },
  }
}

function orThrow(issued: Issued): SignedAnswer {
  if ('error' in issued) throw new LineError(issued.error.code, issued.error.message, issued.error)
  return issued
}

function unknownRealm(): LineError {
  return new LineError('unknown_realm', 'there is no signer for this realm')
}

/** One request of several: what is thrown about it is its answer. */
async function settle(issue: () => Promise<Issued>): Promise<Issued> {
  try {
    return await issue()
  } catch (error) {
    if (!(error instanceof LineError)) throw error
    const { code, message, retryable } = error
    return { error: { code, message, retryable } }
  }
}

/** What authority, sentinel and whoever moves a realm may ask. */
function adminMethods(realms: ReadonlyMap<string, Realm>, reload: () => Promise<void>, log: Logger) {
  const status = async () => ({
    signers: await Promise.all(
      [...realms].flatMap(([realm, { signers }]) => signers.all.map((signer) => describe(realm, signer))),
    ),
  })
  return {
    generate: (request: { readonly realm?: string; readonly signer?: string }) => {
      const realm = realms.get(request.realm ?? '')
      if (realm === undefined) throw unknownRealm()
      return realm.signers.find(request.signer).ask((process) => process.generate(request))
    },
    status,
    reload: async () => {
      await reload()
      return status()
    },
    counters: async () => {
      const counted = [...realms].map(async ([realm, { signers }]) => {
        const keys = await Promise.all(signers.all.map((signer) => countersOf(realm, signer, log)))
        return [realm, { keys: keys.flat() }] as const
      })
      return { realms: Object.fromEntries(await Promise.all(counted)) }
    },
  }
}

/** Of a signer that is away or hangs there are none, and whoever asks hears of all others. */
async function countersOf(
  realm: string,
  signer: SupervisedSigner,
  log: Logger,
): Promise<readonly KeyCounts[]> {
  const late = delay(COUNTERS_MILLISECONDS_MAX, undefined, { ref: false })
  const counted = await Promise.race([signer.ask((process) => process.counters()), late]).catch(
    () => undefined,
  )
  if (counted === undefined) log.warn({ realm }, 'a signer does not say what it counted')
  return counted ?? []
}

async function describe(realm: string, signer: SupervisedSigner): Promise<SignerStatus> {
  const { identity, protection } = signer.description
  const described = await signer.ask((process) => process.describe()).catch(() => undefined)
  return { realm, identity, protection, version: signer.manifestVersion, keys: described?.keys ?? null }
}

/** The form alone; what it asks for is the signer's to judge. */
function readRequest(params: unknown): SigningRequest {
  const { claims } = (params ?? {}) as { readonly claims?: unknown }
  if (typeof claims !== 'string' || claims.length > CLAIMS_CHARACTERS_MAX)
    throw new LineError('malformed', 'claims is not a text of a JSON object')
  return params as SigningRequest
}
