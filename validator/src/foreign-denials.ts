/**
 * What a manifest denies of issuers that are not ours: keys that nobody accepts any more, and times before which their
 * tokens do not count. Their owners are not asked, so a stolen key of theirs ends at our validators in the moment in which
 * one of our operators says so. Format: spec/manifest.md, section 1; lifting takes as many people as for a key of ours.
 *
 *     {"blocked": [{"iss", "kid", "at", "reason", "by"}], "cutoffs": [{"iss", "tenant"?, "sub"?, "before"}], "lifted": [...]}
 *
 * @module
 */

import { type Approval, type ApprovalDocument, readApproval } from './approval.ts'
import { DocumentRefusal, readDocument } from './document.ts'
import type { JsonValue } from './json.ts'
import { foreignName, Members, sentence } from './members.ts'

/** All that the key of this name signed, in the key set that `issuer` belongs to. */
export interface ForeignBlock {
  readonly issuer: string
  readonly kid: string
  readonly at: number
  readonly reason: string
  readonly by: string
}

/** Refuse tokens of `issuer` issued before `before`; each other member given must match. */
export interface ForeignCutoff {
  readonly issuer: string
  readonly tenant?: string
  readonly subject?: string
  readonly before: number
}

export interface ForeignDenials {
  readonly blocked: readonly ForeignBlock[]
  readonly cutoffs: readonly ForeignCutoff[]
  /** What let a key go that was blocked; of each key the last. */
  readonly lifted: readonly ApprovalDocument[]
}

export const noForeignDenials: ForeignDenials = { blocked: [], cutoffs: [], lifted: [] }

export const FOREIGN_COUNT_MAX = 1024

/** Reads the member of a manifest. Throws `DocumentRefusal`. */
export function readForeignDenials(members: Members): ForeignDenials {
  const most = { most: FOREIGN_COUNT_MAX }
  const denials = {
    blocked: members.list('blocked', (value, path) => readBlock(new Members(value, path)), most),
    cutoffs: members.list('cutoffs', (value, path) => readCutoff(new Members(value, path)), most),
    lifted: members.list('lifted', readLift, most),
  }
  members.end()
  if (new Set(denials.blocked.map(keyOf)).size < denials.blocked.length) {
    throw new DocumentRefusal('malformed', `${members.at('blocked')} names something twice`)
  }
  return denials
}

/** The member as it stands in a manifest; none where there is nothing to deny. */
export function writeForeignDenials({ blocked, cutoffs, lifted }: ForeignDenials): object {
  if (blocked.length + cutoffs.length + lifted.length === 0) return {}
  return {
    foreign: {
      blocked: blocked.map(({ issuer: iss, ...block }) => ({ iss, ...block })),
      cutoffs: cutoffs.map(({ issuer: iss, subject: sub, ...cutoff }) => ({
        iss,
        ...(sub !== undefined && { sub }),
        ...cutoff,
      })),
      lifted,
    },
  }
}

/**
 * Throws `DocumentRefusal` unless what was denied stays denied. A block goes by an approval for that block or a later one
 * of the same key, a cutoff only where a wider one has taken its place. `verify` throws for an approval that does not count.
 */
export function checkForeignSuccession(
  before: ForeignDenials,
  after: ForeignDenials,
  verify: (document: ApprovalDocument) => Approval,
): void {
  const blocked = new Map(after.blocked.map((block) => [keyOf(block), block]))
  const known = new Set(before.lifted.map(({ payload }) => payload))
  for (const block of before.blocked) {
    const now = blocked.get(keyOf(block))
    // An earlier block would fit an approval that was given for it.
    if (now !== undefined && now.at >= block.at) continue
    const lift = after.lifted.find((document) => !known.has(document.payload) && isOf(document, block))
    const target = lift && verify(lift).target
    if (target?.op !== 'lift-foreign' || target.blockedAt < block.at) {
      throw new DocumentRefusal('not_approved', 'a foreign key is let go without an approval')
    }
  }
  const lost = before.cutoffs.find((cutoff) => !after.cutoffs.some((other) => reaches(other, cutoff)))
  if (lost !== undefined) {
    throw new DocumentRefusal('rolled_back', 'the manifest takes back what was cut off of a foreign issuer')
  }
}

/** Whether the approval lets this key go, whichever block of it. */
export function isOf(
  document: ApprovalDocument,
  { issuer, kid }: Pick<ForeignBlock, 'issuer' | 'kid'>,
): boolean {
  const { target } = readApproval(document)
  return target.op === 'lift-foreign' && target.issuer === issuer && target.kid === kid
}

function reaches(wider: ForeignCutoff, cutoff: ForeignCutoff): boolean {
  return (
    wider.issuer === cutoff.issuer &&
    wider.before >= cutoff.before &&
    (wider.tenant === undefined || wider.tenant === cutoff.tenant) &&
    (wider.subject === undefined || wider.subject === cutoff.subject)
  )
}

function keyOf({ issuer, kid }: Pick<ForeignBlock, 'issuer' | 'kid'>): string {
  return JSON.stringify([issuer, kid])
}

function readBlock(members: Members): ForeignBlock {
  const block = {
    issuer: members.text('iss', foreignName),
    kid: members.text('kid', foreignName),
    at: members.time('at'),
    reason: members.text('reason', sentence),
    by: members.text('by', sentence),
  }
  members.end()
  return block
}

function readCutoff(members: Members): ForeignCutoff {
  const cutoff = {
    issuer: members.text('iss', foreignName),
    ...(members.has('tenant') && { tenant: members.text('tenant', foreignName) }),
    ...(members.has('sub') && { subject: members.text('sub', foreignName) }),
    before: members.time('before'),
  }
  members.end()
  return cutoff
}

function readLift(value: JsonValue, path: string): ApprovalDocument {
  const document = readDocument(value)
  if (readApproval(document).target.op === 'lift-foreign') return document
  throw new DocumentRefusal('malformed', `${path} approves something else`)
}
