/**
 * What a validator believes, and how it comes to believe something newer: charters in an unbroken chain from the
 * trust anchor, manifests whose version only grows and that widen nothing unapproved, keys that stay ended once they have
 * ended, and an age that no clock can make look younger. A document that is refused leaves everything as it was. Rules:
 * spec/delivery.md and spec/manifest.md, section 5.
 * @module
 */

import type { Electorate } from './approval.ts'
import {
  type Charter,
  type CharterDocument,
  CLOCK_DIFFERENCE_SECONDS_MAX,
  type TrustAnchor,
  verifyCharter,
} from './charter.ts'
import { DocumentRefusal, readDocument } from './document.ts'
import { verifyFreshness } from './freshness.ts'
import {
  type Manifest,
  type ManifestDocument,
  manifestSha256,
  type TrustSource,
  type TrustState,
  verifyManifest,
} from './manifest.ts'
import { checkSuccession } from './succession.ts'

/** The documents that a state rests on: whoever pins the same anchor can verify them anew. */
export interface TrustDocuments {
  /** All of them, from the first. */
  readonly charters: readonly CharterDocument[]
  readonly manifest: ManifestDocument
}

/** What survives a restart. */
export interface TrustRecord extends TrustDocuments {
  readonly ended: ReadonlyMap<string, EndState>
}

/** States that a key never leaves, but for retired to revoked. */
export type EndState = 'retired' | 'revoked'

export interface Clocks {
  /** Seconds since the epoch. */
  readonly now: () => number
  /** Milliseconds, on a clock that never jumps. */
  readonly monotonic: () => number
}

export const systemClocks: Clocks = { now: () => Date.now() / 1000, monotonic: () => performance.now() }

/**
 * The authority said two things under one version number. Both carry its signature, so that the two together prove
 * it to anybody.
 */
export class SplitView extends Error {
  readonly version: number
  readonly held: ManifestDocument
  /** A manifest, or a statement of freshness (compact JWS) for another content. */
  readonly shown: ManifestDocument | string
  constructor(version: number, held: ManifestDocument, shown: ManifestDocument | string) {
    super(`the authority signed two different manifests as version ${version}`)
    this.name = 'SplitView'
    this.version = version
    this.held = held
    this.shown = shown
  }
}

interface Vouching {
  readonly issuedAt: number
  /** How old it was at least when it came, and when that was. */
  readonly ageSeconds: number
  readonly arrivedMilliseconds: number
}

export class Trust implements TrustSource {
  readonly #anchor: TrustAnchor
  readonly #clocks: Clocks
  #state: TrustState | undefined
  #documents: TrustDocuments | undefined
  #sha256 = ''
  #ended: ReadonlyMap<string, EndState> = new Map()
  /** Who could approve under each charter: that counts for what was missed in between. */
  #electorates: ReadonlyMap<number, Electorate> = new Map()
  #vouching: Vouching | undefined

  constructor(anchor: TrustAnchor, clocks: Clocks = systemClocks) {
    this.#anchor = anchor
    this.#clocks = clocks
  }

  /**
   * Trust as it was recorded before a restart, all of it verified again. However young the record seems, it does not
   * count as fresh: no clock that survives a restart can be relied on to say how long ago it was made.
   */
  static restore(record: TrustRecord, anchor: TrustAnchor, clocks: Clocks = systemClocks): Trust {
    const trust = new Trust(anchor, clocks)
    trust.#ended = record.ended
    trust.accept(record.manifest, record.charters)
    trust.#vouching = undefined
    return trust
  }

  get state(): TrustState | undefined {
    return this.#state
  }

  get documents(): TrustDocuments | undefined {
    return this.#documents
  }

  get record(): TrustRecord | undefined {
    return this.#documents && { ...this.#documents, ended: this.#ended }
  }

  /** What acknowledgements name the newest manifest by; empty before the first. */
  get manifestSha256(): string {
    return this.#sha256
  }

