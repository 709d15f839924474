/**
 * A command: who may give it, and what it does to the manifest. One operator can narrow trust at once; a block key of
 * the charter, the sentinel's, can block and nothing else. Form and refusals: spec/command.md.
 *
 *     eyJ… {"alg":"EdDSA","typ":"operator-command+jwt","kid":"…"} . {"op":"block","kid":"…","reason":"…","iat":…,"jti":"…"} . …
 *
 * @module
 */

import type { ApprovalDocument } from '@countersign/validator/approval'
import type { Charter } from '@countersign/validator/charter'
import { DocumentRefusal, importOnce } from '@countersign/validator/document'
import { noForeignDenials } from '@countersign/validator/foreign-denials'
import type { JsonObject } from '@countersign/validator/json'
import { readCompact } from '@countersign/validator/jws'
import {
  CUTOFF_COUNT_MAX,
  type Cutoff,
  type Manifest,
  type ManifestKey,
} from '@countersign/validator/manifest'
import { foreignName, Members } from '@countersign/validator/members'
import { verifyStatement } from '@countersign/validator/statement'
import { withCutoff } from './cutoffs.ts'
import { Denial } from './denial.ts'
import { blockForeign, checkForeign, cutOffForeign } from './foreign.ts'
import { brokenGlass } from './glass.ts'
import {
  block,
  CLOCK_SKEW_SECONDS,
  handOver,
  isRipe,
  retire,
  revoke,
  type Slot,
  slotsOf,
  standingNextKey,
} from './lifecycle.ts'

export const COMMAND_TYPE = 'operator-command+jwt'

export const operations = ['block', 'revoke', 'retire', 'rotate', 'cutoff'] as const
export type Operation = (typeof operations)[number]

/** What the signed payload says, as spec/command.md has it. */
export interface CommandClaims {
  readonly op: Operation
  /** An issuer that is not ours, whose key or tokens are meant. */
  readonly iss?: string
  readonly realm?: string
  readonly kid?: string
  readonly tenant?: string
  readonly sub?: string
  readonly reason: string
  readonly before?: number
  readonly iat: number
  readonly jti: string
}

/** A command that somebody gave who may. */
export interface AuthorisedCommand extends CommandClaims {
  /** The operator's id, or `block-key` and the thumbprint of the key. */
  readonly by: string
}

/** Whose commands count. */
export type Authors = Pick<Charter, 'operators' | 'blockKeys'>

/** What a manifest says that commands, approvals and time change. */
export type Trust = Pick<Manifest, 'keys' | 'cutoffs' | 'breakGlass' | 'pruned' | 'foreign'>

/** Before the first manifest. */
export const noTrust: Trust = {
  keys: new Map(),
  cutoffs: [],
  breakGlass: [],
  pruned: [],
  foreign: noForeignDenials,
}

/** A command signed longer ago may come from whoever recorded it. */
const AGE_SECONDS_MAX = 60

/** Throws `Denial` unless somebody who may give it signed this command within the last minute. */
export function readCommand(token: string, authors: Authors, now: number): AuthorisedCommand {
  const { by, mayOnlyBlock, payload } = verifyAuthor(token, authors)
  const claims = readClaims(payload)
  if (Math.abs(now - claims.iat) > AGE_SECONDS_MAX) throw new Denial('command_stale')
  if (mayOnlyBlock && claims.op !== 'block') throw new Denial('command_not_allowed')
  return { ...claims, by }
}

/** What the command makes of `trust`; the same object when there is nothing left to do. Throws `Denial`. */
export function applyCommand<T extends Trust>(
  trust: T,
  charter: Charter,
  command: AuthorisedCommand,
  now: number,
): T {
  const { op, by, reason } = command
  if (command.iss !== undefined) checkForeign(charter, command)
  switch (op) {
    case 'block':
      if (command.iss !== undefined) return withForeign(trust, blockForeign(trust.foreign, command, now))
      return withKey(trust, command, (key) => block(key, by, reason, now))
    case 'revoke':
      return withKey(trust, command, (key) => revoke(key, reason, now))
    case 'retire':
      return withKey(trust, command, (key) => retire(key, now))
    case 'rotate':
      return slotsMeant(trust, charter, command).reduce((rotated, slot) => rotate(rotated, slot, now), trust)
    case 'cutoff':
      if (command.iss !== undefined) return withForeign(trust, cutOffForeign(trust.foreign, command, now))
      return cutOff(trust, charter, command, now)
    default:
      return op satisfies never
  }
}

