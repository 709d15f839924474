/**
 * Ends sessions of a mail server that were opened by a token which is good no more. A mail server asks once, when somebody
 * logs in, and holds a session open for days; so each token that was answered for is watched here, and Dovecot (its HTTP API)
 * is told whom to put out.
 *
 * Whatever cannot be watched is not answered for. A process that starts knows nothing of the tokens of sessions that are
 * open already: it ends all of them.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Hold } from '@countersign/validator/hold'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import { z } from 'zod'

/** Of a client that may introspect: how its sessions are ended. */
export const kickSchema = z.strictObject({
  /** Dovecot's HTTP API. */
  url: z.url({ protocol: /^https?$/ }),
  api_key: z.string().min(1),
  /** The claim that the mail server knows people by. */
  username: z.string().min(1).default('sub'),
})

export type KickTarget = z.infer<typeof kickSchema>

export interface Kicker {
  /** From now on the sessions of this token's owner end with it. False where that cannot be: it must open none. */
  watch(token: ValidatedToken): boolean
  /** How many tokens are watched. */
  readonly watched: number
  stop(): void
}

export interface KickerOptions {
  readonly target: KickTarget
  readonly validator: Pick<Validator, 'hold'>
  /** The mail server did not do it, and will be asked again. */
  readonly onProblem: (problem: Error) => void
}

const WATCHED_TOKENS_MAX = 100_000
const REQUEST_MILLISECONDS_MAX = 5000
const RETRY_MILLISECONDS = { first: 100, last: 5000 } as const
/** A login that was answered for just before may become a session after the first kick. */
const SECOND_KICK_MILLISECONDS = 2000

/** As Dovecot takes names unless told otherwise, and without the `*` and `?` that would stand for others. */
const username = /^[A-Za-z0-9._@+-]{1,256}$/

/** What `inet_aton` takes for an address: `192.0.2.7`, and `1234567` as well. */
const addressLike = /^\d[\dA-Fa-fXx]*(?:\.\d[\dA-Fa-fXx]*){0,3}$/

/** Dovecot puts out an address where a mask is one; with a `?` it is a name, and some that differ in one character go with it. */
function maskOf(name: string): string {
  return addressLike.test(name) ? name.replace(/.$/, '?') : name
}

/** Ends every session that is open now, and then those whose tokens end. */
export function createKicker({ target, validator, onProblem }: KickerOptions): Kicker {
  const holds = new Map<string, Hold>()
  const kicking = new Set<string>()
  const ending = new AbortController()

  function watch(token: ValidatedToken): boolean {
    const name = token.claims[target.username]
    if (typeof name !== 'string' || !username.test(name)) return false
    const id = JSON.stringify([token.issuer, token.tokenId, name])
    if (holds.has(id)) return true
    if (holds.size >= WATCHED_TOKENS_MAX) return false
    const hold = validator.hold(token)
    holds.set(id, hold)
    hold.signal.addEventListener('abort', () => {
      holds.delete(id)
      void kick(maskOf(name))
    })
    return true
  }

  /** Until the mail server has done it, and once more. */
  async function kick(mask: string): Promise<void> {
    // Whoever is being put out by one token is out by the next as well, since there is a second kick to come.
    if (kicking.has(mask)) return
    kicking.add(mask)
    try {
      await kickOnce(mask)
      kicking.delete(mask)
      await delay(SECOND_KICK_MILLISECONDS, undefined, { signal: ending.signal, ref: false })
      await kickOnce(mask)
    } catch (error) {
      if (!ending.signal.aborted) throw error
    } finally {
      kicking.delete(mask)
    }
  }

  async function kickOnce(mask: string): Promise<void> {
    for (let wait: number = RETRY_MILLISECONDS.first; ; wait = Math.min(wait * 2, RETRY_MILLISECONDS.last)) {
      try {
        await askDovecot(target, mask, ending.signal)
        return
      } catch (error) {
        if (ending.signal.aborted) throw error
        onProblem(error as Error)
      }
      await delay(wait, undefined, { signal: ending.signal, ref: false })
    }
  }

  void kick('*')
  return {
    watch,
    get watched() {
      return holds.size
    },
    stop: () => {
      ending.abort()
      for (const hold of holds.values()) hold.release()
    },
  }
}

/** What `doveadm kick` ends with when nobody is there to kick. */
const NOBODY_THERE: ReadonlySet<number> = new Set([67, 68])

async function askDovecot({ url, api_key }: KickTarget, mask: string, stopping: AbortSignal): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `X-Dovecot-API ${Buffer.from(api_key).toString('base64')}`,
    },
    body: JSON.stringify([['kick', { mask: [mask] }, 'kick']]),
    redirect: 'error',
    signal: AbortSignal.any([stopping, AbortSignal.timeout(REQUEST_MILLISECONDS_MAX)]),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`the mail server answered ${response.status}`)
  const [[kind, result]] = JSON.parse(text) as [[string, { readonly exitCode?: number }, string]]
  if (kind === 'doveadmResponse' || NOBODY_THERE.has(result.exitCode ?? 0)) return
  throw new Error(`the mail server could not end sessions (${result.exitCode})`)
}
