/**
 * What a new charter makes of the keys that are there. A manifest lies inside its charter from its first version on, so
 * whatever the new charter no longer allows ends in that very manifest. Pure. Rule, spec/charter.md section 6:
 *
 *     retired, revoked                                         stays as it is: it vouches for nothing
 *     no signer of the charter attested it                     revoked
 *     realm, issuer or algorithm gone; no tenant or kind left  retired at once, or revoked where it was blocked
 *     tenants, kinds of token, max_ttl, times                  cut down to what is left
 *
 * @module
 */

import { isDeepStrictEqual } from 'node:util'
import { type AttestedKey, verifyAttestation } from '@countersign/validator/attestation'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import type { ManifestKey } from '@countersign/validator/manifest'
import type { Trust } from './command.ts'
import { CLOCK_SKEW_SECONDS, retire, revoke } from './lifecycle.ts'

/** `trust` as it can stand under the charter; the same object when all of it can. */
export function fitToCharter<T extends Pick<Trust, 'keys'>>(trust: T, charter: Charter, now: number): T {
  const keys = [...trust.keys.values()].map((key) => fitKey(key, charter, now))
  if (keys.every((key) => trust.keys.get(key.kid) === key)) return trust
  return { ...trust, keys: new Map(keys.map((key) => [key.kid, key])) }
}

function fitKey(key: ManifestKey, charter: Charter, now: number): ManifestKey {
  if (key.state === 'retired' || key.state === 'revoked') return key
  const realm = charter.realms.get(key.realm)
  if (!realm?.issuers.includes(key.issuer) || !realm.algorithms.includes(key.algorithm)) {
    return end(key, charter, now)
  }
  const attested = readAttested(key, realm)
  if (attested === undefined) return revokeUnvouched(key, charter, now)
  const tenants = key.tenants.filter((tenant) => realm.tenants.includes(tenant))
  const tokenTypes = key.tokenTypes.filter((type) => realm.tokenTypes.includes(type))
  if (tenants.length === 0 || tokenTypes.length === 0) return end(key, charter, now)
  const lifetimeSecondsMax = Math.min(key.lifetimeSecondsMax, realm.lifetimeSecondsMax)
  const cut = cutWindow({ ...key, tenants, tokenTypes, lifetimeSecondsMax }, realm, attested.issuedAt, now)
  return isDeepStrictEqual(cut, key) ? key : cut
}

/** Ends in good order, since nothing speaks against the key itself: the sign-ins that it vouched for stay. */
function end(key: ManifestKey, charter: Charter, now: number): ManifestKey {
  // One that was blocked goes nowhere but there.
  return key.state === 'blocked' ? revokeUnvouched(key, charter, now) : { ...key, state: 'retired' }
}

function revokeUnvouched(key: ManifestKey, { version }: Charter, now: number): ManifestKey {
  return revoke(key, `charter ${version} no longer allows it`, now)
}

/** Age counts from when the signer made the key. One that is too old now stops signing as in any rotation. */
function cutWindow(key: ManifestKey, realm: CharterRealm, madeAt: number, now: number): ManifestKey {
  const { keyAgeSecondsMax, overlapSeconds } = realm
  const overlap = Math.min(key.verifyUntil - key.signUntil, overlapSeconds)
  const ofAge = Math.min(key.signUntil, madeAt + keyAgeSecondsMax)
  const isTooOld = ofAge <= now && key.signUntil > now
  const kept = isTooOld && (key.state === 'active' || key.state === 'published') ? retire(key, now) : key
  const signUntil = isTooOld ? Math.min(kept.signUntil, now + CLOCK_SKEW_SECONDS) : ofAge
  // Of a window that is too long its latest part stays: what was signed last has to verify.
  const notBefore = Math.min(signUntil, Math.max(key.notBefore, signUntil - keyAgeSecondsMax))
  return { ...kept, notBefore, signUntil, verifyUntil: signUntil + overlap }
}

/** What a signer of the realm attested of the key; undefined where none did. */
function readAttested({ attestation }: ManifestKey, { signers }: CharterRealm): AttestedKey | undefined {
  try {
    return verifyAttestation(attestation, signers)
  } catch (error) {
    if (error instanceof DocumentRefusal) return undefined
    throw error
  }
}
