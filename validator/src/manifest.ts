/**
 * The manifest: the keys that are trusted now, each with its scope and state, and what was cut off. Signed by the
 * authority, always inside the charter, and itself logged. Format: spec/manifest.md.
 * @module
 */

import { hash, type KeyObject } from 'node:crypto'
import {
  isSubset,
  isWithin,
  readAttestation,
  readScope,
  verifyAttestation,
  writeScope,
} from './attestation.ts'
import { decode, encode } from './base64url.ts'
import { type Charter, charterKeyIds, readKeyMembers } from './charter.ts'
import {
  DocumentRefusal,
  type DocumentSigner,
  encodePayload,
  importOnce,
  readPayload,
  refuseAs,
  type SignedDocument,
  signDocument,
  verifyDocument,
} from './document.ts'
import { type Entry, encodeEntry, entryOf, headerTypes, leafHash, type TokenType } from './entry.ts'
import type { JsonObject } from './json.ts'
import type { Algorithm, PublicJwk } from './jws.ts'
import { Members } from './members.ts'
import { decodeReceipt, receiptKeyId, verifyReceipt } from './receipt.ts'

const keyStates = ['published', 'active', 'retiring', 'retired', 'blocked', 'revoked'] as const
export type KeyState = (typeof keyStates)[number]

/** What a key may vouch for. The signer asks `checkScope` with it before it signs, a validator before it accepts. */
export interface KeyScope {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly realm: string
  /** Issuer template; `{tenantid}` stands for any tenant of `tenants`. */
  readonly issuer: string
  readonly tenants: readonly string[]
  readonly tokenTypes: readonly TokenType[]
  /** Undefined: any audience. */
  readonly audiences: readonly string[] | undefined
  readonly lifetimeSecondsMax: number
}

export interface ManifestKey extends KeyScope {
  readonly jwk: PublicJwk
  readonly publicKey: KeyObject
  readonly state: KeyState
  /** Seconds since the epoch: tokens issued before `notBefore` or after `signUntil` were not signed by the signer. */
  readonly notBefore: number
  readonly signUntil: number
  readonly verifyUntil: number
  readonly revoked: { readonly at: number; readonly reason: string } | undefined
  readonly blocked: { readonly at: number; readonly reason: string; readonly by: string } | undefined
  /** Compact JWS by the signer's identity key. */
  readonly attestation: string
}

/** A log that receipts may come from: one epoch of a witness of the charter. */
export interface ManifestLog {
  readonly origin: string
  readonly witness: string
  /** First four bytes as in a signed note, as a number: what a receipt names its log by. */
  readonly receiptKeyId: number
  readonly receiptKey: KeyObject
  readonly state: 'open' | 'sealed'
}

/** Refuse tokens issued before `before`, of whatever is named; each member given must match. */
export interface Cutoff {
  readonly realm?: string
  readonly kid?: string
  readonly tenant?: string
  readonly subject?: string
  readonly before: number
}

export interface Manifest {
  readonly version: number
  readonly charterVersion: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly keys: ReadonlyMap<string, ManifestKey>
  readonly logs: ReadonlyMap<number, ManifestLog>
  readonly cutoffs: readonly Cutoff[]
}

/** What a validator decides by. A new object for each new version, so that caches can hang on its identity. */
export interface TrustState {
  readonly charter: Charter
  readonly manifest: Manifest
}

/** Where a validator gets its trust from: a follower of the authority, or a fixed state in tests. */
export interface TrustSource {
  /** The newest verified state; undefined before the first. */
  readonly state: TrustState | undefined
  /** Seconds since the authority last vouched that `state` is the newest, on a clock that never jumps. */
  ageSeconds(): number
}

export type ManifestDocument = SignedDocument

