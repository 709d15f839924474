/**
 * The witness as the authority sees it: what it does not do is a denial of what was asked of the authority.
 * @module
 */

import type { LineError } from '@countersign/lines'
import { createWitnessClient, type WitnessClient } from '@countersign/witness/client'
import { Denial } from './denial.ts'
import type { Witness } from './publisher.ts'

export function connectWitness(socket: string): Witness & Pick<WitnessClient, 'roots' | 'close'> {
  const client = createWitnessClient(socket)
  return {
    status: async () => {
      const { name, logs, manifest_version, manifest_sha256, charter_version } = await client
        .status()
        .catch(refuse)
      return {
        logs: logs.map(({ origin, state }) => ({ origin, witness: name, state })),
        manifestVersion: manifest_version,
        manifestSha256: manifest_sha256 ?? undefined,
        charterVersion: charter_version,
      }
    },
    showCharters: (documents) => client.showCharters(documents).catch(refuse),
    append: async (entry) => {
      const [appended] = await client.append([entry]).catch(refuse)
      if (appended === undefined) throw new Denial('witness_unavailable')
      if ('error' in appended) throw new Denial('witness_refused', appended.error.code)
      return appended.receipt
    },
    roots: client.roots,
    close: client.close,
  }
}

function refuse(error: LineError): never {
  throw new Denial(error.retryable ? 'witness_unavailable' : 'witness_refused', error.code)
}
