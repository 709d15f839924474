/**
 * The authority's word that a manifest is still the newest: what a validator's age limit counts from. Signed by a
 * manifest key of the charter and renewed every few seconds. Format: spec/delivery.md, section 2.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Charter } from './charter.ts'
import { Members } from './members.ts'
import { signStatement, verifyStatement } from './statement.ts'

const TYPE = 'manifest-freshness+jwt'

export interface Freshness {
  readonly version: number
  /** Base64url: SHA-256 over the manifest's payload segment. */
  readonly manifestSha256: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

export function signFreshness({ version, manifestSha256, issuedAt }: Freshness, key: KeyObject): string {
  return signStatement(TYPE, { version, manifest_sha256: manifestSha256, iat: issuedAt }, key)
}

/** Throws `DocumentRefusal` unless the statement is by a manifest key of the charter. */
export function verifyFreshness(statement: string, charter: Charter): Freshness {
  const members = new Members(verifyStatement(statement, TYPE, charter.manifestKeys), 'freshness')
  const freshness = {
    version: members.integer('version', 1, 2 ** 32),
    manifestSha256: members.text('manifest_sha256', /^[A-Za-z0-9_-]{43}$/),
    issuedAt: members.time('iat'),
  }
  members.end()
  return freshness
}
