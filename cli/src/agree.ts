/**
 * Two operators of one mind: what takes two people, wanted by everybody whose key file is at hand. For whoever plays with a
 * system of their own; people use `countersign approve`.
 * @module
 */

import { type ApprovalAnswer, sendApproval, sendProposal } from '@countersign/authority/client'
import { type ApprovalTarget, approve } from '@countersign/validator/approval'
import { readPayload, type SignedDocument } from '@countersign/validator/document'
import { draftApproval } from './draft.ts'
import { type Operated, readAuthor, waitForAcknowledgements } from './operate.ts'
import type { System } from './ready.ts'

type Authority = System['authority']

/** Has it proposed and approved, and waits until every connected validator has acknowledged what came of it. */
export async function agree(authority: Authority, target: ApprovalTarget, reason: string): Promise<Operated> {
  const startedAt = performance.now()
  const [proposer, ...others] = authority.operators.map(({ id }) => readAuthor(authority, id))
  if (proposer === undefined) throw new Error('no operator has a key file here')
  const payload = draftApproval(target, {
    reason,
    proposer: proposer.id,
    charterVersion: await charterVersion(authority),
  })
  const proposed = await sendProposal(authority.url, approve(payload, proposer.privateKey))
  let answer: ApprovalAnswer = proposed
  for (const { privateKey } of others) {
    if (answer.version !== undefined) break
    const [line] = approve(payload, privateKey).signatures
    answer = await sendApproval(authority.url, proposed.id, line as SignedDocument['signatures'][number])
  }
  const { version } = answer
  if (version === undefined) throw new Error(`${answer.needed} people are needed, and not so many are here`)
  const behind = await waitForAcknowledgements(authority.url, version)
  return { version, changed: true, milliseconds: performance.now() - startedAt, ...behind }
}

async function charterVersion({ charter }: Authority): Promise<number> {
  const response = await fetch(charter)
  const { payload } = (await response.json()) as SignedDocument
  return Number(readPayload(payload)['version'])
}
