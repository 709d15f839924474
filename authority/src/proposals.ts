/**
 * What several people have to want: a proposal collects their signatures until there are enough, and is then carried
 * out in the same transaction. The authority counts only so that it does not publish what validators would refuse; they
 * count again. Format and refusals: spec/command.md, sections 4 and 5.
 * @module
 */

import { hash } from 'node:crypto'
import { APPROVAL_TYPE, readApproval } from '@countersign/validator/approval'
import {
  approversOf,
  CHARTER_TYPE,
  type Charter,
  parseCharter,
  verifyCharter,
} from '@countersign/validator/charter'
import {
  DocumentRefusal,
  readDocument,
  readPayload,
  type SignedDocument,
} from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import { applyApproval } from './approval.ts'
import { describeProposal } from './changes.ts'
import type { Charters } from './charters.ts'
import type { ApprovalAnswer, Proposal, ProposalAnswer } from './client.ts'
import type { Trust } from './command.ts'
import { Denial, type DenialCode } from './denial.ts'
import type { Publisher, Step } from './publisher.ts'
import type { Registry } from './registry.ts'
import type { Store, StoredProposal } from './store.ts'

export interface Proposals {
  /** Takes a document that at least one operator has signed. Throws `Denial`. */
  propose(given: JsonObject): Promise<ProposalAnswer>
  /** Takes one operator's signature line. Throws `Denial`. */
  approve(id: string, given: JsonObject): Promise<ApprovalAnswer>
  /** Those that wait for approvals, the newest first. */
  open(): Promise<readonly Proposal[]>
  /** One, whatever became of it. Throws `Denial`. */
  show(id: string): Promise<Proposal>
}

export interface ProposalsOptions {
  readonly store: Store
  readonly charters: Charters
  readonly publisher: Publisher
  readonly registry: Pick<Registry, 'enrolled' | 'forget'>
  readonly now: () => number
}

/** For how long a proposal may be approved (K11). */
const OPEN_SECONDS = 900
/** A proposal written longer ago may come from whoever found it. */
const AGE_SECONDS_MAX = 60
/** 128 bits of the hash of what is signed: an id stands for a content. */
const ID_CHARACTERS = 32

const types = { charter: CHARTER_TYPE, approval: APPROVAL_TYPE } as const
type Kind = keyof typeof types

