/**
 * What several people together may do to the manifest: bring a blocked key back, let a key sign before its time, break
 * the glass, drop keys that have ended, stop waiting for a validator. The document that they signed goes into the
 * manifest, since validators believe none of it without. Pure. Rules: spec/command.md, section 4.
 * @module
 */

import { type Approval, type ApprovalDocument, readApproval } from '@countersign/validator/approval'
import type { Charter } from '@countersign/validator/charter'
import type { ManifestKey } from '@countersign/validator/manifest'
import { handOverEarly, type Trust, withKeys } from './command.ts'
import { Denial } from './denial.ts'
import { liftForeign } from './foreign.ts'
import { activeKey, CLOCK_SKEW_SECONDS, type Slot, slotsOf, standingNextKey } from './lifecycle.ts'

/** What the approval makes of `trust`. Throws `Denial`, `proposal_impossible`, when it cannot be carried out. */
export function applyApproval(
  trust: Trust,
  charter: Charter,
  document: ApprovalDocument,
  now: number,
): Trust {
  const { target } = readApproval(document)
  switch (target.op) {
    case 'lift':
      return lift(trust, charter, target, document, now)
    case 'lift-foreign':
      return { ...trust, foreign: liftForeign(trust.foreign, target, document) }
    case 'activate':
      return activateEarly(trust, charter, target.kid, document, now)
    case 'break-glass':
      return breakGlass(trust, charter, target, document, now)
    case 'prune':
      return prune(trust, target.kids, document)
    case 'remove-validator':
      // Who is waited for stands in no manifest; that somebody decided it does.
      return { ...trust }
    default:
      return target satisfies never
  }
}

type Target<Op extends Approval['target']['op']> = Extract<Approval['target'], { readonly op: Op }>

function lift(
  trust: Trust,
  charter: Charter,
  { kid, blockedAt }: Target<'lift'>,
  document: ApprovalDocument,
  now: number,
): Trust {
  const key = keyNamed(trust, kid)
  if (key.state !== 'blocked') throw impossible(`the key is ${key.state}`)
  // Blocked again since: what was approved was another block.
  if (key.blocked?.at !== blockedAt) throw impossible('the key was blocked at another time')
  if (now >= key.verifyUntil) throw impossible('the key has nothing left to verify')
  const { blocked: _, ...others } = key
  return withKeys(trust, [
    { ...others, blocked: undefined, lifted: document, ...lifeAfter(key, slotOf(trust, charter, key), now) },
  ])
}

/** Where a key goes on that was blocked: what it was before stands nowhere, so its times and its slot decide. */
function lifeAfter(
  key: ManifestKey,
  slot: Slot | undefined,
  now: number,
): Pick<ManifestKey, 'state' | 'signUntil' | 'verifyUntil'> {
  const { signUntil, verifyUntil } = key
  if (now < key.notBefore) return { state: 'published', signUntil, verifyUntil }
  const isNeeded = slot !== undefined && activeKey(slot) === undefined
  if (isNeeded && now < signUntil) return { state: 'active', signUntil, verifyUntil }
  const until = Math.min(signUntil, now + CLOCK_SKEW_SECONDS)
  return { state: 'retiring', signUntil: until, verifyUntil: until + (verifyUntil - signUntil) }
}

function activateEarly(
  trust: Trust,
  charter: Charter,
  kid: string,
  document: ApprovalDocument,
  now: number,
): Trust {
  const key = keyNamed(trust, kid)
  const slot = slotOf(trust, charter, key)
  if (key.state !== 'published') throw impossible(`the key is ${key.state}`)
  if (slot === undefined) throw impossible('the charter has no place for the key')
  return handOverEarly(trust, slot, key, document, now)
}

function breakGlass(
  trust: Trust,
  charter: Charter,
  { realm, until }: Target<'break-glass'>,
  document: ApprovalDocument,
  now: number,
): Trust {
  if (!charter.realms.has(realm)) throw impossible(`there is no realm ${realm}`)
  if (until <= now) throw impossible('it would have ended before it began')
  const broken = { ...trust, breakGlass: [...trust.breakGlass, document] }
  // A realm that cannot sign is why people break the glass: they need not say so twice.
  return slotsOf(charter, trust.keys.values())
    .filter((slot) => slot.realm === realm && activeKey(slot) === undefined)
    .reduce<Trust>((rescued, slot) => {
      const next = standingNextKey(slot)
      return next === undefined ? rescued : handOverEarly(rescued, slot, next, document, now)
    }, broken)
}

function prune(trust: Trust, kids: readonly string[], document: ApprovalDocument): Trust {
  const keys = new Map(trust.keys)
  for (const kid of kids) {
    const { state } = keyNamed(trust, kid)
    if (state !== 'retired' && state !== 'revoked') throw impossible(`key ${kid} is ${state}`)
    keys.delete(kid)
  }
  return { ...trust, keys, pruned: [...trust.pruned, document] }
}

function keyNamed({ keys }: Trust, kid: string): ManifestKey {
  const key = keys.get(kid)
  if (key === undefined) throw impossible(`no manifest names key ${kid}`)
  return key
}

function slotOf(trust: Trust, charter: Charter, { kid }: ManifestKey): Slot | undefined {
  return slotsOf(charter, trust.keys.values()).find(({ keys }) => keys.some((key) => key.kid === kid))
}

function impossible(why: string): Denial {
  return new Denial('proposal_impossible', why)
}
