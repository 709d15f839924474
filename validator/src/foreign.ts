/**
 * The verdict over a token of an issuer that is not ours: an identity provider that publishes its keys as everybody does, in
 * a key set behind a URL. Its keys are followed by foreign-keys.ts, and what makes one provider differ from another stands
 * in issuers.ts. Every check there is, one a line, in the order of spec/verdict.md, Foreign issuers.
 *
 * Nobody countersigns here, so no receipt shows that a token was issued: whoever steals such a key can make tokens. What is
 * there instead is that the key can be killed, by its owner's set within minutes and by our manifest within a moment.
 * @module
 */

import type { Claims } from './claims.ts'
import type { TokenType } from './entry.ts'
import { refuse } from './foreign-claims.ts'
import type { ForeignCutoff } from './foreign-denials.ts'
import type { ForeignKey, KeyFollower } from './foreign-keys.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { type Algorithm, algorithms, mediaType, type UncheckedJws } from './jws.ts'
import type { Manifest } from './manifest.ts'
import { Refusal } from './refusal.ts'
import { checkIssuerScope, fitsIssuer, type ScopedClaims, tenantFor } from './scope.ts'
import {
  type Acceptance,
  CLOCK_BEHIND_SECONDS_MAX,
  checkAudience,
  checkDenials,
  checkFreshness,
  checkSender,
  checkSignature,
  checkTime,
  endOf,
  type Findings,
  type ForeignJudge,
  type Question,
  startOf,
  type World,
} from './verdict.ts'

/** What is particular about the tokens of a provider. */
export interface ForeignProfile {
  /** Issuer template; `{tenantid}` stands for any tenant of `tenants`. */
  readonly issuer: string
  readonly tenants: readonly string[]
  readonly tokenType: TokenType
  /** What `typ` may be; `undefined` for none. */
  readonly headerTypes: readonly (string | undefined)[]
  /** Members of the header besides `alg`, `typ` and `kid`; they are texts, and nothing follows from them. */
  readonly headerMembers: readonly string[]
  /** What a header shows that is none of these, where that tells of a common mistake. */
  readonly hintFor?: (header: JsonObject) => string | undefined
  /** Said of a `typ` that is none of them, to whoever runs the service: which option would take it. */
  readonly advice?: string
  readonly lifetimeSecondsMax: number
  /** Whether another issuer's tokens are signed by the same keys: a block that names it is meant for them. */
  readonly sharesKeysWith: (issuer: string) => boolean
  /** Throws `Refusal`, `malformed` or `type_mismatch`. */
  readonly readClaims: (payload: JsonObject, jws: UncheckedJws) => Claims
}

/** An issuer as a validator asks it. */
export interface OpenIssuer extends ForeignJudge {
  readonly issuer: string
  readonly tokenType: TokenType
  /** Whether a token that claims to be of this issuer is for it to judge. */
  speaksFor(issuer: string): boolean
  /** Throws `Refusal`. */
  judge(jws: UncheckedJws, question: Question, world: World, findings: Findings): Acceptance
  /** The refusal of a token whose issuer is none of those configured, or no text. */
  strange(issuer: JsonValue | undefined): Refusal
  /** Settles when there are keys to decide by; rejects when there are none after so long. */
  ready(milliseconds?: number): Promise<void>
  stop(): void
}

/** What of a validator an issuer has to know. */
export interface IssuerContext {
  /** A manifest is followed, and nothing is decided without it. */
  readonly hasAuthority: boolean
  readonly onProblem?: ((problem: Error) => void) | undefined
}

/** An issuer as it is configured: `entra({…})` and so on, of issuers.ts. */
export interface ForeignIssuer {
  open(context: IssuerContext): OpenIssuer
}

