/**
 * The webmail's own sessions: a cookie that stands for the token that opened it. A browser sends no `Authorization` header
 * with a stream or when a page is loaded again. The token stays here and is decided about anew at each request, so a
 * session is worth what its token is worth at that moment, and no more (T195, T254).
 * @module
 */

import { createHash, randomBytes } from 'node:crypto'
import type { Confirmation } from '@countersign/validator/confirmation'
import type { ValidatedToken } from '@countersign/validator/validator'
import { ownerOf } from './mailbox.ts'

export interface Sessions {
  /** Opens a session and gives what to set as `Set-Cookie`. */
  open(kept: KeptToken, token: ValidatedToken): string
  /** The token of the session that a `Cookie` header names, if there is one. */
  find(cookies: string | undefined): KeptToken | undefined
  /** Closes the session, and gives what to set as `Set-Cookie`. */
  close(cookies: string | undefined): string
}

/** A token, and what was proven when it was shown. */
export interface KeptToken {
  readonly text: string
  readonly confirmation: Confirmation | undefined
}

interface Session {
  readonly kept: KeptToken
  readonly owner: string
  readonly expiresAt: number
}

/** Kept to one host, path and scheme by the browser, and from scripts; loopback counts as secure. */
const NAME = '__Host-webmail'
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Strict'
/** Of several, the oldest is the first to go. */
const SESSIONS_MAX = 10_000
/** One person's, so that nobody ends the sessions of all others by opening more. */
const SESSIONS_OF_ONE_MAX = 100

/** `now` gives seconds since the epoch. */
export function createSessions(now: () => number = () => Date.now() / 1000): Sessions {
  const sessions = new Map<string, Session>()

  function makeRoom(owner: string): void {
    for (const [name, { expiresAt }] of sessions) if (expiresAt <= now()) sessions.delete(name)
    const own = [...sessions.entries().filter(([, session]) => session.owner === owner)]
    for (const [name] of own.slice(0, -(SESSIONS_OF_ONE_MAX - 1))) sessions.delete(name)
    for (const name of sessions.keys()) {
      if (sessions.size < SESSIONS_MAX) return
      sessions.delete(name)
    }
  }

  return {
    open: (kept, token) => {
      const { expiresAt } = token
      const owner = ownerOf(token)
      makeRoom(owner)
      const id = randomBytes(16).toString('base64url')
      sessions.set(nameOf(id), { kept, owner, expiresAt })
      return `${NAME}=${id}; ${ATTRIBUTES}; Max-Age=${Math.max(0, Math.floor(expiresAt - now()))}`
    },
    find: (cookies) => {
      const id = idIn(cookies)
      return id === undefined ? undefined : sessions.get(nameOf(id))?.kept
    },
    close: (cookies) => {
      const id = idIn(cookies)
      if (id !== undefined) sessions.delete(nameOf(id))
      return `${NAME}=; ${ATTRIBUTES}; Max-Age=0`
    },
  }
}

/** Looked up by its hash, so that the time it takes tells nothing of an id. */
function nameOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url')
}

/** Two cookies of this name are refused rather than chosen from: one of them was planted. */
function idIn(cookies: string | undefined): string | undefined {
  const values = (cookies ?? '')
    .split(';')
    .map((cookie) => cookie.trim())
    .filter((cookie) => cookie.startsWith(`${NAME}=`))
  const [value, ...others] = values
  return value === undefined || others.length > 0 ? undefined : value.slice(NAME.length + 1)
}
