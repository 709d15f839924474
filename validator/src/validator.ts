/**
 * The validator of a protected service. It decides synchronously and offline, from the trust state that its source
 * holds at that moment:
 *
 *     const validator = createValidator({ realm: 'enterprise', audience: 'https://mail.example', trust })
 *     const token = validator.validate(bearer)      // a ValidatedToken, or a Refusal is thrown
 *
 * With `issuers` it also takes tokens of identity providers that are not ours, by keys that it follows in the background:
 *
 *     const validator = createValidator({ issuers: [entra({ tenants })], audience, [acceptWithoutReceipt]: 'they have none' })
 *     await validator.ready(15_000)
 *
 * The decision itself is `judge` in verdict.ts. Added here: what may not be left open, the cache of verdicts, and the
 * sighting that goes out with every decision.
 * @module
 */

import { sha256 } from '#platform'
import { encode } from './base64url.ts'
import { BoundedCache } from './cache.ts'
import type { SecurityEvent } from './claims.ts'
import { type Confirmation, isSender } from './confirmation.ts'
import type { DenialSource } from './denials.ts'
import { headerTypes, type TokenType } from './entry.ts'
import type { ForeignIssuer, OpenIssuer } from './foreign.ts'
import { type Hold, hold, type NewsSource } from './hold.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { parseCompact, tokenLimits } from './jws.ts'
import type { TrustSource, TrustState } from './manifest.ts'
import { keyName } from './members.ts'
import { refuseUnknown } from './options.ts'
import { VerifiedRoots } from './receipt.ts'
import { type Reason, Refusal } from './refusal.ts'
import { fitsIssuer, tenantFor } from './scope.ts'
import { type Sighting, sightedFingerprint, sightedKey, sightedNetwork } from './sighting.ts'
import {
  type Acceptance,
  denialOf,
  type Findings,
  investigate,
  investigateForeign,
  judge,
  judgeAgain,
  type LogPlace,
  type Question,
  tokenTypeOf,
  type World,
} from './verdict.ts'
import { isWeakened } from './weakened.ts'

/** Weakens a validator: tokens that carry no receipt are accepted. The value says why, and is warned of at start. */
export const acceptWithoutReceipt: unique symbol = Symbol('acceptWithoutReceipt')

/** Of a validator of our own tokens alone. */
export interface ValidatorOptions extends CommonOptions {
  /** The realms whose keys may vouch here. */
  readonly realm: string | readonly string[]
  /** Where keys and their states come from: a follower of the authority. It may have nothing yet, and then everything is refused. */
  readonly trust: TrustSource | NewsSource
}

/** Of a validator that takes tokens of other issuers too, or of them alone. */
export interface ForeignValidatorOptions extends CommonOptions {
  /** Identity providers that are not ours: see issuers.ts. */
  readonly issuers: readonly ForeignIssuer[]
  /** Tokens of theirs have no receipt. Where `realm` is given, its tokens need theirs all the same. */
  readonly [acceptWithoutReceipt]: string
  /** Our own realms whose keys may vouch here as well. */
  readonly realm?: string | readonly string[] | undefined
  /** Keys that our authority denies die here at once. Left out: only their owners can end them. */
  readonly trust?: TrustSource | NewsSource | undefined
  /** A key set did not come, or has something in it that is no key; it will be asked for again. */
  readonly onProblem?: ((problem: Error) => void) | undefined
}