/**
 * Lets the next key of a slot take over: the standing one, or another that stands by when that one's time has not come.
 * Before its time a key signs only while the glass is broken. A killed key is not waited for: it has nothing left to
 * verify.
 */
function rotate<T extends Trust>(trust: T, slot: Slot, now: number): T {
  const standing = standingNextKey(slot)
  if (standing === undefined) throw new Denial('no_next_key')
  const glass = brokenGlass(trust, slot.realm, now)
  if (glass !== undefined) return handOverEarly(trust, slot, standing, glass, now)
  const published = slot.keys.filter(({ state }) => state === 'published')
  const next = [standing, ...published].find((key) => isRipe(key, now))
  if (next === undefined) throw new Denial('activation_too_early')
  return withKeys(trust, handOver(slot, next, now))
}

/** Lets a key take over at once. It carries the approval, for validators that never saw when its time would come. */
export function handOverEarly<T extends Trust>(
  trust: T,
  slot: Slot,
  next: ManifestKey,
  approval: ApprovalDocument,
  now: number,
): T {
  const early = isRipe(next, now) ? next.early : approval
  const changed = handOver(slot, next, now)
  return withKeys(
    trust,
    changed.map((key) => (key.kid === next.kid ? { ...key, early } : key)),
  )
}

/** `trust` with these keys put in or replaced. */
export function withKeys<T extends Trust>(trust: T, changed: readonly ManifestKey[]): T {
  const keys = new Map(trust.keys)
  for (const key of changed) keys.set(key.kid, key)
  return { ...trust, keys }
}

function withForeign<T extends Trust>(trust: T, foreign: Trust['foreign']): T {
  return foreign === trust.foreign ? trust : { ...trust, foreign }
}

function withKey<T extends Trust>(
  trust: T,
  { kid }: AuthorisedCommand,
  change: (key: ManifestKey) => ManifestKey,
): T {
  const key = trust.keys.get(kid ?? '')
  if (key === undefined) throw new Denial('unknown_key')
  const changed = change(key)
  return changed === key ? trust : withKeys(trust, [changed])
}

function slotsMeant(trust: Trust, charter: Charter, { realm, kid }: AuthorisedCommand): Slot[] {
  if (realm !== undefined && !charter.realms.has(realm)) throw new Denial('unknown_realm')
  const slots = slotsOf(charter, trust.keys.values()).filter(
    (slot) =>
      (realm === undefined || slot.realm === realm) &&
      (kid === undefined || slot.keys.some((key) => key.kid === kid)),
  )
  if (kid !== undefined && slots.length === 0) throw new Denial('unknown_key')
  return slots
}

function cutOff<T extends Trust>(trust: T, charter: Charter, command: AuthorisedCommand, now: number): T {
  // Left out: everything issued so far, this second's tokens too.
  const { realm, kid, tenant, sub, before = now + 1 } = command
  if (realm !== undefined && !charter.realms.has(realm)) throw new Denial('unknown_realm')
  if (kid !== undefined && !trust.keys.has(kid)) throw new Denial('unknown_key')
  // Later than now it would refuse tokens still to come, and milliseconds would refuse them for good.
  if (before > now + CLOCK_SKEW_SECONDS) throw new Denial('command_malformed', 'before lies in the future')
  const cutoff: Cutoff = {
    ...(realm !== undefined && { realm }),
    ...(kid !== undefined && { kid }),
    ...(tenant !== undefined && { tenant }),
    ...(sub !== undefined && { subject: sub }),
    before,
  }
  const cutoffs = withCutoff(trust.cutoffs, cutoff, CUTOFF_COUNT_MAX)
  return cutoffs === trust.cutoffs ? trust : { ...trust, cutoffs }
}

