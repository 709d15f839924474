/**
 * The charter: what each realm may ever sign, approved by its operators, k of n. A validator pins the operators of
 * the first one (the trust anchor); each later charter is approved under the one before. Format: spec/charter.md.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { sha256 } from '#platform'
import { encode } from './base64url.ts'
import {
  countersignDocument,
  DocumentRefusal,
  type DocumentSigner,
  importOnce,
  refuseAs,
  type SignedDocument,
  verifyDocument,
} from './document.ts'
import type { TokenType } from './entry.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { type Algorithm, algorithms, type ImportedKey, importPublicJwk, type PublicJwk } from './jws.ts'
import { Members } from './members.ts'
import { isSecure, parseUrl } from './url.ts'
import type { Passkey } from './webauthn.ts'

/** A person who may approve: `id` is their name in records, `jwk` the key they approve with, `webauthn` if it is a passkey. */
export interface Operator extends DocumentSigner {
  readonly id: string
}

/** What a validator pins: the operators of a first charter and how many of them must approve one. */
export interface TrustAnchor {
  readonly operators: readonly Operator[]
  readonly threshold: number
}

/** A log operator. Every epoch's log has an origin `name/epoch`; its keys stay the charter's. */
export interface CharterWitness {
  readonly name: string
  /** ES256: signs receipts. */
  readonly receiptKey: PublicJwk
  /** Ed25519, ML-DSA-44: sign checkpoints. */
  readonly checkpointKeys: readonly PublicJwk[]
}

export interface CharterRealm {
  /** Issuer templates; `{tenantid}` stands for any tenant of `tenants`. */
  readonly issuers: readonly string[]
  readonly tenants: readonly string[]
  readonly tokenTypes: readonly TokenType[]
  readonly algorithms: readonly Algorithm[]
  readonly lifetimeSecondsMax: number
  /** Identity keys of the realm's signers: each attests the keys that it made. New keys are made by the last. */
  readonly signers: readonly PublicJwk[]
  readonly rotationSeconds: number
  readonly keyAgeSecondsMax: number
  /** How long a key verifies after it stops signing. */
  readonly overlapSeconds: number
  /** The slowest cache of a key set that the realm serves: a key is published twice as long before it signs. */
  readonly cacheSeconds: number
  /** How long a rotation waits for an enrolled validator that says nothing. */
  readonly acknowledgeSeconds: number
}

export interface Charter extends CharterContent {
  /** What a manifest names its charter by, beside the version: base64url, over the payload segment. */
  readonly sha256: string
}

/** What a charter's payload says. */
export interface CharterContent extends TrustAnchor {
  readonly version: number
  readonly issuedAt: number
  /** Keys that may sign manifests. */
  readonly manifestKeys: readonly PublicJwk[]
  /** Keys that may block a key and nothing else: the sentinel's. */
  readonly blockKeys: readonly PublicJwk[]
  readonly witnesses: readonly CharterWitness[]
  readonly realms: ReadonlyMap<string, CharterRealm>
}

export type CharterDocument = SignedDocument

export const CHARTER_TYPE = 'charter+jwt'
const VERSION_MAX = 2 ** 32
const DAY_SECONDS = 24 * 3600
/** Clocks of machines that work together differ by less. */
export const CLOCK_DIFFERENCE_SECONDS_MAX = 60
const TENANT_COUNT_MAX = 10_000
/** What realm keys sign; manifests are not among it. */
export const realmTokenTypes = ['access', 'id', 'logout', 'set'] as const satisfies readonly TokenType[]
/** For keys that sign documents and statements: one algorithm follows from the kind of key. */
const documentAlgorithms = ['ES256', 'EdDSA', 'ML-DSA-44'] as const
export const realmName = /^[a-z][a-z0-9-]{0,31}$/
const operatorId = /^[a-z0-9][a-z0-9._@-]{0,63}$/i
const domainName = /^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*$/
const witnessName = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/
/** Lower case only, so that one tenant has one name. */
export const tenantId = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * The charter of a document that was approved `under` a trust anchor (then it is version 1) or under the charter
 * before it. Throws `DocumentRefusal`.
 */
