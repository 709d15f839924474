/**
 * What each state of a key means to whoever acts on it: asked by a validator before it accepts and by the signer before
 * a signature leaves.
 * @module
 */

import type { ManifestKey } from './manifest.ts'
import { Refusal } from './refusal.ts'

/** Throws `Refusal` unless the key is active, or retiring and so still good for what was begun while it was active. */
export function checkLive({ kid, state }: Pick<ManifestKey, 'kid' | 'state'>): void {
  switch (state) {
    case 'published':
      throw new Refusal('key_not_active', { kid })
    case 'retired':
      throw new Refusal('key_retired', { kid })
    case 'blocked':
      throw new Refusal('key_blocked', { kid })
    case 'revoked':
      throw new Refusal('key_revoked', { kid })
    case 'active':
    case 'retiring':
      return
    default:
      throw new Refusal(state satisfies never)
  }
}
