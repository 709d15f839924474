/**
 * Goal: a worker lets no proof pass that its primary did not say is new. Method: a primary that answers, that is late, that answers
 * too little, and that is gone.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createReplayCache, type ShownProof } from '@countersign/validator/replay'
import { createSharedReplay } from './shared-replay.ts'

const expiresAt = Date.now() / 1000 + 60
const proof = (name: string): ShownProof => ({ id: name.padEnd(43, 'A'), jkt: 'k'.repeat(43), expiresAt })

test('T150: what comes in one turn is asked at once, and of two that are the same one is new', async () => {
  const known = createReplayCache()
  const questions: number[] = []
  const ask = async (proofs: readonly ShownProof[]): Promise<readonly boolean[]> => {
    questions.push(proofs.length)
    return Promise.all(proofs.map((each) => known.add(each)))
  }
  const [one, other] = [createSharedReplay(ask), createSharedReplay(ask)]
  const first = await Promise.all(['a', 'b', 'a'].map((name) => one.add(proof(name))))
  assert.deepEqual([first, questions], [[true, true, false], [3]])
  assert.deepEqual(await Promise.all(['b', 'c'].map((name) => other.add(proof(name)))), [false, true])
})

test('T150: without a clear answer no proof is new', async () => {
  const answers: readonly (() => Promise<readonly boolean[]>)[] = [
    () => Promise.reject(new Error('did not answer in time')),
    async () => [],
    async () => ['yes'] as unknown as boolean[],
  ]
  for (const answer of answers) assert.equal(await createSharedReplay(answer).add(proof('a')), false)
})