export function verifyCharter(document: unknown, under: TrustAnchor | Charter): Charter {
  const { payload, payloadSegment } = verifyDocument(document, CHARTER_TYPE, under.operators, under.threshold)
  const charter = { ...parseCharter(payload), sha256: encode(sha256(payloadSegment)) }
  const before = 'version' in under ? under : undefined
  if (charter.version !== (before?.version ?? 0) + 1) {
    throw new DocumentRefusal('version_mismatch', 'the charter is not the next one')
  }
  if (charter.issuedAt < (before?.issuedAt ?? 0)) {
    throw new DocumentRefusal('version_mismatch', 'the charter is older than the one before it')
  }
  return charter
}

/**
 * Adds an operator's approval to a charter: to its payload, which becomes a document, or to a document that others
 * have approved. Refuses what no validator would take; whether the operator means it is for the operator to see.
 */
export function approveCharter(charter: object, operatorKey: KeyObject): CharterDocument {
  return countersignDocument(charter, CHARTER_TYPE, parseCharter, operatorKey)
}

/**
 * The operators who have signed a document so far, each once. Every line is verified: throws `DocumentRefusal` for one
 * that does not, and for a document that fewer signed than `threshold`.
 */
export function approversOf(
  document: unknown,
  type: string,
  { operators }: Pick<TrustAnchor, 'operators'>,
  threshold = 1,
): readonly string[] {
  const { signers } = verifyDocument(document, type, operators, threshold)
  const ids = new Map(operators.map(({ id, jwk }) => [importOnce(jwk).kid, id]))
  return [...signers.keys()].map((kid) => ids.get(kid) as string)
}

/** The name of every key that has a role in the charter. None of them may also sign tokens. */
export function charterKeyIds(charter: Charter): ReadonlySet<string> {
  const keys = [
    ...charter.operators.map(({ jwk }) => jwk),
    ...charter.manifestKeys,
    ...charter.blockKeys,
    ...charter.witnesses.flatMap(({ receiptKey, checkpointKeys }) => [receiptKey, ...checkpointKeys]),
    ...[...charter.realms.values()].flatMap(({ signers }) => signers),
  ]
  return new Set(keys.map((jwk) => importOnce(jwk).kid))
}

/** Reads a trust anchor as it stands in a configuration. Throws `DocumentRefusal`. */
export function parseTrustAnchor(value: unknown): TrustAnchor {
  const members = new Members(value as JsonValue, 'trust anchor')
  const anchor = readAnchor(members, new KeyRoles())
  members.end()
  return anchor
}

/** Reads a charter's payload, whoever signed it. Throws `DocumentRefusal`. */
export function parseCharter(payload: JsonObject): CharterContent {
  const members = new Members(payload, 'charter')
  const roles = new KeyRoles()
  const charter = {
    version: members.integer('version', 1, VERSION_MAX),
    issuedAt: members.time('iat'),
    ...readAnchor(members, roles),
    manifestKeys: readKeys(members, 'manifest_keys', documentAlgorithms, roles),
    blockKeys: readKeys(members, 'block_keys', documentAlgorithms, roles, { least: 0 }),
    witnesses: members.list('witnesses', (value, path) => readWitness(value, path, roles), {
      least: 1,
      most: 16,
    }),
    realms: readRealms(members.object('realms'), roles),
  }
  members.end()
  checkDistinct(charter.witnesses, ({ name }) => name, 'charter.witnesses')
  return charter
}

/**
 * One key, one role: an operator who also is the authority would count twice, and a log that countersigns its own
 * checkpoints with a signer's key would be no second party.
 */
class KeyRoles {
  readonly #seen = new Set<string>()

