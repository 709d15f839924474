/**
 * What time alone asks of the manifest: keys made, handed over and retired when their turn has come, and the manifest
 * itself made anew long before it ends. No person is needed for any of it, and none can forget it.
 * @module
 */

import type { Charter } from '@countersign/validator/charter'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { rotate, type Trust, withKeys } from './command.ts'
import { age, keysMissing, type Slot, shouldActivate, slotsOf } from './lifecycle.ts'

/** The slots that wait for a key to be made: one entry for each key. */
export function slotsInNeed(trust: Trust, charter: Charter, now: number): Slot[] {
  return slotsOf(charter, trust.keys.values()).flatMap((slot) =>
    Array.from({ length: keysMissing(slot, now) }, () => slot),
  )
}

/**
 * `trust` with the keys in `made` published and everything done that is due; the same object when nothing is.
 * `mayRotate` holds a rotation back while a validator that listens has not acknowledged the key that would take over.
 */
export function keepUp(
  trust: Trust,
  charter: Charter,
  made: readonly ManifestKey[],
  mayRotate: boolean,
  now: number,
): Trust {
  const aged = [...trust.keys.values()].map((key) => age(key, now))
  const changed = [...made, ...aged.filter((key) => trust.keys.get(key.kid) !== key)]
  const kept = changed.length === 0 ? trust : withKeys(trust, changed)
  if (!mayRotate) return kept
  const due = slotsOf(charter, kept.keys.values()).filter((slot) => shouldActivate(slot, now))
  return due.reduce((rotated, slot) => rotate(rotated, slot, now), kept)
}

/** A manifest is made anew when it has lived through half its life, so that an outage as long harms nobody. */
export function isHalfOver({ issuedAt, expiresAt }: Manifest, now: number): boolean {
  return now >= issuedAt + (expiresAt - issuedAt) / 2
}
