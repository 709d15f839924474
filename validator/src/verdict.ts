/**
 * The verdict over a token: every check there is, one a line, in the order of spec/verdict.md. The first that fails
 * names the reason. Pure: clock and trust come in as arguments, and what was learnt on the way goes out in `Findings`,
 * also where the token is refused.
 * @module
 */

import { decode, encode } from './base64url.ts'
import { type Claims, readClaims } from './claims.ts'
import { type Confirmation, isSender } from './confirmation.ts'
import type { DenialReason, DenialSource } from './denials.ts'
import { headerTypes, leafHashOf, type TokenType } from './entry.ts'
import type { JsonObject, JsonValue } from './json.ts'
import {
  type Algorithm,
  checkHeader,
  mediaType,
  parseCompact,
  type UncheckedJws,
  verifySignature,
} from './jws.ts'
import { checkLive } from './key-state.ts'
import type { Cutoff, KeyScope, Manifest, ManifestKey } from './manifest.ts'
import { decodeReceipt, type RootSource, type VerifiedRoots, verifyReceipt } from './receipt.ts'
import { type Reason, Refusal } from './refusal.ts'
import { checkIssuerScope, checkKeyScope, checkLifetimeScope, type ScopedClaims, tenantFor } from './scope.ts'
import { together } from './suspension.ts'

/** What a protected service asks about a token, the same for each. */
export interface Question {
  readonly realms: readonly string[]
  readonly audiences: readonly string[]
  readonly tokenType: TokenType
  readonly receiptRequired: boolean
  /** Realms whose tokens have to be bound to what their sender proves to hold. */
  readonly boundRealms: readonly string[]
  readonly clockToleranceSeconds: number
}

/** What the verdict depends on besides the token and the question. */
export interface World {
  /** Seconds since the epoch. */
  readonly now: number
  /** Undefined before the first manifest. */
  readonly manifest: Manifest | undefined
  /** The authority has not vouched for the manifest for longer than the validator may decide by it. */
  readonly stale: boolean
  readonly confirmation: Confirmation | undefined
  /** What others have denied; left out, nobody has a say. */
  readonly denials?: DenialSource | undefined
  /** Signatures over subtree roots that were found to be good. */
  readonly verifiedRoots: VerifiedRoots
  /** Roots that the witness has told of. */
  readonly roots?: RootSource | undefined
}

/** What a verdict rests on: a key of the manifest, or one of an issuer that is not ours. */
export interface VouchingKey extends KeyScope, Pick<ManifestKey, 'publicKey'> {
  /** Of a key that its owner calls something else. */
  readonly thumbprint?: string
}

/** Everything that was learnt about a token, so far as the verdict got. */
export interface Findings {
  jws?: UncheckedJws
  key?: VouchingKey | undefined
  /** The token is for an issuer to judge that is not ours. */
  isForeign?: boolean
  signatureValid?: boolean
  receiptValid?: boolean
  place?: LogPlace
}

/** Where in which log a token's entry stands, as its receipt says. */
export interface LogPlace {
  readonly origin: string
  readonly index: number
  readonly serial: number
  /** Base64url. */
  readonly leafHash: string
}

/** The token is good, and stays so between two times unless the manifest changes. */
export interface Acceptance {
  readonly claims: Claims
  /** All claims, as they were signed. */
  readonly payload: JsonObject
  readonly key: VouchingKey
  readonly place: LogPlace | undefined
  /** The issuer that judges it, where that is not ours. */
  readonly foreign?: ForeignJudge
  readonly validFrom: number
  /** The first time at which it is good no more. */
  readonly validUntil: number
}

/** Whoever judges tokens of an issuer that is not ours: see foreign.ts. */
export interface ForeignJudge {
  /** As `judgeAgain`. Throws `Refusal`. */
  judgeAgain(accepted: Acceptance, question: Question, world: World): number
  /** Whether the key that vouched is still one of its set, and the set young enough. */
  stands(accepted: Acceptance): boolean
}

/** Throws `Refusal` with the first reason that applies. */
export function judge(token: string, question: Question, world: World, findings: Findings): Acceptance {
  const { now } = world
  const jws = parseCompact(token)
  findings.jws = jws
  const claims = readClaims(jws.claims, tokenTypeOf(jws.header['typ']))
  const header = checkHeader(jws.header)
  checkType(header.typ, question.tokenType)
  const manifest = checkManifest(world.manifest)
  const key = findKey(manifest, header.kid)
  findings.key = key
  checkVouching(key, header.alg, claims, question, now)
  together(
    () => checkSignature(key, jws, findings),
    () => checkReceipt(key, jws, manifest, question, world, findings),
  )
  checkStanding(key, header.alg, claims, question, manifest, world)
  checkSender(key, claims, question, world.confirmation)
  checkFreshness(manifest, world)
  return {
    claims,
    payload: jws.claims,
    key,
    place: findings.place,
    validFrom: validFrom(key, claims, manifest, question.clockToleranceSeconds),
    validUntil: validUntil(key, claims, manifest, question.clockToleranceSeconds),
  }
}

