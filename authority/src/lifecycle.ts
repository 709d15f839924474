/**
 * The life of a signing key: which state may follow which, and when time alone asks for the next step.
 *
 *     published ──> active ──> retiring ──> retired
 *         └───────────┴───────────┴──> blocked          by one person or the sentinel; lifted by two
 *         └───────────┴───────────┴───────────┴──> revoked            from any state, final
 *
 * Keys take turns in a slot: one per realm and issuer. A slot holds a standing next key at all times, so that a key
 * can be replaced without waiting for caches to learn of another. Pure: the clock is an argument.
 * @module
 */

import type { Charter, CharterRealm } from '@countersign/validator/charter'
import type { KeyState, ManifestKey } from '@countersign/validator/manifest'

/** How far apart two clocks of the system may be; the witness refuses more. */
export const CLOCK_SKEW_SECONDS = 60

/** Where keys take turns, with what the charter lets a key of it be. */
export interface Slot {
  readonly realm: string
  readonly issuer: string
  readonly charter: CharterRealm
  readonly keys: readonly ManifestKey[]
}

/** The slots that the charter asks for, each with the keys that are or were in it. */
export function slotsOf(charter: Charter, keys: Iterable<ManifestKey>): Slot[] {
  const all = [...keys]
  return [...charter.realms].flatMap(([realm, scope]) =>
    scope.issuers.map((issuer) => ({
      realm,
      issuer,
      charter: scope,
      keys: all.filter((key) => key.realm === realm && key.issuer === issuer),
    })),
  )
}

/** The key that signs now. */
export function activeKey(slot: Slot): ManifestKey | undefined {
  return slot.keys.find((key) => key.state === 'active')
}

/** The key that signs after it: of several, the one that may sign longest. */
export function standingNextKey(slot: Slot): ManifestKey | undefined {
  const published = slot.keys.filter((key) => key.state === 'published')
  return published.sort((a, b) => b.signUntil - a.signUntil)[0]
}

/**
 * How many keys should be published now? One when there is no standing next key, or when it has waited through half of
 * its life; two at the very start, of which the first signs at once.
 */
export function keysMissing(slot: Slot, now: number): number {
  if (hasNeverSigned(slot)) return Math.max(0, 2 - slot.keys.length)
  const next = standingNextKey(slot)
  return next === undefined || next.signUntil - now <= slot.charter.keyAgeSecondsMax / 2 ? 1 : 0
}

/**
 * Should the next key take over now? After a kill this never says yes: whoever took the active key may hold its
 * neighbour too, so a person decides, and may move the realm to another keystore first.
 */
export function shouldActivate(slot: Slot, now: number): boolean {
  const next = standingNextKey(slot)
  if (next === undefined) return false
  if (hasNeverSigned(slot)) return true
  if (now < next.notBefore) return false
  const active = activeKey(slot)
  if (active !== undefined) return now >= active.notBefore + slot.charter.rotationSeconds
  const latest = slot.keys.filter((key) => key !== next).sort((a, b) => b.notBefore - a.notBefore)[0]
  return latest?.state === 'retiring' || latest?.state === 'retired'
}

function hasNeverSigned(slot: Slot): boolean {
  return slot.keys.every((key) => key.state === 'published')
}

/** The key as time alone has made it: the same object when nothing is due. */
export function age(key: ManifestKey, now: number): ManifestKey {
  if (key.state === 'active' && now >= key.signUntil) return retire(key, now)
  if (key.state === 'published' && now >= key.signUntil) return retire(key, now)
  if (key.state === 'retiring' && now >= key.verifyUntil) return { ...key, state: 'retired' }
  return key
}

/** When a key that is published now may sign at the earliest, and until when at the latest. */
export function windowOf(
  realm: CharterRealm,
  now: number,
): Pick<ManifestKey, 'notBefore' | 'signUntil' | 'verifyUntil'> {
  const signUntil = now + realm.keyAgeSecondsMax
  return {
    // Every cache that the realm serves is asked anew twice before the key may sign.
    notBefore: now + 2 * realm.cacheSeconds,
    signUntil,
    verifyUntil: signUntil + realm.overlapSeconds,
  }
}

/**
 * Lets a published key sign. Its end stays: age counts from when the key was made, not from when it was first used. Its
 * window opens a little before now, for issuers whose clocks are behind, and never wider than a key may grow old.
 */
export function activate(key: ManifestKey, { keyAgeSecondsMax }: CharterRealm, now: number): ManifestKey {
  return moved(key, 'active', {
    notBefore: Math.max(now - CLOCK_SKEW_SECONDS, key.signUntil - keyAgeSecondsMax),
  })
}

/** Ends a key in good order: an active one verifies until its last token has expired; any other ends at once. */
export function retire(key: ManifestKey, now: number): ManifestKey {
  if (key.state !== 'active') return key.state === 'published' ? moved(key, 'retired', {}) : key
  // A signer that has not heard yet may still sign for a moment; what it signs then was issued in good order.
  const signUntil = Math.min(key.signUntil, now + CLOCK_SKEW_SECONDS)
  const verifyUntil = signUntil + (key.verifyUntil - key.signUntil)
  return moved(key, 'retiring', { signUntil, verifyUntil })
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

function moved(key: ManifestKey, state: KeyState, change: Partial<ManifestKey>): ManifestKey {
  if (!follows(key.state, state)) throw new Error(`a key that is ${key.state} cannot become ${state}`)
  return { ...key, ...change, state }
}
