/**
 * What a protected service needs. The formats and checks underneath are modules of their own: `@countersign/validator/jws`
 * and so on.
 * @module
 */

export type { TrustAnchor } from './charter.ts'
export type { DenialSource } from './denials.ts'
export type { Hold } from './hold.ts'
export type { TrustSource } from './manifest.ts'
export { type Reason, Refusal, refusals } from './refusal.ts'
export {
  acceptWithoutReceipt,
  createValidator,
  type Decision,
  type LogPlace,
  type Sender,
  type ValidatedToken,
  type Validator,
  type ValidatorOptions,
} from './validator.ts'