export function openIssuer(
  profile: ForeignProfile,
  keys: KeyFollower,
  { hasAuthority }: IssuerContext,
): OpenIssuer {
  let denied: Denied | undefined

  function judge(jws: UncheckedJws, question: Question, world: World, findings: Findings): Acceptance {
    findings.isForeign = true
    const header = checkHeader(jws.header, profile)
    const claims = profile.readClaims(jws.claims, jws)
    checkKnown(keys)
    const key = findKey(keys, header.kid)
    findings.key = key
    checkAlgorithm(key, header.alg)
    checkVouching(key, claims, question, world)
    checkSignature(key, jws, findings)
    checkStanding(key, claims, question, world)
    checkSender(key, claims, question, world.confirmation)
    checkFresh(world)
    return {
      claims,
      payload: jws.claims,
      key,
      place: undefined,
      foreign: issuer,
      validFrom: validFrom(claims, question, world),
      validUntil: validUntil(claims, question, world),
    }
  }

  function judgeAgain({ claims, key: { kid } }: Acceptance, question: Question, world: World): number {
    checkKnown(keys)
    const key = findKey(keys, kid)
    checkVouching(key, claims, question, world)
    checkStanding(key, claims, question, world)
    checkFresh(world)
    return validUntil(claims, question, world)
  }

  function checkVouching(key: ForeignKey, claims: Claims, question: Question, world: World): void {
    const scoped = scopedBy(profile.tokenType, key, claims)
    if (deniedBy(world.manifest)?.kids.has(key.kid)) throw new Refusal('key_blocked', { kid: key.kid })
    checkIssuerScope(key, scoped)
    checkAudience(key, claims.audiences, question.audiences)
    // Before the signature, so that whoever makes long tokens at home raises no alarm here.
    checkLifetime(key, scoped)
  }

  function checkStanding(key: ForeignKey, claims: Claims, question: Question, world: World): void {
    checkTime(key, claims, world.now, question.clockToleranceSeconds)
    if (deniedBy(world.manifest)?.cutoffs.some((cutoff) => isCutOff(cutoff, key, claims)))
      throw new Refusal('issued_before_cutoff', { kid: key.kid })
    checkDenials(key, claims, world.denials)
  }

  /** A kill that has not come yet may be on its way: without word from the authority nothing is accepted. */
  function checkFresh(world: World): void {
    if (!hasAuthority) return
    if (world.manifest === undefined) refuse('manifest_stale', 'there is no word from the authority yet')
    checkFreshness(world.manifest, world)
  }

  /** What of a manifest reaches this issuer's keys; worked out once for each manifest. */
  function deniedBy(manifest: Manifest | undefined): Denied | undefined {
    if (manifest === undefined) return undefined
    if (denied?.manifest === manifest) return denied
    const { blocked, cutoffs } = manifest.foreign
    const reaches = ({ issuer: named }: { readonly issuer: string }): boolean => profile.sharesKeysWith(named)
    const kids = new Set(blocked.filter(reaches).map(({ kid }) => kid))
    denied = { manifest, kids, cutoffs: cutoffs.filter(reaches) }
    return denied
  }

  const issuer: OpenIssuer = {
    issuer: profile.issuer,
    tokenType: profile.tokenType,
    speaksFor: (named) => fitsIssuer(profile.issuer, named),
    judge,
    judgeAgain,
    stands: ({ key }) => !keys.isStale && keys.find(key.kid) === key,
    strange,
    ready: keys.ready,
    stop: keys.stop,
  }
  return issuer
}

interface Denied {
  readonly manifest: Manifest
  readonly kids: ReadonlySet<string>
  readonly cutoffs: readonly ForeignCutoff[]
}

function strange(issuer: JsonValue | undefined): Refusal {
  if (typeof issuer !== 'string') return new Refusal('malformed', { hint: 'it has no iss that is a text' })
  return new Refusal('issuer_mismatch', { hint: 'the issuer is none of those configured here' })
}

