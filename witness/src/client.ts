/**
 * What other workspaces may use of the witness: its append socket as typed calls, and its public log: readers, proofs,
 * `fsck`.
 * @module
 */

import { keepConnected } from '@countersign/lines'
import { decode, encode } from '@countersign/validator/base64url'
import type { SignedDocument } from '@countersign/validator/document'

export { type FollowLogOptions, followLog, type LogGrowth, type LogPosition } from './follow-log.ts'
export { anyEpochOf, type FsckOptions, type FsckReport, fsck } from './fsck.ts'
export { LogMisbehavior } from './misbehavior.ts'
export { fetchEntry, fetchInclusion, type Inclusion } from './proofs.ts'
export {
  epochSource,
  folderSource,
  httpSource,
  type KnownLog,
  type LoggedEntry,
  type LogSource,
} from './source.ts'

/** What `append` is called with over the socket. */
export interface AppendParams {
  /** Encoded entries, base64url. */
  readonly entries: readonly string[]
  /** The manifest that the sender knows: the witness waits for it, at most two seconds. */
  readonly manifest_version?: number | undefined
}

/** Codes are those of `EntryRefusalCode`. */
export type AppendResult =
  | { readonly receipt: string }
  | { readonly error: { readonly code: string; readonly message: string } }

export interface AppendAnswer {
  readonly receipts: readonly AppendResult[]
}

/** Statements of countersigned roots (compact JWS), and the number to ask after next: spec/roots.md. */
export interface RootsAnswer {
  readonly statements: readonly string[]
  readonly next: number
}

export interface WitnessStatus {
  readonly name: string
  /** Those that receipts may come from: sealed ones, that of the open epoch, and that of the next. */
  readonly logs: readonly { readonly origin: string; readonly state: 'open' | 'sealed' }[]
  /** Version of the newest manifest in the log; 0 before the first. */
  readonly manifest_version: number
  /** Over its payload, base64url; null before the first, and while a witness of before it was remembered has logged none. */
  readonly manifest_sha256: string | null
  /** The newest charter that the witness knows, followed or shown. */
  readonly charter_version: number
  readonly epoch: string
  readonly size: number
  readonly vkey: string
}

/** What the witness did with one entry. */
export type Appended =
  | { readonly receipt: Uint8Array }
  | { readonly error: { readonly code: string; readonly message: string } }

/**
 * The append socket. Calls reject with `LineError`; entries of one that did may be in the log, their serials spent. The
 * last manifest may be appended once more, to the byte: that gives its receipt again.
 */
export interface WitnessClient {
  /** `manifestVersion` is the manifest that the sender knows: the witness waits for it, at most two seconds. */
  append(entries: readonly Uint8Array[], manifestVersion?: number): Promise<readonly Appended[]>
  /** Shows it charters, in their order, so that it logs a manifest under the last. Only what operators approved counts. */
  showCharters(documents: readonly SignedDocument[]): Promise<void>
  /** Ends the open epoch and begins the next, whose log the newest manifest has to name. */
  seal(epoch: string): Promise<WitnessStatus>
  status(): Promise<WitnessStatus>
  /** What it tells of countersigned roots after a number, 0 at first; none when there was no news for two seconds. */
  roots(after: number): Promise<RootsAnswer>
  close(): void
}

/** Longer than an append waits for a manifest that its sender already has. */
const ANSWER_MILLISECONDS_MAX = 5000

/** Connects when first called, and anew when the connection is gone. */
export function createWitnessClient(socket: string): WitnessClient {
  const line = keepConnected(socket, ANSWER_MILLISECONDS_MAX)
  return {
    append: async (entries, manifestVersion) => {
      const params: AppendParams = { entries: entries.map(encode), manifest_version: manifestVersion }
      const { receipts } = await line.call<AppendAnswer>('append', params)
      return receipts.map((each) => ('receipt' in each ? { receipt: decode(each.receipt) } : each))
    },
    showCharters: async (documents) => {
      await line.call('charters', { documents })
    },
    seal: (epoch) => line.call('seal', { epoch }),
    status: () => line.call('status', {}),
    roots: (after) => line.call('roots', { after }),
    close: line.close,
  }
}
