/**
 * Makes manifests, one after another: the version is reserved, the content composed, logged by the witness, signed,
 * verified as a validator would, stored and only then published. Two changes at once become two versions in a row, the
 * second made from the first; a crash anywhere costs a version number and forks nothing.
 * @module
 */

import type { Charter } from '@countersign/validator/charter'
import {
  DocumentRefusal,
  importOnce,
  publicHalf,
  readPayload,
  type SignedDocument,
} from '@countersign/validator/document'
import { encodeEntry } from '@countersign/validator/entry'
import {
  composeManifest,
  type Manifest,
  type ManifestDocument,
  type ManifestDraft,
  type ManifestLog,
  manifestEntry,
  manifestSha256,
  signManifest,
  verifyManifest,
} from '@countersign/validator/manifest'
import { checkSuccession } from '@countersign/validator/succession'
import { type ApprovedCharter, type Charters, followCharters } from './charters.ts'
import { noTrust, type Trust } from './command.ts'
import { Denial } from './denial.ts'
import { fitToCharter } from './fit.ts'
import { mendGlass } from './glass.ts'
import type { ManifestKeys } from './init.ts'
import type { Records, Store } from './store.ts'

/** A log as a manifest names it. */
export type LogName = Pick<ManifestLog, 'origin' | 'witness' | 'state'>

/** What a manifest needs of the witness. */
export interface Witness {
  /**
   * The logs that receipts may come from, the open one among them, the newest manifest that was logged, and the newest
   * charter that the witness knows.
   */
  status(): Promise<{
    readonly logs: readonly LogName[]
    readonly manifestVersion: number
    readonly charterVersion: number
  }>
  /** Shows charters, in their order, so that a manifest under the last can be logged. Throws `Denial`. */
  showCharters(documents: readonly SignedDocument[]): Promise<void>
  /** Logs an entry and gives its receipt, once the entry is durable. Throws `Denial`. */
  append(entry: Uint8Array): Promise<Uint8Array>
}

export interface Published {
  readonly manifest: Manifest
  /** The one that the manifest was made under. */
  readonly charter: Charter
  readonly document: ManifestDocument
  /** What acknowledgements and freshness name the manifest by. */
  readonly sha256: string
}

/** What a change makes of the newest trust. */
export interface Step {
  /** When it is the same object as before, nothing is published. */
  readonly trust: Trust
  /** The charter from which the manifest is the first; what it no longer allows of `trust` ends. */
  readonly charter?: ApprovedCharter
  /** Written down with the manifest, or alone when nothing is published. */
  readonly records?: Records
}

/** What a change came to. */
export interface Outcome {
  readonly version: number
  readonly changed: boolean
}

export interface Publisher {
  /** Undefined before the first. */
  readonly newest: Published | undefined
  /** Whether this process may publish at all, as far as it can know without asking. */
  readonly leads: boolean
  /**
   * Publishes what `plan` makes of the newest trust. When `plan` gives back the same object, nothing is published. A
   * change that fails leaves everything as it was.
   */
  change(plan: (trust: Trust) => Trust | Promise<Trust>): Promise<Outcome>
  /** The same for what people have asked for: all that it writes down is there with the manifest or not at all. */
  carryOut(plan: (trust: Trust) => Step | Promise<Step>): Promise<Outcome>
  /**
   * Asks the witness, once, whether it has logged a later manifest than was ever made here. Then this folder is an old
   * copy, and to go on from it would forget what was revoked since: throws `Denial`, `behind_log`.
   */
  compareWithLog(): Promise<void>
  /** Throws `Denial` when no manifest could be made under the charter, were it approved. */
  rehearse(charter: Charter, trust: Trust): void
  /** Takes over the charters and manifests that another process has stored since. */
  follow(): Promise<void>
  /** Settles when the changes begun so far have ended, well or badly. */
  settled(): Promise<void>
}

export interface PublisherOptions {
  readonly store: Store
  readonly charters: Charters
  readonly manifestKeys: ManifestKeys
  readonly witness: Witness
  readonly lifetimeSeconds: number
  readonly now: () => number
  /** Whether this process holds the lease; the store looks again in each transaction. */
  readonly leads: () => boolean
  /** Hears of each manifest; `asOf` is a time at which none newer was stored. */
  readonly onPublished: (published: Published, asOf: number) => void
}

