/**
 * What is left to do until a realm's keys are all in another keystore. The next step follows from what is there, so that a
 * migration that was interrupted anywhere goes on where it was, and one that is done has nothing left to do. Pure.
 * @module
 */

import type { KeyState } from '@countersign/validator/manifest'

/** A key of the realm, as the manifest has it. */
export interface MovingKey {
  readonly kid: string
  readonly state: KeyState
  /** Thumbprint of the signer that made it. */
  readonly signer: string
  /** Keys of one slot take turns. */
  readonly slot: string
  /** Seconds since the epoch. */
  readonly notBefore: number
  readonly verifyUntil: number
}

/** How things stand. Signers are named by their thumbprints. */
export interface Standing {
  /** Undefined until the new keystore has been made. */
  readonly target: string | undefined
  /** Whether the broker's configuration has it, and has nothing else. */
  readonly isConfigured: boolean
  readonly isAloneConfigured: boolean
  /** Of the realm, as the broker says. */
  readonly running: readonly string[]
  /** In the order of the charter; the last makes new keys. */
  readonly chartered: readonly string[]
  readonly keys: readonly MovingKey[]
  /** Old keystores that are still to be destroyed. */
  readonly leaving: number
  /** Seconds since the epoch. */
  readonly now: number
}

export interface Wish {
  /** Lets the new key sign before its time; two people approve. */
  readonly isEarly: boolean
  /** Ends the old keys at once, and with them their tokens and sign-ins, instead of waiting for both to expire. */
  readonly isRevoking: boolean
}

export type Step =
  | { readonly step: 'make' | 'configure' | 'name' | 'await-keys' | 'unname' | 'unconfigure' }
  | { readonly step: 'destroy' | 'done' }
  /** Until this time, in seconds since the epoch. */
  | { readonly step: 'await-caches' | 'await-expiry'; readonly until: number }
  | { readonly step: 'hand-over' | 'activate' | 'retire' | 'revoke'; readonly kid: string }

export function nextStep(standing: Standing, { isEarly, isRevoking }: Wish): Step {
  const { target, isConfigured, isAloneConfigured, running, chartered, keys, leaving, now } = standing
  if (target === undefined) return { step: 'make' }
  if (!isConfigured || !running.includes(target)) return { step: 'configure' }
  if (chartered.at(-1) !== target) return { step: 'name' }
  for (const signing of keys.filter(({ state, signer }) => state === 'active' && signer !== target)) {
    const next = keys.find(
      ({ slot, state, signer }) => slot === signing.slot && state === 'published' && signer === target,
    )
    if (next === undefined) return { step: 'await-keys' }
    if (now >= next.notBefore) return { step: 'hand-over', kid: next.kid }
    return isEarly ? { step: 'activate', kid: next.kid } : { step: 'await-caches', until: next.notBefore }
  }
  const old = keys.filter(
    ({ signer, state }) => signer !== target && state !== 'retired' && state !== 'revoked',
  )
  const [first] = old
  if (first !== undefined && isRevoking) return { step: 'revoke', kid: first.kid }
  const standingBy = old.find(({ state }) => state === 'published')
  if (standingBy !== undefined) return { step: 'retire', kid: standingBy.kid }
  // A block is lifted by two people or never; a key that is to be destroyed is past lifting.
  const blocked = old.find(({ state }) => state === 'blocked')
  if (blocked !== undefined) return { step: 'revoke', kid: blocked.kid }
  if (old.length > 0) return { step: 'await-expiry', until: Math.max(...old.map((key) => key.verifyUntil)) }
  // Retired is as good to a validator. Revoked says to everybody that nothing brings this key back.
  const retired = keys.find(({ signer, state }) => signer !== target && state === 'retired')
  if (retired !== undefined) return { step: 'revoke', kid: retired.kid }
  if (chartered.length > 1) return { step: 'unname' }
  if (!isAloneConfigured || running.length > 1) return { step: 'unconfigure' }
  return { step: leaving > 0 ? 'destroy' : 'done' }
}