  read(value: JsonValue | undefined, path: string, allowed: readonly Algorithm[]): PublicJwk {
    const jwk = readJwk(value, path, allowed)
    const { kid } = importOnce(jwk)
    if (this.#seen.has(kid)) throw new DocumentRefusal('malformed', `${path} has a role already`)
    this.#seen.add(kid)
    return jwk
  }
}

/** Reads a public key that stands alone. Private members, weak keys and unknown members are refused. */
export function readJwk(
  value: JsonValue | undefined,
  path: string,
  allowed: readonly Algorithm[],
): PublicJwk {
  const members = new Members(value, path)
  const { jwk, algorithm } = readKeyMembers(members)
  members.end()
  if (!allowed.includes(algorithm)) {
    throw new DocumentRefusal('malformed', `${path} is of an algorithm that is not allowed there`)
  }
  return jwk
}

/** Reads the members that make a public key, and leaves the others to whoever calls. */
export function readKeyMembers(members: Members): ImportedKey {
  const present = jwkMembers.filter((name) => members.has(name))
  const jwk = Object.fromEntries(present.map((name) => [name, members.value(name)]))
  return refuseAs(members.path, () => importPublicJwk(jwk))
}

const jwkMembers = ['kty', 'crv', 'x', 'y', 'n', 'e', 'pub', 'alg', 'kid', 'use']

function readAnchor(members: Members, roles: KeyRoles): TrustAnchor {
  const operators = members.list(
    'operators',
    (value, path) => {
      const operator = new Members(value, path)
      const id = operator.text('id', operatorId)
      const jwk = roles.read(operator.value('jwk'), operator.at('jwk'), documentAlgorithms)
      const webauthn = operator.has('webauthn') ? readPasskey(operator.object('webauthn')) : undefined
      operator.end()
      return { id, jwk, ...(webauthn && { webauthn }) }
    },
    { least: 1, most: 64 },
  )
  // Two people whom a reader takes for one would be counted as two.
  checkDistinct(operators, ({ id }) => id.toLowerCase(), members.at('operators'))
  return { operators, threshold: members.integer('threshold', 1, operators.length) }
}

function readPasskey(members: Members): Passkey {
  const rpId = members.text('rp_id', domainName)
  const origins = members.set('origins', /^.{1,512}$/u)
  members.end()
  for (const origin of origins) {
    const url = parseUrl(origin)
    const isWithin = url !== null && (url.hostname === rpId || url.hostname.endsWith(`.${rpId}`))
    if (!isWithin || url.origin !== origin || !isSecure(url)) {
      throw new DocumentRefusal('malformed', `${members.at('origins')} has one that cannot ask this passkey`)
    }
  }
  return { rpId, origins }
}

function readKeys(
  members: Members,
  name: string,
  allowed: readonly Algorithm[],
  roles: KeyRoles,
  { least = 1, most = 16 } = {},
): readonly PublicJwk[] {
  return members.list(name, (value, path) => roles.read(value, path, allowed), { least, most })
}

function readWitness(value: JsonValue, path: string, roles: KeyRoles): CharterWitness {
  const members = new Members(value, path)
  const witness = {
    name: members.text('name', witnessName),
    receiptKey: roles.read(members.value('receipt_key'), members.at('receipt_key'), ['ES256']),
    checkpointKeys: readKeys(members, 'checkpoint_keys', ['EdDSA', 'ML-DSA-44'], roles),
  }
  members.end()
  return witness
}

function readRealms(members: Members, roles: KeyRoles): ReadonlyMap<string, CharterRealm> {
  const realms = new Map<string, CharterRealm>()
  const owners = new Map<string, string>()
  for (const name of members.names()) {
    if (!realmName.test(name)) throw new DocumentRefusal('malformed', `${members.path} has an unusable name`)
    const realm = readRealm(members.object(name), roles)
    for (const word of new Set([...realm.tenants, ...realm.issuers, ...issuersOf(realm)])) {
      // Two realms that can speak for one issuer or tenant are the merged key set of 2023 again.
      if (owners.has(word)) throw new DocumentRefusal('malformed', `two realms claim what ${name} claims`)
      owners.set(word, name)
    }
    realms.set(name, realm)
  }
  if (realms.size === 0) throw new DocumentRefusal('malformed', `${members.path} is empty`)
  return realms
}

function readRealm(members: Members, roles: KeyRoles): CharterRealm {
  const realm = {
    issuers: members.set('issuers', /^.{1,512}$/u),
    tenants: members.list('tenants', (value, path) => readTenant(value, path), {
      least: 1,
      most: TENANT_COUNT_MAX,
    }),
    tokenTypes: members.setOf('token_types', realmTokenTypes),
    algorithms: members.setOf('algs', algorithms),
    lifetimeSecondsMax: members.integer('max_ttl', 1, DAY_SECONDS),
    signers: readKeys(members, 'signers', ['EdDSA', 'ES256'], roles, { least: 1, most: 4 }),
    rotationSeconds: members.integer('rotation_seconds', 1, 400 * DAY_SECONDS),
    keyAgeSecondsMax: members.integer('key_age_max', 1, 400 * DAY_SECONDS),
    overlapSeconds: members.integer('overlap_seconds', 1, 30 * DAY_SECONDS),
    cacheSeconds: members.integer('cache_seconds', 1, 30 * DAY_SECONDS),
    acknowledgeSeconds: members.integer('acknowledge_seconds', 1, DAY_SECONDS),
  }
  members.end()
  checkDistinct(realm.tenants, (tenant) => tenant, members.at('tenants'))
  for (const issuer of realm.issuers) checkIssuer(issuer, members.at('issuers'))
  checkTimes(realm, members)
  return realm
}

/** Times that would refuse a good token, let a key sign that nobody knows, or leave a realm without a key. */
function checkTimes(realm: CharterRealm, members: Members): void {
  const prepublishSeconds = 2 * realm.cacheSeconds
  if (realm.overlapSeconds < realm.lifetimeSecondsMax + CLOCK_DIFFERENCE_SECONDS_MAX) {
    throw new DocumentRefusal('malformed', `${members.at('overlap_seconds')} is shorter than a token lives`)
  }
  if (prepublishSeconds > realm.rotationSeconds) {
    throw new DocumentRefusal('malformed', `${members.at('cache_seconds')} is over half of the rotation`)
  }
  if (realm.keyAgeSecondsMax < realm.rotationSeconds + prepublishSeconds) {
    throw new DocumentRefusal('malformed', `${members.at('key_age_max')} ends a key before its turn is over`)
  }
}

function readTenant(value: JsonValue, path: string): string {
  if (typeof value === 'string' && tenantId.test(value)) return value
  throw new DocumentRefusal('malformed', `${path} is not a tenant id`)
}

const PLACEHOLDER = '{tenantid}'

/** Every issuer that a realm can speak for. */
function issuersOf({ issuers, tenants }: CharterRealm): readonly string[] {
  return issuers.flatMap((issuer) => tenants.map((tenant) => issuer.replace(PLACEHOLDER, tenant)))
}

/**
 * An issuer is compared as text, so it has to be the only text for its URL: as the URL parser writes it, without
 * query, fragment or credentials, and with the placeholder, if any, as one whole segment of the path.
 */
function checkIssuer(issuer: string, path: string): void {
  const sample = issuer.replace(/(?<=\/)\{tenantid\}(?=\/|$)/, 'tenantid')
  const url = parseUrl(sample)
  const plain = url !== null && url.search === '' && url.hash === '' && url.username === ''
  const canonical = url?.href === sample || url?.href === `${sample}/`
  if (url === null || !isSecure(url) || !plain || !canonical || /[?#{}]/.test(sample)) {
    throw new DocumentRefusal('malformed', `${path} has an issuer that is not a plain https URL`)
  }
}

function checkDistinct<Item>(items: readonly Item[], nameOf: (item: Item) => string, path: string): void {
  if (new Set(items.map(nameOf)).size < items.length) {
    throw new DocumentRefusal('malformed', `${path} names something twice`)
  }
}
