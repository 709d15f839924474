/**
 * The life of a signing key: which state may follow which, and what a slot asks for as time goes by.
 *
 *     published ──> active ──> retiring ──> retired
 *         └───────────┴───────────┴──> blocked          by one person or the sentinel; lifted by two
 *         └───────────┴───────────┴───────────┴──> revoked            from any state, final
 *
 * Keys take turns in a slot: one per realm, issuer and purpose. A slot holds a standing next key at all times, so that
 * a key can be replaced without waiting for caches to learn of another. Two questions, `keysMissing` and `successor`,
 * are all that time asks. Pure: the clock is an argument, and may jump: forward it brings a turn early, backward it lets
 * the active key sign on; either way some key signs, since each waits for its successor and not for a date. Rules:
 * spec/rotation.md.
 * @module
 */

import { attestedBy } from '@countersign/validator/attestation'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import { importOnce } from '@countersign/validator/document'
import type { TokenType } from '@countersign/validator/entry'
import type { Algorithm } from '@countersign/validator/jws'
import type { KeyState, ManifestKey } from '@countersign/validator/manifest'

/** How far apart two clocks of the system may be; the witness refuses more. */
export const CLOCK_SKEW_SECONDS = 60

/** What the keys of a slot sign: tokens, or security events, whose receivers ask for an algorithm of their own. */
export type Purpose = 'token' | 'set'

/** Where keys take turns, with what the charter lets a key of it be. */
export interface Slot {
  readonly realm: string
  readonly issuer: string
  readonly purpose: Purpose
  readonly charter: CharterRealm
  readonly keys: readonly ManifestKey[]
}

/** What else decides whether a key may take over. */
export interface Circumstances {
  /**
   * Whether a manifest names the key and every validator has acknowledged that, or has been silent for so long that it is
   * not waited for.
   */
  isHeard(key: ManifestKey): boolean
  /** Whether people have broken the glass for the realm, so that no key waits for its time. */
  isGlassBroken(realm: string): boolean
}

/** The slots that the charter asks for, each with the keys that are or were in it. */
export function slotsOf(charter: Charter, keys: Iterable<ManifestKey>): Slot[] {
  const all = [...keys]
  return [...charter.realms].flatMap(([realm, scope]) =>
    scope.issuers.flatMap((issuer) =>
      purposesOf(scope).map((purpose) => ({
        realm,
        issuer,
        purpose,
        charter: scope,
        keys: all.filter((key) => key.realm === realm && key.issuer === issuer && purposeOf(key) === purpose),
      })),
    ),
  )
}

/** What a new key of the slot is asked to be. */
export function scopeOf({ purpose, charter }: Slot): {
  readonly algorithm: Algorithm
  readonly tokenTypes: readonly TokenType[]
} {
  if (purpose === 'set') return { algorithm: SET_ALGORITHM, tokenTypes: ['set'] }
  const algorithm = charter.algorithms.find((name) => name !== SET_ALGORITHM) ?? SET_ALGORITHM
  return { algorithm, tokenTypes: charter.tokenTypes.filter((type) => type !== 'set') }
}

/** The CAEP interoperability profile has receivers verify this one. */
const SET_ALGORITHM = 'RS256'

function purposesOf({ tokenTypes, algorithms }: CharterRealm): Purpose[] {
  const hasTokens = tokenTypes.some((type) => type !== 'set')
  const hasEvents = tokenTypes.includes('set') && algorithms.includes(SET_ALGORITHM)
  return [...(hasTokens ? (['token'] as const) : []), ...(hasEvents ? (['set'] as const) : [])]
}

function purposeOf({ tokenTypes }: ManifestKey): Purpose {
  return tokenTypes.every((type) => type === 'set') ? 'set' : 'token'
}

/** The key that signs now. */
export function activeKey(slot: Slot): ManifestKey | undefined {
  return slot.keys.find((key) => key.state === 'active')
}

/** The key that signs after it. */
export function standingNextKey(slot: Slot): ManifestKey | undefined {
  return nextKeys(slot)[0]
}

/** The first choice first: made where new keys are made, for all that may be signed, and with the longest to go. */
function nextKeys(slot: Slot): readonly ManifestKey[] {
  const published = slot.keys.filter((key) => key.state === 'published')
  return published.sort(
    (a, b) =>
      Number(isOfLastSigner(b, slot)) - Number(isOfLastSigner(a, slot)) ||
      Number(isNarrower(a, slot)) - Number(isNarrower(b, slot)) ||
      b.signUntil - a.signUntil,
  )
}

function isOfLastSigner({ attestation }: ManifestKey, { charter }: Slot): boolean {
  return attestedBy(attestation) === lastSigner(charter)
}

/** Thumbprint of the identity key of the signer that makes a realm's new keys. */
export function lastSigner({ signers }: CharterRealm): string | undefined {
  const last = signers.at(-1)
  return last && importOnce(last).kid
}