/**
 * Judges anew what was accepted before, by the world as it is now: everything but what cannot change, since signature and
 * receipt stay good while the key and the log are the same. Gives the first time at which the token is good no more, if
 * nothing else changes. Throws `Refusal`.
 */
export function judgeAgain(accepted: Acceptance, question: Question, world: World): number {
  const { claims, place } = accepted
  const { now } = world
  const { kid, algorithm } = accepted.key
  const manifest = checkManifest(world.manifest)
  const key = findKey(manifest, kid)
  checkVouching(key, algorithm, claims, question, now)
  checkLog(key, place, manifest)
  checkStanding(key, algorithm, claims, question, manifest, world)
  checkFreshness(manifest, world)
  return validUntil(key, claims, manifest, question.clockToleranceSeconds)
}

/** Whether the key may vouch for such a token here, whatever its signature. */
function checkVouching(
  key: ManifestKey,
  algorithm: Algorithm,
  claims: Claims,
  { tokenType, realms, audiences }: Question,
  now: number,
): void {
  const scoped = scopedBy(tokenType, algorithm, claims)
  checkRealm(key, realms)
  checkKeyScope(key, scoped)
  checkKeyState(key, now)
  checkIssuerScope(key, scoped)
  checkAudience(key, claims.audiences, audiences)
}

/** Whether a token that was issued is good at this time. */
function checkStanding(
  key: ManifestKey,
  algorithm: Algorithm,
  claims: Claims,
  { tokenType, clockToleranceSeconds }: Question,
  manifest: Manifest,
  { now, denials }: World,
): void {
  checkTime(key, claims, now, clockToleranceSeconds)
  checkLifetimeScope(key, scopedBy(tokenType, algorithm, claims))
  checkKeyWindow(key, claims.issuedAt)
  checkCutoffs(key, claims, manifest.cutoffs)
  checkAncestors(key, claims, manifest)
  checkDenials(key, claims, denials)
}

function scopedBy(type: TokenType, algorithm: Algorithm, claims: Claims): ScopedClaims {
  const { issuer, tenant, audiences, issuedAt, expiresAt } = claims
  return { type, algorithm, issuer, tenant, audiences, lifetimeSeconds: (expiresAt ?? issuedAt) - issuedAt }
}

/**
 * Learns for the sighting of a refused token what the verdict did not get to, if the manifest has its key. `mayVerify`
 * is asked before anything is verified that the verdict did not need.
 */
export function investigate(findings: Findings, world: World, mayVerify: () => boolean): void {
  const { jws } = findings
  const { manifest } = world
  const kid = jws?.header['kid']
  findings.key ??= typeof kid === 'string' ? manifest?.keys.get(kid) : undefined
  if (jws === undefined || manifest === undefined || findings.key === undefined) return
  if (findings.signatureValid !== undefined || !mayVerify()) return
  findings.signatureValid = isSignedBy(findings.key, jws)
  if (!findings.signatureValid) return
  findings.receiptValid = isCountersigned(findings.key, jws, manifest, world, findings)
}

/** What only the holder of a foreign key can bring about; tokens that its owner makes for others come in all the time. */
const betrayals: readonly Reason[] = ['issuer_mismatch', 'key_blocked', 'key_revoked']

/** The same for a token of an issuer that is not ours, whose signature is of interest where it betrays a thief. */
export function investigateForeign(findings: Findings, reason: Reason, mayVerify: () => boolean): void {
  const { jws, key, signatureValid } = findings
  if (jws === undefined || key === undefined || signatureValid !== undefined) return
  if (betrayals.includes(reason) && mayVerify()) findings.signatureValid = isSignedBy(key, jws)
}

const tokenTypesByMediaType: ReadonlyMap<string, TokenType> = new Map(
  Object.entries(headerTypes).map(([type, typ]) => [mediaType(typ), type as TokenType]),
)

/** What kind of token a `typ` names. */
export function tokenTypeOf(typ: JsonValue | undefined): TokenType | undefined {
  if (typeof typ !== 'string') return undefined
  return tokenTypesByMediaType.get(typ) ?? tokenTypesByMediaType.get(mediaType(typ))
}

