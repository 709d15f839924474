/**
 * What a validator reports about a token that it saw: never the token itself, and nothing of the person. A report is
 * a statement by the validator's enrolment key over a batch of sightings. Format and rules: spec/sighting.md.
 * @module
 */

import { DocumentRefusal } from './document.ts'
import type { Enrolment } from './enrolment.ts'
import { type TokenType, tokenTypes } from './entry.ts'
import type { JsonObject, JsonValue } from './json.ts'
import type { PublicJwk } from './jws.ts'
import { keyName, Members } from './members.ts'
import { type Reason, refusals } from './refusal.ts'
import { readStatement, signStatement, verifyStatement } from './statement.ts'

/** One decision. What the validator could not learn about the token is left out. */
export interface Sighting {
  readonly verdict: 'accepted' | Reason
  /** Milliseconds since the epoch: what is promised about alerts is finer than a second. */
  readonly at: number
  readonly manifestVersion?: number | undefined
  /** Realm of the key, where the manifest names the key. */
  readonly realm?: string | undefined
  readonly kid?: string | undefined
  /** As claimed: of a refused token these three are the presenter's words. */
  readonly issuer?: string | undefined
  readonly tenant?: string | undefined
  readonly tokenType?: TokenType | undefined
  /** Left out where not determined: the key is unknown, or too many refused tokens came at once. */
  readonly signatureValid?: boolean | undefined
  readonly receiptValid?: boolean | undefined
  /** Where the receipt says that the entry is. */
  readonly origin?: string | undefined
  readonly index?: number | undefined
  /** Base64url, 32 bytes. */
  readonly leafHash?: string | undefined
  readonly serial?: number | undefined
  /** Where the token came from, as the protected service names it: an address or a prefix. */
  readonly network?: string | undefined
  /** What its sender runs: the first 16 bytes of SHA-256 of `User-Agent`, base64url. */
  readonly agent?: string | undefined
  /** How its sender speaks TLS, as a proxy names it: JA4 or the like. */
  readonly fingerprint?: string | undefined
}

/** A batch of sightings by one validator. */
export interface Report {
  /** The name that the validator is enrolled by. */
  readonly validator: string
  /** Stays the same when a report is sent again, so that it counts once. */
  readonly id: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  /** Sightings that were lost since the report before, because there was no room to keep them. */
  readonly dropped: number
  readonly sightings: readonly Sighting[]
}

export const REPORT_SIGHTINGS_MAX = 256

/** Refusals that only who holds the key can bring about, whatever the receipt says. */
export const betrayals: readonly Sighting['verdict'][] = [
  'receipt_missing',
  'issuer_mismatch',
  'tenant_mismatch',
  'lifetime_too_long',
  'key_not_active',
]

/** Whether it may show that a key was stolen. A token that was really issued, and is refused all the same, does not. */
export function isEvidence({ verdict, signatureValid, receiptValid }: Sighting): boolean {
  return signatureValid === true && (receiptValid === false || betrayals.includes(verdict))
}

/** What somebody else may call a key of theirs; what is longer or odder is not told of. */
export const sightedKey = /^[A-Za-z0-9_.~+/=:-]{1,128}$/

/** An address or a prefix, or what a service calls its places. */
export const sightedNetwork: RegExp = /^[^\p{C}]{1,128}$/u

/** JA4 and its kin are of letters, digits and underscores; commas stand in the longer forms. */
export const sightedFingerprint: RegExp = /^[A-Za-z0-9_,.-]{1,128}$/

const TYPE = 'sightings+jwt'

export function signReport(report: Omit<Report, 'validator'>, { name, privateKey }: Enrolment): string {
  const { id, issuedAt, dropped, sightings } = report
  const payload = {
    validator: name,
    jti: id,
    iat: issuedAt,
    dropped,
    sightings: sightings.map(writeSighting),
  }
  return signStatement(TYPE, payload, privateKey)
}

