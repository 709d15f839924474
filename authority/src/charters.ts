/**
 * The charters that the authority has, each approved under the one before, the first under the trust anchor. A new one
 * comes in while the authority runs, in the transaction that stores the first manifest under it: so at no moment does
 * anybody who asks find a charter without a manifest, or a manifest whose charter is not there.
 * @module
 */

import { readFileSync } from 'node:fs'
import { type Charter, type TrustAnchor, verifyCharter } from '@countersign/validator/charter'
import type { SignedDocument } from '@countersign/validator/document'
import type { Store } from './store.ts'

/** A charter that was approved under the one before it. */
export interface ApprovedCharter {
  readonly charter: Charter
  readonly document: SignedDocument
}

export interface Charters {
  readonly newest: Charter
  /** The charter of a version; undefined when there is none. */
  at(version: number): Charter | undefined
  /** By version, all of them: who could approve under each. */
  readonly byVersion: ReadonlyMap<number, Charter>
  /** All of them, from the first. */
  readonly documents: readonly SignedDocument[]
  /** The document of a version, the newest unless said otherwise, as it is sent. */
  textOf(version?: number): string | undefined
  /** Makes a charter the newest, once the store has it. */
  adopt(next: ApprovedCharter): void
}

/** Reads what is stored; the first time, takes the first charter from its file. Throws when one is not approved. */
export async function openCharters(store: Store, file: string, anchor: TrustAnchor): Promise<Charters> {
  const stored = await store.charters()
  if (stored.length === 0) {
    const first = JSON.parse(readFileSync(file, 'utf8')) as SignedDocument
    await store.addCharter(verifyCharter(first, anchor).version, first)
    stored.push(first)
  }
  return chainOf(stored, anchor)
}

/** Adopts the charters that another process has stored since. */
export async function followCharters(store: Store, charters: Charters): Promise<void> {
  const stored = await store.charters()
  for (const document of stored.slice(charters.documents.length)) {
    charters.adopt({ charter: verifyCharter(document, charters.newest), document })
  }
}

/** The charters of these documents, the first of which is approved under the anchor. Throws `DocumentRefusal`. */
export function chainOf(documents: readonly SignedDocument[], anchor: TrustAnchor): Charters {
  const chain: ApprovedCharter[] = []
  const texts: string[] = []
  const byVersion = new Map<number, Charter>()
  const adopt = ({ charter, document }: ApprovedCharter): void => {
    chain.push({ charter, document })
    byVersion.set(charter.version, charter)
    texts.push(JSON.stringify(document))
  }
  for (const document of documents) {
    adopt({ charter: verifyCharter(document, chain.at(-1)?.charter ?? anchor), document })
  }
  return {
    get newest() {
      return chain.at(-1)?.charter as Charter
    },
    at: (version) => byVersion.get(version),
    byVersion,
    get documents() {
      return chain.map(({ document }) => document)
    },
    textOf: (version = texts.length) => texts[version - 1],
    adopt,
  }
}