function checkType(typ: string | undefined, tokenType: TokenType): void {
  if (tokenTypeOf(typ) !== tokenType) throw new Refusal('type_mismatch')
}

function checkManifest(manifest: Manifest | undefined): Manifest {
  if (manifest === undefined) throw new Refusal('manifest_stale')
  return manifest
}

function findKey(manifest: Manifest, kid: string | undefined): ManifestKey {
  const key = kid === undefined ? undefined : manifest.keys.get(kid)
  if (key === undefined) throw new Refusal('unknown_key')
  return key
}

/** A realm's key vouches for nothing at a service of another: the incident, in one line. */
function checkRealm({ kid, realm }: ManifestKey, realms: readonly string[]): void {
  if (!realms.includes(realm)) throw new Refusal('key_out_of_scope', { kid })
}

function checkKeyState(key: ManifestKey, now: number): void {
  checkLive(key)
  const { kid, notBefore, verifyUntil } = key
  if (now < notBefore) throw new Refusal('key_not_active', { kid })
  // Its time is up, whether or not a manifest has come that says so.
  if (now >= verifyUntil) throw new Refusal('key_retired', { kid })
}

export function checkAudience({ kid }: VouchingKey, named: readonly string[], own: readonly string[]): void {
  if (!named.some((audience) => own.includes(audience)))
    throw new Refusal('audience_mismatch', { kid, hint: `it is not for ${own}` })
}

export function checkSignature(key: VouchingKey, jws: UncheckedJws, findings: Findings): void {
  findings.signatureValid = isSignedBy(key, jws)
  if (!findings.signatureValid) throw new Refusal('signature_invalid', { kid: key.kid })
}

function isSignedBy(
  { algorithm, publicKey }: VouchingKey,
  { signingInput, signature }: UncheckedJws,
): boolean {
  return verifySignature(algorithm, publicKey, signingInput, signature)
}

function checkReceipt(
  key: ManifestKey,
  jws: UncheckedJws,
  manifest: Manifest,
  { receiptRequired }: Question,
  world: World,
  findings: Findings,
): void {
  const missing = jws.header['rcpt'] === undefined
  if (missing && !receiptRequired) return
  findings.receiptValid = isCountersigned(key, jws, manifest, world, findings)
  if (!findings.receiptValid)
    throw new Refusal(missing ? 'receipt_missing' : 'receipt_invalid', { kid: key.kid })
}

/** A log that the manifest does not name any more vouches for nothing; what was accepted without a receipt needs none. */
function checkLog({ kid }: ManifestKey, place: LogPlace | undefined, { logs }: Manifest): void {
  if (place === undefined || [...logs.values()].some(({ origin }) => origin === place.origin)) return
  throw new Refusal('receipt_invalid', { kid })
}

/** Whether a witness of the manifest countersigned the entry that this very token must have in its log. */
function isCountersigned(
  key: VouchingKey,
  jws: UncheckedJws,
  manifest: Manifest,
  world: World,
  findings: Findings,
): boolean {
  const { kid } = key
  const { payloadSegment } = jws
  const { rcpt, typ } = jws.header
  // Whoever investigates has not read the claims; `encodeEntry` refuses what is no time.
  const { iat, exp = iat } = jws.claims as { readonly iat: number; readonly exp?: number }
  const tokenType = tokenTypeOf(typ)
  if (typeof rcpt !== 'string' || tokenType === undefined) return false
  try {
    const receipt = decodeReceipt(decode(rcpt))
    const { keyId, serial, start, offset } = receipt
    const log = manifest.logs.get(keyId)
    if (log === undefined) return false
    const leaf = leafHashOf({ tokenType, kid, issuedAt: iat, expiresAt: exp, serial, payloadSegment })
    findings.place = { origin: log.origin, index: start + offset, serial, leafHash: encode(leaf) }
    verifyReceipt(receipt, leaf, log, world.verifiedRoots, world.roots)
    return true
  } catch (error) {
    if (error instanceof Refusal) return false
    throw error
  }
}

export function checkTime({ kid }: VouchingKey, claims: Claims, now: number, toleranceSeconds: number): void {
  if (now >= endOf(claims) + toleranceSeconds) throw new Refusal('expired', { kid })
  if (now < startOf(claims) - toleranceSeconds) throw new Refusal('not_yet_valid', { kid })
}

export function endOf({ expiresAt = Number.POSITIVE_INFINITY }: Claims): number {
  return expiresAt
}