/** Starts from the newest manifest of the store. Throws when that one does not verify under its charter. */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { store, charters, manifestKeys, witness, lifetimeSeconds, now, leads, onPublished } = options
  const stored = await store.newestManifest()
  let newest = stored && readStored(stored.document, charters)
  let last: Promise<unknown> = Promise.resolve()
  let isCompared = false

  async function publish({ trust: wanted, charter: next, records }: Step): Promise<Published> {
    const { logs, charterVersion } = await readStatus()
    // Validators take no manifest that was issued before the one it follows, whatever our clock says.
    const issuedAt = Math.max(Math.floor(now()), newest?.manifest.issuedAt ?? 0)
    const charter = next?.charter ?? charters.newest
    const key = manifestKeys.under(charter)
    const isNew = newest !== undefined && charter !== newest.charter
    const trust = mendGlass(isNew ? fitToCharter(wanted, charter, issuedAt) : wanted, issuedAt)
    const named = logsUnder(charter, newest, logs)
    if (!named.some(({ origin }) => logs.some((log) => log.state === 'open' && log.origin === origin))) {
      throw new Denial('proposal_impossible', 'the witness that logs has no place in it, or not with its key')
    }
    // Before the log has an entry that only the new charter allows.
    const documents = [...charters.documents, ...(next === undefined ? [] : [next.document])]
    if (charterVersion < charter.version) await witness.showCharters(documents.slice(charterVersion))
    const version = await store.reserveVersion(issuedAt)
    const draft = { ...trust, version, issuedAt, logs: named, acts: actsOf(records) }
    const segment = compose(draft, charter)
    const receipt = await witness.append(encodeEntry(manifestEntry(segment, publicHalf(key).kid)))
    const published = readPublished(signManifest(segment, receipt, key), charter, newest)
    if (newest !== undefined) {
      // As the strictest validator would: one that has heard everything until now.
      checkSuccession(newest, published, { electorates: charters.byVersion, vouchedAt: issuedAt })
    }
    const after = newest?.manifest.version ?? 0
    await store.publishManifest({ version, document: published.document, after }, issuedAt, {
      ...records,
      ...(next && { charter: { version: charter.version, document: next.document } }),
    })
    if (next !== undefined) charters.adopt(next)
    return published
  }

  function compose(
    draft: Trust & Pick<ManifestDraft, 'version' | 'issuedAt' | 'logs' | 'acts'>,
    charter: Charter,
  ): string {
    const { version, issuedAt, keys, logs, cutoffs, breakGlass, pruned, foreign, acts } = draft
    return composeManifest(
      {
        version,
        charterVersion: charter.version,
        issuedAt,
        expiresAt: issuedAt + lifetimeSeconds,
        keys: [...keys.values()],
        logs,
        cutoffs,
        acts,
        breakGlass,
        pruned,
        foreign,
      },
      charter,
    )
  }

  function rehearse(charter: Charter, trust: Trust): void {
    manifestKeys.under(charter)
    const { version = 0, issuedAt = 0 } = newest?.manifest ?? {}
    const fitted = fitToCharter(trust, charter, Math.max(Math.floor(now()), issuedAt))
    const logs = logsUnder(charter, newest, [])
    if (logs.length === 0) throw new Denial('proposal_impossible', 'no witness keeps its place and its key')
    try {
      compose({ ...fitted, version: version + 1, issuedAt, logs, acts: [] }, charter)
    } catch (error) {
      if (!(error instanceof DocumentRefusal)) throw error
      throw new Denial('proposal_impossible', error.message)
    }
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

  async function readOn(): Promise<void> {
    const asOf = now()
    // Manifests first: whichever is there, its charter is too.
    const manifests = await store.manifestsAfter(newest?.manifest.version ?? 0)
    if (manifests.length > 0) await followCharters(store, charters)
    for (const { document } of manifests) {
      newest = readStored(document, charters, newest)
      onPublished(newest, asOf)
    }
  }

  async function carryOut(plan: (trust: Trust) => Step | Promise<Step>): Promise<Outcome> {
    if (!leads()) throw new Denial('not_leader')
    // Whoever led before may have published until a moment ago.
    await readOn()
    const before: Trust = newest?.manifest ?? noTrust
    const step = await plan(before)
    const changed = step.trust !== before || step.charter !== undefined
    if (changed) {
      newest = await publish(step)
      // From before it was stored: this process may be suspended here while another one publishes the next.
      onPublished(newest, newest.manifest.issuedAt)
    } else if (step.records !== undefined && newest !== undefined) {
      await store.record(step.records, newest.manifest.version)
    }
    return { version: newest?.manifest.version ?? 0, changed }
  }

  function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const done = last.then(act)
    last = done.catch(() => {})
    return done
  }

  return {
    get newest() {
      return newest
    },
    get leads() {
      return leads()
    },
    change: (plan) =>
      inTurn(() =>
        carryOut(async (before) => {
          const trust = await plan(before)
          // A charter that was stored and never got its manifest: the one before it is no longer the newest.
          const isLeftBehind = newest !== undefined && newest.charter !== charters.newest
          return { trust: trust === before && isLeftBehind ? { ...trust } : trust }
        }),
      ),
    carryOut: (plan) => inTurn(() => carryOut(plan)),
    rehearse,
    follow: () => inTurn(readOn),
    compareWithLog: async () => {
      if (!isCompared) await readStatus()
    },
    settled: async () => void (await last),
  }
}

/** What people did stands in the manifest that carries it, and so in the log. A charter stands there by its hash. */
function actsOf({ command, proposal }: Records = {}): ManifestDraft['acts'] {
  return [
    ...(command === undefined ? [] : [{ command: command.token }]),
    ...(proposal?.kind === 'approval' ? [{ approval: proposal.document }] : []),
  ]
}

function readStored(document: ManifestDocument, charters: Charters, before?: Published): Published {
  const { charter_version } = readPayload(document.payload)
  return readPublished(document, charters.at(Number(charter_version)) ?? charters.newest, before)
}

function readPublished(document: ManifestDocument, charter: Charter, before?: Published): Published {
  const manifest = verifyManifest(document, charter, before)
  return { manifest, charter, document, sha256: manifestSha256(document) }
}

/**
 * A log once named stays named while the charter has its witness with the same key: receipts from it are still in use
 * when the witness has moved on to the next.
 */
function logsUnder(charter: Charter, newest: Published | undefined, reported: readonly LogName[]): LogName[] {
  return mergeLogs(newest?.manifest.logs.values() ?? [], reported).filter(({ witness }) => {
    const before = newest?.charter.witnesses.find(({ name }) => name === witness)
    const after = charter.witnesses.find(({ name }) => name === witness)
    return after !== undefined && (before === undefined || keyName(before) === keyName(after))
  })
}

function keyName({ receiptKey }: Charter['witnesses'][number]): string {
  return importOnce(receiptKey).kid
}

/** What is reported now counts over what was. */
function mergeLogs(named: Iterable<ManifestLog>, reported: readonly LogName[]): LogName[] {
  const logs = new Map<string, LogName>([...named, ...reported].map((log) => [log.origin, log]))
  return [...logs.values()]
}
