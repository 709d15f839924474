/**
 * The two processes that the authority needs, as it sees them: the witness that logs manifests and the broker whose
 * signers make keys. Either may start later or be away for a while, so each call connects when it has to.
 * @module
 */

import { connectLines, LineError, type Peer } from '@countersign/lines'
import { decode, encode } from '@countersign/validator/base64url'
import type { ManifestLog } from '@countersign/validator/manifest'
import { Denial } from './denial.ts'
import type { Broker } from './keeper.ts'
import type { Witness } from './publisher.ts'

/** A peer that has not answered by then is away. */
const ANSWER_MILLISECONDS_MAX = 5000

export function connectBroker(socket: string): Broker & { close(): void } {
  const line = keepConnected(socket)
  return { generate: (request) => line.call('generate', request), close: line.close }
}

export function connectWitness(socket: string): Witness & { close(): void } {
  const line = keepConnected(socket)
  return {
    status: async () => {
      const { name, logs, manifest_version } = await line.call<WitnessStatus>('status', {}).catch(refuse)
      return {
        logs: logs.map(({ origin, state }) => ({ origin, witness: name, state })),
        manifestVersion: manifest_version,
      }
    },
    append: async (entry) => {
      const answer = await line.call<WitnessAnswer>('append', { entries: [encode(entry)] }).catch(refuse)
      const [result] = answer.receipts
      if (result === undefined) throw new Denial('witness_unavailable')
      if ('error' in result) throw new Denial('witness_refused', result.error.code)
      return decode(result.receipt)
    },
    close: line.close,
  }
}

interface WitnessStatus {
  readonly name: string
  readonly logs: readonly { readonly origin: string; readonly state: ManifestLog['state'] }[]
  readonly manifest_version: number
}

interface WitnessAnswer {
  readonly receipts: readonly ({ readonly receipt: string } | { readonly error: { readonly code: string } })[]
}

function refuse(error: LineError): never {
  throw new Denial(error.retryable ? 'witness_unavailable' : 'witness_refused', error.code)
}

/** A connection that is made anew when it is needed and gone. Calls reject with `LineError`. */
function keepConnected(path: string) {
  let connection: Promise<Peer> | undefined

  async function connect(): Promise<Peer> {
    try {
      const peer = await connectLines(path)
      void peer.closed.then(() => {
        connection = undefined
      })
      return peer
    } catch {
      connection = undefined
      throw new LineError('disconnected', `nobody listens at ${path}`, { retryable: true })
    }
  }

  return {
    call: async <Result>(method: string, params: unknown): Promise<Result> => {
      connection ??= connect()
      return (await connection).call(method, params, ANSWER_MILLISECONDS_MAX)
    },
    close: () => void connection?.then((peer) => peer.close()).catch(() => {}),
  }
}
