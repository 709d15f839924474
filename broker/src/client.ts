/**
 * What others may ask a broker: an issuer on the socket of its realm, the sentinel on the admin socket.
 * @module
 */

import { keepConnected } from '@countersign/lines'
import type { GeneratedKey, KeyCounts } from '@countersign/signer/client'
import type { TokenType } from '@countersign/validator/entry'
import type { Algorithm } from '@countersign/validator/jws'
import type { CanaryRequest } from './canary.ts'

export { remoteSchema as remoteConfig } from './config.ts'
export type { GeneratedKey, KeyCounts }

/** A token that an issuer wants. */
export interface IssueRequest {
  readonly type: 'access' | 'id' | 'logout' | 'set'
  /** What is undefined is left out, as JSON does. `jti` is added where it is missing. */
  readonly claims: object
  /** ES256 unless said otherwise. */
  readonly alg?: Algorithm | undefined
}

/**
 * Calls reject with `LineError`. Its code is a `Reason` of the validator for what no retry mends; `no_active_key` or
 * `clock_off`; or `rate_limited`, `witness_unavailable`, `signer_unavailable`, which are retryable.
 */
export interface Broker {
  issue(request: IssueRequest): Promise<{ readonly token: string }>
  close(): void
}

/** More than all the waits on the way. */
const ISSUE_MILLISECONDS_MAX = 20_000

/** Connects to the broker on the socket of a realm, and anew when it was away. Rejects when it is not there at first. */
export async function connectBroker(socket: string): Promise<Broker> {
  const line = keepConnected(socket, ISSUE_MILLISECONDS_MAX)
  await line.connect()
  return {
    issue: ({ type, claims, alg }) => line.call('issue', { type, claims: JSON.stringify(claims), alg }),
    close: line.close,
  }
}

export interface Counters {
  readonly realms: Readonly<Record<string, { readonly keys: readonly KeyCounts[] }>>
}

/** What a new key may sign, as its signer is asked to attest it. */
export interface KeyRequest {
  readonly realm: string
  /** Thumbprint of the identity key of the signer that is to make it; left out: the realm's only one. */
  readonly signer?: string | undefined
  readonly alg: Algorithm
  /** Issuer template. */
  readonly iss: string
  readonly tenants: readonly string[]
  readonly token_types: readonly TokenType[]
  /** Left out: any audience. */
  readonly audiences?: readonly string[]
  readonly max_ttl: number
}

/** A signer as the broker sees it. */
export interface SignerStatus {
  readonly realm: string
  /** Thumbprint of the identity key, which the charter names. */
  readonly identity: string
  readonly protection: 'low' | 'hardware'
  /** Of the manifest that it has taken; 0 while there is none. */
  readonly version: number
  /** The keys that it holds; null while it does not answer. */
  readonly keys: readonly string[] | null
}

export interface BrokerAdmin {
  /** Has the realm's signer make a key. Only the public half comes out, with the signer's attestation. */
  generate(request: KeyRequest): Promise<GeneratedKey>
  /** What each signer has counted, by realm and key; nothing of one that does not answer. */
  counters(): Promise<Counters>
  /** A canary of a key that signs now: see spec/kill.md, section 3. */
  canary(request: CanaryRequest): Promise<{ readonly token: string }>
  status(): Promise<{ readonly signers: readonly SignerStatus[] }>
  /**
   * Reads realms and keystores anew: starts signers that were added, opens the socket of a realm that was, and stops signers
   * that were removed once what they prepared is signed. Rejects, and changes nothing, with `signer_not_started` when one does not
   * come up, and `malformed` for a configuration that cannot be used, or that changes what only a start takes up.
   */
  reload(): Promise<{ readonly signers: readonly SignerStatus[] }>
  close(): void
}

const ADMIN_MILLISECONDS_MAX = 5000
/** A signer has to start, and a token to be logged in to. */
const RELOAD_MILLISECONDS_MAX = 60_000

/** The admin socket, whether somebody listens there yet or not. */
export function openBrokerAdmin(socket: string): BrokerAdmin {
  const line = keepConnected(socket, ADMIN_MILLISECONDS_MAX)
  return {
    generate: (request) => line.call('generate', request),
    counters: () => line.call('counters', {}),
    status: () => line.call('status', {}),
    reload: () => line.call('reload', {}, RELOAD_MILLISECONDS_MAX),
    canary: (request) => line.call('canary', request),
    close: line.close,
  }
}
