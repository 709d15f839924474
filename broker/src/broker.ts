/**
 * Stands between issuers, witness and signers, and is trusted by none of them: it holds no key, and what it could alter
 * or hold back would not verify. The socket that a request comes in by is its realm, or the certificate is (`remote.ts`); no
 * request can name another.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
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
import { keySetOf } from '@countersign/validator/key-set'
import type { Manifest } from '@countersign/validator/manifest'
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
  /** Lets the issuer of a realm in, whose signers are there. */
  async function admit(realm: string, { signers }: Realm, socket: string): Promise<void> {
    const issue: Issue = batch<SigningRequest, Issued>(
      (requests) =>
        issueBatch(requests, {
          signers,
          witness,
          manifestVersion: () => follower.state?.manifest.version,
          onAlarm: (message) => log.error({ realm }, message),
        }),
      limits,
    )
    servers.push(await serveLines(socket, realmMethods(issue)))
    issuers.set(realm, issue)
    remotes.set(realm, remoteRealm(realm, signers, { issue, witness, manifest }))
  }
  for (const [realm, its] of realms) await admit(realm, its, config.realms[realm]?.socket ?? '')
  const canary = async (request: CanaryRequest): Promise<{ token: string }> => {
    const key = readCanaryRequest(request, follower.state?.manifest)
    const issue = issuers.get(key.realm)
    if (issue === undefined) throw unknownRealm()
    const { token } = orThrow(await issue(canaryRequest(key, key.audience, Date.now() / 1000)))
    return { token: checkCanary(token, key.kid) }
  }
  let remote: Remote | undefined
  let reloading: Promise<unknown> = Promise.resolve()
  const reload = (): Promise<void> => {
    const reloaded = reloading.then(async () => {
      const now = reread()
      for (const [realm, its] of await startAdded(realms, now, log)) {
        if (follower.documents !== undefined) its.signers.trust(follower.documents)
        await admit(realm, its, now.realms[realm]?.socket ?? '').catch(async (error) => {
          await its.signers.stop()
          throw error
        })
        realms.set(realm, its)
      }
      await reloadKeystores(realms, now, log)
      reloadRemote(remote, now)
    })
    reloading = reloaded.catch(() => {})
    return reloaded
  }
  servers.push(await serveLines(config.admin_socket, { ...adminMethods(realms, reload), canary }))
  if (config.remote !== undefined) remote = await serveRemote(config.remote, remotes, log)
  return {
    ready: { realms: [...realms.keys()], ...(remote && { remote: { port: remote.port } }) },
    reload,
    stop: async () => {
      await Promise.all([remote?.close(), ...servers.map((server) => server.close())])
      await reloading
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

async function startRealms(config: BrokerConfig, log: Logger): Promise<Map<string, Realm>> {
  const wanted = Object.entries(config.realms).flatMap(([realm, { keystores }]) =>
    keystores.map((keystore) => ({ realm, keystore })),
  )
  const started = await Promise.allSettled(
    wanted.map(async ({ realm, keystore }) => ({
      realm,
      name: nameOf(keystore),
      signer: await startOne(realm, keystore, config, log),
    })),
  )
  const failed = started.find(({ status }) => status === 'rejected')
  const all = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  if (failed !== undefined) {
    await Promise.all(all.map(({ signer }) => signer.stop()))
    throw (failed as PromiseRejectedResult).reason
  }
  const realms = Map.groupBy(all, ({ realm }) => realm)
  return new Map(
    [...realms].map(([realm, ofRealm]) => [
      realm,
      {
        signers: new RealmSigners(ofRealm.map(({ signer }) => signer)),
        byKeystore: new Map(ofRealm.map(({ name, signer }) => [name, signer])),
      },
    ]),
  )
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

/** Two that differ in anything are two keystores. */
function nameOf({ keystore, folder, passphrase_file, environment }: KeystoreConfig): string {
  return JSON.stringify([keystore, folder, passphrase_file, environment])
}

/** Starts what was added before it stops what was removed, so that the realm is never without a signer. */
async function reloadKeystores(
  realms: ReadonlyMap<string, Realm>,
  config: BrokerConfig,
  log: Logger,
): Promise<void> {
  for (const [realm, { signers, byKeystore }] of realms) {
    const wanted = config.realms[realm]?.keystores
    if (wanted === undefined)
      throw new LineError(
        'malformed',
        `${realm} is gone from the configuration; a realm ends with the broker`,
      )
    for (const keystore of wanted) {
      if (byKeystore.has(nameOf(keystore))) continue
      const signer = await startOne(realm, keystore, config, log).catch((error: Error) => {
        throw notStarted(error)
      })
      byKeystore.set(nameOf(keystore), signer)
      await signers.add(signer)
    }
    const kept = new Set(wanted.map(nameOf))
    for (const [name, signer] of byKeystore) {
      if (kept.has(name)) continue
      byKeystore.delete(name)
      await signers.remove(signer)
    }
  }
}

/** The realms that the configuration has and this broker has not, each with its signers. */
async function startAdded(
  known: ReadonlyMap<string, Realm>,
  config: BrokerConfig,
  log: Logger,
): Promise<ReadonlyMap<string, Realm>> {
  const added = Object.entries(config.realms).filter(([realm]) => !known.has(realm))
  try {
    return await startRealms({ ...config, realms: Object.fromEntries(added) }, log)
  } catch (error) {
    throw notStarted(error as Error)
  }
}

function notStarted({ message }: Error): LineError {
  return new LineError('signer_not_started', `${message}; the log says why`)
}

function reloadRemote(remote: Remote | undefined, { remote: config }: BrokerConfig): void {
  if ((remote === undefined) !== (config === undefined))
    throw new LineError('malformed', 'remote begins and ends with the broker; only what is in it can change')
  if (config !== undefined) remote?.reload(config)
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
    keySet: (wanted) => keySetOf(manifest(), realm, ({ issuer }) => wanted.includes(issuer)),
    health: async () => ({
      signer: signers.all.some(({ manifestVersion }) => manifestVersion > 0) ? 'ready' : 'unavailable',
      witness: await witness.connect().then(
        () => 'ready' as const,
        () => 'unavailable' as const,
      ),
      manifest_version: manifest()?.version ?? 0,
    }),
  }
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
function adminMethods(realms: ReadonlyMap<string, Realm>, reload: () => Promise<void>) {
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
      const counted: Record<string, { readonly keys: readonly KeyCounts[] }> = {}
      for (const [realm, { signers }] of realms) {
        const keys = await Promise.all(
          signers.all.map((signer) => signer.ask((process) => process.counters())),
        )
        counted[realm] = { keys: keys.flat() }
      }
      return { realms: counted }
    },
  }
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
