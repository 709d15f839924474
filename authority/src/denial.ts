/**
 * Why the authority turns a request down: one word per cause. The words are API; scripts and runbooks name them, so a
 * row is added here and never renamed.
 * @module
 */

export type DenialCode =
  | 'command_malformed'
  | 'command_not_authorised'
  | 'command_not_allowed'
  | 'command_stale'
  | 'command_replayed'
  | 'command_impossible'
  | 'unknown_key'
  | 'unknown_realm'
  | 'no_next_key'
  | 'activation_too_early'
  | 'acknowledgement_malformed'
  | 'acknowledgement_invalid'
  | 'acknowledgement_stale'
  | 'acknowledgement_outdated'
  | 'enrolment_malformed'
  | 'enrolment_not_authorised'
  | 'validator_exists'
  | 'no_manifest_yet'
  | 'not_leader'
  | 'unknown_charter'
  | 'unknown_manifest'
  | 'no_manifest_key'
  | 'proposal_malformed'
  | 'proposal_not_authorised'
  | 'proposal_stale'
  | 'proposal_exists'
  | 'proposal_outdated'
  | 'proposal_impossible'
  | 'unknown_proposal'
  | 'proposal_expired'
  | 'proposal_carried_out'
  | 'approval_malformed'
  | 'approval_not_authorised'
  | 'already_approved'
  | 'witness_unavailable'
  | 'witness_refused'
  | 'behind_log'

/** One row per cause. 503 says: the same request may succeed later. */
export const denials: Readonly<Record<DenialCode, { readonly status: number; readonly message: string }>> = {
  command_malformed: { status: 400, message: 'this is not a signed command of a known kind' },
  command_not_authorised: {
    status: 401,
    message: 'no operator or block key of the charter signed this command',
  },
  command_not_allowed: { status: 403, message: 'a block key may block a key and nothing else' },
  command_stale: { status: 401, message: 'the command was signed more than a minute ago, or ahead of time' },
  command_replayed: { status: 409, message: 'a command with this jti has been carried out before' },
  command_impossible: { status: 409, message: 'validators would not take the manifest that carries it' },
  unknown_key: { status: 404, message: 'no manifest names this key' },
  unknown_realm: { status: 404, message: 'the charter has no such realm' },
  no_next_key: { status: 409, message: 'no published key stands ready to take over' },
  activation_too_early: {
    status: 409,
    message:
      'the next key has not been known for long enough; only two people can let it sign now (key activate)',
  },
  acknowledgement_malformed: { status: 400, message: 'this is not a signed acknowledgement' },
  acknowledgement_invalid: { status: 401, message: 'no enrolled validator signed this acknowledgement' },
  acknowledgement_stale: { status: 401, message: 'the acknowledgement was signed more than a minute ago' },
  acknowledgement_outdated: {
    status: 409,
    message: 'the acknowledgement names no manifest of ours, or one older than acknowledged before',
  },
  enrolment_malformed: { status: 400, message: 'a validator enrols with a name and an Ed25519 public key' },
  enrolment_not_authorised: { status: 401, message: 'the enrolment token is missing or wrong' },
  validator_exists: { status: 409, message: 'a validator of this name is enrolled with another key' },
  no_manifest_yet: { status: 503, message: 'the first manifest waits for the broker and the witness' },
  not_leader: { status: 503, message: 'another authority on this data folder leads; ask that one' },
  unknown_charter: { status: 404, message: 'there is no charter of this version' },
  unknown_manifest: { status: 404, message: 'there is no manifest of this version' },
  no_manifest_key: { status: 409, message: 'the charter names no manifest key that lies here' },
  proposal_malformed: { status: 400, message: 'this is not a charter or an approval that somebody signed' },
  proposal_not_authorised: { status: 401, message: 'no operator of the charter signed this proposal' },
  proposal_stale: {
    status: 401,
    message: 'the proposal was written more than a minute ago, or ahead of time',
  },
  proposal_exists: { status: 409, message: 'the same has been proposed before' },
  proposal_outdated: { status: 409, message: 'the proposal was made under a charter that is not the newest' },
  proposal_impossible: { status: 409, message: 'what is proposed cannot be carried out' },
  unknown_proposal: { status: 404, message: 'there is no such proposal' },
  proposal_expired: { status: 410, message: 'the proposal was not approved within fifteen minutes' },
  proposal_carried_out: { status: 409, message: 'the proposal has been carried out' },
  approval_malformed: { status: 400, message: 'this is not a signature line' },
  approval_not_authorised: { status: 401, message: 'no operator of the charter signed this proposal so' },
  already_approved: { status: 409, message: 'this operator has approved it; somebody else has to' },
  witness_unavailable: { status: 503, message: 'the witness did not log the manifest; nothing has changed' },
  behind_log: { status: 500, message: 'the witness has logged a later manifest: this folder is an old copy' },
  witness_refused: { status: 502, message: 'the witness refused to log the manifest; nothing has changed' },
}

/** A request is turned down: expected, coded, and free of anything secret from the request. */
export class Denial extends Error {
  readonly code: DenialCode
  readonly status: number
  constructor(code: DenialCode, detail?: string) {
    super(detail === undefined ? denials[code].message : `${denials[code].message}: ${detail}`)
    this.name = 'Denial'
    this.code = code
    this.status = denials[code].status
  }
}
