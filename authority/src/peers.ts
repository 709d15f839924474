/**
 * The two processes that the authority needs, as it sees them: the witness that logs manifests and the broker whose
 * signers make keys. Either may start later or be away for a while, so each call connects when it has to.
 * @module
 */

import { keepConnected, type LineError } from '@countersign/lines'
import { createWitnessClient } from '@countersign/witness/client'
import { Denial } from './denial.ts'
import type { Broker } from './keeper.ts'
import type { Witness } from './publisher.ts'

/** A signer that has not made a key by then is away. */
const GENERATE_MILLISECONDS_MAX = 5000

export function connectBroker(socket: string): Broker & { close(): void } {
  const line = keepConnected(socket, GENERATE_MILLISECONDS_MAX)
  return { generate: (request) => line.call('generate', request), close: line.close }
}

export function connectWitness(socket: string): Witness & { close(): void } {
  const client = createWitnessClient(socket)
  return {
    status: async () => {
      const { name, logs, manifest_version } = await client.status().catch(refuse)
      return {
        logs: logs.map(({ origin, state }) => ({ origin, witness: name, state })),
        manifestVersion: manifest_version,
      }
    },
    append: async (entry) => {
      const [appended] = await client.append([entry]).catch(refuse)
      if (appended === undefined) throw new Denial('witness_unavailable')
      if ('error' in appended) throw new Denial('witness_refused', appended.error.code)
      return appended.receipt
    },
    close: client.close,
  }
}

function refuse(error: LineError): never {
  throw new Denial(error.retryable ? 'witness_unavailable' : 'witness_refused', error.code)
}
