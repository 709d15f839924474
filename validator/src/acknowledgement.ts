/**
 * A validator's word that it decides by a manifest: signed with its enrolment key, so that nobody else can say so.
 * Format: spec/delivery.md, section 3.
 * @module
 */

import { DocumentRefusal } from './document.ts'
import type { Enrolment } from './enrolment.ts'
import type { JsonObject } from './json.ts'
import type { PublicJwk } from './jws.ts'
import { Members } from './members.ts'
import { readStatement, signStatement, verifyStatement } from './statement.ts'

const TYPE = 'manifest-ack+jwt'

export interface Acknowledgement {
  /** The name that the validator is enrolled by. */
  readonly validator: string
  readonly version: number
  /** Base64url: SHA-256 over the manifest's payload segment. Two contents of one version cannot be acknowledged alike. */
  readonly manifestSha256: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

export function signAcknowledgement(
  { version, manifestSha256, issuedAt }: Omit<Acknowledgement, 'validator'>,
  { name, privateKey }: Enrolment,
): string {
  const payload = { validator: name, version, manifest_sha256: manifestSha256, iat: issuedAt }
  return signStatement(TYPE, payload, privateKey)
}

/**
 * `enrolledKey` gives the key that a name was enrolled with, or undefined. Throws `DocumentRefusal` when the statement
 * is not by that key. Whether it is recent, and no replay, is for the authority to see.
 */
export function verifyAcknowledgement(
  statement: string,
  enrolledKey: (name: string) => PublicJwk | undefined,
): Acknowledgement {
  const acknowledgement = read(readStatement(statement, TYPE))
  const key = enrolledKey(acknowledgement.validator)
  if (key === undefined) throw new DocumentRefusal('signature_invalid', 'no such validator is enrolled')
  verifyStatement(statement, TYPE, [key])
  return acknowledgement
}

function read(payload: JsonObject): Acknowledgement {
  const members = new Members(payload, 'acknowledgement')
  const acknowledgement = {
    validator: members.text('validator', /^[^\p{C}]{1,128}$/u),
    version: members.integer('version', 1, 2 ** 32),
    manifestSha256: members.text('manifest_sha256', /^[A-Za-z0-9_-]{43}$/),
    issuedAt: members.time('iat'),
  }
  members.end()
  return acknowledgement
}