/** What the authority writes into a manifest; everything else follows from it and the charter. */
export interface ManifestDraft extends Omit<Manifest, 'keys' | 'logs'> {
  readonly keys: readonly Omit<ManifestKey, 'publicKey'>[]
  readonly logs: readonly Pick<ManifestLog, 'origin' | 'witness' | 'state'>[]
}

const TYPE = headerTypes.manifest
const VERSION_MAX = 2 ** 32
const CUTOFF_COUNT_MAX = 10_000
/** For how long after the realm's overlap a key may still verify: clocks differ, and not by more. */
const VERIFY_MARGIN_SECONDS_MAX = 600
const reason = /^[^\p{C}]{1,512}$/u

/**
 * The manifest of a document that a manifest key of the charter signed, that the witness countersigned, and that stays
 * inside the charter. Give the state that was verified before, and what did not change is not verified again. Throws
 * `DocumentRefusal`. Whether the manifest may follow the one held before is for `Trust` to see.
 */
export function verifyManifest(document: unknown, charter: Charter, before?: TrustState): Manifest {
  const { payload, payloadSegment, signers } = verifyDocument(document, TYPE, manifestSigners(charter), 1)
  const [[kid, header] = ['', undefined], ...others] = signers
  if (others.length > 0) throw new DocumentRefusal('malformed', 'a manifest has one signature')
  const manifest = parseManifest(payload, charter, before)
  verifyLogged(manifest, payloadSegment, kid, header?.rcpt)
  return manifest
}

function manifestSigners({ manifestKeys }: Charter): readonly DocumentSigner[] {
  return manifestKeys.map((jwk) => ({ jwk }))
}

/** The payload segment of a manifest, to be logged and then signed. Throws `DocumentRefusal` for what none would take. */
export function composeManifest(draft: ManifestDraft, charter: Charter): string {
  const segment = encodePayload(writeManifest(draft))
  parseManifest(readPayload(segment), charter)
  return segment
}

/** The entry that the witness logs for a manifest. Its serial is the version, so no version can be logged twice. */
export function manifestEntry(payloadSegment: string, manifestKid: string): Entry {
  const { version, iat, exp } = readPayload(payloadSegment)
  return entryOf({
    tokenType: 'manifest',
    kid: manifestKid,
    issuedAt: iat as number,
    expiresAt: exp as number,
    serial: version as number,
    payloadSegment,
  })
}

/** Signs a manifest that was logged: the receipt stands in the protected header. */
export function signManifest(payloadSegment: string, receipt: Uint8Array, key: KeyObject): ManifestDocument {
  return signDocument(payloadSegment, TYPE, [key], { rcpt: encode(receipt) })
}

/** What freshness and acknowledgements name a manifest by, so that they stand for its content and not its number. */
export function manifestSha256({ payload }: Pick<ManifestDocument, 'payload'>): string {
  return hash('sha256', payload, 'base64url')
}

/** Reads a manifest's payload against the charter, whoever signed it. Throws `DocumentRefusal`. */
function parseManifest(payload: JsonObject, charter: Charter, before?: TrustState): Manifest {
  // What was verified under another charter counts for nothing.
  const known = before?.charter === charter ? before.manifest : undefined
  const members = new Members(payload, 'manifest')
  const roles = charterKeyIds(charter)
  const manifest = {
    version: members.integer('version', 1, VERSION_MAX),
    charterVersion: members.integer('charter_version', 1, VERSION_MAX),
    issuedAt: members.time('iat'),
    expiresAt: members.time('exp'),
    keys: indexBy(
      members.list('keys', (value, path) => readKey(new Members(value, path), charter, roles, known)),
      ({ kid }) => kid,
      members.at('keys'),
    ),
    logs: indexBy(
      members.list('logs', (value, path) => readLog(new Members(value, path), charter)),
      ({ receiptKeyId }) => receiptKeyId,
      members.at('logs'),
    ),
    cutoffs: members.list('cutoffs', (value, path) => readCutoff(new Members(value, path)), {
      most: CUTOFF_COUNT_MAX,
    }),
  }
  members.end()
  if (manifest.charterVersion !== charter.version) {
    throw new DocumentRefusal('version_mismatch', 'the manifest belongs to another charter')
  }
  if (manifest.expiresAt <= manifest.issuedAt) {
    throw new DocumentRefusal('malformed', 'the manifest ends before it begins')
  }
  return manifest
}

