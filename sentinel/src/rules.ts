/**
 * Which sightings are an alarm. Only who holds a key can make its signature, so a valid signature on a token that no
 * witness saw issued is a stolen key, or a signer that was made to sign; everything else that is refused is weather.
 * Pure: no clock, no I/O. Rule: spec/sighting.md, section 4.
 * @module
 */

import type { ManifestKey } from '@countersign/validator/manifest'
import type { Sighting } from '@countersign/validator/sighting'
import type { Finding, Rule } from './alert.ts'

/** What a sighting gives away; undefined where it is nothing to alert about. `key` is the manifest's, if it has one. */
export function judgeSighting(
  sighting: Sighting,
  key: ManifestKey | undefined,
  validator: string,
): Finding | undefined {
  const { verdict, kid = null, network = null, at } = sighting
  const rule = ruleFor(sighting, key)
  if (rule === undefined || verdict === 'accepted') return undefined
  return {
    rule,
    severity: 'critical',
    reason: verdict,
    // The manifest says whose key it is; the report only repeats it.
    realm: key?.realm ?? sighting.realm ?? null,
    kid,
    actor: network,
    validator,
    seenAt: at,
  }
}

function ruleFor(sighting: Sighting, key: ManifestKey | undefined): Rule | undefined {
  const { verdict, signatureValid, receiptValid, tokenType } = sighting
  if (signatureValid !== true) return undefined
  const isForged = receiptValid === false
  switch (verdict) {
    case 'accepted':
    // Says nothing about the token: the validator could not decide.
    case 'manifest_stale':
      return undefined
    case 'receipt_missing':
      return 'receipt_missing'
    // The key's own scope forbids it, so that a receipt would make it worse: signer and witness let it pass.
    case 'issuer_mismatch':
    case 'tenant_mismatch':
    case 'lifetime_too_long':
      return 'out_of_scope'
    case 'key_out_of_scope': {
      // With a receipt it is most often a genuine token that was shown at another realm's service.
      const isOutside = key !== undefined && tokenType !== undefined && !key.tokenTypes.includes(tokenType)
      return isForged || isOutside ? 'out_of_scope' : undefined
    }
    case 'key_not_active':
      return 'inactive_key_used'
    // Genuine tokens are refused too once their key is killed; those have receipts.
    case 'key_retired':
    case 'key_blocked':
    case 'key_revoked':
      return isForged ? 'inactive_key_used' : undefined
    default:
      return isForged ? 'valid_signature_refused' : undefined
  }
}