interface CommonOptions {
  /** The names that this service goes by in `aud`, compared as text. */
  readonly audience: string | readonly string[]
  /** The one type of token that is taken, by its `typ`. Left out: `access`. */
  readonly tokenType?: Exclude<TokenType, 'manifest'>
  /** Without word from the authority for longer than this, everything is refused. From 1 to 86,400; left out: 60. */
  readonly maxStaleSeconds?: number
  /** How far the clocks of issuer and service may differ, for `exp`, `nbf` and `iat`. From 0 to 60; left out: 5. */
  readonly clockToleranceSeconds?: number
  /**
   * Realms of which only tokens that are bound to a key or certificate are taken; `true` for all. Proofs are checked by a
   * guard: see dpop.ts and mtls.ts. `connectValidator` asks it of the realm `enterprise`.
   */
  readonly requireBinding?: boolean | readonly string[]
  /** Why tokens without a receipt are accepted. Left out: they are not. */
  readonly [acceptWithoutReceipt]?: string
  /** Tokens that somebody else has ended: a foreign transmitter (ssf.ts), a list of one's own. Left out: the manifest decides. */
  readonly denials?: DenialSource | undefined
  /** Hears of every decision; must not throw. */
  readonly onSighting?: (sighting: Sighting) => void
  /** The clock, in seconds since the epoch. Left out: the system's. */
  readonly now?: () => number
}

/** What is known of who sent the token. */
export interface Sender {
  /** Given where a proof of possession came with the request and was verified. */
  readonly confirmation?: Confirmation | undefined
  /** Where the request came from; for the sighting alone, as are the two below. */
  readonly network?: string | undefined
  /** The request's `User-Agent`. Only a hash of it is told. */
  readonly userAgent?: string | undefined
  /** How the sender speaks TLS, as a proxy names it: JA4 or the like. */
  readonly fingerprint?: string | undefined
}

/** What came of a token: it, proven to be good, or why it is not. */
export type Decision =
  | { readonly accepted: true; readonly token: ValidatedToken }
  | { readonly accepted: false; readonly refusal: Refusal }

/**
 * Decides about tokens, synchronously and asking nobody. A fault of the world is thrown as it is, and never taken for
 * a verdict.
 */
export interface Validator {
  /** Takes a compact JWS as it came. Throws `Refusal`, whose `reason` is the first that applies. */
  validate(token: string, sender?: Sender): ValidatedToken
  /** The same, with the refusal given instead of thrown. */
  decide(token: string, sender?: Sender): Decision
  /** Watches over a token that it accepted, for what outlives the request: see hold.ts. */
  hold(token: ValidatedToken): Hold
}

/** A validator that follows the keys of other issuers, until it is stopped. */
export interface ForeignValidator extends Validator {
  /**
   * Settles when each of them has shown its keys; until then its tokens are refused as `manifest_stale`. Rejects when one has
   * shown none after so long, with its last problem as cause; without a limit it waits for ever, and keeps no process alive.
   */
  ready(milliseconds?: number): Promise<void>
  /** Follows no keys any more. */
  stop(): void
}

/** Of whom nothing is known. */
const nobody: Sender = {}

const CACHED_VERDICTS_MAX = 10_000
const CLOCK_TOLERANCE_SECONDS_MAX = 60
/** A validator that may decide by older trust has in effect none. */
const MAX_STALE_SECONDS_MAX = 24 * 3600
/** Each costs a signature or two for a token that is refused anyway, so a flood may not buy more of them. */
const INVESTIGATIONS_PER_SECOND_MAX = 1000

interface Cached {
  readonly token: ValidatedToken
  /** The last one that went out, and who it was about. */
  sighting: Sighting | undefined
  sender: Sender
}

/**
 * Makes a validator: of tokens of our own realms, of issuers that are not ours, or of both. Throws `TypeError` where something that
 * decides trust is left open, or an option is not known.
 */