function readKey(
  members: Members,
  charter: Charter,
  roles: ReadonlySet<string>,
  known: Manifest | undefined,
): ManifestKey {
  const scope = readScope(members)
  members.oneOf('use', ['sig'])
  const before = known?.keys.get(scope.kid)
  const { jwk, key: publicKey, algorithm } = readKeyMembers(members)
  const key: ManifestKey = {
    ...scope,
    jwk,
    publicKey,
    state: members.oneOf('state', keyStates),
    notBefore: members.time('nbf'),
    signUntil: members.time('sign_until'),
    verifyUntil: members.time('verify_until'),
    revoked: members.has('revoked') ? readRevoked(members.object('revoked')) : undefined,
    blocked: members.has('blocked') ? readBlocked(members.object('blocked')) : undefined,
    attestation: members.text('attestation', /^[A-Za-z0-9_.-]+$/),
  }
  members.end()
  if (algorithm !== key.algorithm || roles.has(key.kid)) {
    throw new DocumentRefusal('out_of_charter', `${members.path} is a key that may not sign tokens`)
  }
  checkState(key, members.path)
  checkCharter(key, charter, members.path)
  checkAttestation(key, charter, members.path, before)
  return key
}

function readRevoked(members: Members): ManifestKey['revoked'] {
  const revoked = { at: members.time('at'), reason: members.text('reason', reason) }
  members.end()
  return revoked
}

function readBlocked(members: Members): ManifestKey['blocked'] {
  const blocked = {
    at: members.time('at'),
    reason: members.text('reason', reason),
    by: members.text('by', reason),
  }
  members.end()
  return blocked
}

/** A state and its record say the same. A revoked key may keep the record of having been blocked first. */
function checkState({ state, revoked, blocked }: ManifestKey, path: string): void {
  if ((state === 'revoked') !== (revoked !== undefined)) {
    throw new DocumentRefusal('malformed', `${path} is not both revoked and said to be`)
  }
  if (state === 'blocked' ? blocked === undefined : state !== 'revoked' && blocked !== undefined) {
    throw new DocumentRefusal('malformed', `${path} is not both blocked and said to be`)
  }
}

function checkCharter(key: ManifestKey, charter: Charter, path: string): void {
  const realm = charter.realms.get(key.realm)
  if (
    !realm?.issuers.includes(key.issuer) ||
    !isSubset(key.tenants, realm.tenants) ||
    !isSubset(key.tokenTypes, realm.tokenTypes) ||
    !realm.algorithms.includes(key.algorithm) ||
    key.lifetimeSecondsMax > realm.lifetimeSecondsMax ||
    key.signUntil < key.notBefore ||
    key.signUntil - key.notBefore > realm.keyAgeSecondsMax ||
    key.verifyUntil < key.signUntil ||
    key.verifyUntil - key.signUntil > realm.overlapSeconds + VERIFY_MARGIN_SECONDS_MAX
  ) {
    throw new DocumentRefusal('out_of_charter', `${path} reaches beyond what the charter allows its realm`)
  }
}

function checkAttestation(
  key: ManifestKey,
  charter: Charter,
  path: string,
  before: ManifestKey | undefined,
): void {
  const signers = charter.realms.get(key.realm)?.signers
  const verified = before?.attestation === key.attestation && before.realm === key.realm
  const attested = refuseAs(path, () => {
    if (verified || signers === undefined) return readAttestation(key.attestation)
    return verifyAttestation(key.attestation, signers)
  })
  if (!isWithin(key, attested)) {
    throw new DocumentRefusal('attestation_invalid', `${path} reaches beyond what its signer attested`)
  }
}

