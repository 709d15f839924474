/**
 * The manifest: the keys that are trusted now, each with its scope and state, and what was cut off. Signed by the
 * authority, always inside the charter, and itself logged. Format: spec/manifest.md.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { sha256 } from '#platform'
import { type ApprovalDocument, type ApprovalTarget, readApproval } from './approval.ts'
import {
  type AttestedKey,
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
  readDocument,
  readPayload,
  refuseAs,
  type SignedDocument,
  signDocument,
  verifyDocument,
} from './document.ts'
import { type Entry, encodeEntry, entryOf, headerTypes, leafHash, type TokenType } from './entry.ts'
import {
  type ForeignDenials,
  noForeignDenials,
  readForeignDenials,
  writeForeignDenials,
} from './foreign-denials.ts'
import type { JsonObject, JsonValue } from './json.ts'
import type { Algorithm, PublicJwk } from './jws.ts'
import { keyName, Members, sentence } from './members.ts'
import { decodeReceipt, type RootSource, receiptKeyId, verifyReceipt } from './receipt.ts'

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
  /** What let the key go after it was blocked last; stays as long as the key. */
  readonly lifted: ApprovalDocument | undefined
  /** What let the key sign before its time: an approval to activate it, or the break-glass of its realm. */
  readonly early: ApprovalDocument | undefined
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

/** What somebody wanted and this version carried out. Kept for whoever reads the log; validators verify what they rely on. */
export type Act = { readonly command: string } | { readonly approval: ApprovalDocument }

export interface Manifest {
  readonly version: number
  readonly charterVersion: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly keys: ReadonlyMap<string, ManifestKey>
  readonly logs: ReadonlyMap<number, ManifestLog>
  readonly cutoffs: readonly Cutoff[]
  readonly acts: readonly Act[]
  /** Each lets the keys of a realm sign before their time, until it ends. */
  readonly breakGlass: readonly ApprovalDocument[]
  /** Each names keys that were left out since; all of them, from the first. */
  readonly pruned: readonly ApprovalDocument[]
  /** Of issuers that are not ours. */
  readonly foreign: ForeignDenials
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
  /** Roots that the witness has told of already; left out, each receipt speaks for itself. */
  readonly roots?: RootSource | undefined
}

export type ManifestDocument = SignedDocument

/** What the authority writes into a manifest; everything else follows from it and the charter. */
export interface ManifestDraft extends Omit<Manifest, 'keys' | 'logs'> {
  readonly keys: readonly Omit<ManifestKey, 'publicKey'>[]
  readonly logs: readonly Pick<ManifestLog, 'origin' | 'witness' | 'state'>[]
}

const TYPE = headerTypes.manifest
const VERSION_MAX = 2 ** 32
/** Keys of all states: what has ended stays until people prune it. */
export const KEY_COUNT_MAX = 4096
export const CUTOFF_COUNT_MAX = 10_000
const BREAK_GLASS_COUNT_MAX = 64
/** What times of a key may exceed those of its realm by: clocks differ, and not by more. */
const MARGIN_SECONDS_MAX = 600
const compactJws = /^[A-Za-z0-9_-]{1,4096}\.[A-Za-z0-9_-]{1,16384}\.[A-Za-z0-9_-]{1,8192}$/

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
  const segment = encodePayload(writeManifest(draft, charter))
  parseManifest(readPayload(segment), charter)
  return segment
}

/** The entry that the witness logs for a manifest. Its serial is the version, so no version can be logged twice. */
export function manifestEntry(payloadSegment: string, manifestKid: string): Entry {
  const { version, iat, exp } = readPayload(payloadSegment)
  const read = { version: version as number, issuedAt: iat as number, expiresAt: exp as number }
  return entryOfManifest(read, payloadSegment, manifestKid)
}

function entryOfManifest(
  { version, issuedAt, expiresAt }: Pick<Manifest, 'version' | 'issuedAt' | 'expiresAt'>,
  payloadSegment: string,
  kid: string,
): Entry {
  return entryOf({ tokenType: 'manifest', kid, issuedAt, expiresAt, serial: version, payloadSegment })
}

/** Signs a manifest that was logged: the receipt stands in the protected header. */
export function signManifest(payloadSegment: string, receipt: Uint8Array, key: KeyObject): ManifestDocument {
  return signDocument(payloadSegment, TYPE, [key], { rcpt: encode(receipt) })
}

/** What freshness and acknowledgements name a manifest by, so that they stand for its content and not its number. */
export function manifestSha256({ payload }: Pick<ManifestDocument, 'payload'>): string {
  return encode(sha256(payload))
}

