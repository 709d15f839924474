/**
 * Whether a manifest may follow the one that is held. The authority narrows alone: it may block, end and cut off as it
 * likes. Where trust gets wider (a blocked key let go, a key that signs before its time) or history shorter, the manifest
 * has to carry the approval of enough operators for exactly that, and it is verified here: whoever has taken the
 * authority cannot give it. Versions may have been missed in between. Pure. Rules: spec/manifest.md, section 5.
 * @module
 */

import {
  type Approval,
  type ApprovalDocument,
  type Electorate,
  readApproval,
  verifyApproval,
} from './approval.ts'
import { readAttestation } from './attestation.ts'
import { CLOCK_DIFFERENCE_SECONDS_MAX } from './charter.ts'
import { DocumentRefusal } from './document.ts'
import { checkForeignSuccession } from './foreign-denials.ts'
import {
  type Cutoff,
  hasEnded,
  letsBegin,
  type Manifest,
  type ManifestKey,
  prunedKids,
  type TrustState,
} from './manifest.ts'

/** What else is known when a manifest comes. */
export interface Known {
  /** Who could approve under each charter, from the first. */
  readonly electorates: ReadonlyMap<number, Electorate>
  /** When the authority last said that the manifest held was the newest. */
  readonly vouchedAt: number
}

/** Throws `DocumentRefusal` unless `next` may follow `held`, whichever versions lay in between. */
export function checkSuccession(held: TrustState, next: TrustState, known: Known): void {
  const [before, after] = [held.manifest, next.manifest]
  if (after.version <= before.version) refuse('rolled_back', 'the manifest is no newer than the one held')
  if (after.issuedAt < before.issuedAt) refuse('rolled_back', 'the manifest was issued before the one held')
  const step = { held, next, before, after, ...known }
  for (const key of before.keys.values()) {
    const now = after.keys.get(key.kid)
    if (now !== undefined) checkKey(key, now, step)
  }
  for (const key of after.keys.values()) if (!before.keys.has(key.kid)) checkNewcomer(key, step)
  checkPruned(step)
  checkCutoffs(step)
  checkForeignSuccession(before.foreign, after.foreign, (document) => verify(document, step))
}

interface Step extends Known {
  readonly held: TrustState
  readonly next: TrustState
  readonly before: Manifest
  readonly after: Manifest
}

function checkKey(key: ManifestKey, now: ManifestKey, step: Step): void {
  checkLift(key, now, step)
  if (hasEnded(key) && !follows(key, now)) refuse('key_revived', 'a key that has ended is shown as alive')
  if (hasEnded(now)) return
  if (now.signUntil > key.signUntil || now.verifyUntil > key.verifyUntil) {
    refuse('key_revived', 'a key is shown to live longer than before')
  }
  checkBeginning(key, now, step)
}

/** An end is final, but that a retired key may be revoked as well. */
function follows(key: ManifestKey, now: ManifestKey): boolean {
  return now.state === key.state || now.state === 'revoked'
}

/** A block falls, and a key that is on its way out turns back, by an approval that was not used before. */
function checkLift(key: ManifestKey, now: ManifestKey, step: Step): void {
  const lift = now.lifted?.payload === key.lifted?.payload ? undefined : now.lifted
  if (lift === undefined) {
    if (now.lifted === undefined && key.lifted !== undefined) {
      refuse('rolled_back', 'a key no longer shows what let it go')
    }
    if (needsLift(key, now)) refuse('not_approved', 'a key is let go without an approval')
    return
  }
  const { target } = verify(lift, step)
  // A later block of the same key was made of a key that had been let go in between.
  if (target.op !== 'lift' || target.blockedAt < (key.blocked?.at ?? 0)) {
    refuse('not_approved', 'a key is let go by an approval for another block')
  }
}

function needsLift(key: ManifestKey, now: ManifestKey): boolean {
  switch (key.state) {
    case 'blocked':
      // Nor may the block be said to be an older one, which an old approval would fit.
      return now.blocked === undefined ? !hasEnded(now) : now.blocked.at < (key.blocked?.at ?? 0)
    case 'retiring':
      return now.state === 'active' || now.state === 'published'
    case 'published':
    case 'active':
    case 'retired':
    case 'revoked':
      return false
    default:
      return key.state satisfies never
  }
}

/** A key signs no earlier than it was said to, so that whoever verifies has heard of it. */
function checkBeginning(key: ManifestKey, now: ManifestKey, step: Step): void {
  // A key that takes over opens its window a little, for issuers whose clocks are behind; a blocked one may have, and be
  // blocked again, once it was let go.
  const isLetGo = key.state === 'blocked' && now.lifted?.payload !== key.lifted?.payload
  const hasBegun = isLetGo || (key.state === 'published' && now.state !== 'published')
  const notBefore = key.notBefore - (hasBegun ? CLOCK_DIFFERENCE_SECONDS_MAX : 0)
  if (now.notBefore < notBefore || (signs(now) && step.after.issuedAt < key.notBefore)) {
    requireEarly(now, step)
  }
}

/** A key that was never seen is judged by when its signer made it, but for the first where keys take turns. */
function checkNewcomer(key: ManifestKey, step: Step): void {
  if (!signs(key)) return
  const cacheSeconds = Math.min(...[step.held, step.next].map((state) => cacheSecondsOf(state, key.realm)))
  const madeAt = readAttestation(key.attestation).issuedAt
  const isYoung = step.after.issuedAt < madeAt + 2 * cacheSeconds - SIGNER_CLOCK_SECONDS_MAX
  if (isYoung && hasTurns(step.before, key)) requireEarly(key, step)
}