function readLog(members: Members, charter: Charter): ManifestLog {
  const witness = charter.witnesses.find(({ name }) => name === members.value('witness'))
  if (witness === undefined) {
    throw new DocumentRefusal(
      'out_of_charter',
      `${members.path} is of a witness that the charter does not name`,
    )
  }
  const origin = members.text('origin')
  const state = members.oneOf('state', ['open', 'sealed'])
  members.end()
  const epoch = origin.startsWith(`${witness.name}/`) ? origin.slice(witness.name.length + 1) : ''
  if (!/^[a-z0-9][a-z0-9.-]{0,31}$/.test(epoch)) {
    throw new DocumentRefusal('malformed', `${members.at('origin')} is not the witness's name and an epoch`)
  }
  const { key } = importOnce(witness.receiptKey)
  return { origin, witness: witness.name, receiptKeyId: receiptKeyId(origin, key), receiptKey: key, state }
}

function readCutoff(members: Members): Cutoff {
  const cutoff = {
    ...(members.has('realm') && { realm: members.text('realm') }),
    ...(members.has('kid') && { kid: members.text('kid') }),
    ...(members.has('tenant') && { tenant: members.text('tenant') }),
    ...(members.has('sub') && { subject: members.text('sub') }),
    before: members.time('before'),
  }
  members.end()
  // A subject is a name inside a realm, and everybody at once is nobody's intention.
  if (cutoff.realm === undefined && cutoff.kid === undefined && cutoff.tenant === undefined) {
    throw new DocumentRefusal('malformed', `${members.path} names neither a realm, nor a key, nor a tenant`)
  }
  return cutoff
}

function verifyLogged(
  manifest: Manifest,
  payloadSegment: string,
  kid: string,
  rcpt: string | undefined,
): void {
  if (rcpt === undefined) throw new DocumentRefusal('receipt_invalid', 'the manifest carries no receipt')
  const receipt = refuseAs('rcpt', () => decodeReceipt(decode(rcpt)), 'receipt_invalid')
  const log = manifest.logs.get(receipt.keyId)
  if (log === undefined || receipt.serial !== manifest.version) {
    throw new DocumentRefusal('receipt_invalid', 'the receipt is of another log or for another version')
  }
  const leaf = leafHash(encodeEntry(manifestEntry(payloadSegment, kid)))
  refuseAs('rcpt', () => verifyReceipt(receipt, leaf, log), 'receipt_invalid')
}

function writeManifest(draft: ManifestDraft): object {
  return {
    version: draft.version,
    charter_version: draft.charterVersion,
    iat: draft.issuedAt,
    exp: draft.expiresAt,
    keys: draft.keys.map(writeKey),
    logs: draft.logs.map(({ origin, witness, state }) => ({ origin, witness, state })),
    cutoffs: draft.cutoffs.map(({ subject, ...cutoff }) => ({
      ...cutoff,
      ...(subject !== undefined && { sub: subject }),
    })),
  }
}

function writeKey(key: ManifestDraft['keys'][number]): object {
  return {
    ...key.jwk,
    use: 'sig',
    ...writeScope(key),
    state: key.state,
    nbf: key.notBefore,
    sign_until: key.signUntil,
    verify_until: key.verifyUntil,
    ...(key.revoked && { revoked: key.revoked }),
    ...(key.blocked && { blocked: key.blocked }),
    attestation: key.attestation,
  }
}

function indexBy<Name, Item>(
  items: readonly Item[],
  nameOf: (item: Item) => Name,
  path: string,
): ReadonlyMap<Name, Item> {
  const index = new Map(items.map((item) => [nameOf(item), item]))
  if (index.size < items.length) throw new DocumentRefusal('malformed', `${path} names something twice`)
  return index
}