/** Reads a manifest's payload against the charter, whoever signed it, or nobody yet. Throws `DocumentRefusal`. */
export function parseManifest(payload: JsonObject, charter: Charter, before?: TrustState): Manifest {
  // What was verified under another charter counts for nothing.
  const known = before?.charter === charter ? before.manifest : undefined
  const members = new Members(payload, 'manifest')
  const issuedAt = members.time('iat')
  const context = { charter, roles: charterKeyIds(charter), known, issuedAt }
  const charterSha256 = members.text('charter_sha256', keyName)
  const manifest = {
    version: members.integer('version', 1, VERSION_MAX),
    charterVersion: members.integer('charter_version', 1, VERSION_MAX),
    issuedAt,
    expiresAt: members.time('exp'),
    keys: indexBy(
      members.list('keys', (value, path) => readKey(new Members(value, path), context), {
        most: KEY_COUNT_MAX,
      }),
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
    acts: members.list('acts', (value, path) => readAct(new Members(value, path))),
    breakGlass: members.list('break_glass', (value, path) => readApproved(value, path, isBreakGlass), {
      most: BREAK_GLASS_COUNT_MAX,
    }),
    pruned: members.list('pruned', (value, path) => readApproved(value, path, isPruning)),
    foreign: members.has('foreign') ? readForeignDenials(members.object('foreign')) : noForeignDenials,
  }
  members.end()
  checkPruned(manifest)
  if (manifest.charterVersion !== charter.version || charterSha256 !== charter.sha256) {
    throw new DocumentRefusal('version_mismatch', 'the manifest belongs to another charter')
  }
  if (manifest.expiresAt <= manifest.issuedAt) {
    throw new DocumentRefusal('malformed', 'the manifest ends before it begins')
  }
  return manifest
}

/** What a key is read against. */
interface KeyContext {
  readonly charter: Charter
  /** The names of keys with a role in the charter. */
  readonly roles: ReadonlySet<string>
  /** A manifest that was verified before, under this charter. */
  readonly known: Manifest | undefined
  readonly issuedAt: number
}

function readKey(members: Members, { charter, roles, known, issuedAt }: KeyContext): ManifestKey {
  const scope = readScope(members)
  members.oneOf('use', ['sig'])
  const before = known?.keys.get(scope.kid)
  const { jwk, key: publicKey, algorithm } = importKey(members, before)
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
    lifted: readKeyApproval(members, 'lifted', (target) => target.op === 'lift' && target.kid === scope.kid),
    early: readKeyApproval(members, 'early', (target) => letsBegin(target, scope)),
  }
  members.end()
  checkState(key, members.path)
  if (algorithm !== key.algorithm) {
    throw new DocumentRefusal('out_of_charter', `${members.path} is a key that may not sign tokens`)
  }
  // What has ended vouches for nothing, and stays in sight when a charter no longer allows it.
  if (hasEnded(key)) return key
  if (roles.has(key.kid)) {
    throw new DocumentRefusal('out_of_charter', `${members.path} is a key that may not sign tokens`)
  }
  checkCharter(key, charter, members.path)
  const { issuedAt: madeAt } = checkAttestation(key, charter, members.path, before)
  checkAge(key, charter, madeAt, issuedAt, members.path)
  return key
}

/** Of a key that is as it was, what was imported before: most keys stay from one manifest to the next. */
function importKey(
  members: Members,
  before: ManifestKey | undefined,
): Pick<ReturnType<typeof readKeyMembers>, 'jwk' | 'key' | 'algorithm'> {
  const isSame = (name: (typeof materialMembers)[number]): boolean =>
    (members.has(name) ? members.value(name) : undefined) === (before?.jwk as JsonObject | undefined)?.[name]
  if (before === undefined || !materialMembers.every(isSame)) return readKeyMembers(members)
  return { jwk: before.jwk, key: before.publicKey, algorithm: before.algorithm }
}

/** What makes a public key another one; its name, `kid`, is how it was found. */
const materialMembers = ['kty', 'crv', 'x', 'y', 'n', 'e', 'pub', 'alg'] as const

/** Whether a key verifies nothing any more, whatever happens. */
export function hasEnded({ state }: Pick<ManifestKey, 'state'>): boolean {
  return state === 'retired' || state === 'revoked'
}

function readKeyApproval(
  members: Members,
  name: string,
  isFor: (target: ApprovalTarget) => boolean,
): ApprovalDocument | undefined {
  return members.has(name) ? readApproved(members.value(name), members.at(name), isFor) : undefined
}

/** Whether a key may sign before its time by this. */
export function letsBegin(target: ApprovalTarget, { kid, realm }: Pick<KeyScope, 'kid' | 'realm'>): boolean {
  return (
    (target.op === 'activate' && target.kid === kid) ||
    (target.op === 'break-glass' && target.realm === realm)
  )
}

