/**
 * What this signer believes about its realm: charter and manifest, verified here down to the pinned trust anchor,
 * whoever brought them. The newest version seen is remembered on disk, so that an older one is refused after a restart
 * too: who could show the signer an old manifest could make a revoked key sign again.
 * @module
 */

import { LineError } from '@countersign/lines'
import type { TrustAnchor } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import type { TrustState } from '@countersign/validator/manifest'
import { SplitView, Trust } from '@countersign/validator/trust'
import { createRecord, DurableRecord } from './record.ts'

interface Seen {
  readonly version: number
  readonly sha256: string
}

export class Trusted {
  readonly #anchor: TrustAnchor
  readonly #now: () => number
  readonly #seen: DurableRecord<Seen>
  #trust: Trust | undefined

  /** Throws `SignerFault` where the file that remembers is missing. */
  constructor(file: string, anchor: TrustAnchor, now: () => number) {
    this.#anchor = anchor
    this.#now = now
    this.#seen = new DurableRecord(file)
  }

  static create(file: string): void {
    createRecord(file, { version: 0, sha256: '' } satisfies Seen)
  }

  /** Undefined until somebody has brought documents since the start. */
  get state(): TrustState | undefined {
    return this.#trust?.state
  }

  /**
   * Takes a manifest, and all charters from the first, and remembers the version. Throws `LineError('trust_refused')` for what does not verify, or is older than what was seen before.
   */
  accept(manifest: unknown, charters: readonly unknown[]): TrustState {
    const trust =
      this.#trust ?? new Trust(this.#anchor, { now: this.#now, monotonic: () => performance.now() })
    try {
      trust.accept(manifest, charters.slice(trust.state?.charter.version ?? 0))
      this.#checkSeen(trust)
    } catch (error) {
      if (error instanceof DocumentRefusal || error instanceof SplitView)
        throw new LineError('trust_refused', error.message)
      throw error
    }
    this.#trust = trust
    const state = trust.state as TrustState
    this.#seen.write({ version: state.manifest.version, sha256: trust.manifestSha256 })
    return state
  }

  close(): void {
    this.#seen.close()
  }

  /** The first manifest after a start has to stand behind the last one before it. */
  #checkSeen({ state, manifestSha256 }: Trust): void {
    const { version, sha256 } = this.#seen.value
    const shown = state?.manifest.version ?? 0
    if (shown < version)
      throw new DocumentRefusal('rolled_back', 'the manifest is older than one seen before')
    if (shown === version && manifestSha256 !== sha256)
      throw new DocumentRefusal('version_mismatch', 'another manifest was seen under this version')
  }
}
