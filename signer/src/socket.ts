/**
 * The signer's only way in or out: a connected socket that its broker handed it as descriptor 3. It can neither listen
 * nor connect, so whoever holds the other end is the broker, and when that end closes the signer ends.
 * @module
 */

import { Socket } from 'node:net'
import { type Handler, LineError, speak } from '@countersign/lines'
import type { Signer } from './signer.ts'

const DESCRIPTOR = 3

/** Answers on the socket until it closes. What fails for no fault of the caller goes to `onFault` too. */
export async function serveSigner(signer: Signer, onFault: (error: Error) => void): Promise<void> {
  const handlers: Record<string, (params: never) => unknown> = {
    trust: (params) => signer.trust(params),
    prepare: (params) => signer.prepare(params),
    sign: (params) => signer.sign(params),
    generate: (params) => signer.generate(params),
    describe: () => signer.describe(),
    counters: () => signer.counters(),
  }
  const reported = Object.entries(handlers).map(([name, handler]) => [name, reporting(handler, onFault)])
  await speak(new Socket({ fd: DESCRIPTOR }), Object.fromEntries(reported)).closed
}

function reporting(handler: Handler, onFault: (error: Error) => void): Handler {
  return async (params) => {
    try {
      return await handler(params)
    } catch (error) {
      if (!(error instanceof LineError)) onFault(error as Error)
      throw error
    }
  }
}