function isBreakGlass({ op }: ApprovalTarget): boolean {
  return op === 'break-glass'
}

function isPruning({ op }: ApprovalTarget): boolean {
  return op === 'prune'
}

/** An approval in the place where it stands. Who signed it is for `checkSuccession` to see, where it is relied on. */
function readApproved(
  value: JsonValue | undefined,
  path: string,
  isFor: (target: ApprovalTarget) => boolean,
): ApprovalDocument {
  const document = readDocument(value)
  if (isFor(readApproval(document).target)) return document
  throw new DocumentRefusal('malformed', `${path} approves something else`)
}

function readAct(members: Members): Act {
  const act = members.has('command')
    ? { command: members.text('command', compactJws) }
    : { approval: readApproved(members.value('approval'), members.at('approval'), () => true) }
  members.end()
  return act
}

function checkPruned({ keys, pruned }: Pick<Manifest, 'keys' | 'pruned'>): void {
  if (pruned.some((document) => prunedKids(document).some((kid) => keys.has(kid)))) {
    throw new DocumentRefusal('malformed', 'a key is listed that was pruned')
  }
}

/** The keys that an approval leaves out. */
export function prunedKids(document: ApprovalDocument): readonly string[] {
  const { target } = readApproval(document)
  return target.op === 'prune' ? target.kids : []
}

function readRevoked(members: Members): ManifestKey['revoked'] {
  const revoked = { at: members.time('at'), reason: members.text('reason', sentence) }
  members.end()
  return revoked
}

function readBlocked(members: Members): ManifestKey['blocked'] {
  const blocked = {
    at: members.time('at'),
    reason: members.text('reason', sentence),
    by: members.text('by', sentence),
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
    key.verifyUntil - key.signUntil > realm.overlapSeconds + MARGIN_SECONDS_MAX
  ) {
    throw new DocumentRefusal('out_of_charter', `${path} reaches beyond what the charter allows its realm`)
  }
}

/** What the attestation of a key says, read once for as long as the key stays as it was. */
const attestedOnce = new WeakMap<ManifestKey, AttestedKey>()

function checkAttestation(
  key: ManifestKey,
  charter: Charter,
  path: string,
  before: ManifestKey | undefined,
): AttestedKey {
  const signers = charter.realms.get(key.realm)?.signers
  // What has ended was not verified.
  const verified = before?.attestation === key.attestation && before.realm === key.realm && !hasEnded(before)
  const known = verified ? attestedOnce.get(before) : undefined
  const attested = refuseAs(path, () => {
    if (known !== undefined) return known
    if (verified || signers === undefined) return readAttestation(key.attestation)
    return verifyAttestation(key.attestation, signers)
  })
  if (!isWithin(key, attested)) {
    throw new DocumentRefusal('attestation_invalid', `${path} reaches beyond what its signer attested`)
  }
  attestedOnce.set(key, attested)
  return attested
}

/**
 * Age counts from when the signer made the key, so that no window that is moved makes it young again. A key that a
 * charter has made too old stops at once, which is after its age.
 */
function checkAge(key: ManifestKey, charter: Charter, madeAt: number, issuedAt: number, path: string): void {
  const endOfAge = madeAt + (charter.realms.get(key.realm)?.keyAgeSecondsMax ?? 0)
  const isToSign = key.state === 'published' || key.state === 'active'
  if (key.signUntil > (isToSign ? endOfAge : Math.max(endOfAge, issuedAt)) + MARGIN_SECONDS_MAX) {
    throw new DocumentRefusal('out_of_charter', `${path} signs when it is older than its realm allows`)
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
  const leaf = leafHash(encodeEntry(entryOfManifest(manifest, payloadSegment, kid)))
  refuseAs('rcpt', () => verifyReceipt(receipt, leaf, log), 'receipt_invalid')
}

function writeManifest(draft: ManifestDraft, { sha256 }: Charter): object {
  return {
    version: draft.version,
    charter_version: draft.charterVersion,
    charter_sha256: sha256,
    iat: draft.issuedAt,
    exp: draft.expiresAt,
    keys: draft.keys.map(writeKey),
    logs: draft.logs.map(({ origin, witness, state }) => ({ origin, witness, state })),
    cutoffs: draft.cutoffs.map(({ subject, ...cutoff }) => ({
      ...cutoff,
      ...(subject !== undefined && { sub: subject }),
    })),
    acts: draft.acts,
    break_glass: draft.breakGlass,
    pruned: draft.pruned,
    ...writeForeignDenials(draft.foreign),
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
    ...(key.lifted && { lifted: key.lifted }),
    ...(key.early && { early: key.early }),
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
