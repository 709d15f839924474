/**
 * Makes manifests, one after another: the content is composed and reserved with its version, logged by the witness,
 * signed, verified as a validator would, stored and only then published. Two changes at once become two versions in a
 * row, the second made from the first.
 *
 * What is logged is decided. The folder may be a copy, and the process that it was copied from may have published what
 * here was only reserved; so after a crash, or when the answer of the witness was lost, a manifest that is the newest in
 * the log is published before anything else is. What is not in the log costs a version number.
 * @module
 */

import { type Charter, verifyCharter } from '@countersign/validator/charter'
import {
  DocumentRefusal,
  importOnce,
  publicHalf,
  readDocument,
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
  parseManifest,
  signManifest,
  type TrustState,
  verifyManifest,
} from '@countersign/validator/manifest'
import { checkSuccession } from '@countersign/validator/succession'
import { type ApprovedCharter, type Charters, followCharters } from './charters.ts'
import { noTrust, type Trust } from './command.ts'
import { Denial } from './denial.ts'
import { fitToCharter } from './fit.ts'
import { mendGlass } from './glass.ts'
import type { ManifestKeys } from './init.ts'
import type { Prepared, Records, Store } from './store.ts'

/** A log as a manifest names it. */
export type LogName = Pick<ManifestLog, 'origin' | 'witness' | 'state'>

export interface WitnessState {
  /** Those that receipts may come from: the open one is among them, and the next. */
  readonly logs: readonly LogName[]
  /** Of the newest manifest that was logged; 0 before the first. */
  readonly manifestVersion: number
  /** Of the same; undefined when there is none, or the witness does not remember. */
  readonly manifestSha256: string | undefined
  /** Of the newest charter that the witness knows. */
  readonly charterVersion: number
}

/** What a manifest needs of the witness. */
export interface Witness {
  /** What the witness has and knows. */
  status(): Promise<WitnessState>
  /** Shows charters, in their order, so that a manifest under the last can be logged. Throws `Denial`. */
  showCharters(documents: readonly SignedDocument[]): Promise<void>
  /**
   * Logs an entry and gives its receipt, once the entry is durable; that of the newest manifest again, when it is there.
   * Throws `Denial`.
   */
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
   * Publishes what `plan` makes of the newest trust at the time that the manifest will name. When `plan` gives back the
   * same object, nothing is published. A change that fails leaves everything as it was, unless the witness logged it and
   * its answer was lost: then it is published later. `plan` may be asked twice.
   */
  change(plan: (trust: Trust, now: number) => Trust | Promise<Trust>): Promise<Outcome>
  /** The same for what people have asked for: all that it writes down is there with the manifest or not at all. */
  carryOut(plan: (trust: Trust, now: number) => Step | Promise<Step>): Promise<Outcome>
  /**
   * Asks the witness, once, whether the newest manifest in its log was made here. Otherwise this folder is an old copy,
   * and to go on from it would forget what was revoked since: throws `Denial`, `behind_log`.
   */
  compareWithLog(): Promise<void>
  /** Whether the witness has a log that the newest manifest does not name as it is; false while it does not answer. */
  hasOtherLogs(): Promise<boolean>
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
  /** Hears that a manifest was published after all whose change had failed for whoever asked for it. */
  readonly onFinished?: () => void
}

