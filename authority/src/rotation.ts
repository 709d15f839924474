/**
 * How far each slot is with its next key: who has acknowledged it, who has been silent for too long, and what an
 * operator, the sentinel or a graph is shown of it. Pure. Form: spec/rotation.md, section 6.
 * @module
 */

import { readAttestation } from '@countersign/validator/attestation'
import type { ManifestKey } from '@countersign/validator/manifest'
import type { RotationStep } from './client.ts'
import { activeKey, dueAt, type Slot, standingNextKey } from './lifecycle.ts'
import type { EnrolledValidator, FirstNamed } from './store.ts'

/** Who has not acknowledged a key: those still waited for, and those that were waited for long enough. */
export interface Hearing {
  readonly waitsFor: readonly string[]
  readonly overdue: readonly string[]
}

/**
 * Who has not acknowledged any manifest that names a key. `first` is the manifest that named it first. A validator is
 * given its time from when it was enrolled, if that was later.
 */
export function hearingOf(
  first: FirstNamed,
  validators: readonly EnrolledValidator[],
  acknowledgeSeconds: number,
  now: number,
): Hearing {
  const silent = validators.filter(({ version }) => (version ?? 0) < first.version)
  const isOverdue = ({ enrolledAt }: EnrolledValidator): boolean =>
    now >= Math.max(first.at, enrolledAt) + acknowledgeSeconds
  return {
    waitsFor: silent.filter((validator) => !isOverdue(validator)).map(({ name }) => name),
    overdue: silent.filter(isOverdue).map(({ name }) => name),
  }
}

/** What there is to say of a slot. */
export function describeSlot(
  slot: Slot,
  hearing: (key: ManifestKey) => Hearing | undefined,
  now: number,
): RotationStep {
  const [active, next] = [activeKey(slot), standingNextKey(slot)]
  const { waitsFor, overdue } = (next && hearing(next)) ?? nobody
  return {
    realm: slot.realm,
    issuer: slot.issuer,
    purpose: slot.purpose,
    active: active?.kid ?? null,
    next: next?.kid ?? null,
    due_at: dueAt(slot) ?? null,
    waits_for: waitsFor,
    overdue,
    age_ratio: active === undefined ? null : ageRatio(active, slot, now),
  }
}

const nobody: Hearing = { waitsFor: [], overdue: [] }

/** Age counts from when the signer made the key. */
function ageRatio({ attestation }: ManifestKey, { charter }: Slot, now: number): number {
  return (now - readAttestation(attestation).issuedAt) / charter.keyAgeSecondsMax
}
