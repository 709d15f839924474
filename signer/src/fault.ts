/**
 * The signer cannot go on: something it needs is missing, damaged or open to others. The message names the file and
 * what to do about it, and nothing that the file holds.
 * @module
 */

export class SignerFault extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'SignerFault'
  }
}

/** What can be wrong with a hardware token. The words are API: docs/hardware.md says what to do about each. */
export type TokenProblem =
  | 'uri_malformed'
  | 'module_missing'
  | 'module_failed'
  | 'token_missing'
  | 'token_ambiguous'
  | 'token_uninitialised'
  | 'token_replaced'
  | 'token_removed'
  | 'token_full'
  | 'pin_wrong'
  | 'pin_refused_before'
  | 'pin_last_try'
  | 'pin_locked'
  | 'session_limit'
  | 'mechanism_missing'
  | 'key_missing'
  | 'key_unprotected'
  | 'keystore_outdated'

/** What passes by itself, or once somebody has put the token back. */
const retryable: readonly TokenProblem[] = ['token_removed', 'session_limit']

/** The token, its module or its PIN is not as it must be. */
export class TokenFault extends SignerFault {
  readonly code: TokenProblem
  readonly retryable: boolean
  constructor(code: TokenProblem, message: string) {
    super(message)
    this.name = 'TokenFault'
    this.code = code
    this.retryable = retryable.includes(code)
  }
}
