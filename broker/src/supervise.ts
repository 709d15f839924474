/**
 * Keeps a realm's signer running. When its process ends, what was asked of it fails at once, and another is started
 * after a pause that grows with each failure; the new one is brought the trust of the old. A signer that hangs is ended
 * like one that died: its counters survive both.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { LineError } from '@countersign/lines'
import type { Logger } from '@countersign/service'
import type { SignerDescription, SignerProcess } from '@countersign/signer/client'
import type { TrustDocuments } from '@countersign/validator/trust'

export interface SupervisedSigner {
  /** Who it is: the same over every start. */
  readonly description: Pick<SignerDescription, 'identity' | 'protection'>
  /** Version of the manifest that the signer has taken; 0 while there is none. */
  readonly manifestVersion: number
  /** Settles once there is a signer that has been brought a manifest; rejects with `signer_unavailable` after so long. */
  ready(milliseconds: number): Promise<void>
  /** Asks the signer that is there. Rejects with `signer_unavailable` when there is none, or it ends or hangs. */
  ask<Result>(question: (signer: SignerProcess) => Promise<Result>): Promise<Result>
  /** Brings newer trust, to this signer and to each after it. Settles when this one has answered, taken or not. */
  trust(documents: TrustDocuments): Promise<void>
  stop(): Promise<void>
}

export interface Supervision {
  readonly realm: string
  readonly start: () => Promise<SignerProcess>
  readonly log: Logger
  readonly retryMilliseconds?: number
}

const RETRY_MILLISECONDS = 100
const RETRY_MILLISECONDS_MAX = 5000

/** Starts the first signer. Rejects when that does not come up: then something is wrong that no retry mends. */
export async function superviseSigner({
  realm,
  start,
  log,
  retryMilliseconds = RETRY_MILLISECONDS,
}: Supervision): Promise<SupervisedSigner> {
  const stopping = new AbortController()
  let documents: TrustDocuments | undefined
  let signer: SignerProcess | undefined
  let manifestVersion = 0
  let becomesReady = Promise.withResolvers<void>()

  async function bring(to: SignerProcess): Promise<void> {
    if (documents === undefined) return
    try {
      manifestVersion = await to.trust(documents)
      becomesReady.resolve()
    } catch (error) {
      log.error({ realm, error: (error as Error).message }, 'the signer did not take the manifest')
    }
  }

  async function keep(first: SignerProcess): Promise<void> {
    for (let current: SignerProcess | undefined = first; current !== undefined; ) {
      signer = current
      await bring(current)
      await current.exited
      signer = undefined
      if (manifestVersion > 0) becomesReady = Promise.withResolvers()
      manifestVersion = 0
      if (stopping.signal.aborted) return
      log.error({ realm }, 'the signer has ended and is started anew')
      current = await startAnew()
    }
  }

  async function startAnew(): Promise<SignerProcess | undefined> {
    for (let milliseconds = retryMilliseconds; !stopping.signal.aborted; milliseconds *= 2) {
      await delay(Math.min(milliseconds, RETRY_MILLISECONDS_MAX), undefined, {
        signal: stopping.signal,
      }).catch(() => {})
      if (stopping.signal.aborted) return undefined
      try {
        const started = await start()
        if (!stopping.signal.aborted) return started
        await started.stop()
      } catch (error) {
        log.error({ realm, error: (error as Error).message }, 'the signer did not start')
      }
    }
    return undefined
  }

  const first = await start()
  const { description } = first
  const keeping = keep(first)

  return {
    description,
    get manifestVersion() {
      return manifestVersion
    },
    ready: async (milliseconds) => {
      if (manifestVersion > 0) return
      const late = AbortSignal.timeout(milliseconds)
      const tooLate = new Promise<never>((_, reject) => {
        late.onabort = () => reject(unavailable('the signer is not ready'))
      })
      await Promise.race([becomesReady.promise, tooLate])
    },
    ask: async (question) => {
      if (signer === undefined) throw unavailable('the signer is being started')
      const asked = signer
      try {
        return await question(asked)
      } catch (error) {
        const { code } = error as LineError
        if (code === 'timeout') asked.kill()
        if (code === 'timeout' || code === 'disconnected') throw unavailable('the signer has ended')
        throw error
      }
    },
    trust: async (newer) => {
      documents = newer
      if (signer !== undefined) await bring(signer)
    },
    stop: async () => {
      stopping.abort()
      await signer?.stop()
      await keeping
    },
  }
}

function unavailable(message: string): LineError {
  return new LineError('signer_unavailable', message, { retryable: true })
}
