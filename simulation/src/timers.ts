/**
 * Node's timers in simulated time.
 * @module
 */

import type { Event } from './scheduler.ts'
import { theWorld } from './world.ts'

type Callback = (...args: unknown[]) => void

/** As much of `NodeJS.Timeout` as is used. */
export class Ticket {
  readonly #milliseconds: number
  readonly #repeats: boolean
  readonly #run: () => void
  #event: Event | undefined

  constructor(milliseconds: number, repeats: boolean, run: () => void) {
    this.#milliseconds = milliseconds
    this.#repeats = repeats
    this.#run = run
    this.refresh()
  }

  refresh(): this {
    this.clear()
    const { scheduler, process } = theWorld()
    const wait = (): void => {
      this.#event = scheduler.after(this.#milliseconds, process, () => {
        if (this.#repeats) wait()
        this.#run()
      })
    }
    wait()
    return this
  }

  clear(): void {
    if (this.#event !== undefined) this.#event.isCancelled = true
  }

  close(): this {
    this.clear()
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return true
  }
}

export const timers = {
  setTimeout: (run: Callback, milliseconds = 1, ...args: unknown[]) =>
    new Ticket(Math.max(1, milliseconds), false, () => run(...args)),
  setInterval: (run: Callback, milliseconds = 1, ...args: unknown[]) =>
    new Ticket(Math.max(1, milliseconds), true, () => run(...args)),
  setImmediate: (run: Callback, ...args: unknown[]) => new Ticket(0, false, () => run(...args)),
  isOurs: (timer: unknown): timer is Ticket => timer instanceof Ticket,
  clear: (timer: Ticket) => timer.clear(),
  /** `setTimeout` of `node:timers/promises`. */
  wait: <Value>(
    milliseconds = 1,
    value?: Value,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<Value | undefined> =>
    new Promise((resolve, reject) => {
      const give = (): void => reject(Object.assign(new Error('The operation was aborted'), aborted))
      if (signal?.aborted) return give()
      const ticket = new Ticket(Math.max(1, milliseconds), false, () => {
        signal?.removeEventListener('abort', abort)
        resolve(value)
      })
      const abort = (): void => {
        ticket.clear()
        give()
      }
      signal?.addEventListener('abort', abort, { once: true })
    }),
  timeoutSignal: (milliseconds: number): AbortSignal => {
    const controller = new AbortController()
    new Ticket(milliseconds, false, () =>
      controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
    )
    return controller.signal
  },
  /** Node's own keeps each signal that is listened to until it is aborted, and with it a world that has ended. */
  anySignal: (signals: Iterable<AbortSignal>): AbortSignal => {
    const controller = new AbortController()
    for (const signal of signals) {
      const follow = (): void => controller.abort(signal.reason)
      if (signal.aborted) follow()
      else signal.addEventListener('abort', follow, { once: true })
    }
    return controller.signal
  },
}

const aborted = { name: 'AbortError', code: 'ABORT_ERR' }