/**
 * How many keys should be published now? One when no standing next key was made where keys are made now and for all that
 * the charter allows, or when the one there will be too old for a turn of its own; two at the very start, of which the
 * first signs at once.
 */
export function keysMissing(slot: Slot, now: number): number {
  if (hasNeverSigned(slot)) return Math.max(0, 2 - slot.keys.length)
  const next = standingNextKey(slot)
  if (next === undefined || !isOfLastSigner(next, slot) || isNarrower(next, slot)) return 1
  return isTooOldForItsTurn(next, slot, now) ? 1 : 0
}

/** Made for an earlier charter, which allowed less: a key is never widened, since its signer attested no more. */
function isNarrower({ tenants, tokenTypes, lifetimeSecondsMax }: ManifestKey, slot: Slot): boolean {
  const { charter } = slot
  return (
    lifetimeSecondsMax < charter.lifetimeSecondsMax ||
    !charter.tenants.every((tenant) => tenants.includes(tenant)) ||
    !scopeOf(slot).tokenTypes.every((type) => tokenTypes.includes(type))
  )
}

/**
 * While a key signs: whether another would have to be asked for now, to be known to everybody when the turn comes; once
 * per turn. While none does, since a person has to decide: whether half its life has passed.
 */
function isTooOldForItsTurn(next: ManifestKey, slot: Slot, now: number): boolean {
  const { rotationSeconds, keyAgeSecondsMax, acknowledgeSeconds } = slot.charter
  const due = dueAt(slot)
  if (due === undefined) return next.signUntil - now <= keyAgeSecondsMax / 2
  const askedAt = due - prepublishSeconds(slot.charter) - acknowledgeSeconds - marginSeconds(slot.charter)
  const wasMadeBefore = next.signUntil - keyAgeSecondsMax < askedAt
  return next.signUntil < due + rotationSeconds && wasMadeBefore && now >= askedAt
}

/**
 * Which key should take over now, if any? Only one that was known for as long as caches last, when the active key has
 * had its turn, and when every validator that counts has acknowledged it. When the active key is about to grow too old,
 * silence of validators is no reason any more: none of them would get a token. After a kill the answer is none: whoever
 * took the active key may hold its neighbour too, so a person decides, and may move the realm elsewhere first.
 */
export function successor(
  slot: Slot,
  now: number,
  { isHeard, isGlassBroken }: Circumstances,
): ManifestKey | undefined {
  const isHurried = isGlassBroken(slot.realm)
  // One that grew too old while nobody looked ends as it is.
  const candidates = nextKeys(slot).filter((key) => now < key.signUntil)
  const ripe = candidates.filter((key) => isHurried || isRipe(key, now))
  const ready = ripe.filter((key) => isHurried || isHeard(key))
  const active = activeKey(slot)
  if (active === undefined) return wasKilled(slot) ? undefined : ready[0]
  if (now < (dueAt(slot) ?? now)) return undefined
  // The first choice is worth waiting for, but not longer than there is a key that signs.
  if (now >= active.signUntil - marginSeconds(slot.charter)) return ready[0] ?? ripe[0]
  return ready.find((key) => key === candidates[0])
}

/** Whether a published key has waited for as long as it had to. Earlier, only two people let it sign. */
export function isRipe(key: ManifestKey, now: number): boolean {
  return now >= key.notBefore
}

/** When the active key has had its turn; undefined while there is none. */
export function dueAt(slot: Slot): number | undefined {
  const active = activeKey(slot)
  if (active === undefined) return undefined
  const { charter } = slot
  const turnOver = active.notBefore + marginSeconds(charter) + charter.rotationSeconds
  return Math.min(turnOver, active.signUntil - 2 * marginSeconds(charter))
}

/** How long caches need to learn of a key: each is asked anew twice. */
function prepublishSeconds({ cacheSeconds }: CharterRealm): number {
  return 2 * cacheSeconds
}

/** The difference of two clocks, unless keys take turns so fast that it would be most of a turn. */
function marginSeconds({ rotationSeconds }: CharterRealm): number {
  return Math.min(CLOCK_SKEW_SECONDS, Math.floor(rotationSeconds / 4))
}

function hasNeverSigned(slot: Slot): boolean {
  return slot.keys.every((key) => key.state === 'published')
}

/** Whether the slot's last signing key was killed. When in doubt it was: a person may always say that it goes on. */
function wasKilled({ keys }: Slot): boolean {
  const killedAt = keys.flatMap(({ blocked, revoked }) => blocked?.at ?? revoked?.at ?? [])
  const ended = keys.filter(({ state }) => state === 'retiring' || state === 'retired')
  const endedAt = ended.filter(hasSigned).map(({ signUntil }) => signUntil)
  return killedAt.length > 0 && Math.max(...killedAt) + CLOCK_SKEW_SECONDS >= Math.max(0, ...endedAt)
}

