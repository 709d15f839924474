/**
 * What this signer believes about its realm: charter and manifest, verified here down to the pinned trust anchor,
 * whoever brought them. All of it is remembered on disk, the keys that have ended too, so that neither an older manifest
 * nor a newer one that revives a key is taken after a restart: who could do that could make a revoked key sign again.
 * @module
 */

import { existsSync } from 'node:fs'
import { LineError } from '@countersign/lines'
import type { TrustAnchor } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import type { TrustState } from '@countersign/validator/manifest'
import { type Clocks, SplitView, Trust } from '@countersign/validator/trust'
import { formatRecord, restoreTrust } from '@countersign/validator/trust-record'
import { SignerFault } from './fault.ts'
import { Twin } from './twin.ts'

/** What a signer remembers that has not seen a manifest yet. */
const NOTHING_SEEN = 'null'

export class Trusted {
  readonly #seen: Twin
  readonly #trust: Trust
  #isBrought = false

  /** Throws `SignerFault` where the folder that remembers is missing or damaged. */
  constructor(folder: string, anchor: TrustAnchor, now: () => number) {
    this.#seen = new Twin(folder)
    this.#trust = readTrust(folder, this.#seen.text, anchor, { now, monotonic: () => performance.now() })
  }

  /** Makes the folder, where there is none: what one remembers must not be taken back. */
  static create(folder: string): void {
    if (!existsSync(folder)) Twin.create(folder, NOTHING_SEEN)
  }

  /** Undefined until somebody has brought documents since the start. */
  get state(): TrustState | undefined {
    return this.#isBrought ? this.#trust.state : undefined
  }

  /**
   * Takes a manifest, and all charters from the first, and remembers them. Throws `LineError('trust_refused')` for what
   * does not verify, is older than what was seen before, or shows a key as alive that has ended.
   */
  accept(manifest: unknown, charters: readonly unknown[]): TrustState {
    try {
      this.#trust.accept(manifest, charters.slice(this.#trust.state?.charter.version ?? 0))
      this.#remember()
    } catch (error) {
      if (error instanceof DocumentRefusal || error instanceof SplitView)
        throw new LineError('trust_refused', error.message)
      throw error
    }
    this.#isBrought = true
    return this.#trust.state as TrustState
  }

  /** Also what was taken before and could not be written then. */
  #remember(): void {
    const { record } = this.#trust
    const text = record === undefined ? NOTHING_SEEN : formatRecord(record)
    if (text !== this.#seen.text) this.#seen.replace(text)
  }
}

function readTrust(folder: string, text: string, anchor: TrustAnchor, clocks: Clocks): Trust {
  if (text === NOTHING_SEEN) return new Trust(anchor, clocks)
  try {
    return restoreTrust(text, anchor, clocks)
  } catch (error) {
    throw new SignerFault(
      `${folder} is of another trust anchor, and what it remembers cannot be made up (${(error as Error).message})`,
    )
  }
}