export function createValidator(options: ForeignValidatorOptions): ForeignValidator
export function createValidator(options: ValidatorOptions): Validator
export function createValidator(options: ValidatorOptions | ForeignValidatorOptions): ForeignValidator {
  const { question, trust, maxStaleSeconds, denials, onSighting, clock, issuers } = readOptions(options)
  const verifiedRoots = new VerifiedRoots()
  const cache = new BoundedCache<Cached>(CACHED_VERDICTS_MAX)
  let cachedUnder: TrustState | undefined
  let investigationSecond = 0
  let investigationCount = 0

  function validate(token: string, sender: Sender = nobody): ValidatedToken {
    const state = trust.state
    if (state !== cachedUnder) {
      cache.clear()
      cachedUnder = state
    }
    const world = worldNow(sender.confirmation)
    // By all of its text: another signature over the same input may be no signature at all.
    const cached = isReadable(token) ? cache.get(token) : undefined
    if (cached !== undefined && isStillGood(cached.token, world)) return recall(cached, sender, world)
    return decideAnew(token, sender, world)
  }

  function worldNow(confirmation: Confirmation | undefined): World {
    return {
      now: clock(),
      manifest: trust.state?.manifest,
      // Written so that an age which is no number counts as too old.
      stale: !(trust.ageSeconds() <= maxStaleSeconds),
      confirmation,
      denials,
      verifiedRoots,
      roots: trust.roots,
    }
  }

  function recall(cached: Cached, sender: Sender, { now }: World): ValidatedToken {
    if (onSighting !== undefined && cached.sighting !== undefined && !isSame(cached.sender, sender)) {
      cached.sender = sender
      cached.sighting = { ...cached.sighting, at: milliseconds(now), ...hintsOf(sender) }
      onSighting(cached.sighting)
    }
    return cached.token
  }

  function decideAnew(token: string, sender: Sender, world: World): ValidatedToken {
    const findings: Findings = {}
    try {
      const acceptance = judgeAny(token, world, findings)
      const validated = new ValidatedToken(acceptance)
      const sighting = onSighting && sightingOf('accepted', findings, world, sender)
      cache.set(token, { token: validated, sighting, sender })
      if (sighting !== undefined) onSighting?.(sighting)
      return validated
    } catch (error) {
      if (error instanceof Refusal && onSighting !== undefined) {
        let isInvestigated = false
        const mayVerify = (): boolean => {
          isInvestigated = mayInvestigate(world.now)
          return isInvestigated
        }
        if (findings.isForeign) investigateForeign(findings, error.reason, mayVerify)
        else investigate(findings, world, mayVerify)
        // Afterwards: a verdict that has to wait for a signature begins again.
        if (isInvestigated) investigationCount++
        onSighting(sightingOf(error.reason, findings, world, sender))
      }
      throw error
    }
  }

  function judgeAny(token: string, world: World, findings: Findings): Acceptance {
    const [anyIssuer] = issuers
    if (anyIssuer === undefined) return judge(token, question, world, findings)
    const jws = parseCompact(token)
    const { iss } = jws.claims
    if (typeof iss !== 'string') throw anyIssuer.strange(iss)
    // Nobody's configuration can take an issuer of ours for one that needs no receipt.
    const foreign = isOurs(iss) ? undefined : issuers.find((issuer) => issuer.speaksFor(iss))
    findings.jws = jws
    if (foreign !== undefined) return foreign.judge(jws, question, world, findings)
    if (question.realms.length === 0) throw anyIssuer.strange(iss)
    return judge(token, question, world, findings)
  }

  function isOurs(issuer: string): boolean {
    const realms = trust.state?.charter.realms.values() ?? []
    return [...realms].some((realm) => realm.issuers.some((template) => fitsIssuer(template, issuer)))
  }

  function mayInvestigate(now: number): boolean {
    const second = Math.floor(now)
    if (second !== investigationSecond) {
      investigationSecond = second
      investigationCount = 0
    }
    return investigationCount < INVESTIGATIONS_PER_SECOND_MAX
  }

  function decide(token: string, sender?: Sender): Decision {
    try {
      return { accepted: true, token: validate(token, sender) }
    } catch (error) {
      if (error instanceof Refusal) return { accepted: false, refusal: error }
      throw error
    }
  }

  return {
    validate,
    decide,
    hold: (token) =>
      hold({
        judge: () => {
          const accepted = acceptanceOf(token)
          return (accepted.foreign?.judgeAgain ?? judgeAgain)(accepted, question, worldNow(undefined))
        },
        trust,
        maxStaleSeconds,
        now: clock,
      }),
    ready: async (milliseconds) => {
      await Promise.all(issuers.map((issuer) => issuer.ready(milliseconds)))
    },
    stop: () => {
      for (const issuer of issuers) issuer.stop()
    },
  }
}

