/**
 * The charters that the authority has, each approved under the one before, the first under the trust anchor.
 * @module
 */

import { readFileSync } from 'node:fs'
import { type Charter, type TrustAnchor, verifyCharter } from '@countersign/validator/charter'
import type { SignedDocument } from '@countersign/validator/document'
import type { Store } from './store.ts'

export interface Charters {
  readonly newest: Charter
  /** The document of a version, the newest unless said otherwise, as it is sent. */
  textOf(version?: number): string | undefined
}

/** Reads what is stored; the first time, takes the first charter from its file. Throws when one is not approved. */
export async function openCharters(store: Store, file: string, anchor: TrustAnchor): Promise<Charters> {
  const stored = await store.charters()
  if (stored.length === 0) {
    const first = JSON.parse(readFileSync(file, 'utf8')) as SignedDocument
    await store.addCharter(verifyCharter(first, anchor).version, first)
    stored.push(first)
  }
  const [newest] = stored.reduce<[Charter | undefined]>(
    ([before], document) => [verifyCharter(document, before ?? anchor)],
    [undefined],
  )
  const texts = stored.map((document) => JSON.stringify(document))
  return { newest: newest as Charter, textOf: (version = texts.length) => texts[version - 1] }
}
