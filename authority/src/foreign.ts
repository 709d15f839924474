/**
 * What the authority can do about issuers that are not ours: it holds no key of theirs and asks nobody, it denies. One
 * person blocks a key or cuts tokens off; a block is lifted by as many people as one of a key of ours. Pure.
 * @module
 */

import type { ApprovalDocument, ApprovalTarget } from '@countersign/validator/approval'
import type { Charter } from '@countersign/validator/charter'
import {
  FOREIGN_COUNT_MAX,
  type ForeignCutoff,
  type ForeignDenials,
  isOf,
} from '@countersign/validator/foreign-denials'
import { fitsIssuer } from '@countersign/validator/scope'
import type { AuthorisedCommand } from './command.ts'
import { checkRoom, withCutoff } from './cutoffs.ts'
import { Denial } from './denial.ts'
import { CLOCK_SKEW_SECONDS } from './lifecycle.ts'

/**
 * Throws `Denial` for an issuer of ours: no validator takes it for anybody else's, so that a block would be acknowledged by all
 * of them and kill nothing.
 */
export function checkForeign({ realms }: Pick<Charter, 'realms'>, { iss = '' }: AuthorisedCommand): void {
  for (const [name, { issuers }] of realms) {
    if (!issuers.some((template) => template === iss || fitsIssuer(template, iss))) continue
    throw new Denial(
      'command_malformed',
      `this issuer is ours, of the realm ${name}: leave iss out, and name kid, realm or tenant alone`,
    )
  }
}

/** The same object where the key is blocked already: the first reason stays. */
export function blockForeign(
  foreign: ForeignDenials,
  { iss: issuer = '', kid = '', by, reason }: AuthorisedCommand,
  now: number,
): ForeignDenials {
  if (foreign.blocked.some((block) => block.issuer === issuer && block.kid === kid)) return foreign
  checkRoom(foreign.blocked, FOREIGN_COUNT_MAX)
  return { ...foreign, blocked: [...foreign.blocked, { issuer, kid, at: now, reason, by }] }
}

/** The same object where nothing is new of it. */
export function cutOffForeign(
  foreign: ForeignDenials,
  { iss: issuer = '', tenant, sub, before = -1 }: AuthorisedCommand,
  now: number,
): ForeignDenials {
  // Left out: everything issued so far, this second's tokens too.
  const until = before === -1 ? now + 1 : before
  if (until > now + CLOCK_SKEW_SECONDS) throw new Denial('command_malformed', 'before lies in the future')
  const cutoff: ForeignCutoff = {
    issuer,
    ...(tenant !== undefined && { tenant }),
    ...(sub !== undefined && { subject: sub }),
    before: until,
  }
  const cutoffs = withCutoff(foreign.cutoffs, cutoff, FOREIGN_COUNT_MAX)
  return cutoffs === foreign.cutoffs ? foreign : { ...foreign, cutoffs }
}

/** Throws `Denial`, `proposal_impossible`, where it was blocked at another time or is not. */
export function liftForeign(
  foreign: ForeignDenials,
  target: Extract<ApprovalTarget, { readonly op: 'lift-foreign' }>,
  document: ApprovalDocument,
): ForeignDenials {
  const { issuer, kid, blockedAt } = target
  const block = foreign.blocked.find((each) => each.issuer === issuer && each.kid === kid)
  if (block === undefined) throw new Denial('proposal_impossible', 'the key is not blocked')
  if (block.at !== blockedAt) throw new Denial('proposal_impossible', 'the key was blocked at another time')
  const earlier = foreign.lifted.filter((other) => !isOf(other, target))
  return {
    ...foreign,
    blocked: foreign.blocked.filter((each) => each !== block),
    // Whoever missed the oldest of so many takes no manifest any more, and has to be set up anew.
    lifted: [...earlier, document].slice(-FOREIGN_COUNT_MAX),
  }
}