let acceptanceOf: (token: ValidatedToken) => Acceptance

/**
 * A token that was found to be good: proof of the check, for whatever acts on it to ask for. Only `validate` makes
 * one, and it cannot be changed, since everybody who shows the token gets the same.
 */
class ValidatedToken {
  readonly #acceptance: Acceptance

  static {
    acceptanceOf = (token) => token.#acceptance
  }

  constructor(acceptance: Acceptance) {
    this.#acceptance = acceptance
  }

  /** All claims, as they were signed. */
  get claims(): JsonObject {
    return frozen(this.#acceptance.payload)
  }
  /** `iss`. */
  get issuer(): string {
    return this.#acceptance.claims.issuer
  }
  /** Whom the token is about: unique together with `issuer`, and only so. */
  get subject(): string {
    return claimed(this.#acceptance.claims.subject)
  }
  /** `tid`, found to be a tenant that the key may speak for. */
  get tenant(): string {
    const { key, claims } = this.#acceptance
    return claimed(tenantFor(key, claims))
  }
  /** `aud`, as a list; one of them is this service. */
  get audiences(): readonly string[] {
    return frozen(this.#acceptance.claims.audiences)
  }
  /** `scope`, taken apart; empty where there is none. */
  get scopes(): readonly string[] {
    return frozen(this.#acceptance.claims.scopes)
  }
  /** `client_id`: the application that the token was given to. */
  get clientId(): string | undefined {
    return this.#acceptance.claims.clientId
  }
  /** `jti`, unique together with `issuer`. */
  get tokenId(): string {
    return this.#acceptance.claims.tokenId
  }
  /** `iat`, in seconds since the epoch. */
  get issuedAt(): number {
    return this.#acceptance.claims.issuedAt
  }
  /** `exp`, in seconds since the epoch. */
  get expiresAt(): number {
    return claimed(this.#acceptance.claims.expiresAt)
  }
  /** What a SET tells of. */
  get event(): SecurityEvent {
    return frozen(claimed(this.#acceptance.claims.event))
  }
  /** The key that signed it: an RFC 7638 thumbprint, or the name that a foreign issuer gave it. */
  get kid(): string {
    return this.#acceptance.key.kid
  }
  /** Of a token that is not of a realm of ours, its issuer; a template, where that has one for its tenants. */
  get realm(): string {
    return this.#acceptance.key.realm
  }
  /** Where the log holds the issuance; undefined only under `acceptWithoutReceipt`. */
  get receipt(): LogPlace | undefined {
    const { place } = this.#acceptance
    return place && frozen(place)
  }
}

export type { LogPlace, ValidatedToken }

/** A validator says which type of token it takes, so whoever asks a SET for `sub` has made a mistake. */
function claimed<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new TypeError('a token of this type has no such claim')
  return value
}

/** Whether nothing but the trust state, which the cache hangs on, could give another verdict now. */
function isStillGood(token: ValidatedToken, world: World): boolean {
  const acceptance = acceptanceOf(token)
  const { claims, key, foreign, validFrom, validUntil } = acceptance
  return (
    world.now >= validFrom &&
    world.now < validUntil &&
    !world.stale &&
    (foreign === undefined || foreign.stands(acceptance)) &&
    isSender(claims, world.confirmation) &&
    denialOf(key, claims, world.denials) === undefined
  )
}

function isReadable(token: string): boolean {
  return typeof token === 'string' && token.length <= tokenLimits.tokenCharactersMax
}

/** Only what is asked for: most services ask for two or three words of a token. */
function frozen<Value extends object>(value: Value): Value {
  if (Object.isFrozen(value)) return value
  for (const member of Object.values(value)) if (typeof member === 'object' && member !== null) frozen(member)
  return Object.freeze(value)
}

/** What may be told of a token: names and places, never the token, and of a stranger's words only what is short. */
function sightingOf(
  verdict: 'accepted' | Reason,
  { jws, key, isForeign, signatureValid, receiptValid, place }: Findings,
  { now, manifest }: World,
  sender: Sender,
): Sighting {
  const header: JsonObject = jws?.header ?? {}
  const claims: JsonObject = jws?.claims ?? {}
  return {
    verdict,
    at: milliseconds(now),
    manifestVersion: manifest?.version,
    realm: isForeign ? undefined : key?.realm,
    kid: isForeign ? match(sightedKey, key?.kid) : (key?.kid ?? match(keyName, header['kid'])),
    issuer: match(shortWord, claims['iss']),
    tenant: match(shortWord, claims['tid']),
    // What others call their types says nothing about what they are.
    tokenType: isForeign ? undefined : tokenTypeOf(header['typ']),
    signatureValid,
    receiptValid,
    ...place,
    ...hintsOf(sender),
  }
}

function hintsOf({
  network,
  userAgent,
  fingerprint,
}: Sender): Pick<Sighting, 'network' | 'agent' | 'fingerprint'> {
  return {
    // Behind a proxy that passes on what it was told, this is the sender's word too.
    network: match(sightedNetwork, network),
    agent: userAgent === undefined ? undefined : encode(sha256(userAgent).subarray(0, 16)),
    fingerprint: match(sightedFingerprint, fingerprint),
  }
}

/** Shown again by the same sender, a token is no news. */
function isSame(one: Sender, other: Sender): boolean {
  return (
    one.network === other.network &&
    one.userAgent === other.userAgent &&
    one.fingerprint === other.fingerprint
  )
}

function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000)
}

/** What takes the room of six characters in a report does not count as one. */
const shortWord = /^[^\p{C}]{1,256}$/u

function match(pattern: RegExp, value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && pattern.test(value) ? value : undefined
}

interface Settings {
  readonly question: Question
  readonly trust: TrustSource | NewsSource
  readonly maxStaleSeconds: number
  readonly denials: DenialSource | undefined
  readonly onSighting: ((sighting: Sighting) => void) | undefined
  readonly clock: () => number
  readonly issuers: readonly OpenIssuer[]
}

const optionNames: ReadonlySet<string | symbol> = new Set<
  keyof ValidatorOptions | keyof ForeignValidatorOptions
>([
  'issuers',
  'onProblem',
  'realm',
  'audience',
  'trust',
  'tokenType',
  'maxStaleSeconds',
  'clockToleranceSeconds',
  'requireBinding',
  acceptWithoutReceipt,
  'denials',
  'onSighting',
  'now',
])

/** Where nobody of ours has a say, nothing grows stale. */
const noTrust: TrustSource = { state: undefined, ageSeconds: () => 0 }

function readOptions(options: ValidatorOptions | ForeignValidatorOptions): Settings {
  refuseUnknown('createValidator', options, optionNames)
  const isForeign = 'issuers' in options
  const { tokenType = 'access', maxStaleSeconds = 60, clockToleranceSeconds = 5 } = options
  const isOwn = !isForeign || options.realm !== undefined
  const trust = options.trust ?? (isOwn ? undefined : noTrust)
  if (typeof trust?.ageSeconds !== 'function') throw new TypeError('trust is missing')
  if (!Object.hasOwn(headerTypes, tokenType) || (tokenType as TokenType) === 'manifest') {
    throw new TypeError('tokenType is not one that a validator decides about')
  }
  if (!isWithin(maxStaleSeconds, 1, MAX_STALE_SECONDS_MAX)) {
    throw new TypeError(`maxStaleSeconds is not between 1 and ${MAX_STALE_SECONDS_MAX}`)
  }
  if (!isWithin(clockToleranceSeconds, 0, CLOCK_TOLERANCE_SECONDS_MAX)) {
    throw new TypeError(`clockToleranceSeconds is not between 0 and ${CLOCK_TOLERANCE_SECONDS_MAX}`)
  }
  const realms = isOwn ? readNames('realm', options.realm) : []
  const isUnreceipted = isWeakened(
    acceptWithoutReceipt,
    options[acceptWithoutReceipt],
    'a validator accepts tokens without receipt',
  )
  const issuers = isForeign ? openIssuers(options, tokenType, isUnreceipted) : []
  const bindable = [...realms, ...issuers.map(({ issuer }) => issuer)]
  return {
    question: {
      realms,
      audiences: readNames('audience', options.audience),
      tokenType,
      // The reason speaks of the others, who have none; ours do.
      receiptRequired: isForeign || !isUnreceipted,
      boundRealms: readBoundRealms(options.requireBinding, bindable, tokenType),
      clockToleranceSeconds,
    },
    trust,
    maxStaleSeconds,
    denials: readDenials(options.denials),
    onSighting: options.onSighting,
    clock: options.now ?? (() => Date.now() / 1000),
    issuers,
  }
}

function openIssuers(
  { issuers, trust, onProblem }: ForeignValidatorOptions,
  tokenType: TokenType,
  isUnreceipted: boolean,
): readonly OpenIssuer[] {
  if (!Array.isArray(issuers) || issuers.length === 0) throw new TypeError('issuers is missing')
  if (!isUnreceipted)
    throw new TypeError('tokens of other issuers have no receipt: acceptWithoutReceipt is missing')
  const open: OpenIssuer[] = []
  try {
    for (const issuer of issuers as readonly ForeignIssuer[]) {
      if (typeof issuer?.open !== 'function') throw new TypeError('issuers takes presets: oidc(url)')
      open.push(issuer.open({ hasAuthority: trust !== undefined, onProblem }))
    }
    const unasked = open.find(({ issuer }, at) => open.findIndex((each) => each.speaksFor(issuer)) < at)
    if (unasked !== undefined)
      throw new TypeError(`${unasked.issuer} is named twice, or behind a template for it`)
    const other = open.find((issuer) => issuer.tokenType !== tokenType)
    if (other !== undefined)
      throw new TypeError(`tokens of ${other.issuer} are of tokenType ${other.tokenType}`)
    return open
  } catch (error) {
    for (const issuer of open) issuer.stop()
    throw error
  }
}

/** Given and of no use, it would leave out what somebody believes to be asked. */
function readDenials(denials: DenialSource | undefined): DenialSource | undefined {
  if (denials !== undefined && typeof denials.reasonFor !== 'function')
    throw new TypeError('denials are none')
  return denials
}

function isWithin(value: number, least: number, most: number): boolean {
  return typeof value === 'number' && value >= least && value <= most
}

function readNames(option: string, value: string | readonly string[] | undefined): readonly string[] {
  const names = Array.isArray(value) ? [...value] : [value]
  if (names.length === 0 || !names.every((name) => typeof name === 'string' && name !== '')) {
    throw new TypeError(`${option} is missing`)
  }
  return names
}

function readBoundRealms(
  required: boolean | readonly string[] | undefined,
  realms: readonly string[],
  tokenType: TokenType,
): readonly string[] {
  const bound = required === true ? realms : [...(required || [])]
  // A realm with a typing error in its name is one whose tokens nobody asks to be bound.
  if (!bound.every((realm) => realms.includes(realm)))
    throw new TypeError('requireBinding names a realm that is not taken')
  if (bound.length > 0 && tokenType !== 'access') throw new TypeError('only access tokens are bound')
  return bound
}
