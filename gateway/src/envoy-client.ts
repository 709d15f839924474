/**
 * Asks a gateway by gRPC, as Envoy does: for tests.
 * @module
 */

import { type Client, credentials } from '@grpc/grpc-js'
import { authorization, type CheckRequest, type CheckResponse } from './envoy.ts'

export interface EnvoyClient {
  /** Rejects where there is no decision. */
  check(request: CheckRequest | object): Promise<CheckResponse>
  close(): void
}

export function openEnvoyClient(address: string): EnvoyClient {
  const client = new authorization(address, credentials.createInsecure()) as unknown as Client & {
    Check(request: object, done: (error: Error | null, answer: CheckResponse) => void): void
  }
  return {
    check: (request) =>
      new Promise((resolve, reject) =>
        client.Check(request, (error, answer) => (error === null ? resolve(answer) : reject(error))),
      ),
    close: () => client.close(),
  }
}
