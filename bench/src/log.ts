/**
 * Durable appends through the witness's own socket: a whole witness with its checks, its fsync and its receipts. The
 * entries are in the name of the enterprise signer, which is why nothing is issued there afterwards.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { RunningSystem } from '@countersign/cli/client'
import { decode } from '@countersign/validator/base64url'
import { encodeEntry } from '@countersign/validator/entry'
import { createWitnessClient, type WitnessClient } from '@countersign/witness/client'
import { median } from './rounds.ts'
import type { Row } from './table.ts'
import { thousands } from './table.ts'

const ROUNDS = 5
const BATCH = 256
const BATCHES_PER_ROUND = 160
/** While one batch is at the disk, the next ones are read and checked. */
const BATCHES_IN_FLIGHT = 8
const LONE_PER_ROUND = 400

/** `kid` is an active key of the enterprise realm. */
export async function measureWitness({ data }: RunningSystem, kid: string): Promise<Row[]> {
  const witness = createWitnessClient(join(data, 'run', 'witness.sock'))
  // Far above what the signer has counted up to.
  let serial = 1_000_000
  const makeEntry = (): Uint8Array => {
    const issuedAt = Math.floor(Date.now() / 1000)
    return encodeEntry({
      tokenType: 'access',
      keyThumbprint: decode(kid),
      issuedAt,
      expiresAt: issuedAt + 300,
      serial: ++serial,
      payloadSha256: randomBytes(32),
    })
  }
  try {
    const batched: number[] = []
    const lone: number[] = []
    for (let round = 0; round <= ROUNDS; round++) {
      batched.push(await appendBatches(witness, makeEntry))
      lone.push(await appendLone(witness, makeEntry))
    }
    return [
      { label: `batches of ${BATCH}`, value: `${thousands(median(batched.slice(1)))}/s` },
      { label: 'one at a time', value: `${thousands(median(lone.slice(1)))}/s` },
    ]
  } finally {
    witness.close()
  }
}

async function appendBatches(witness: WitnessClient, makeEntry: () => Uint8Array): Promise<number> {
  const batches = Array.from({ length: BATCHES_PER_ROUND }, () => Array.from({ length: BATCH }, makeEntry))
  const startedAt = performance.now()
  // Batches leave in order, since serials rise; each asker takes the next.
  const asker = async (): Promise<void> => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift())
      await append(witness, batch)
  }
  await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, asker))
  return (BATCHES_PER_ROUND * BATCH * 1000) / (performance.now() - startedAt)
}

async function appendLone(witness: WitnessClient, makeEntry: () => Uint8Array): Promise<number> {
  const startedAt = performance.now()
  for (let count = 0; count < LONE_PER_ROUND; count++) await append(witness, [makeEntry()])
  return (LONE_PER_ROUND * 1000) / (performance.now() - startedAt)
}

async function append(witness: WitnessClient, entries: readonly Uint8Array[]): Promise<void> {
  for (const appended of await witness.append(entries)) {
    if ('error' in appended) throw new Error(`the witness refused an entry: ${appended.error.code}`)
  }
}