/** Starts from the newest manifest of the store. Throws when that one does not verify under its charter. */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { store, charters, manifestKeys, witness, lifetimeSeconds, now, leads } = options
  const { onPublished, onFinished = () => {} } = options
  const stored = await store.newestManifest()
  let newest = stored && readStored(stored.document, charters)
  let last: Promise<unknown> = Promise.resolve()
  let isCompared = false
  /** Up to this version the log has nothing that is not published. */
  let settledVersion = 0

  async function publish(
    { trust: wanted, charter: next, records = {} }: Step,
    { logs, charterVersion }: WitnessState,
    issuedAt: number,
  ): Promise<void> {
    const charter = next?.charter ?? charters.newest
    const isNew = newest !== undefined && charter !== newest.charter
    const fitted = isNew ? fitToCharter(wanted, charter, issuedAt) : wanted
    const trust = mendGlass(fitted, charter, issuedAt)
    const named = logsUnder(charter, newest, logs)
    if (!named.some(({ origin }) => logs.some((log) => log.state === 'open' && log.origin === origin))) {
      throw new Denial('proposal_impossible', 'the witness that logs has no place in it, or not with its key')
    }
    manifestKeys.under(charter)
    // Before the log has an entry that only the new charter allows.
    const documents = [...charters.documents, ...(next === undefined ? [] : [next.document])]
    if (charterVersion < charter.version) await witness.showCharters(documents.slice(charterVersion))
    const prepared = await store.reserveVersion(issuedAt, (version) => {
      const draft = { ...trust, version, issuedAt, logs: named, acts: actsOf(records) }
      const segment = compose(draft, charter)
      // What is logged is published, so what validators would refuse must not be logged.
      const { payload } = readDocument({ payload: segment, signatures: [] })
      checkFollows({ manifest: parseManifest(readPayload(payload), charter, newest), charter })
      const withCharter = next && { charter: { version: charter.version, document: next.document } }
      return { segment, records: { ...records, ...withCharter } }
    })
    await complete(prepared)
  }

  /** As the strictest validator would: one that has heard everything until now. Throws `DocumentRefusal`. */
  function checkFollows(next: TrustState): void {
    if (newest === undefined) return
    const known = { electorates: charters.byVersion, vouchedAt: next.manifest.issuedAt }
    checkSuccession(newest, next, known)
  }

  /** Has a manifest logged, unless it is, and publishes it. */
  async function complete({
    version,
    segment,
    records,
  }: Prepared & { readonly version: number }): Promise<void> {
    const next = records.charter && {
      charter: verifyCharter(records.charter.document, charters.newest),
      document: records.charter.document,
    }
    const charter = next?.charter ?? charters.newest
    const key = manifestKeys.under(charter)
    const receipt = await witness.append(encodeEntry(manifestEntry(segment, publicHalf(key).kid)))
    const published = readPublished(signManifest(segment, receipt, key), charter, newest)
    const { issuedAt } = published.manifest
    checkFollows(published)
    const after = newest?.manifest.version ?? 0
    // What was logged and then held up is heard of only now, whatever time it bears.
    const at = Math.max(issuedAt, Math.floor(now()))
    await store.publishManifest({ version, document: published.document, after }, at, records)
    if (next !== undefined) charters.adopt(next)
    newest = published
    // As of before it was stored: this process may be suspended here while another one publishes the next.
    onPublished(published, issuedAt)
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

  async function readStatus(): Promise<WitnessState> {
    const status = await witness.status()
    if (status.manifestVersion > 0) await compare(status)
    isCompared = true
    return status
  }

  /** Only after the status was asked for: a version is written down before the witness hears of it. */
  async function compare({ manifestVersion, manifestSha256 }: WitnessState): Promise<void> {
    const ours = await store.reservation(manifestVersion)
    if (ours === undefined) {
      throw new Denial('behind_log', `${manifestVersion} there, ${await store.highestVersion()} here`)
    }
    // Nobody remembers the content of what was logged before this was written down.
    const { sha256 = manifestSha256 } = ours
    if (manifestSha256 === undefined || manifestSha256 === sha256) return
    throw new Denial('behind_log', `version ${manifestVersion} there is another than here`)
  }

  /** Publishes the newest manifest in the log, if that has not been done. Says whether it had to be. */
  async function finish({ manifestVersion, manifestSha256 }: WitnessState): Promise<boolean> {
    if (manifestVersion <= (newest?.manifest.version ?? 0)) return false
    const { prepared, sha256 } = (await store.reservation(manifestVersion)) ?? {}
    if (prepared === undefined || sha256 !== manifestSha256) return false
    try {
      await complete({ version: manifestVersion, ...prepared })
    } catch (error) {
      if (!(error instanceof DocumentRefusal)) throw error
      // Then nobody has published it, and no validator has it: it stays an entry of the log.
      return false
    }
    onFinished()
    return true
  }

  /** Before anything is planned: a version that was reserved and not published may be in the log. */
  async function settle(): Promise<void> {
    const reserved = await store.highestVersion()
    if (reserved <= Math.max(settledVersion, newest?.manifest.version ?? 0)) return
    await finish(await readStatus())
    settledVersion = reserved
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

  async function carryOut(plan: (trust: Trust, now: number) => Step | Promise<Step>): Promise<Outcome> {
    if (!leads()) throw new Denial('not_leader')
    // Whoever led before may have published until a moment ago.
    await readOn()
    await settle()
    for (;;) {
      const before: Trust = newest?.manifest ?? noTrust
      // One time for all: what was due by a wrong clock must not be published as if by a right one. And validators take
      // no manifest that was issued before the one it follows, whatever our clock says.
      const time = Math.max(Math.floor(now()), newest?.manifest.issuedAt ?? 0)
      const step = await plan(before, time)
      const changed = step.trust !== before || step.charter !== undefined
      if (!changed) {
        if (step.records !== undefined && newest !== undefined) {
          await store.record(step.records, newest.manifest.version)
        }
        return { version: newest?.manifest.version ?? 0, changed }
      }
      const status = await readStatus()
      // Logged a moment too late for whoever waited for it: what was planned is planned anew.
      if (await finish(status)) continue
      await publish(step, status, time)
      return { version: newest?.manifest.version ?? 0, changed }
    }
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
        carryOut(async (before, time) => {
          const trust = await plan(before, time)
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
    hasOtherLogs: async () => {
      if (newest === undefined) return false
      const { charter, manifest } = newest
      try {
        const { logs } = await readStatus()
        const named = new Map([...manifest.logs.values()].map(({ origin, state }) => [origin, state]))
        return logsUnder(charter, newest, logs).some(({ origin, state }) => named.get(origin) !== state)
      } catch (error) {
        if (error instanceof Denial && error.code !== 'behind_log') return false
        throw error
      }
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
