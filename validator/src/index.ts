/**
 * What a protected service needs: `createValidator` decides about a token, synchronously and asking nobody. Around it, each a
 * module of its own: `connect` keeps it at the authority's newest word, `guard` decides about whole requests, and an adapter
 * puts that in front of a framework's handlers.
 * @module
 */

export type { TrustAnchor } from './charter.ts'
export type { SecurityEvent } from './claims.ts'
export type { Confirmation } from './confirmation.ts'
export type { DenialSource } from './denials.ts'
export type { Hold } from './hold.ts'
export type { JsonObject, JsonValue } from './json.ts'
export type { TrustSource } from './manifest.ts'
export { type Reason, Refusal, refusals } from './refusal.ts'
export type { Sighting } from './sighting.ts'
export {
  acceptWithoutReceipt,
  createValidator,
  type Decision,
  type ForeignValidator,
  type ForeignValidatorOptions,
  type LogPlace,
  type Sender,
  type ValidatedToken,
  type Validator,
  type ValidatorOptions,
} from './validator.ts'
