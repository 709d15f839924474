/**
 * Makes manifests, one after another: the version is reserved, the content composed, logged by the witness, signed,
 * verified as a validator would, stored and only then published. Two changes at once become two versions in a row, the
 * second made from the first; a crash anywhere costs a version number and forks nothing.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Charter } from '@countersign/validator/charter'
import { publicHalf } from '@countersign/validator/document'
import { encodeEntry } from '@countersign/validator/entry'
import {
  composeManifest,
  type Manifest,
  type ManifestDocument,
  type ManifestLog,
  manifestEntry,
  manifestSha256,
  signManifest,
  verifyManifest,
} from '@countersign/validator/manifest'
import { noTrust, type Trust } from './command.ts'
import { Denial } from './denial.ts'
import type { CarriedOut, Store } from './store.ts'

/** A log as a manifest names it. */
export type LogName = Pick<ManifestLog, 'origin' | 'witness' | 'state'>

/** What a manifest needs of the witness. */
export interface Witness {
  /** The logs that receipts may come from, the open one among them, and the newest manifest that was logged. */
  status(): Promise<{ readonly logs: readonly LogName[]; readonly manifestVersion: number }>
  /** Logs an entry and gives its receipt, once the entry is durable. Throws `Denial`. */
  append(entry: Uint8Array): Promise<Uint8Array>
}

export interface Published {
  readonly manifest: Manifest
  readonly document: ManifestDocument
  /** What acknowledgements and freshness name the manifest by. */
  readonly sha256: string
}

/** What a change came to. */
export interface Outcome {
  readonly version: number
  readonly changed: boolean
}

export interface Publisher {
  /** Undefined before the first. */
  readonly newest: Published | undefined
  /**
   * Publishes what `plan` makes of the newest trust, and stores the command that it carries with it. When `plan`
   * gives back the same object, nothing is published. A change that fails leaves everything as it was.
   */
  change(plan: (trust: Trust) => Trust | Promise<Trust>, carriedOut?: CarriedOut): Promise<Outcome>
  /**
   * Asks the witness, once, whether it has logged a later manifest than was ever made here. Then this folder is an old
   * copy, and to go on from it would forget what was revoked since: throws `Denial`, `behind_log`.
   */
  compareWithLog(): Promise<void>
  /** Settles when the changes begun so far have ended, well or badly. */
  settled(): Promise<void>
}

export interface PublisherOptions {
  readonly store: Store
  readonly charter: Charter
  readonly manifestKey: KeyObject
  readonly witness: Witness
  readonly lifetimeSeconds: number
  readonly now: () => number
  readonly onPublished: (published: Published) => void
}

/** Starts from the newest manifest of the store. Throws when that one does not verify under the charter. */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { store, charter, manifestKey, witness, lifetimeSeconds, now, onPublished } = options
  const { kid } = publicHalf(manifestKey)
  const stored = await store.newestManifest()
  let newest = stored && readPublished(stored.document, charter)
  let last: Promise<unknown> = Promise.resolve()
  let isCompared = false

  async function publish(trust: Trust, carriedOut: CarriedOut | undefined): Promise<Published> {
    const { logs } = await readStatus()
    // Validators take no manifest that was issued before the one it follows, whatever our clock says.
    const issuedAt = Math.max(Math.floor(now()), newest?.manifest.issuedAt ?? 0)
    const version = await store.reserveVersion(issuedAt)
    const segment = composeManifest(
      {
        version,
        charterVersion: charter.version,
        issuedAt,
        expiresAt: issuedAt + lifetimeSeconds,
        keys: [...trust.keys.values()],
        logs: mergeLogs(newest?.manifest.logs.values() ?? [], logs),
        cutoffs: trust.cutoffs,
      },
      charter,
    )
    const receipt = await witness.append(encodeEntry(manifestEntry(segment, kid)))
    const published = readPublished(signManifest(segment, receipt, manifestKey), charter, newest)
    await store.publishManifest({ version, document: published.document }, issuedAt, carriedOut)
    return published
  }

  async function readStatus(): ReturnType<Witness['status']> {
    const status = await witness.status()
    const ours = await store.highestVersion()
    if (status.manifestVersion > ours) {
      throw new Denial('behind_log', `${status.manifestVersion} there, ${ours} here`)
    }
    isCompared = true
    return status
  }

  async function change(
    plan: (trust: Trust) => Trust | Promise<Trust>,
    carriedOut?: CarriedOut,
  ): Promise<Outcome> {
    const before: Trust = newest?.manifest ?? noTrust
    const trust = await plan(before)
    if (trust !== before) {
      newest = await publish(trust, carriedOut)
      onPublished(newest)
    } else if (carriedOut !== undefined && newest !== undefined) {
      await store.recordCommand(carriedOut, newest.manifest.version)
    }
    return { version: newest?.manifest.version ?? 0, changed: trust !== before }
  }

  return {
    get newest() {
      return newest
    },
    change: (plan, carriedOut) => {
      const outcome = last.then(() => change(plan, carriedOut))
      last = outcome.catch(() => {})
      return outcome
    },
    compareWithLog: async () => {
      if (!isCompared) await readStatus()
    },
    settled: async () => void (await last),
  }
}

function readPublished(document: ManifestDocument, charter: Charter, before?: Published): Published {
  const manifest = verifyManifest(document, charter, before && { charter, manifest: before.manifest })
  return { manifest, document, sha256: manifestSha256(document) }
}

/** A log once named stays named: receipts from it are still in use when the witness has moved on to the next. */
function mergeLogs(named: Iterable<ManifestLog>, reported: readonly LogName[]): LogName[] {
  const logs = new Map<string, LogName>([...named, ...reported].map((log) => [log.origin, log]))
  return [...logs.values()]
}