function verifyAuthor(
  token: string,
  { operators, blockKeys }: Authors,
): { by: string; mayOnlyBlock: boolean; payload: JsonObject } {
  const authors = [
    ...operators.map(({ id, jwk }) => ({ by: id, mayOnlyBlock: false, jwk })),
    ...blockKeys.map((jwk) => ({ by: `block-key ${importOnce(jwk).kid}`, mayOnlyBlock: true, jwk })),
  ]
  try {
    const keys = authors.map(({ jwk }) => jwk)
    const payload = verifyStatement(token, COMMAND_TYPE, keys)
    const { kid } = readCompact(token).header
    const author = authors.find(({ jwk }) => importOnce(jwk).kid === kid)
    if (author === undefined) throw new Denial('command_not_authorised')
    return { ...author, payload }
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial(error.flaw === 'signature_invalid' ? 'command_not_authorised' : 'command_malformed')
  }
}

/** What an operation is about. `needed`: of several, one is enough. `ofOthers`: what it takes beside `iss`, where it takes that. */
interface Names {
  readonly needed: readonly (keyof CommandClaims)[]
  readonly taken: readonly (keyof CommandClaims)[]
  readonly ofOthers?: readonly (keyof CommandClaims)[]
}

/** Of others all of it are words of somebody else, and go into a manifest. */
export const namesOf: Readonly<Record<Operation, Names>> = {
  block: { needed: ['kid'], taken: ['kid'], ofOthers: ['kid'] },
  revoke: { needed: ['kid'], taken: ['kid'] },
  retire: { needed: ['kid'], taken: ['kid'] },
  rotate: { needed: ['realm', 'kid'], taken: ['realm', 'kid'] },
  cutoff: {
    // A subject is a name inside a realm, so it alone names nobody.
    needed: ['realm', 'kid', 'tenant', 'iss'],
    taken: ['realm', 'kid', 'tenant', 'sub', 'before'],
    ofOthers: ['tenant', 'sub', 'before'],
  },
}

const members = ['realm', 'kid', 'tenant', 'sub', 'iss'] as const

function readClaims(payload: JsonObject): CommandClaims {
  try {
    const read = new Members(payload, 'command')
    const command: CommandClaims = {
      op: read.oneOf('op', operations),
      ...Object.fromEntries(members.filter((name) => read.has(name)).map((name) => [name, read.text(name)])),
      reason: read.text('reason', /^[^\p{C}]{1,512}$/u),
      ...(read.has('before') && { before: read.time('before') }),
      iat: read.time('iat'),
      // At least 128 bits, so that nobody else's command has the same.
      jti: read.text('jti', /^[A-Za-z0-9_-]{22,128}$/),
    }
    read.end()
    return checkNames(command)
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial('command_malformed', error.message)
  }
}

function checkNames(command: CommandClaims): CommandClaims {
  const { op, iss } = command
  const { needed, taken, ofOthers } = namesOf[op]
  if (iss !== undefined && ofOthers === undefined) throw new Denial('command_malformed', `${op} has no iss`)
  const allowed = iss === undefined ? taken : (ofOthers ?? [])
  // What has no meaning here was meant to have one: a block of one tenant's tokens, say, is no block.
  for (const name of [...members, 'before'] as const)
    if (command[name] !== undefined && name !== 'iss' && !allowed.includes(name))
      throw new Denial('command_malformed', `${op}${iss === undefined ? '' : ' with iss'} has no ${name}`)
  if (needed.every((name) => command[name] === undefined))
    throw new Denial('command_malformed', `${op} needs ${needed.join(' or ')}`)
  if (iss !== undefined && !members.every((name) => foreignName.test(command[name] ?? 'none')))
    throw new Denial('command_malformed', 'a name is not of its form')
  return command
}
