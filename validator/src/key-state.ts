/**
 * What each state of a key means to whoever acts on it: asked by a validator before it accepts and by the signer before
 * a signature leaves.
 * @module
 */

import type { KeyState, ManifestKey } from './manifest.ts'
import { type Reason, Refusal } from './refusal.ts'

/** Why a key vouches for nothing, by its state; of the last two, one signs and one is good for what was begun before. */
const reasons: Readonly<Record<KeyState, Reason | undefined>> = {
  published: 'key_not_active',
  retired: 'key_retired',
  blocked: 'key_blocked',
  revoked: 'key_revoked',
  active: undefined,
  retiring: undefined,
}

/** Throws `Refusal` unless the key is active, or retiring and so still good for what was begun while it was active. */
export function checkLive({ kid, state }: Pick<ManifestKey, 'kid' | 'state'>): void {
  const reason = reasons[state]
  if (reason !== undefined) throw new Refusal(reason, { kid })
}
