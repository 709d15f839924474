/**
 * What survives a restart, as text: the documents that trust rests on and the keys that have ended. Format: spec/delivery.md,
 * section 5. Where it is kept is for others to see: state-file.ts, the signer's folder, a store at the edge.
 * @module
 */

import type { TrustAnchor } from './charter.ts'
import { DocumentRefusal, readDocument } from './document.ts'
import { parseObject } from './json.ts'
import { Members } from './members.ts'
import { type Clocks, type EndState, Trust, type TrustRecord } from './trust.ts'

const FORMAT = 1

export function formatRecord({ charters, manifest, ended }: TrustRecord): string {
  return JSON.stringify({ format: FORMAT, charters, manifest, ended: [...ended] })
}

/** Trust from the text of a record, all of it verified again. Throws `DocumentRefusal` or what reading it throws. */
export function restoreTrust(text: string, anchor: TrustAnchor, clocks: Clocks): Trust {
  return Trust.restore(parseRecord(text), anchor, clocks)
}

/** A record whose form is right. Nothing in it is verified. */
export function parseRecord(text: string): TrustRecord {
  const members = new Members(parseObject(text), 'state')
  members.integer('format', FORMAT, FORMAT)
  const record = {
    charters: members.list('charters', readDocument, { least: 1, most: 100_000 }),
    manifest: readDocument(members.value('manifest')),
    ended: new Map(members.list('ended', readEnd, { most: 1_000_000 })),
  }
  members.end()
  return record
}

function readEnd(value: unknown): [kid: string, state: EndState] {
  const [kid, state] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof kid !== 'string' || (state !== 'retired' && state !== 'revoked')) {
    throw new DocumentRefusal('malformed', 'state.ended does not name a key and its end')
  }
  return [kid, state]
}
