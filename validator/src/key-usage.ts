/**
 * What an issuer tells of the keys that its tokens were signed with: for which clients, and how many. Validators cannot
 * say, since a sighting names nobody. A statement by the issuer's enrolment key. Format: spec/sighting.md, section 9.
 * @module
 */

import { DocumentRefusal } from './document.ts'
import type { Enrolment } from './enrolment.ts'
import type { JsonObject, JsonValue } from './json.ts'
import type { PublicJwk } from './jws.ts'
import { Members } from './members.ts'
import { readStatement, signStatement, verifyStatement } from './statement.ts'

/** The tokens of one key for one client of one tenant. */
export interface ClientUsage {
  readonly kid: string
  readonly client: string
  readonly tenant: string
  /** Issued since the report before. */
  readonly tokens: number
  /** When the last of them was, in seconds since the epoch. */
  readonly lastIssuedAt: number
}

export interface UsageReport {
  /** The name that the issuer is enrolled by. */
  readonly validator: string
  /** Stays the same when a report is sent again, so that it counts once. */
  readonly id: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly clients: readonly ClientUsage[]
}

export const USAGE_CLIENTS_MAX = 1000

const TYPE = 'key-usage+jwt'

export function signUsage(
  { id, issuedAt, clients }: Omit<UsageReport, 'validator'>,
  { name, privateKey }: Enrolment,
): string {
  const written = clients.map(({ kid, client, tenant, tokens, lastIssuedAt }) => ({
    kid,
    client,
    tid: tenant,
    tokens,
    last: lastIssuedAt,
  }))
  return signStatement(TYPE, { validator: name, jti: id, iat: issuedAt, clients: written }, privateKey)
}

/**
 * `enrolledKey` gives the key that a name was enrolled with, or undefined. Throws `DocumentRefusal` when the report is
 * not by that key. Whether it is recent and new is for the sentinel to see.
 */
export async function verifyUsage(
  statement: string,
  enrolledKey: (name: string) => Promise<PublicJwk | undefined>,
): Promise<UsageReport> {
  const claimed = new Members(readStatement(statement, TYPE), 'usage').text('validator', name)
  const key = await enrolledKey(claimed)
  if (key === undefined) throw new DocumentRefusal('signature_invalid', 'no such validator is enrolled')
  return read(verifyStatement(statement, TYPE, [key]))
}

const name = /^[^\p{C}]{1,128}$/u

function read(payload: JsonObject): UsageReport {
  const members = new Members(payload, 'usage')
  const report = {
    validator: members.text('validator', name),
    id: members.text('jti', /^[A-Za-z0-9_-]{22,64}$/),
    issuedAt: members.time('iat'),
    clients: members.list('clients', readClient, { most: USAGE_CLIENTS_MAX }),
  }
  members.end()
  return report
}

function readClient(value: JsonValue, path: string): ClientUsage {
  const members = new Members(value, path)
  const usage = {
    kid: members.text('kid', /^[A-Za-z0-9_-]{43}$/),
    client: members.text('client', /^[^\p{C}]{1,256}$/u),
    tenant: members.text('tid', name),
    tokens: members.integer('tokens', 1, Number.MAX_SAFE_INTEGER),
    lastIssuedAt: members.time('last'),
  }
  members.end()
  return usage
}
