/**
 * What the sentinel alerts about: a row per rule, a finding wherever one fires, and the alert that a finding becomes.
 * The names of rules are API; policies, runbooks and receivers name them, so a row is added here and never renamed.
 * @module
 */

import type { Reason } from '@countersign/validator/refusal'

/** `critical` wants somebody now, `warning` today. */
export type Severity = 'critical' | 'warning'

/** What each rule says when it fires. `spec/sighting.md` says when. */
export const rules = {
  valid_signature_refused:
    'a token was refused although its signature is valid, and no witness saw it issued',
  receipt_missing: 'a token carries a valid signature and no receipt: it was signed outside the signer',
  out_of_scope: 'a key signed what its scope does not allow',
  inactive_key_used: 'a key signed that is not active',
  log_mismatch: 'a token was accepted that the log does not hold where its receipt says',
  signatures_not_entries: 'the signatures of a key and its entries in the log do not match',
  key_over_age: 'a key is older than its charter allows, or soon will be',
  validator_silent: 'a validator has not acknowledged the newest manifest',
  rotation_unheard: 'a validator has not acknowledged the next key of a realm in time, and is not waited for',
  rotation_late: 'no key signs where one should, or the next one has not taken over when it was due',
  manifest_full: 'the manifest has room for few more keys; pruning those that have ended takes two people',
  break_glass: 'people have broken the glass: keys of a realm may sign before anybody knows them',
  sightings_dropped: 'a validator had more to report than it could keep',
  kill_not_enforced: 'a gateway did not refuse a canary of a key that was killed',
  log_inconsistent: 'the witness showed a log that contradicts itself',
  checkpoint_stale: 'the witness has shown no new checkpoint',
} as const satisfies Record<string, string>

export type Rule = keyof typeof rules

/** Rules whose alarm is raised anew each time, however often: nobody may come to overlook it. */
export const insistent: readonly Rule[] = ['break_glass']

/** Why a rule fired: the verdict on a token, or a word of the rule itself. */
export type AlertReason =
  | Reason
  | 'entry_missing'
  | 'entry_differs'
  | 'more_signatures'
  | 'more_entries'
  | 'serial_behind'
  | 'age_warning'
  | 'age_exceeded'
  | 'not_acknowledged'
  | 'overdue'
  | 'no_active_key'
  | 'glass_broken'
  | 'many_keys'
  | 'queue_full'
  | 'canary_accepted'
  | 'canary_unproven'
  | 'canary_unreachable'
  | 'proof_failed'
  | 'no_checkpoint'

/** Something that a rule found. Findings that are alike become one alert. */
export interface Finding {
  readonly rule: Rule
  readonly severity: Severity
  readonly reason: AlertReason
  readonly realm: string | null
  readonly kid: string | null
  /** Who did it, so far as is known: where the token came from, or the validator or log that the finding is about. */
  readonly actor: string | null
  /** The validator that reported it. */
  readonly validator: string | null
  /** Milliseconds since the epoch. */
  readonly seenAt: number
}

/** An alert as it is stored and shown. Times are milliseconds since the epoch. */
export interface Alert {
  /** Counts up. */
  readonly id: number
  /** When it was raised. */
  readonly at: number
  readonly rule: Rule
  readonly severity: Severity
  readonly realm: string | null
  readonly kid: string | null
  readonly reason: AlertReason
  readonly actor: string | null
  readonly first_seen_ms: number
  readonly last_seen_ms: number
  /** How often the same was found. */
  readonly count: number
  readonly validator: string | null
  readonly message: string
}