function cacheSecondsOf({ charter }: TrustState, realm: string): number {
  return charter.realms.get(realm)?.cacheSeconds ?? Number.POSITIVE_INFINITY
}

function hasTurns({ keys }: Manifest, { realm, issuer, tokenTypes }: ManifestKey): boolean {
  return [...keys.values()].some(
    (other) =>
      other.realm === realm &&
      other.issuer === issuer &&
      other.tokenTypes.some((type) => tokenTypes.includes(type)),
  )
}

function signs({ state }: ManifestKey): boolean {
  return state === 'active' || state === 'retiring'
}

function requireEarly(key: ManifestKey, step: Step): void {
  const candidates = [...(key.early === undefined ? [] : [key.early]), ...step.after.breakGlass]
  const reasons = candidates.map((document) => whyNot(() => checkEarly(document, key, step)))
  if (reasons.includes(undefined)) return
  refuse('not_approved', reasons[0] ?? 'a key signs before its time without an approval')
}

function checkEarly(document: ApprovalDocument, key: ManifestKey, step: Step): void {
  const { target, issuedAt } = verify(document, step)
  // It lets a key begin now, not have begun before anybody was asked.
  if (!letsBegin(target, key) || key.notBefore < issuedAt - 2 * CLOCK_DIFFERENCE_SECONDS_MAX) {
    refuse('not_approved', 'a key signs before its time by an approval for something else')
  }
}

function whyNot(check: () => void): string | undefined {
  try {
    check()
  } catch (error) {
    if (error instanceof DocumentRefusal) return error.message
    throw error
  }
  return undefined
}

/** What was pruned stays named, for validators that missed it. */
function checkPruned(step: Step): void {
  const { before, after } = step
  const documents = new Map(after.pruned.map((document) => [document.payload, document]))
  if (before.pruned.some(({ payload }) => !documents.has(payload))) {
    refuse('rolled_back', 'the manifest no longer says what was pruned')
  }
  const left = new Set([...before.keys.keys()].filter((kid) => !after.keys.has(kid)))
  if (left.size === 0) return
  for (const { payload } of before.pruned) documents.delete(payload)
  for (const document of documents.values()) {
    verify(document, step)
    for (const kid of prunedKids(document)) left.delete(kid)
  }
  if (left.size > 0) refuse('not_approved', 'a key is left out without an approval')
}

/**
 * The approval, if it was given under a charter that counted since the manifest held, and carried out in time. A manifest
 * that follows the one held directly did it itself; of one that does not, all that is known is that it was done after
 * the one held had been vouched for.
 */
function verify(document: ApprovalDocument, step: Step): Approval {
  const { before, after, electorates, vouchedAt } = step
  const electorate = electorates.get(readApproval(document).charterVersion)
  if (electorate === undefined || electorate.version < before.charterVersion) {
    throw new DocumentRefusal('not_approved', 'the approval is of a charter that no longer counted')
  }
  const approval = verifyApproval(document, electorate)
  const { target, issuedAt } = approval
  const end = (target.op === 'break-glass' ? target.until : approval.expiresAt) + CLOCK_DIFFERENCE_SECONDS_MAX
  const isDirect = after.version === before.version + 1
  if (issuedAt > after.issuedAt + CLOCK_DIFFERENCE_SECONDS_MAX) {
    refuse('not_approved', 'the approval is younger than what it approves')
  }
  if (after.issuedAt > end && (isDirect || vouchedAt > end)) {
    refuse('not_approved', 'the approval had expired when it was used')
  }
  return approval
}

/** What was cut off stays cut off, by name or by something wider, while what it names is there. */
function checkCutoffs({ before, after, next }: Step): void {
  const cutoffs = new Map(after.cutoffs.map((cutoff) => [nameOf(cutoff), cutoff.before]))
  const holds = (cutoff: Cutoff): boolean => (cutoffs.get(nameOf(cutoff)) ?? -1) >= cutoff.before
  const isKept = (cutoff: Cutoff): boolean => holds(cutoff) || widened(cutoff).some(holds)
  const lost = before.cutoffs.find((cutoff) => !isKept(cutoff) && isThere(cutoff, next))
  if (lost !== undefined) refuse('rolled_back', 'the manifest takes back what was cut off')
}

/** All cutoffs that reach further than this one: with fewer names, more match. */
function widened({ realm, kid, tenant, subject, before }: Cutoff): readonly Cutoff[] {
  return Array.from({ length: 16 }, (_, left) => ({
    ...(realm !== undefined && (left & 1) === 0 && { realm }),
    ...(kid !== undefined && (left & 2) === 0 && { kid }),
    ...(tenant !== undefined && (left & 4) === 0 && { tenant }),
    ...(subject !== undefined && (left & 8) === 0 && { subject }),
    before,
  }))
}

function nameOf({ realm, kid, tenant, subject }: Cutoff): string {
  return JSON.stringify([realm, kid, tenant, subject])
}

function isThere({ realm, kid, tenant }: Cutoff, { charter, manifest }: TrustState): boolean {
  const realms = [...charter.realms]
  return (
    (realm === undefined || charter.realms.has(realm)) &&
    (kid === undefined || manifest.keys.has(kid)) &&
    (tenant === undefined || realms.some(([, { tenants }]) => tenants.includes(tenant)))
  )
}

function refuse(flaw: DocumentRefusal['flaw'], message: string): never {
  throw new DocumentRefusal(flaw, message)
}

/** How far the clocks of signer and authority may have been apart when a key was made. */
const SIGNER_CLOCK_SECONDS_MAX = 300
