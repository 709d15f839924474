/**
 * The two-phase path of a batch: the signer prepares, the witness logs and countersigns, the signer signs. A request
 * that one of them refuses drops out and the others go on; when one of them is away, all of the batch is told that it
 * may try again, and no token has come into being. Protocol: spec/signing.md.
 * @module
 */

import { LineError } from '@countersign/lines'
import type { Problem, SignedAnswer, SigningRequest } from '@countersign/signer/client'
import type { AppendAnswer, AppendParams, AppendResult } from '@countersign/witness/client'
import type { Assigned, Lease, RealmSigners } from './signers.ts'

/** What became of one request. */
export type Issued = SignedAnswer | Problem

export interface IssuingParties {
  readonly signers: Pick<RealmSigners, 'lease'>
  readonly witness: WitnessLine
  /** Version of the newest manifest here; the witness waits for it, so that it knows each key that the signer knows. */
  readonly manifestVersion: () => number | undefined
  /** Something that no retry mends and nobody behind an issuer can: for the log. */
  readonly onAlarm: (message: string) => void
}

/** The append socket of the witness. */
export interface WitnessLine {
  connect(): Promise<void>
  call(method: 'append', params: AppendParams): Promise<AppendAnswer>
}

/** Long enough for a signer to be started anew, short enough for whoever waits at a token endpoint. */
const READY_MILLISECONDS_MAX = 2000

export async function issueBatch(
  requests: readonly SigningRequest[],
  { signers, ...others }: IssuingParties,
): Promise<readonly Issued[]> {
  const lease = signers.lease()
  try {
    return await issueWith(lease, requests, others)
  } finally {
    lease.release()
  }
}

async function issueWith(
  lease: Lease,
  requests: readonly SigningRequest[],
  { witness, manifestVersion, onAlarm }: Omit<IssuingParties, 'signers'>,
): Promise<readonly Issued[]> {
  await lease.ready(READY_MILLISECONDS_MAX)
  // Asked first: what is prepared while the witness is away costs a serial each and leads nowhere.
  await witness.connect().catch(refuseUnwitnessed)
  const prepared = await lease.prepare(requests)
  const entries = prepared.filter(isPrepared)
  if (entries.length === 0) return prepared.filter(isProblem)
  const params = { entries: entries.map(({ entry }) => entry), manifest_version: manifestVersion() }
  const { receipts } = await witness.call('append', withoutUndefined(params)).catch(refuseUnwitnessed)
  const witnessed = entries.map((assigned, at) => readReceipt(assigned, receipts[at], onAlarm))
  const receipted = witnessed.filter(isReceipted)
  const signed = receipted.length === 0 ? [] : await lease.sign(receipted)
  return merge(prepared, merge(witnessed, signed))
}

interface Receipted {
  readonly assigned: Assigned
  readonly receipt: string
}

function readReceipt(
  assigned: Assigned,
  result: AppendResult | undefined,
  onAlarm: (message: string) => void,
): Receipted | Problem {
  if (result === undefined) return problem('witness_unavailable', 'the witness gave no receipt', true)
  if ('receipt' in result) return { assigned, receipt: result.receipt }
  const { code, message } = result.error
  // Its follower catches up, or it is cut off for longer; either way this entry was not logged.
  if (code !== 'serial_repeated') return problem(code, message, code === 'manifest_stale')
  onAlarm(SERIAL_REPEATED)
  return problem(code, SERIAL_REPEATED, false)
}

const SERIAL_REPEATED =
  'the witness has logged this serial before, so no token was made: the counters of this signer went back, as when a ' +
  'machine or a folder is restored from a copy, or somebody else has entries logged for its key. Find out, and replace it'

function refuseUnwitnessed(error: unknown): never {
  if (error instanceof LineError && !error.retryable) throw error
  throw new LineError('witness_unavailable', 'the witness cannot be reached', { retryable: true })
}

/** Puts the results of those that went on into the places of all, in order. */
function merge<Passed extends object, Result>(
  all: readonly (Passed | Problem)[],
  ofPassed: readonly Result[],
): readonly (Result | Problem)[] {
  let next = 0
  return all.map((each) => (isProblem(each) ? each : (ofPassed[next++] as Result)))
}

function isPrepared(answer: Assigned | Problem): answer is Assigned {
  return !isProblem(answer)
}

function isReceipted(answer: Receipted | Problem): answer is Receipted {
  return !isProblem(answer)
}

function isProblem(answer: object): answer is Problem {
  return 'error' in answer
}

function problem(code: string, message: string, retryable: boolean): Problem {
  return { error: { code, message, retryable } }
}

function withoutUndefined({
  entries,
  manifest_version,
}: {
  readonly entries: readonly string[]
  readonly manifest_version: number | undefined
}): AppendParams {
  return manifest_version === undefined ? { entries } : { entries, manifest_version }
}
