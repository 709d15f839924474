/**
 * What people did, and when, with the proof that they did: commands of one person, approvals of several, charters.
 * Everything that made a manifest stands in it too, and so in the log; here it is in one list.
 * @module
 */

import { APPROVAL_TYPE } from '@countersign/validator/approval'
import { approversOf, CHARTER_TYPE } from '@countersign/validator/charter'
import { readPayload } from '@countersign/validator/document'
import type { Charters } from './charters.ts'
import type { ActRecord } from './client.ts'
import type { CarriedOut, FulfilledProposal, Store } from './store.ts'

/** Enough for a page; who wants more asks for what came before. */
const ACTS_MAX = 1000

/** The newest first, of manifests with a version below `before`. */
export async function listActs(
  store: Pick<Store, 'commands' | 'fulfilledProposals'>,
  charters: Charters,
  before = Number.MAX_SAFE_INTEGER,
): Promise<readonly ActRecord[]> {
  const commands = await store.commands(before, ACTS_MAX)
  const proposals = await store.fulfilledProposals(before, ACTS_MAX)
  return [...commands.map(ofCommand), ...proposals.map((proposal) => ofProposal(proposal, charters))]
    .sort((a, b) => b.version - a.version || b.at - a.at)
    .slice(0, ACTS_MAX)
}

function ofCommand({ command, token, at, version }: CarriedOut & { readonly version: number }): ActRecord {
  const { op, by, iss, realm, kid, tenant, sub, before, reason } = command
  return {
    version,
    at,
    op,
    by: [by],
    reason,
    ...given({ iss, realm, kid, tenant, sub, before }),
    proof: token,
  }
}

function ofProposal(proposal: FulfilledProposal, charters: Charters): ActRecord {
  const { kind, document, version, carriedOutAt, charterVersion } = proposal
  const payload = readPayload(document.payload) as Partial<Record<string, never>>
  const under = charters.at(charterVersion) ?? charters.newest
  const by = approversOf(document, kind === 'charter' ? CHARTER_TYPE : APPROVAL_TYPE, under)
  const common = { version, at: carriedOutAt ?? 0, by, proof: document }
  if (kind === 'charter') {
    return { ...common, op: 'charter', reason: '', charter_version: charterVersion + 1 }
  }
  const { op, reason, iss, realm, kid, kids, name, until } = payload
  return { ...common, op: op ?? '', reason: reason ?? '', ...given({ iss, realm, kid, kids, name, until }) }
}

function given<Members extends object>(members: Members): Partial<Members> {
  return Object.fromEntries(
    Object.entries(members).filter(([, value]) => value !== undefined),
  ) as Partial<Members>
}