export function createProposals(options: ProposalsOptions): Proposals {
  const { store, charters, publisher, registry, now } = options

  async function propose(given: JsonObject): Promise<ProposalAnswer> {
    const read = readProposal(given)
    // Before its turn, so that a stranger takes up nobody else's.
    approvers(read, charters.newest, 'proposal_not_authorised')
    return inTurn(async (trust, at) => {
      const { kind, document, issuedAt, expiresAt } = read
      const charter = charters.newest
      const id = idOf(document.payload)
      const approvedBy = approvers(read, charter, 'proposal_not_authorised')
      if ((await store.proposal(id)) !== undefined) throw new Denial('proposal_exists')
      if (Math.abs(at - issuedAt) > AGE_SECONDS_MAX) throw new Denial('proposal_stale')
      if (read.charterVersion !== charter.version) throw new Denial('proposal_outdated')
      if (read.proposer !== undefined && read.proposer !== approvedBy[0]) {
        throw new Denial('proposal_malformed', 'the proposer is not who signed first')
      }
      const proposal: StoredProposal = {
        id,
        kind,
        document,
        charterVersion: charter.version,
        proposedAt: at,
        expiresAt,
        carriedOutAt: null,
      }
      rehearse(proposal, trust, at)
      return stepOf(proposal, approvedBy, trust, at)
    })
  }

  async function approve(id: string, given: JsonObject): Promise<ApprovalAnswer> {
    const line = readLine(given)
    const countersigned = (proposal: StoredProposal): StoredProposal => {
      const { payload, signatures } = proposal.document
      return { ...proposal, document: { payload, signatures: [...signatures, line] } }
    }
    const found = await find(id)
    approvers(countersigned(found), under(found), 'approval_not_authorised')
    const {
      id: _,
      expires_at: __,
      ...answer
    } = await inTurn(async (trust, at) => {
      const stored = await find(id)
      if (stored.carriedOutAt !== null) throw new Denial('proposal_carried_out')
      if (at >= stored.expiresAt) throw new Denial('proposal_expired')
      if (stored.charterVersion !== charters.newest.version) throw new Denial('proposal_outdated')
      const proposal = countersigned(stored)
      const before = approvers(stored, charters.newest, 'approval_not_authorised')
      const approvedBy = approvers(proposal, charters.newest, 'approval_not_authorised')
      // People are counted, not lines.
      if (approvedBy.length === before.length) throw new Denial('already_approved')
      return stepOf(proposal, approvedBy, trust, at)
    })
    return answer
  }

  /** Runs `decide` alone, and answers with what came of the proposal. */
  async function inTurn(
    decide: (
      trust: Trust,
      at: number,
    ) => Promise<{ readonly step: Step; readonly approvedBy: readonly string[] }>,
  ): Promise<ProposalAnswer> {
    let decided: Awaited<ReturnType<typeof decide>> | undefined
    const { version, changed } = await publisher
      .carryOut(async (trust, time) => {
        if (publisher.newest === undefined) throw new Denial('no_manifest_yet')
        decided = await decide(trust, time)
        return decided.step
      })
      .catch((error) => {
        // Validators would refuse the manifest: better said now than by all of them.
        if (!(error instanceof DocumentRefusal)) throw error
        throw new Denial('proposal_impossible', error.message)
      })
    const { step, approvedBy } = decided as Awaited<ReturnType<typeof decide>>
    const { proposal, removedValidator } = step.records ?? {}
    if (changed && removedValidator !== undefined) registry.forget(removedValidator)
    return {
      id: proposal?.id ?? '',
      expires_at: proposal?.expiresAt ?? 0,
      approved_by: approvedBy,
      needed: neededFor(proposal as StoredProposal),
      ...(changed && { version }),
    }
  }

  /** What the signatures that a proposal has by now come to. */
  function stepOf(
    proposal: StoredProposal,
    approvedBy: readonly string[],
    trust: Trust,
    at: number,
  ): { readonly step: Step; readonly approvedBy: readonly string[] } {
    if (approvedBy.length < neededFor(proposal)) return { step: { trust, records: { proposal } }, approvedBy }
    const records = { proposal: { ...proposal, carriedOutAt: at } }
    const { kind, document } = proposal
    if (kind === 'charter') {
      const charter = verifyCharter(document, charters.newest)
      return { step: { trust, charter: { charter, document }, records }, approvedBy }
    }
    const { target } = readApproval(document)
    const removed = target.op === 'remove-validator' ? { removedValidator: target.name } : {}
    return {
      step: { trust: carryOut(proposal, trust, at), records: { ...records, ...removed } },
      approvedBy,
    }
  }

  function carryOut({ document }: StoredProposal, trust: Trust, at: number): Trust {
    const { target } = readApproval(document)
    if (target.op === 'remove-validator' && !registry.enrolled().some(({ name }) => name === target.name)) {
      throw new Denial('proposal_impossible', `no validator ${target.name} is enrolled`)
    }
    return applyApproval(trust, charters.newest, document, at)
  }

  /** Nobody is asked to approve what could not be carried out. */
  function rehearse(proposal: StoredProposal, trust: Trust, at: number): void {
    if (proposal.kind === 'approval') carryOut(proposal, trust, at)
    else publisher.rehearse(contentOf(proposal.document), trust)
  }

  async function find(id: string): Promise<StoredProposal> {
    const stored = await store.proposal(id)
    if (stored === undefined) throw new Denial('unknown_proposal')
    return stored
  }

  function under({ charterVersion }: StoredProposal): Charter {
    return charters.at(charterVersion) ?? charters.newest
  }

  function neededFor(proposal: StoredProposal): number {
    return under(proposal).threshold
  }

  function view(proposal: StoredProposal): Proposal {
    const { id, kind, document, charterVersion, expiresAt } = proposal
    const { payload: segment } = document
    const payload = readPayload(segment)
    const base = readPayload((charters.documents[charterVersion - 1] as SignedDocument).payload)
    const { manifest } = publisher.newest ?? {}
    return {
      id,
      kind,
      state: stateOf(proposal),
      payload,
      segment,
      ...(kind === 'charter' && { base }),
      changes: manifest === undefined ? [] : describeProposal(kind, payload, { charter: base, manifest }),
      approved_by: approvers(proposal, under(proposal), 'proposal_not_authorised'),
      needed: neededFor(proposal),
      expires_at: expiresAt,
    }
  }

  function stateOf({ carriedOutAt, charterVersion, expiresAt }: StoredProposal): Proposal['state'] {
    if (carriedOutAt !== null) return 'carried_out'
    if (charterVersion !== charters.newest.version) return 'outdated'
    return now() >= expiresAt ? 'expired' : 'open'
  }

  return {
    propose,
    approve,
    open: async () => (await store.openProposals(now())).map(view).filter(({ state }) => state === 'open'),
    show: async (id) => view(await find(id)),
  }
}

/** Names a proposal by what is signed: in hexadecimal, as its hash is shown, and so that no id looks like an option. */
function idOf(segment: string): string {
  return hash('sha256', segment, 'hex').slice(0, ID_CHARACTERS)
}

interface ReadProposal {
  readonly kind: Kind
  readonly document: SignedDocument
  readonly issuedAt: number
  readonly expiresAt: number
  /** The charter that it would follow, or that it names. */
  readonly charterVersion: number
  /** Who says to propose it, where that is said. */
  readonly proposer?: string
}

/** Reads a document by what its content says it is; the signatures say it too, and are verified later. */
function readProposal(given: JsonObject): ReadProposal {
  try {
    const document = readDocument(given)
    const payload = readPayload(document.payload)
    if (Object.hasOwn(payload, 'op')) {
      const { issuedAt, expiresAt, charterVersion, proposer } = readApproval(document)
      return { kind: 'approval', document, issuedAt, expiresAt, charterVersion, proposer }
    }
    const { issuedAt, version } = parseCharter(payload)
    return {
      kind: 'charter',
      document,
      issuedAt,
      expiresAt: issuedAt + OPEN_SECONDS,
      charterVersion: version - 1,
    }
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial('proposal_malformed', error.message)
  }
}

function readLine(given: JsonObject): SignedDocument['signatures'][number] {
  try {
    const [line] = readDocument({ payload: '', signatures: [given] }).signatures
    return line as SignedDocument['signatures'][number]
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial('approval_malformed')
  }
}

/** Who has signed so far. Throws `Denial` with `code` when a line is nobody's who may. */
function approvers(
  { kind, document }: Pick<StoredProposal, 'kind' | 'document'>,
  charter: Charter,
  code: DenialCode,
): readonly string[] {
  try {
    return approversOf(document, types[kind], charter)
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial(code, error.message)
  }
}

/** A charter as it would be, were it approved. */
function contentOf({ payload }: SignedDocument): Charter {
  return { ...parseCharter(readPayload(payload)), sha256: hash('sha256', payload, 'base64url') }
}
