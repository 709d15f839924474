/**
 * Whether an entry may enter the log. The witness asks on its own account, from the manifest that it follows: it need
 * not believe broker or signer, and a stolen key that the manifest has blocked gets nothing from it. Pure.
 *
 * An entry names no realm, issuer or audience; what it carries (key, kind of token, times) is checked here, the rest
 * by signer and validator, who see the token.
 * @module
 */

import { encode } from '@countersign/validator/base64url'
import type { Charter } from '@countersign/validator/charter'
import { importOnce } from '@countersign/validator/document'
import type { Entry } from '@countersign/validator/entry'
import type { ManifestKey, TrustSource } from '@countersign/validator/manifest'

/** Why an entry is refused. The words that validators use mean the same here. */
export type EntryRefusalCode =
  | 'malformed'
  | 'manifest_stale'
  | 'unknown_key'
  | 'key_out_of_scope'
  | 'key_not_active'
  | 'key_retired'
  | 'key_blocked'
  | 'key_revoked'
  | 'issued_outside_key_window'
  | 'clock_off'
  | 'lifetime_too_long'
  | 'serial_repeated'

const messages: Readonly<Record<EntryRefusalCode, string>> = {
  malformed: 'the entry is malformed',
  manifest_stale: 'the manifest that the witness knows is too old to decide by',
  unknown_key: 'neither manifest nor charter names such a key',
  key_out_of_scope: 'the key signs no such tokens',
  key_not_active: 'the key is published but not active',
  key_retired: 'the key is retired',
  key_blocked: 'the key is blocked',
  key_revoked: 'the key is revoked',
  issued_outside_key_window: 'the key was not signing at the time that the entry names',
  clock_off: 'the entry was not issued now',
  lifetime_too_long: 'the token would outlive what its key may give',
  serial_repeated: 'the serial does not rise above the last of its key',
}

export class EntryRefusal extends Error {
  readonly code: EntryRefusalCode
  constructor(code: EntryRefusalCode) {
    super(messages[code])
    this.name = 'EntryRefusal'
    this.code = code
  }
}

/** What the decision is taken by. */
export interface Grounds {
  /** Those whose manifest keys may log a manifest. */
  readonly charters: readonly Charter[]
  readonly trust: TrustSource
  readonly nowSeconds: number
}

/** How far an entry's time may be from the witness's. */
const CLOCK_SECONDS_OFF_MAX = 60
/** As old as a manifest may be for a validator by default. */
const STALE_SECONDS_MAX = 60

/** Throws `EntryRefusal`. That serials rise is the log's own to see. */
export function checkEntry(entry: Entry, grounds: Grounds): void {
  if (entry.expiresAt < entry.issuedAt) throw new EntryRefusal('malformed')
  if (entry.tokenType === 'manifest') checkManifestKey(entry, grounds)
  else checkTokenKey(entry, grounds)
  if (Math.abs(entry.issuedAt - grounds.nowSeconds) > CLOCK_SECONDS_OFF_MAX)
    throw new EntryRefusal('clock_off')
}

/** Only an authority's key may log a manifest, and it may do so without any manifest: one has to be the first. */
function checkManifestKey({ keyThumbprint }: Entry, { charters }: Grounds): void {
  const kid = encode(keyThumbprint)
  const keys = charters.flatMap(({ manifestKeys }) => manifestKeys)
  if (!keys.some((jwk) => importOnce(jwk).kid === kid)) throw new EntryRefusal('unknown_key')
}

function checkTokenKey(entry: Entry, { trust }: Grounds): void {
  const { state } = trust
  if (state === undefined || trust.ageSeconds() > STALE_SECONDS_MAX) throw new EntryRefusal('manifest_stale')
  const key = state.manifest.keys.get(encode(entry.keyThumbprint))
  if (key === undefined) throw new EntryRefusal('unknown_key')
  checkState(key)
  if (!key.tokenTypes.includes(entry.tokenType)) throw new EntryRefusal('key_out_of_scope')
  if (entry.issuedAt < key.notBefore || entry.issuedAt > key.signUntil) {
    throw new EntryRefusal('issued_outside_key_window')
  }
  if (entry.expiresAt - entry.issuedAt > key.lifetimeSecondsMax) throw new EntryRefusal('lifetime_too_long')
}

function checkState({ state }: ManifestKey): void {
  switch (state) {
    case 'active':
    // What the signer had under way when its key was renewed; the end of the window still holds.
    case 'retiring':
      return
    case 'published':
      throw new EntryRefusal('key_not_active')
    case 'retired':
      throw new EntryRefusal('key_retired')
    case 'blocked':
      throw new EntryRefusal('key_blocked')
    case 'revoked':
      throw new EntryRefusal('key_revoked')
    default:
      throw state satisfies never
  }
}