/** What a header of a provider asks us to look up or unpack is refused, whatever it means; so is a list of what is critical. */
function checkHeader(
  header: JsonObject,
  { headerTypes, headerMembers, hintFor, advice = '' }: ForeignProfile,
): { readonly alg: Algorithm; readonly kid: string | undefined } {
  const { alg, typ, kid } = header
  if (!algorithms.includes(alg as Algorithm)) throw new Refusal('alg_not_allowed')
  for (const name of Object.keys(header)) {
    if (name !== 'alg' && name !== 'typ' && name !== 'kid' && !headerMembers.includes(name))
      refuse('header_not_allowed', hintFor?.(header) ?? `it is ${nameable(name, registeredMembers)}`)
    if (typeof header[name] !== 'string') refuse('malformed', `${name} of its header is no text`)
  }
  const type = typ === undefined ? undefined : mediaType(typ as string)
  if (!headerTypes.includes(type)) {
    const asked = headerTypes.map((each) => each ?? 'none').join(' or ')
    refuse('type_mismatch', `its typ is ${nameable(type, knownTypes)}, and should be ${asked}${advice}`)
  }
  return { alg: alg as Algorithm, kid: kid as string | undefined }
}

/** Members that a header may have by RFC 7515, 7516, 7797 and by what providers do. */
const registeredMembers = [
  'jku',
  'jwk',
  'x5u',
  'x5c',
  'x5t',
  'x5t#S256',
  'cty',
  'crit',
  'b64',
  'enc',
  'zip',
].concat(['nonce', 'iss', 'aud', 'sub', 'ver', 'rcpt', 'trust_chain', 'svt'])
const knownTypes = ['jwt', 'at+jwt', 'logout+jwt', 'secevent+jwt', 'dpop+jwt', 'token-introspection+jwt']

/** Of a stranger's words only those that we know anyway. */
function nameable(word: string | undefined, known: readonly string[]): string {
  if (word === undefined) return 'none'
  return known.includes(word) ? word : 'another'
}

/** Without a set, or with one that nobody has confirmed for too long, no key can be told from a stolen one. */
function checkKnown(keys: KeyFollower): void {
  if (keys.isStale) refuse('manifest_stale', 'no key set of its issuer has come, or none for too long')
}

function findKey(keys: KeyFollower, kid: string | undefined): ForeignKey {
  if (kid === undefined) return refuse('unknown_key', 'its header has no kid')
  const key = keys.find(kid)
  if (key !== undefined) return key
  // It may be new: the set is asked for again, and this token is refused all the same.
  keys.miss()
  return refuse('unknown_key', 'its issuer publishes no such key')
}

function checkAlgorithm({ kid, algorithm }: ForeignKey, named: Algorithm): void {
  if (named !== algorithm)
    throw new Refusal('key_out_of_scope', { kid, hint: `it is ${algorithm}, and alg ${named}` })
}

function checkLifetime({ kid, lifetimeSecondsMax }: ForeignKey, { lifetimeSeconds }: ScopedClaims): void {
  const hint = `longer than ${lifetimeSecondsMax} seconds; see lifetimeSecondsMax`
  if (lifetimeSeconds > lifetimeSecondsMax) throw new Refusal('lifetime_too_long', { kid, hint })
}

function scopedBy(type: TokenType, { algorithm }: ForeignKey, claims: Claims): ScopedClaims {
  const { issuer, tenant, audiences, issuedAt, expiresAt } = claims
  return { type, algorithm, issuer, tenant, audiences, lifetimeSeconds: (expiresAt ?? issuedAt) - issuedAt }
}

/** A template means all of its issuers, an issuer itself alone: a cutoff of one tenant leaves the others in peace. */
function isCutOff(
  { issuer, tenant, subject, before }: ForeignCutoff,
  key: ForeignKey,
  claims: Claims,
): boolean {
  return (
    claims.issuedAt < before &&
    fitsIssuer(issuer, claims.issuer) &&
    (tenant === undefined || tenant === tenantFor(key, claims)) &&
    (subject === undefined || subject === claims.subject)
  )
}

function validFrom(claims: Claims, { clockToleranceSeconds }: Question, { manifest }: World): number {
  return Math.max(
    startOf(claims) - clockToleranceSeconds,
    (manifest?.issuedAt ?? 0) - CLOCK_BEHIND_SECONDS_MAX,
  )
}

function validUntil(claims: Claims, { clockToleranceSeconds }: Question, { manifest }: World): number {
  return Math.min(endOf(claims) + clockToleranceSeconds, manifest?.expiresAt ?? Number.POSITIVE_INFINITY)
}
