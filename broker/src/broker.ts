/**
 * Stands between issuers, witness and signers, and is trusted by none of them: it holds no key, and what it could alter
 * or hold back would not verify. The socket that a request comes in by is its realm; no request can name another.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { keepConnected, LineError, type LineServer, serveLines } from '@countersign/lines'
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
import { batch } from './batch.ts'
import { type CanaryRequest, canaryRequest, checkCanary, readCanaryRequest } from './canary.ts'
import type { BrokerConfig } from './config.ts'
import { type Issued, issueBatch } from './issue.ts'
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

export async function startBroker(config: BrokerConfig, log: Logger): Promise<Running> {
  const trustAnchor = parseTrustAnchor(JSON.parse(readFileSync(config.trust_anchor, 'utf8')))
  const witness = keepConnected(config.witness_socket, WITNESS_MILLISECONDS_MAX)
  const signers = await startSigners(config, log)
  const follower = followManifest({
    authority: config.authority,
    trustAnchor,
    enrolment: config.enrolment && readEnrolment(config.enrolment.name, config.enrolment.key),
    onState: () => {
      const { documents } = follower
      if (documents !== undefined) for (const signer of signers.values()) signer.trust(documents)
    },
    onProblem: ({ message }) => log.warn({ error: message }, 'trust is not up to date'),
  })
  const servers: LineServer[] = []
  const issuers = new Map<string, Issue>()
  for (const [realm, signer] of signers) {
    const issue: Issue = batch<SigningRequest, Issued>(
      (requests) =>
        issueBatch(requests, {
          signer,
          witness,
          manifestVersion: () => follower.state?.manifest.version,
          onAlarm: (message) => log.error({ realm }, message),
        }),
      limits,
    )
    issuers.set(realm, issue)
    servers.push(await serveLines(config.realms[realm]?.socket ?? '', realmMethods(issue)))
  }
  const canary = async (request: CanaryRequest): Promise<{ token: string }> => {
    const key = readCanaryRequest(request, follower.state?.manifest)
    const issue = issuers.get(key.realm)
    if (issue === undefined) throw unknownRealm()
    const { token } = orThrow(await issue(canaryRequest(key, key.audience, Date.now() / 1000)))
    return { token: checkCanary(token, key.kid) }
  }
  servers.push(await serveLines(config.admin_socket, { ...adminMethods(signers), canary }))
  return {
    ready: { realms: [...signers.keys()] },
    stop: async () => {
      await Promise.all(servers.map((server) => server.close()))
      await follower.stop()
      witness.close()
      await Promise.all(signers.values().map((signer) => signer.stop()))
    },
  }
}

async function startSigners(
  { realms, trust_anchor: trustAnchor }: BrokerConfig,
  log: Logger,
): Promise<ReadonlyMap<string, SupervisedSigner>> {
  const started = await Promise.allSettled(
    Object.entries(realms).map(async ([realm, { keystore, passphrase_file, signatures_per_second }]) => {
      const files = {
        realm,
        keystore,
        folder: dirname(keystore),
        passphraseFile: passphrase_file,
        trustAnchor,
        signaturesPerSecondMax: signatures_per_second,
      }
      return [realm, await superviseSigner({ realm, log, start: () => startSigner(files) })] as const
    }),
  )
  const failed = started.find(({ status }) => status === 'rejected')
  const signers = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  if (failed === undefined) return new Map(signers)
  await Promise.all(signers.map(([, signer]) => signer.stop()))
  throw (failed as PromiseRejectedResult).reason
}

type Issue = (request: SigningRequest) => Promise<Issued>

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

/** What authority and sentinel may ask. */
function adminMethods(signers: ReadonlyMap<string, SupervisedSigner>) {
  return {
    // A realm has one signer here: one of another identity would attest what no manifest takes.
    generate: ({ signer: _, ...request }: { readonly realm?: string; readonly signer?: string }) => {
      const signer = signers.get(request.realm ?? '')
      if (signer === undefined) throw unknownRealm()
      return signer.ask((process) => process.generate(request))
    },
    status: () => ({
      signers: [...signers].map(([realm, { manifestVersion }]) => ({ realm, version: manifestVersion })),
    }),
    counters: async () => {
      const realms: Record<string, { readonly keys: readonly KeyCounts[] }> = {}
      for (const [realm, signer] of signers)
        realms[realm] = { keys: await signer.ask((process) => process.counters()) }
      return { realms }
    },
  }
}

/** The form alone; what it asks for is the signer's to judge. */
function readRequest(params: unknown): SigningRequest {
  const { claims } = (params ?? {}) as { readonly claims?: unknown }
  if (typeof claims !== 'string' || claims.length > CLAIMS_CHARACTERS_MAX)
    throw new LineError('malformed', 'claims is not a text of a JSON object')
  return params as SigningRequest
}