  /**
   * The monotonic clock shows how long ago the vouching came, whatever happens to the other; the other sees the hours
   * that a suspended machine did not count. The older of the two ages holds.
   */
  ageSeconds(): number {
    if (this.#vouching === undefined) return Number.POSITIVE_INFINITY
    const { issuedAt, ageSeconds, arrivedMilliseconds } = this.#vouching
    const sinceArrival = (this.#clocks.monotonic() - arrivedMilliseconds) / 1000
    return Math.max(ageSeconds + sinceArrival, this.#clocks.now() - issuedAt)
  }

  /**
   * Takes a manifest, with the charters that lie between the newest one held and its own. Says whether it is newer
   * than what was held. Throws `DocumentRefusal` or `SplitView`.
   */
  accept(document: unknown, nextCharters: readonly unknown[] = []): 'newer' | 'same' {
    const manifestDocument = readDocument(document)
    if (manifestDocument.payload === this.#documents?.manifest.payload) return 'same'
    const charters = nextCharters.map(readDocument)
    const electorates = new Map(this.#electorates)
    const charter = charters.reduce<Charter | undefined>((before, document) => {
      const next = verifyCharter(document, before ?? this.#anchor)
      return addElectorate(electorates, next)
    }, this.#state?.charter)
    if (charter === undefined) throw new DocumentRefusal('version_mismatch', 'there is no charter yet')
    const state = { charter, manifest: verifyManifest(manifestDocument, charter, this.#state) }
    this.#checkSuccession(state, manifestDocument, electorates)
    this.#ended = withEnded(this.#ended, this.#state?.manifest, state.manifest)
    this.#state = state
    this.#electorates = electorates
    this.#documents = {
      charters: [...(this.#documents?.charters ?? []), ...charters],
      manifest: manifestDocument,
    }
    this.#sha256 = manifestSha256(manifestDocument)
    this.#vouch(state.manifest.issuedAt)
    return 'newer'
  }

  /**
   * Takes a statement that a manifest is the newest. `renewed`: it is the one held, which counts as younger now;
   * `known`: so it was said before; `behind`: the authority is ahead, and what is held grows no younger. Throws
   * `DocumentRefusal` or `SplitView`.
   */
  refresh(freshness: string): 'renewed' | 'known' | 'behind' {
    const [state, documents] = [this.#state, this.#documents]
    if (state === undefined || documents === undefined) return 'behind'
    const { version, manifestSha256: sha256, issuedAt } = verifyFreshness(freshness, state.charter)
    if (version > state.manifest.version) return 'behind'
    if (version < state.manifest.version) throw rolledBack()
    if (sha256 !== this.#sha256) throw new SplitView(version, documents.manifest, freshness)
    if (this.#isAhead(issuedAt)) {
      throw new DocumentRefusal('issued_in_future', 'the clocks of the authority and of this machine differ')
    }
    return this.#vouch(issuedAt) ? 'renewed' : 'known'
  }

  /** Only a newer word renews trust: one that was recorded and is played again does not. */
  #vouch(issuedAt: number): boolean {
    if (this.#isAhead(issuedAt) || issuedAt <= (this.#vouching?.issuedAt ?? -1)) return false
    const ageSeconds = Math.max(0, this.#clocks.now() - issuedAt)
    this.#vouching = { issuedAt, ageSeconds, arrivedMilliseconds: this.#clocks.monotonic() }
    return true
  }

  #isAhead(issuedAt: number): boolean {
    return issuedAt > this.#clocks.now() + CLOCK_DIFFERENCE_SECONDS_MAX
  }

  #checkSuccession(
    next: TrustState,
    document: ManifestDocument,
    electorates: ReadonlyMap<number, Electorate>,
  ): void {
    const held = this.#state
    if (held !== undefined && this.#documents !== undefined) {
      if (next.manifest.version === held.manifest.version) {
        throw new SplitView(held.manifest.version, this.#documents.manifest, document)
      }
      const vouchedAt = Math.max(held.manifest.issuedAt, this.#vouching?.issuedAt ?? 0)
      checkSuccession(held, next, { electorates, vouchedAt })
    }
    for (const [kid, state] of this.#ended) {
      const now = next.manifest.keys.get(kid)?.state
      // Pruned from the manifest, a key is unknown, which ends it as well.
      if (now !== undefined && now !== 'revoked' && now !== state) {
        throw new DocumentRefusal('key_revived', 'a key that has ended is shown as alive')
      }
    }
  }
}

function withEnded(
  ended: ReadonlyMap<string, EndState>,
  before: Manifest | undefined,
  manifest: Manifest,
): ReadonlyMap<string, EndState> {
  const all = new Map(ended)
  for (const { kid, state } of manifest.keys.values()) {
    if (state === 'retired' || state === 'revoked') all.set(kid, state)
  }
  // Whatever it was when it was pruned: it never comes back.
  for (const kid of before?.keys.keys() ?? []) if (!manifest.keys.has(kid)) all.set(kid, 'revoked')
  return all
}

function addElectorate(electorates: Map<number, Electorate>, charter: Charter): Charter {
  const { version, operators, threshold } = charter
  electorates.set(version, { version, operators, threshold })
  return charter
}

function rolledBack(): DocumentRefusal {
  return new DocumentRefusal('rolled_back', 'the authority shows an older manifest than before')
}