/** A token is good from when it says; one from the future is not good yet. */
export function startOf({ issuedAt, notBefore }: Claims): number {
  return Math.max(issuedAt, notBefore ?? 0)
}

/** Without tolerance: the signer kept to these times by the same manifest, so who exceeds them is not the signer. */
function checkKeyWindow({ kid, notBefore, signUntil }: ManifestKey, issuedAt: number): void {
  if (issuedAt < notBefore || issuedAt > signUntil) throw new Refusal('issued_outside_key_window', { kid })
}

function checkCutoffs(key: ManifestKey, claims: Claims, cutoffs: readonly Cutoff[]): void {
  for (const cutoff of cutoffs) {
    if (claims.issuedAt < cutoff.before && concerns(cutoff, key, claims)) {
      throw new Refusal('issued_before_cutoff', { kid: key.kid })
    }
  }
}

/**
 * What a token was exchanged for has to be good as well, or a kill would end a stolen token and leave what it was changed
 * into. Only what can happen to it later is asked: the issuer validated it, and it expires no sooner than this one.
 */
function checkAncestors(key: ManifestKey, claims: Claims, manifest: Manifest): void {
  for (const { kid, issuedAt } of claims.ancestors) {
    const ancestor = findKey(manifest, kid)
    const { state } = ancestor
    if (state === 'blocked' || state === 'revoked') checkLive(ancestor)
    // Tokens are exchanged within one tenant and for one subject.
    if (ancestor.realm !== key.realm) throw new Refusal('key_out_of_scope', { kid })
    checkCutoffs(ancestor, { ...claims, issuedAt }, manifest.cutoffs)
  }
}

/** Asked last of what is about the past, and again of what was accepted before. */
export function checkDenials(key: VouchingKey, claims: Claims, denials: DenialSource | undefined): void {
  const reason = denialOf(key, claims, denials)
  if (reason !== undefined) throw new Refusal(reason, { kid: key.kid })
}

/** Why somebody who may has denied the token, if so. */
export function denialOf(
  { kid, thumbprint }: VouchingKey,
  { issuer, subject, session, issuedAt, ancestors }: Claims,
  denials: DenialSource | undefined,
): DenialReason | undefined {
  if (denials === undefined) return undefined
  // What a token was exchanged for speaks for the same person in the same session.
  for (const each of [{ kid, issuedAt }, ...ancestors]) {
    const reason = denials.reasonFor({ issuer, subject, session, ...each })
    if (reason !== undefined) return reason
  }
  // A transmitter may name a key by what it is instead of what it is called.
  if (thumbprint === undefined) return undefined
  return denials.reasonFor({ issuer, subject, session, issuedAt, kid: thumbprint })
}

function concerns({ realm, kid, tenant, subject }: Cutoff, key: ManifestKey, claims: Claims): boolean {
  return (
    (realm === undefined || realm === key.realm) &&
    (kid === undefined || kid === key.kid) &&
    (tenant === undefined || tenant === tenantFor(key, claims)) &&
    (subject === undefined || subject === claims.subject)
  )
}

export function checkSender(
  { kid, realm }: VouchingKey,
  claims: Claims,
  { boundRealms }: Question,
  confirmation: Confirmation | undefined,
): void {
  const isBound = claims.confirmation !== undefined
  if ((isBound || !boundRealms.includes(realm)) && isSender(claims, confirmation)) return
  const what = isBound
    ? 'a key that the request does not prove'
    : 'nothing, and only bound tokens are taken here'
  throw new Refusal('sender_mismatch', { kid, hint: `it is bound to ${what}` })
}

/** A manifest from further in the future than this shows that the own clock is wrong, and no time here can be judged. */
export const CLOCK_BEHIND_SECONDS_MAX = 60

export function checkFreshness({ issuedAt, expiresAt }: Manifest, { now, stale }: World): void {
  if (stale || now >= expiresAt || now < issuedAt - CLOCK_BEHIND_SECONDS_MAX)
    throw new Refusal('manifest_stale')
}

/** Between these two times every check on the clock passes. */
function validFrom(key: ManifestKey, claims: Claims, manifest: Manifest, toleranceSeconds: number): number {
  const known = manifest.issuedAt - CLOCK_BEHIND_SECONDS_MAX
  return Math.max(startOf(claims) - toleranceSeconds, key.notBefore, known)
}

function validUntil(key: ManifestKey, claims: Claims, manifest: Manifest, toleranceSeconds: number): number {
  return Math.min(endOf(claims) + toleranceSeconds, key.verifyUntil, manifest.expiresAt)
}
