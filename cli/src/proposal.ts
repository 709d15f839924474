/**
 * What takes several people, from the side of one of them: what would change, computed here from what would be signed
 * and from charter and manifest as a validator verifies them; a signature with a key file; and who is still needed.
 * Nothing that the authority says about a proposal is believed.
 * @module
 */

import { hash, type KeyObject } from 'node:crypto'
import { createInterface } from 'node:readline'
import {
  type ApprovalAnswer,
  describeProposal,
  fetchProposal,
  type ProposalAnswer,
  sendApproval,
  sendProposal,
} from '@countersign/authority/client'
import { APPROVAL_TYPE } from '@countersign/validator/approval'
import { CHARTER_TYPE, type Charter } from '@countersign/validator/charter'
import { readPayload, type SignedDocument, signDocument } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import type { Manifest } from '@countersign/validator/manifest'
import type { Passkey } from '@countersign/validator/webauthn'
import { printable } from './events.ts'
import { showOperated } from './kill.ts'
import { readAuthor, waitForAcknowledgements } from './operate.ts'
import type { System } from './ready.ts'
import { locate, withManifest } from './system.ts'

type Authority = System['authority']

/** Charter and manifest in force, verified down to the trust anchor. */
export interface InForce {
  readonly charter: Charter
  readonly manifest: Manifest
  /** All charters, from the first. */
  readonly documents: readonly SignedDocument[]
}

export async function readInForce(ready: string | undefined): Promise<InForce> {
  return withManifest(await locate({ ready }), ({ state, documents }) => {
    if (state === undefined || documents === undefined) throw new Error('there is no manifest yet')
    return { ...state, documents: documents.charters }
  })
}

/** What would change, a line for each thing; then the hash of what is signed, as the page of a proposal shows it too. */
export function describe(segment: string, { manifest, documents }: InForce): readonly string[] {
  const payload = readPayload(segment)
  const charter = readPayload((documents.at(-1) as SignedDocument).payload)
  const groups = hash('sha256', segment, 'hex').match(/.{4}/g) ?? []
  return [
    ...describeProposal(kindOf(payload), payload, { charter, manifest }),
    `hash of the document: ${groups.join(' ')}`,
  ]
}

/** Signs a payload as an operator and proposes it. */
export async function propose(
  authority: Authority,
  { payload, signatures }: SignedDocument,
  inForce: InForce,
): Promise<void> {
  const startedAt = performance.now()
  const answer = await sendProposal(authority.url, { payload, signatures })
  await showAnswer(authority, answer.id, answer, inForce, startedAt)
}

/** Shows what would change and, unless the person declines, adds their signature. */
export async function approve(
  authority: Authority,
  id: string,
  inForce: InForce,
  { operator, isSure }: { readonly operator?: string | undefined; readonly isSure: boolean },
): Promise<void> {
  const { segment, approved_by: approvedBy } = await fetchProposal(authority.url, id)
  const payload = readPayload(segment)
  if (hash('sha256', segment, 'hex').slice(0, id.length) !== id || id.length < ID_CHARACTERS) {
    throw new Error('the authority shows something else than what this id stands for')
  }
  checkBase(payload, inForce)
  const author = readPerson(authority, inForce, operator, { approvedBy, id })
  printAll([
    `proposal ${id}, approved by ${approvedBy.join(', ')}:`,
    ...describe(segment, inForce).map(indent),
  ])
  if (!isSure && !(await confirm(`approve this as ${author.id}?`))) throw new Error('not approved')
  const startedAt = performance.now()
  const [line] = sign(payload, segment, author.privateKey).signatures
  const answer = await sendApproval(authority.url, id, line as SignedDocument['signatures'][number])
  await showAnswer(authority, id, answer, inForce, startedAt)
}

const ID_CHARACTERS = 32

/** Who signs with a key file: the one named, or the first that may and has not. Somebody with a passkey has a page. */
export function readPerson(
  authority: Authority,
  { charter: { operators } }: InForce,
  operator: string | undefined,
  { approvedBy = [], id }: { readonly approvedBy?: readonly string[]; readonly id?: string } = {},
): ReturnType<typeof readAuthor> {
  const passkey = operators.find((each) => each.id === operator)?.webauthn
  if (passkey !== undefined) {
    const page = id === undefined ? '' : `: ${pageOf(passkey, id)}`
    throw new Error(`${operator} approves with a passkey${page}`)
  }
  const isEligible = (name: string): boolean =>
    operators.some((each) => each.id === name && each.webauthn === undefined) && !approvedBy.includes(name)
  return readAuthor(authority, operator ?? authority.operators.find((each) => isEligible(each.id))?.id)
}

/** A signature of the right type over exactly this segment. */
export function sign(payload: JsonObject, segment: string, privateKey: KeyObject): SignedDocument {
  return signDocument(segment, kindOf(payload) === 'charter' ? CHARTER_TYPE : APPROVAL_TYPE, [privateKey])
}

/** Asks at the terminal, or reads the answer from whatever standard input is. */
export async function confirm(question: string): Promise<boolean> {
  process.stderr.write(`${question} [y/N] `)
  for await (const line of createInterface({ input: process.stdin })) return /^y(es)?$/i.test(line.trim())
  return false
}

/** What was said about another charter than the one in force says nothing about this one. */
function checkBase(payload: JsonObject, { charter }: InForce): void {
  const named = kindOf(payload) === 'charter' ? Number(payload['version']) - 1 : payload['charter_version']
  if (named !== charter.version) {
    throw new Error(`it was proposed under charter ${named}, and charter ${charter.version} is in force`)
  }
}

function kindOf(payload: JsonObject): 'charter' | 'approval' {
  return Object.hasOwn(payload, 'op') ? 'approval' : 'charter'
}

/** What is left to do and by whom, or what came of it. */
async function showAnswer(
  authority: Authority,
  id: string,
  answer: ApprovalAnswer | ProposalAnswer,
  { charter: { operators } }: InForce,
  startedAt: number,
): Promise<void> {
  const { approved_by: approvedBy, needed, version } = answer
  if (version !== undefined) {
    printAll([`carried out: approved by ${approvedBy.join(', ')}`])
    const behind = await waitForAcknowledgements(authority.url, version)
    showOperated({ version, changed: true, milliseconds: performance.now() - startedAt, ...behind })
    return
  }
  const others = operators.filter((operator) => !approvedBy.includes(operator.id))
  const missing = needed - approvedBy.length
  printAll([
    `proposal ${id}, approved by ${approvedBy.join(', ')}`,
    `${missing} more of ${others.map((operator) => operator.id).join(', ')} must approve${deadlineOf(answer)}:`,
    ...others.map((operator) =>
      indent(
        operator.webauthn === undefined
          ? `countersign approve ${id} --operator ${operator.id}`
          : `${operator.id}, with a passkey: ${pageOf(operator.webauthn, id)}`,
      ),
    ),
  ])
}

function deadlineOf(answer: ApprovalAnswer | ProposalAnswer): string {
  if (!('expires_at' in answer)) return ''
  return ` by ${new Date(answer.expires_at * 1000).toISOString().slice(11, 19)}Z`
}

/** Where somebody with a passkey sees and approves it: a passkey answers at the addresses that the charter names alone. */
function pageOf({ origins }: Passkey, id: string): string {
  return new URL(`/approve/${id}`, origins[0]).href
}

export function indent(line: string): string {
  return `  ${line}`
}

/** Some of it is the authority's word, which may be anything. */
export function printAll(lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${printable(line)}\n`)
}