/** Of keys that ended in good order: one that only stood by was left no time to sign in, see `retire`. */
function hasSigned({ notBefore, signUntil }: ManifestKey): boolean {
  return signUntil > notBefore
}

/** The key as time alone has made it: the same object when nothing is due. */
export function age(key: ManifestKey, now: number): ManifestKey {
  if (key.state === 'active' && now >= key.signUntil) return retire(key, now)
  if (key.state === 'published' && now >= key.signUntil) return retire(key, now)
  if (key.state === 'retiring' && now >= key.verifyUntil) return { ...key, state: 'retired' }
  return key
}

/**
 * When a key that is published in the slot now may sign at the earliest, and until when at the latest. A slot that
 * would otherwise be without a signing key does not wait for caches: no cache has a key of it that signs. `madeAt` is
 * when the signer made the key, by its own clock.
 */
export function windowOf(
  slot: Slot,
  now: number,
  madeAt: number = now,
): Pick<ManifestKey, 'notBefore' | 'signUntil' | 'verifyUntil'> {
  const { keyAgeSecondsMax, overlapSeconds } = slot.charter
  const signUntil = Math.min(madeAt, now) + keyAgeSecondsMax
  return {
    notBefore: Math.min(now + prepublishSeconds(slot.charter), Math.max(now, coveredUntil(slot))),
    signUntil,
    verifyUntil: signUntil + overlapSeconds,
  }
}

/** Until when the keys that the slot has see to it that one signs. */
function coveredUntil(slot: Slot): number {
  if (hasNeverSigned(slot)) return 0
  const active = activeKey(slot)
  if (active !== undefined) return active.signUntil - 2 * marginSeconds(slot.charter)
  return standingNextKey(slot) === undefined ? 0 : Number.POSITIVE_INFINITY
}

/**
 * Lets a published key sign. Age counts from when the key was made, not from when it was first used, so its end never
 * moves away. Its window opens a little before now, for issuers whose clocks are behind, and is never wider than a key
 * may grow old.
 */
export function activate(key: ManifestKey, charter: CharterRealm, now: number): ManifestKey {
  const notBefore = now - marginSeconds(charter)
  return moved(key, 'active', { notBefore, ...signingUntil(key, notBefore + charter.keyAgeSecondsMax) })
}

/** The keys that a hand-over changes: the next becomes active, and the one that signed so far ends in good order. */
export function handOver(slot: Slot, next: ManifestKey, now: number): readonly ManifestKey[] {
  const active = activeKey(slot)
  return [activate(next, slot.charter, now), ...(active === undefined ? [] : [retire(active, now)])]
}

/** Ends a key in good order: an active one verifies until its last token has expired; one that never signed, at once. */
export function retire(key: ManifestKey, now: number): ManifestKey {
  switch (key.state) {
    case 'published':
      return moved(key, 'retired', signingUntil(key, key.notBefore))
    case 'active':
      // A signer that has not heard yet may still sign for a moment; what it signs then was issued in good order.
      return moved(key, 'retiring', signingUntil(key, now + CLOCK_SKEW_SECONDS))
    case 'retiring':
    case 'retired':
    case 'blocked':
    case 'revoked':
      return key
    default:
      return key.state satisfies never
  }
}

/** A window that ends earlier; how long the key verifies after it stays. */
function signingUntil(key: ManifestKey, time: number): Pick<ManifestKey, 'signUntil' | 'verifyUntil'> {
  const signUntil = Math.min(key.signUntil, time)
  return { signUntil, verifyUntil: signUntil + (key.verifyUntil - key.signUntil) }
}

/** Stops a live key at once. One that verifies nothing any more stays as it is. */
export function block(key: ManifestKey, by: string, reason: string, now: number): ManifestKey {
  if (!follows(key.state, 'blocked')) return key
  return moved(key, 'blocked', { blocked: { at: now, reason, by } })
}

/** Ends a key for good, whatever its state. The first reason stays. */
export function revoke(key: ManifestKey, reason: string, now: number): ManifestKey {
  if (key.state === 'revoked') return key
  return moved(key, 'revoked', { revoked: { at: now, reason } })
}

/** Whether the state `to` may follow the state `from` directly. */
export function follows(from: KeyState, to: KeyState): boolean {
  return successors[from].includes(to)
}

const successors: Readonly<Record<KeyState, readonly KeyState[]>> = {
  published: ['active', 'retired', 'blocked', 'revoked'],
  active: ['retiring', 'blocked', 'revoked'],
  retiring: ['retired', 'blocked', 'revoked'],
  retired: ['revoked'],
  blocked: ['revoked'],
  revoked: [],
}

/** All there are, in the order of a life. */
export const keyStates = Object.keys(successors) as readonly KeyState[]

function moved(key: ManifestKey, state: KeyState, change: Partial<ManifestKey>): ManifestKey {
  if (!follows(key.state, state)) throw new Error(`a key that is ${key.state} cannot become ${state}`)
  return { ...key, ...change, state }
}
