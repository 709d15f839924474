/**
 * For what outlives a request: a stream, a socket, a mail session. It was opened by a token, and ends when that token is
 * good no more, for whatever reason: it expires, its key dies, a cutoff reaches it, or nobody has vouched for the manifest
 * for too long.
 *
 *     const hold = validator.hold(token)
 *     hold.signal.addEventListener('abort', () => socket.close(1008, hold.signal.reason.reason))
 *     socket.on('close', hold.release)
 *
 * Nothing is verified anew for it: the questions that time and manifests can answer otherwise are asked again, at each
 * manifest and when the next time limit comes.
 * @module
 */

import type { TrustSource } from './manifest.ts'
import { Refusal } from './refusal.ts'

/** Watches over a token that was accepted, for as long as what it opened is open. */
export interface Hold {
  /** Aborts when the token is good no more; its `reason` is the `Refusal` that the token would get now. */
  readonly signal: AbortSignal
  /** To be called when what is held ends by itself. */
  release(): void
}

/** Trust that says when it has changed. */
export interface NewsSource extends TrustSource {
  /** Calls back at each newer state, before it is acknowledged. Gives back how to stop that. */
  onNews(listener: () => void): () => void
}

export interface Held {
  /** Throws `Refusal` where the token is good no more, else gives the first time at which it is not. */
  judge(): number
  readonly trust: TrustSource | NewsSource
  readonly maxStaleSeconds: number
  /** Seconds since the epoch. */
  now(): number
}

/**
 * Even where no limit comes and nobody tells of news: a clock may be set, a machine may sleep, and a fixed source of trust
 * says nothing.
 */
const LOOK_MILLISECONDS_MAX = 1000

export function hold({ judge, trust, maxStaleSeconds, now }: Held): Hold {
  const ending = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let isOver = false
  const leave = 'onNews' in trust ? trust.onNews(look) : () => {}

  function look(): void {
    clearTimeout(timer)
    if (isOver) return
    try {
      const seconds = Math.min(judge() - now(), maxStaleSeconds - trust.ageSeconds())
      // One more, since a limit that is reached exactly may still hold.
      const milliseconds = Math.min(LOOK_MILLISECONDS_MAX, Math.ceil(seconds * 1000) + 1)
      timer = setTimeout(look, milliseconds)
      // Where a timer is a number, nothing waits for it.
      timer.unref?.()
    } catch (error) {
      // What is held open by an error of ours would be open for good.
      release()
      ending.abort(error)
      if (!(error instanceof Refusal)) throw error
    }
  }

  function release(): void {
    isOver = true
    clearTimeout(timer)
    leave()
  }

  // Whoever holds must have the signal in hand before it aborts; and what is dead already ends at once.
  queueMicrotask(look)
  return { signal: ending.signal, release }
}
