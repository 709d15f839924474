/**
 * An approval: what widens trust beside a charter, and takes as many people. A blocked key let go, a key that signs
 * before its time, a moment in which a realm may hurry, history that is cut: the authority carries it out, and every
 * validator verifies for itself that the operators wanted exactly that. Format: spec/approval.md.
 *
 *     {"op":"lift","kid":"…","blocked_at":…,"reason":"…","proposer":"olga","iat":…,"exp":…,"jti":"…","charter_version":3}
 *
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { approversOf, CLOCK_DIFFERENCE_SECONDS_MAX, realmName, type TrustAnchor } from './charter.ts'
import {
  countersignDocument,
  DocumentRefusal,
  readDocument,
  readPayload,
  type SignedDocument,
} from './document.ts'
import type { JsonObject } from './json.ts'
import { foreignName, keyName, Members, sentence } from './members.ts'

export const APPROVAL_TYPE = 'approval+jwt'

/** From proposal to the last signature, and to the manifest that carries it out. */
export const APPROVAL_SECONDS_MAX = 900
/** The longest that one break-glass lasts. */
export const BREAK_GLASS_SECONDS_MAX = 3600

/** What exactly is approved. */
export type ApprovalTarget =
  /** Lets a key go that was blocked at that time. */
  | { readonly op: 'lift'; readonly kid: string; readonly blockedAt: number }
  /** Lets a key of an issuer that is not ours go, that was blocked at that time. */
  | {
      readonly op: 'lift-foreign'
      readonly issuer: string
      readonly kid: string
      readonly blockedAt: number
    }
  /** Lets a key sign before every cache knows it. */
  | { readonly op: 'activate'; readonly kid: string }
  /** Lets every key of a realm sign before its time, until then. */
  | { readonly op: 'break-glass'; readonly realm: string; readonly until: number }
  /** Leaves ended keys out of the manifest. */
  | { readonly op: 'prune'; readonly kids: readonly string[] }
  /** Forgets an enrolled validator, so that nothing waits for it. */
  | { readonly op: 'remove-validator'; readonly name: string }

export interface Approval {
  readonly target: ApprovalTarget
  readonly reason: string
  /** The operator who signed first. */
  readonly proposer: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly jti: string
  /** The charter whose operators and threshold count. */
  readonly charterVersion: number
}

export type ApprovalDocument = SignedDocument

/** Whoever may approve under one version of the charter. */
export interface Electorate extends TrustAnchor {
  readonly version: number
}

/**
 * The approval, if enough operators of the charter that it names signed it, the proposer among them. Whether it is in
 * time, and for what is done, is for whoever relies on it to see. Throws `DocumentRefusal`.
 */
export function verifyApproval(document: unknown, electorate: Electorate): Approval {
  const approval = readApproval(document)
  if (approval.charterVersion !== electorate.version) {
    throw new DocumentRefusal('not_approved', 'the approval is of another charter')
  }
  const approvers = approversOf(document, APPROVAL_TYPE, electorate, electorate.threshold)
  if (!approvers.includes(approval.proposer)) {
    throw new DocumentRefusal('not_approved', 'the approval is not by whoever proposed it')
  }
  return approval
}

/** What an approval says; who signed it is not looked at. Throws `DocumentRefusal`. */
export function readApproval(document: unknown): Approval {
  return parseApproval(readPayload(readDocument(document).payload))
}

/**
 * Signs an approval with an operator's key file: a payload, which becomes a document, or a document that others have
 * signed. Refuses what no validator would take; whether the operator means it is for the operator to see.
 */
export function approve(approval: object, operatorKey: KeyObject): ApprovalDocument {
  return countersignDocument(approval, APPROVAL_TYPE, parseApproval, operatorKey)
}

/** The payload of an approval still to be signed. */
export function writeApproval(approval: Approval): object {
  return {
    ...writeTarget(approval.target),
    reason: approval.reason,
    proposer: approval.proposer,
    iat: approval.issuedAt,
    exp: approval.expiresAt,
    jti: approval.jti,
    charter_version: approval.charterVersion,
  }
}

function writeTarget(target: ApprovalTarget): object {
  if (target.op !== 'lift' && target.op !== 'lift-foreign') return target
  const { op, kid, blockedAt } = target
  return { op, ...(op === 'lift-foreign' && { iss: target.issuer }), kid, blocked_at: blockedAt }
}

/** Reads an approval's payload, whoever signed it. Throws `DocumentRefusal`. */
export function parseApproval(payload: JsonObject): Approval {
  const members = new Members(payload, 'approval')
  const approval = {
    reason: members.text('reason', sentence),
    proposer: members.text('proposer'),
    issuedAt: members.time('iat'),
    expiresAt: members.time('exp'),
    // 128 random bits or more, so that nobody can say beforehand what will be signed.
    jti: members.text('jti', /^[A-Za-z0-9_-]{22,64}$/),
    charterVersion: members.integer('charter_version', 1, 2 ** 32),
    target: readTarget(members),
  }
  members.end()
  const { issuedAt, expiresAt, target } = approval
  if (expiresAt <= issuedAt || expiresAt > issuedAt + APPROVAL_SECONDS_MAX) {
    throw new DocumentRefusal('malformed', 'approval.exp is not within fifteen minutes after its iat')
  }
  if ('blockedAt' in target && target.blockedAt > issuedAt + CLOCK_DIFFERENCE_SECONDS_MAX) {
    throw new DocumentRefusal('malformed', 'approval.blocked_at is a block that was not there yet')
  }
  if (target.op === 'break-glass') checkUntil(target.until, issuedAt)
  return approval
}

function checkUntil(until: number, issuedAt: number): void {
  if (until <= issuedAt || until > issuedAt + BREAK_GLASS_SECONDS_MAX) {
    throw new DocumentRefusal('malformed', 'approval.until is not within an hour after its iat')
  }
}

/** What can be approved. */
const operations = ['lift', 'lift-foreign', 'activate', 'break-glass', 'prune', 'remove-validator'] as const

function readTarget(members: Members): ApprovalTarget {
  const op = members.oneOf('op', operations)
  switch (op) {
    case 'lift':
      return { op, kid: members.text('kid', keyName), blockedAt: members.time('blocked_at') }
    case 'lift-foreign':
      return {
        op,
        issuer: members.text('iss', foreignName),
        kid: members.text('kid', foreignName),
        blockedAt: members.time('blocked_at'),
      }
    case 'activate':
      return { op, kid: members.text('kid', keyName) }
    case 'break-glass':
      return { op, realm: members.text('realm', realmName), until: members.time('until') }
    case 'prune':
      return { op, kids: members.set('kids', keyName) }
    case 'remove-validator':
      // The name as it was enrolled (spec/delivery.md, section 7).
      return { op, name: members.text('name', /^[^\p{C}]{1,128}$/u) }
    default:
      return op satisfies never
  }
}
