/**
 * Many tokens, on all cores: the signatures are verified by Node's own pool of threads while the main thread reads what comes
 * next. Trust, cache and sightings are those of the validator, so a kill is a kill:
 *
 *     for await (const decision of decideAll(validator, tokens)) { … }      // in the order of the tokens
 *
 * Nothing is copied to a thread but the bytes that are signed, and there is no second state of trust that could lag behind
 * (docs/decisions/0007-bulk-by-the-pool-of-node.md). The pool has four threads, unless `UV_THREADPOOL_SIZE` says otherwise.
 * @module
 */

import { verifyLater } from '#platform'
import { Asked, settle } from './settle.ts'
import type { Decision, Sender, Validator } from './validator.ts'

/** A token, alone or with what is known of its sender. */
export type Shown = string | { readonly token: string; readonly sender?: Sender | undefined }

/** How `decideAll` works. */
export interface BulkOptions {
  /** How many tokens are under way at once. No more are taken before the first of them is given. Left out: 64. */
  readonly concurrency?: number | undefined
}

const CONCURRENCY = 64

/** As `validator.decide`, with the signatures on other threads. Rejects where the world failed, never for a token. */
export function decideLater(validator: Validator, token: string, sender?: Sender): Promise<Decision> {
  return settle(() => validator.decide(token, sender), verifyOnce)
}

/** What is being verified: the receipts of a batch share one signature, and its tokens tend to come together. */
const underWay = new Asked<Promise<boolean>>()

const verifyOnce: typeof verifyLater = (...question) => {
  const known = underWay.get(...question)
  if (known !== undefined) return known
  const answer = verifyLater(...question).finally(() => underWay.delete(...question))
  underWay.set(answer, ...question)
  return answer
}

/**
 * Decides about each of them; gives the decisions in the same order, as they are wanted. Each is what the validator would say in
 * the moment in which it is given. Throws where the world failed, or what gives the tokens.
 */
export async function* decideAll(
  validator: Validator,
  tokens: Iterable<Shown> | AsyncIterable<Shown>,
  { concurrency = CONCURRENCY }: BulkOptions = {},
): AsyncGenerator<Decision, void, undefined> {
  if (!(Number.isSafeInteger(concurrency) && concurrency > 0))
    throw new TypeError('concurrency is no number of tokens')
  const window = new Window(concurrency)
  void window.fill(tokens, (token, sender) => decideLater(validator, token, sender))
  try {
    for (;;) {
      const first = await window.first()
      if (first === undefined) return
      const decision = await first.decision
      window.shift()
      // It may have waited for those before it, and its key have died meanwhile. What was accepted comes from the cache.
      yield decision.accepted ? validator.decide(first.token, first.sender) : decision
    }
  } finally {
    window.close()
  }
}

interface UnderWay {
  readonly token: string
  readonly sender: Sender | undefined
  readonly decision: Promise<Decision>
}

/** What is under way, in order: filled from one end while there is room, emptied from the other. */
class Window {
  readonly #size: number
  readonly #queue: UnderWay[] = []
  #isClosed = false
  /** Why no more come. */
  #end: { readonly error?: unknown } | undefined
  #onChange: () => void = () => {}
  #onRoom: () => void = () => {}

  constructor(size: number) {
    this.#size = size
  }

  async fill(
    tokens: Iterable<Shown> | AsyncIterable<Shown>,
    decide: (token: string, sender: Sender | undefined) => Promise<Decision>,
  ): Promise<void> {
    try {
      for await (const shown of tokens) {
        if (this.#isClosed) return
        const { token, sender } = typeof shown === 'string' ? { token: shown, sender: undefined } : shown
        const decision = decide(token, sender)
        // Whoever stops listening leaves some behind.
        decision.catch(() => {})
        this.#queue.push({ token, sender, decision })
        this.#onChange()
        while (this.#queue.length >= this.#size && !this.#isClosed) await this.#room()
      }
      this.#end = {}
    } catch (error) {
      this.#end = { error }
    }
    this.#onChange()
  }

  /** The one whose turn it is, once there is one; undefined when no more come. */
  async first(): Promise<UnderWay | undefined> {
    while (this.#queue.length === 0) {
      if (this.#end !== undefined) {
        if ('error' in this.#end) throw this.#end.error
        return undefined
      }
      await new Promise<void>((resolve) => {
        this.#onChange = resolve
      })
    }
    return this.#queue[0]
  }

  shift(): void {
    this.#queue.shift()
    this.#onRoom()
  }

  close(): void {
    this.#isClosed = true
    this.#onRoom()
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRoom = resolve
    })
  }
}
