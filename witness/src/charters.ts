/**
 * Whose manifests the witness logs. It follows the authority like everybody else and so learns of each charter with the
 * first manifest under it; but that manifest has to be logged before anybody can follow it, and a charter may replace
 * the very key that signs it. So the authority shows a new charter here first, and the approval of the operators, not
 * the authority's word, makes it count.
 * @module
 */

import { type Charter, verifyCharter } from '@countersign/validator/charter'
import { DocumentRefusal, readDocument, readPayload } from '@countersign/validator/document'
import type { TrustSource } from '@countersign/validator/manifest'

export class KnownCharters {
  readonly #first: Charter
  readonly #trust: Pick<TrustSource, 'state'>
  #shown: Charter | undefined

  /** `first` decides until a first manifest brings a charter of its own. */
  constructor(first: Charter, trust: Pick<TrustSource, 'state'>) {
    this.#first = first
    this.#trust = trust
  }

  /**
   * The charters whose manifest keys may log a manifest: that of the manifest in force and, until one under it is, the
   * one that was shown. Both, since an authority that fell between the two goes on from the first.
   */
  get inForce(): readonly Charter[] {
    const current = this.#trust.state?.charter ?? this.#first
    const shown = this.#shown
    return shown !== undefined && shown.version > current.version ? [current, shown] : [current]
  }

  /** The newest that is known. */
  get version(): number {
    return Math.max(...this.inForce.map(({ version }) => version))
  }

  /**
   * Takes charters, each approved under the one before; those known already are passed over. Nothing is written down:
   * who is asked again shows them again. Throws `DocumentRefusal`, and then knows what it knew.
   */
  show(documents: readonly unknown[]): void {
    const [current] = this.inForce as [Charter]
    const newest = documents.reduce<Charter>(
      (before, document) => (versionOf(document) > before.version ? verifyCharter(document, before) : before),
      current,
    )
    if (newest !== current) this.#shown = newest
  }
}

/** Only to know which document to verify; one that lies about its version is refused by the one before it. */
function versionOf(document: unknown): number {
  const { version } = readPayload(readDocument(document).payload)
  if (typeof version !== 'number') throw new DocumentRefusal('malformed', 'a charter has a version')
  return version
}