/**
 * `enrolledKey` gives the key that a name was enrolled with, or undefined. Throws `DocumentRefusal` when the report is
 * not by that key. Whether it is recent and new is for the sentinel to see.
 */
export async function verifyReport(
  statement: string,
  enrolledKey: (name: string) => Promise<PublicJwk | undefined>,
): Promise<Report> {
  const claimed = new Members(readStatement(statement, TYPE), 'report').text('validator', validatorName)
  const key = await enrolledKey(claimed)
  if (key === undefined) throw new DocumentRefusal('signature_invalid', 'no such validator is enrolled')
  return read(verifyStatement(statement, TYPE, [key]))
}

const validatorName = /^[^\p{C}]{1,128}$/u
const verdicts = ['accepted', ...(Object.keys(refusals) as Reason[])] as const

/** A sighting as it stands in a report. */
export function writeSighting(sighting: Sighting): object {
  return {
    verdict: sighting.verdict,
    at: sighting.at,
    manifest_version: sighting.manifestVersion,
    realm: sighting.realm,
    kid: sighting.kid,
    iss: sighting.issuer,
    tid: sighting.tenant,
    token_type: sighting.tokenType,
    signature_valid: sighting.signatureValid,
    receipt_valid: sighting.receiptValid,
    origin: sighting.origin,
    index: sighting.index,
    leaf_hash: sighting.leafHash,
    serial: sighting.serial,
    network: sighting.network,
    agent: sighting.agent,
    fingerprint: sighting.fingerprint,
  }
}

function read(payload: JsonObject): Report {
  const members = new Members(payload, 'report')
  const report = {
    validator: members.text('validator', validatorName),
    id: members.text('jti', /^[A-Za-z0-9_-]{22,64}$/),
    issuedAt: members.time('iat'),
    dropped: members.integer('dropped', 0, Number.MAX_SAFE_INTEGER),
    sightings: members.list('sightings', readSighting, { most: REPORT_SIGHTINGS_MAX }),
  }
  members.end()
  return report
}

/** Reads what `writeSighting` wrote. Throws `DocumentRefusal`. */
export function readSighting(value: JsonValue, path: string): Sighting {
  const members = new Members(value, path)
  const optional = <Result>(name: string, readIt: (name: string) => Result): Result | undefined =>
    members.has(name) ? readIt(name) : undefined
  const text = (pattern: RegExp) => (name: string) => members.text(name, pattern)
  const count = (name: string): number => members.integer(name, 0, Number.MAX_SAFE_INTEGER)
  const flag = (name: string): boolean => readFlag(members, name)
  const sighting = {
    verdict: members.oneOf('verdict', verdicts),
    at: members.integer('at', 0, Number.MAX_SAFE_INTEGER),
    manifestVersion: optional('manifest_version', count),
    realm: optional('realm', text(/^[^\p{C}]{1,128}$/u)),
    // Without a realm it is no key of ours.
    kid: optional('kid', text(members.has('realm') ? keyName : sightedKey)),
    issuer: optional('iss', text(/^.{1,1024}$/su)),
    tenant: optional('tid', text(/^.{1,1024}$/su)),
    tokenType: optional('token_type', (name) => members.oneOf(name, Object.keys(tokenTypes) as TokenType[])),
    signatureValid: optional('signature_valid', flag),
    receiptValid: optional('receipt_valid', flag),
    origin: optional('origin', text(/^[^\p{C}]{1,256}$/u)),
    index: optional('index', count),
    leafHash: optional('leaf_hash', text(/^[A-Za-z0-9_-]{43}$/)),
    serial: optional('serial', count),
    network: optional('network', text(sightedNetwork)),
    agent: optional('agent', text(/^[A-Za-z0-9_-]{22}$/)),
    fingerprint: optional('fingerprint', text(sightedFingerprint)),
  }
  members.end()
  return sighting
}

function readFlag(members: Members, name: string): boolean {
  const value = members.value(name)
  if (typeof value === 'boolean') return value
  throw new DocumentRefusal('malformed', `${members.at(name)} is not true or false`)
}
