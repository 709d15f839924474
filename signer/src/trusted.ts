/**
 * What this signer believes about its realm: charter and manifest, verified here down to the pinned trust anchor,
 * whoever brought them. All of it is remembered on disk, the keys that have ended too, so that neither an older manifest
 * nor a newer one that revives a key is taken after a restart: who could do that could make a revoked key sign again.
 * @module
 */

import { existsSync, readFileSync } from 'node:fs'
import { LineError } from '@countersign/lines'
import type { TrustAnchor } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import type { TrustState } from '@countersign/validator/manifest'
import { formatRecord, restoreTrust } from '@countersign/validator/state-file'
import { type Clocks, SplitView, Trust } from '@countersign/validator/trust'
import { SignerFault } from './fault.ts'
import { replaceFile, writeNewFile } from './files.ts'

/** What the file of a signer holds that has not seen a manifest yet. */
const NOTHING_SEEN = 'null'

export class Trusted {
  readonly #file: string
  readonly #trust: Trust
  #isBrought = false

  /** Throws `SignerFault` where the file that remembers is missing or damaged. */
  constructor(file: string, anchor: TrustAnchor, now: () => number) {
    this.#file = file
    this.#trust = readTrust(file, anchor, { now, monotonic: () => performance.now() })
  }

  /** Makes the file, where there is none: what one remembers must not be taken back. */
  static create(file: string): void {
    if (!existsSync(file)) writeNewFile(file, NOTHING_SEEN)
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
      const outcome = this.#trust.accept(manifest, charters.slice(this.#trust.state?.charter.version ?? 0))
      if (outcome === 'newer' && this.#trust.record !== undefined)
        replaceFile(this.#file, formatRecord(this.#trust.record))
    } catch (error) {
      if (error instanceof DocumentRefusal || error instanceof SplitView)
        throw new LineError('trust_refused', error.message)
      throw error
    }
    this.#isBrought = true
    return this.#trust.state as TrustState
  }
}

function readTrust(file: string, anchor: TrustAnchor, clocks: Clocks): Trust {
  const text = readFile(file)
  if (text === NOTHING_SEEN) return new Trust(anchor, clocks)
  try {
    return restoreTrust(text, anchor, clocks)
  } catch (error) {
    throw new SignerFault(
      `${file} is damaged, or of another trust anchor, and what it remembers cannot be made up (${(error as Error).message})`,
    )
  }
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new SignerFault(`${file} cannot be opened (${(error as NodeJS.ErrnoException).code})`)
  }
}
