/**
 * The witness as a service: it follows the authority's manifest, takes entries on a Unix socket, checks each on its own
 * account, and serves the log over HTTP.
 * @module
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LineError, serveLines } from '@countersign/lines'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { decode, encode } from '@countersign/validator/base64url'
import { parseTrustAnchor, type TrustAnchor, verifyCharter } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import { decodeEntry } from '@countersign/validator/entry'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { readPrivateKey } from '@countersign/validator/private-file'
import { Refusal } from '@countersign/validator/refusal'
import { z } from 'zod'
import { checkEntry, EntryRefusal } from './admit.ts'
import { KnownCharters } from './charters.ts'
import type { AppendAnswer, AppendResult, WitnessStatus } from './client.ts'
import { epochName, type WitnessConfig } from './config.ts'
import { openDisk } from './disk.ts'
import { holdFolder } from './hold.ts'
import { loadIdentity } from './identity.ts'
import { WitnessLog } from './log.ts'
import { createRootsTeller } from './roots.ts'
import { serveLog } from './serve.ts'

const appendParams = z.strictObject({
  entries: z.array(z.string()).max(10_000),
  manifest_version: z.int().min(0).optional(),
})
const chartersParams = z.strictObject({ documents: z.array(z.unknown()).min(1).max(1000) })
const rootsParams = z.strictObject({ after: z.int().min(0) })
const sealParams = z.strictObject({ epoch: epochName })

/** How long an entry waits for the manifest that its sender already has. */
const MANIFEST_WAIT_MILLISECONDS = 2000
/** A checkpoint follows growth by at most this, and the disk is asked for one no more often. */
const PUBLISH_MILLISECONDS = 250

export async function startWitness(config: WitnessConfig, log: Logger): Promise<Running> {
  const letGo = await holdFolder(config.data)
  const identity = loadIdentity(config.data)
  const roots = createRootsTeller(nowSeconds)
  const world = { disk: openDisk(config.data), now: nowSeconds, released: roots.tell }
  const witnessLog = await WitnessLog.open(world, identity)
  if (config.epoch !== undefined && config.epoch !== witnessLog.firstEpoch) {
    throw new Error(`${config.data} began with epoch ${witnessLog.firstEpoch}, not ${config.epoch}`)
  }
  const trustAnchor = parseTrustAnchor(readJson(config.trust_anchor))
  const firstCharter = verifyCharter(readJson(config.charter), trustAnchor)
  const follower = follow(config, trustAnchor, log)
  const charters = new KnownCharters(firstCharter, follower)
  const append = appendTo(witnessLog, charters, follower)

  const http = createHttp(log)
  serveLog(http, witnessLog)
  const url = await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const lines = await serveLines(config.append_socket, {
    append: (params) => append(read(appendParams, params)),
    charters: (params) => learn(charters, read(chartersParams, params)),
    roots: (params) => roots.after(read(rootsParams, params).after),
    seal: async (params) => {
      await seal(witnessLog, follower, read(sealParams, params))
      return statusOf(witnessLog, charters)
    },
    status: () => statusOf(witnessLog, charters),
  })
  const publishing = setInterval(() => {
    witnessLog.publishIfDue().catch(() => {})
  }, PUBLISH_MILLISECONDS)
  void witnessLog.faulted.then((fault) => {
    // What is on the disk is no longer known here. A start that reads it anew knows.
    log.fatal({ error: fault.message }, 'the log cannot go on')
    process.exit(1)
  })

  return {
    ready: { url, origin: witnessLog.origin, vkey: witnessLog.vkey() },
    stop: async () => {
      clearInterval(publishing)
      roots.close()
      await Promise.all([lines.close(), http.close(), follower.stop()])
      await witnessLog.close()
      await letGo()
    },
  }
}

/** Answers `append`: a receipt, or why not, for each entry in its place. */
function appendTo(
  log: WitnessLog,
  charters: KnownCharters,
  trust: Follower,
): (params: z.infer<typeof appendParams>) => Promise<AppendAnswer> {
  const appendOne = async (text: string): Promise<AppendResult> => {
    try {
      const bytes = decode(text)
      const entry = decodeEntry(bytes)
      // Before all else is asked of it: that was asked when it was logged.
      const again = entry.tokenType === 'manifest' ? await log.receiptAgain(bytes, entry) : undefined
      if (again !== undefined) return { receipt: encode(again) }
      checkEntry(entry, { charters: charters.inForce, trust, nowSeconds: nowSeconds() })
      return { receipt: encode(await log.append(bytes, entry)) }
    } catch (error) {
      return { error: describe(error) }
    }
  }
  return async ({ entries, manifest_version: version = 0 }) => {
    // Only who is behind waits: the serials of those that are not must arrive in the order in which they were sent.
    if (version > (trust.state?.manifest.version ?? 0)) {
      // Late is as good as never: each entry is then decided by the manifest that is known.
      await trust.waitForVersion(version, MANIFEST_WAIT_MILLISECONDS).catch(() => {})
    }
    return { receipts: await Promise.all(entries.map(appendOne)) }
  }
}

function describe(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof EntryRefusal) return { code: error.code, message: error.message }
  if (error instanceof Refusal) return describe(new EntryRefusal('malformed'))
  throw new LineError('witness_failed', 'the log cannot go on; no receipt was released', { retryable: true })
}

/** Receipts of the next epoch have to count from the first on, so a manifest names its log before it begins. */
async function seal(log: WitnessLog, trust: Follower, { epoch }: z.infer<typeof sealParams>): Promise<void> {
  const named = [...(trust.state?.manifest.logs.values() ?? [])].map(({ origin }) => origin)
  if (epoch === log.epoch && !named.includes(log.nextOrigin)) {
    throw new LineError('epoch_not_named', `no manifest names ${log.nextOrigin} yet`, { retryable: true })
  }
  if (await log.seal(epoch)) return
  throw new LineError('epoch_mismatch', 'that epoch is not open')
}

function read<Schema extends z.ZodType>(schema: Schema, params: unknown): z.infer<Schema> {
  const { success, data } = schema.safeParse(params)
  if (!success) throw new LineError('malformed', 'the parameters are not what this method takes')
  return data
}

/** Answers `charters`. */
function learn(
  charters: KnownCharters,
  { documents }: z.infer<typeof chartersParams>,
): { readonly charter_version: number } {
  try {
    charters.show(documents)
    return { charter_version: charters.version }
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new LineError('charter_refused', `${error.flaw}: ${error.message}`)
  }
}

function statusOf(log: WitnessLog, charters: KnownCharters): WitnessStatus {
  return {
    name: log.name,
    logs: [
      ...log.sealedOrigins.map((origin) => ({ origin, state: 'sealed' as const })),
      { origin: log.origin, state: 'open' },
      // The next one, so that manifests name it before it is used.
      { origin: log.nextOrigin, state: 'open' },
    ],
    manifest_version: log.manifestVersion,
    manifest_sha256: log.manifestSha256 ?? null,
    charter_version: charters.version,
    epoch: log.epoch,
    size: log.size,
    vkey: log.vkey(),
  }
}

function follow(config: WitnessConfig, trustAnchor: TrustAnchor, log: Logger): Follower {
  const { authority, data, enrolment } = config
  return followManifest({
    authority,
    trustAnchor,
    stateFile: join(data, 'manifest.json'),
    ...(enrolment && {
      enrolment: {
        name: enrolment.name,
        privateKey: readPrivateKey(enrolment.key),
      },
    }),
    onProblem: (problem) => log.warn({ error: problem.message }, 'following the authority'),
  })
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'))
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000)
}
