/**
 * Nonces that a server hands out for DPoP proofs (RFC 9449, section 8), so that a proof cannot be made long before it is
 * shown, and no clock of a client matters. Nothing is stored: a nonce is an HMAC over its period, and whoever has the
 * secret knows it again. It is no secret itself; anybody may ask for one.
 * @module
 */

import { createHmac, randomBytes } from 'node:crypto'

/** Makes nonces and knows its own again. */
export interface Nonces {
  /** The one to use now. */
  current(now: number): string
  /** When a nonce of ours ends, or undefined if it has ended or is not ours. */
  endOf(nonce: string, now: number): number | undefined
}

/** Where several processes serve the same URLs, they share these. */
export interface NoncesOptions {
  /**
   * 32 bytes each, the same at every process that serves the same URLs: the first makes nonces, all know theirs again, so
   * that a secret can be replaced while clients hold nonces of the one before. Left out: one that dies with the process.
   */
  readonly secrets?: readonly Uint8Array[] | undefined
  /** How long one is handed out; it is taken for as long again. */
  readonly periodSeconds?: number | undefined
}

const PERIOD_SECONDS = 60
const SECRET_BYTES = 32

/** Throws `TypeError` for a secret that is too short, or a period that is none. */
export function createNonces({
  secrets = [randomBytes(SECRET_BYTES)],
  periodSeconds = PERIOD_SECONDS,
}: NoncesOptions = {}): Nonces {
  const [first] = secrets
  if (first === undefined || secrets.some(({ length }) => length < SECRET_BYTES))
    throw new TypeError(`a secret for nonces has ${SECRET_BYTES} bytes`)
  if (!(Number.isSafeInteger(periodSeconds) && periodSeconds > 0))
    throw new TypeError('periodSeconds is not a number of seconds')
  let known: {
    readonly period: number
    readonly current: string
    readonly ends: ReadonlyMap<string, number>
  } = {
    period: Number.NaN,
    current: '',
    ends: new Map(),
  }

  function at(now: number): typeof known {
    const period = Math.floor(now / periodSeconds)
    if (period !== known.period) {
      // The next one too: another process may have a clock that is a little ahead.
      const periods = [period - 1, period, period + 1]
      const ends = periods.flatMap((each) =>
        secrets.map((secret) => [nonceFor(secret, each), (each + 2) * periodSeconds] as const),
      )
      known = { period, current: nonceFor(first as Uint8Array, period), ends: new Map(ends) }
    }
    return known
  }

  return {
    current: (now) => at(now).current,
    endOf: (nonce, now) => at(now).ends.get(nonce),
  }
}

function nonceFor(secret: Uint8Array, period: number): string {
  return createHmac('sha256', secret).update(`dpop nonce ${period}`).digest('base64url').slice(0, 22)
}
