/**
 * The keys of a foreign transmitter, from its `jwks_uri` (RFC 7517), asked for when a SET comes: for a name that is not known
 * once in 30 seconds, whoever asks (V4), and for one that is when the set is 10 minutes old. A set that comes takes the place of
 * the one before, and where none comes the old one stays.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { fetchObject } from './delivery.ts'
import { isObject, type JsonValue } from './json.ts'
import { InvalidKey, importPublicJwk } from './jws.ts'
import { readSecureUrl } from './url.ts'

/** Where keys of a transmitter come from. */
export interface TransmitterKeys {
  /** Rejects with `DeliveryFault` where the set has to be fetched and does not come. */
  keyOf(kid: string): Promise<KeyObject | undefined>
}

export interface TransmitterKeysOptions {
  readonly jwksUri: string
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic?: (() => number) | undefined
}

const FETCH_MILLISECONDS_MIN = 30_000
/** What its owner has removed counts no longer than this. */
const AGE_MILLISECONDS_MAX = 600_000
const KEYS_MAX = 100

/** Follows the key set of a transmitter, asked for again when a SET names a key that is not in it, or when it is old. */
export function followKeys({
  jwksUri,
  monotonic = () => performance.now(),
}: TransmitterKeysOptions): TransmitterKeys {
  const url = readSecureUrl('jwksUri', jwksUri)
  let keys: ReadonlyMap<string, KeyObject> = new Map()
  let [fetchedAt, askedAt] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  let fetching: Promise<void> | undefined

  async function fetchKeys(): Promise<void> {
    askedAt = monotonic()
    const startedAt = askedAt
    const set = await fetchObject(url, new AbortController().signal, [
      'application/json',
      'application/jwk-set+json',
    ])
    keys = readKeys(set['keys'])
    fetchedAt = startedAt
  }

  return {
    keyOf: async (kid) => {
      const known = keys.get(kid)
      if (known !== undefined && monotonic() - fetchedAt < AGE_MILLISECONDS_MAX) return known
      if (fetching === undefined && monotonic() - askedAt < FETCH_MILLISECONDS_MIN) return known
      fetching ??= fetchKeys().finally(() => {
        fetching = undefined
      })
      await (known === undefined ? fetching : fetching.catch(() => {}))
      return keys.get(kid)
    },
  }
}

/** Keys that were configured, and are not fetched. Throws `InvalidKey`. */
export function fixedKeys(jwks: readonly object[]): TransmitterKeys {
  const keys = new Map(jwks.map((jwk) => [nameOf(jwk), importRsa(jwk)]))
  return { keyOf: async (kid) => keys.get(kid) }
}

function nameOf({ kid }: { readonly kid?: unknown }): string {
  if (typeof kid === 'string') return kid
  throw new InvalidKey('it has no kid, so no SET could name it')
}

/** Those that can verify a SET; a set may hold others. */
function readKeys(value: JsonValue | undefined): ReadonlyMap<string, KeyObject> {
  const keys = new Map<string, KeyObject>()
  if (!Array.isArray(value)) return keys
  for (const jwk of value.slice(0, KEYS_MAX)) {
    if (!isObject(jwk) || typeof jwk['kid'] !== 'string' || jwk['kty'] !== 'RSA') continue
    try {
      keys.set(jwk['kid'], importRsa(jwk))
    } catch (error) {
      if (!(error instanceof InvalidKey)) throw error
    }
  }
  return keys
}

/** A foreign `kid` need not be the thumbprint, and `alg` may be left out: there is one algorithm for SETs. */
function importRsa(jwk: object): KeyObject {
  const { kid: _kid, alg = 'RS256', ...members } = jwk as { readonly kid?: unknown; readonly alg?: unknown }
  if (alg !== 'RS256') throw new InvalidKey('the key is not for RS256')
  return importPublicJwk({ ...members, alg }).key
}
