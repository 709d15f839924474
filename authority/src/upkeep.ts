/**
 * What time alone asks of the manifest: keys made, handed over and retired when their turn has come, and the manifest
 * itself made anew long before it ends. No person is needed for any of it, and none can forget it.
 * @module
 */

import type { Charter } from '@countersign/validator/charter'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { handOverEarly, type Trust, withKeys } from './command.ts'
import { brokenGlass, mendGlass } from './glass.ts'
import { age, type Circumstances, handOver, keysMissing, type Slot, slotsOf, successor } from './lifecycle.ts'

/** The slots that wait for a key to be made: one entry for each key. */
export function slotsInNeed(trust: Trust, charter: Charter, now: number): Slot[] {
  return slotsOf(charter, trust.keys.values()).flatMap((slot) =>
    Array.from({ length: keysMissing(slot, now) }, () => slot),
  )
}

/**
 * `trust` with the keys in `made` published and everything done that is due; the same object when nothing is. Keys that
 * have ended stay in it for good: nothing here ever leaves one out.
 */
export function keepUp<T extends Trust>(
  trust: T,
  charter: Charter,
  made: readonly ManifestKey[],
  circumstances: Circumstances,
  now: number,
): T {
  const published = made.length === 0 ? trust : withKeys(trust, made)
  // A key is named before it signs, so that nobody meets it for the first time in a token; only the very first cannot be.
  const known = trust.keys.size === 0 ? published : trust
  // Hand-overs first: a key that has just grown too old may still end as the one before its successor.
  const rotated = slotsOf(charter, known.keys.values()).reduce(
    (kept, slot) => {
      const next = successor(slot, now, circumstances)
      if (next === undefined) return kept
      const glass = brokenGlass(kept, slot.realm, now)
      if (glass !== undefined) return handOverEarly(kept, slot, next, glass, now)
      return withKeys(kept, handOver(slot, next, now))
    },
    mendGlass(published, charter, now),
  )
  const aged = [...rotated.keys.values()].map((key) => age(key, now))
  const changed = aged.filter((key) => rotated.keys.get(key.kid) !== key)
  return changed.length === 0 ? rotated : withKeys(rotated, changed)
}

/** A manifest is made anew when it has lived through half its life, so that an outage as long harms nobody. */
export function isHalfOver({ issuedAt, expiresAt }: Manifest, now: number): boolean {
  return now >= issuedAt + (expiresAt - issuedAt) / 2
}
