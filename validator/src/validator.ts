/**
 * The validator of a protected service. It decides synchronously and offline, from the trust state that its source
 * holds at that moment:
 *
 *     const validator = createValidator({ realm: 'enterprise', audience: 'https://mail.example', trust })
 *     const token = validator.validate(bearer)      // a ValidatedToken, or a Refusal is thrown
 *
 * The decision itself is `judge` in verdict.ts. Added here: what may not be left open, the cache of verdicts, and the
 * sighting that goes out with every decision.
 * @module
 */

import { BoundedCache } from './cache.ts'
import type { SecurityEvent } from './claims.ts'
import { type Confirmation, isSender } from './confirmation.ts'
import type { DenialSource } from './denials.ts'
import { headerTypes, type TokenType } from './entry.ts'
import { type Hold, hold, type NewsSource } from './hold.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { tokenLimits } from './jws.ts'
import type { TrustSource, TrustState } from './manifest.ts'
import { VerifiedRoots } from './receipt.ts'
import { type Reason, Refusal } from './refusal.ts'
import { tenantFor } from './scope.ts'
import type { Sighting } from './sighting.ts'
import {
  type Acceptance,
  denialOf,
  type Findings,
  investigate,
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

export interface ValidatorOptions {
  /** The realms whose keys may vouch here. */
  readonly realm: string | readonly string[]
  /** The names that this service goes by in `aud`, compared as text. */
  readonly audience: string | readonly string[]
  readonly trust: TrustSource | NewsSource
  readonly tokenType?: Exclude<TokenType, 'manifest'>
  /** Without word from the authority for longer than this, everything is refused. */
  readonly maxStaleSeconds?: number
  readonly clockToleranceSeconds?: number
  /**
   * Realms of which only tokens that are bound to a key or certificate are taken; `true` for all. Proofs are checked by a
   * guard: see dpop.ts and mtls.ts. `connectValidator` asks it of the realm `enterprise`.
   */
  readonly requireBinding?: boolean | readonly string[]
  readonly [acceptWithoutReceipt]?: string
  /** Tokens that somebody else has ended: a foreign transmitter (ssf.ts), a list of one's own. Left out: the manifest decides. */
  readonly denials?: DenialSource | undefined
  /** Hears of every decision; must not throw. */
  readonly onSighting?: (sighting: Sighting) => void
  /** Seconds since the epoch. */
  readonly now?: () => number
}

/** What is known of who sent the token. */
export interface Sender {
  /** Given where a proof of possession came with the request and was verified. */
  readonly confirmation?: Confirmation | undefined
  /** Where the request came from; for the sighting alone. */
  readonly network?: string | undefined
}

export type Decision =
  | { readonly accepted: true; readonly token: ValidatedToken }
  | { readonly accepted: false; readonly refusal: Refusal }

export interface Validator {
  /** Throws `Refusal`. */
  validate(token: string, sender?: Sender): ValidatedToken
  decide(token: string, sender?: Sender): Decision
  /** Watches over a token that it accepted, for what outlives the request: see hold.ts. */
  hold(token: ValidatedToken): Hold
}

const CACHED_VERDICTS_MAX = 10_000
const CLOCK_TOLERANCE_SECONDS_MAX = 60
/** A validator that may decide by older trust has in effect none. */
const MAX_STALE_SECONDS_MAX = 24 * 3600
/** Each costs a signature or two for a token that is refused anyway, so a flood may not buy more of them. */
const INVESTIGATIONS_PER_SECOND_MAX = 1000

interface Cached {
  readonly token: ValidatedToken
  readonly acceptance: Acceptance
  /** The last segment with its dot. */
  readonly signature: string
  /** The last one that went out. */
  sighting: Sighting | undefined
}

/** Throws `TypeError` where something that decides trust is left open, or an option is not known. */
export function createValidator(options: ValidatorOptions): Validator {
  const { question, trust, maxStaleSeconds, denials, onSighting, clock } = readOptions(options)
  const verifiedRoots = new VerifiedRoots()
  const cache = new BoundedCache<Cached>(CACHED_VERDICTS_MAX)
  let cachedUnder: TrustState | undefined
  let investigationSecond = 0
  let investigationCount = 0

  function validate(token: string, sender: Sender = {}): ValidatedToken {
    const state = trust.state
    if (state !== cachedUnder) {
      cache.clear()
      cachedUnder = state
    }
    const world = worldNow(sender.confirmation)
    // By the signing input: signature and base64 are malleable, and a twin of a token must not be another one.
    const input = isReadable(token) ? token.slice(0, token.lastIndexOf('.')) : ''
    const cached = cache.get(input)
    if (cached !== undefined && isStillGood(cached, token, world)) return recall(cached, sender, world)
    return decideAnew(token, input, sender, world)
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
    }
  }

  function recall(cached: Cached, { network }: Sender, { now }: World): ValidatedToken {
    if (onSighting !== undefined && cached.sighting !== undefined && cached.sighting.network !== network) {
      cached.sighting = { ...cached.sighting, at: milliseconds(now), network }
      onSighting(cached.sighting)
    }
    return cached.token
  }

  function decideAnew(token: string, input: string, { network }: Sender, world: World): ValidatedToken {
    const findings: Findings = {}
    try {
      const acceptance = judge(token, question, world, findings)
      const validated = new ValidatedToken(acceptance)
      const sighting = onSighting && sightingOf('accepted', findings, world, network)
      cache.set(input, { token: validated, acceptance, signature: token.slice(input.length), sighting })
      if (sighting !== undefined) onSighting?.(sighting)
      return validated
    } catch (error) {
      if (error instanceof Refusal && onSighting !== undefined) {
        investigate(findings, world, () => mayInvestigate(world.now))
        onSighting(sightingOf(error.reason, findings, world, network))
      }
      throw error
    }
  }

  function mayInvestigate(now: number): boolean {
    const second = Math.floor(now)
    if (second !== investigationSecond) {
      investigationSecond = second
      investigationCount = 0
    }
    return ++investigationCount <= INVESTIGATIONS_PER_SECOND_MAX
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
        judge: () => judgeAgain(acceptanceOf(token), question, worldNow(undefined)),
        trust,
        maxStaleSeconds,
        now: clock,
      }),
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
    freeze(acceptance.payload)
    freeze(acceptance.claims)
  }

  /** All claims, as they were signed. */
  get claims(): JsonObject {
    return this.#acceptance.payload
  }
  get issuer(): string {
    return this.#acceptance.claims.issuer
  }
  /** Whom the token is about: unique together with `issuer`, and only so. */
  get subject(): string {
    return claimed(this.#acceptance.claims.subject)
  }
  get tenant(): string {
    const { key, claims } = this.#acceptance
    return claimed(tenantFor(key, claims))
  }
  get audiences(): readonly string[] {
    return this.#acceptance.claims.audiences
  }
  get scopes(): readonly string[] {
    return this.#acceptance.claims.scopes
  }
  get clientId(): string | undefined {
    return this.#acceptance.claims.clientId
  }
  get tokenId(): string {
    return this.#acceptance.claims.tokenId
  }
  /** Seconds since the epoch. */
  get issuedAt(): number {
    return this.#acceptance.claims.issuedAt
  }
  get expiresAt(): number {
    return claimed(this.#acceptance.claims.expiresAt)
  }
  /** What a SET tells of. */
  get event(): SecurityEvent {
    return claimed(this.#acceptance.claims.event)
  }
  get kid(): string {
    return this.#acceptance.key.kid
  }
  get realm(): string {
    return this.#acceptance.key.realm
  }
  /** Where the log holds the issuance; undefined only under `acceptWithoutReceipt`. */
  get receipt(): LogPlace | undefined {
    return this.#acceptance.place
  }
}

export type { LogPlace, ValidatedToken }

/** A validator says which type of token it takes, so whoever asks a SET for `sub` has made a mistake. */
function claimed<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new TypeError('a token of this type has no such claim')
  return value
}

/** Whether nothing but the trust state, which the cache hangs on, could give another verdict now. */
function isStillGood({ acceptance, signature }: Cached, token: string, world: World): boolean {
  const { claims, key, validFrom, validUntil } = acceptance
  return (
    // Another signature over the same input may be no signature at all.
    token.endsWith(signature) &&
    world.now >= validFrom &&
    world.now < validUntil &&
    !world.stale &&
    isSender(claims, world.confirmation) &&
    denialOf(key, claims, world.denials) === undefined
  )
}

function isReadable(token: string): boolean {
  return typeof token === 'string' && token.length <= tokenLimits.tokenCharactersMax
}

function freeze(value: JsonValue | object | undefined): void {
  if (typeof value !== 'object' || value === null) return
  Object.freeze(value)
  for (const member of Object.values(value)) freeze(member)
}

/** What may be told of a token: names and places, never the token, and of a stranger's words only what is short. */
function sightingOf(
  verdict: 'accepted' | Reason,
  { jws, key, signatureValid, receiptValid, place }: Findings,
  { now, manifest }: World,
  network: string | undefined,
): Sighting {
  const header: JsonObject = jws?.header ?? {}
  const claims: JsonObject = jws?.claims ?? {}
  return {
    verdict,
    at: milliseconds(now),
    manifestVersion: manifest?.version,
    realm: key?.realm,
    kid: key?.kid ?? thumbprintOr(header['kid']),
    issuer: short(claims['iss']),
    tenant: short(claims['tid']),
    tokenType: tokenTypeOf(header['typ']),
    signatureValid,
    receiptValid,
    ...place,
    network,
  }
}

function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000)
}

const WORD_CHARACTERS_MAX = 256

function short(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value.length <= WORD_CHARACTERS_MAX ? value : undefined
}

function thumbprintOr(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && /^[\w-]{43}$/.test(value) ? value : undefined
}

interface Settings {
  readonly question: Question
  readonly trust: TrustSource | NewsSource
  readonly maxStaleSeconds: number
  readonly denials: DenialSource | undefined
  readonly onSighting: ((sighting: Sighting) => void) | undefined
  readonly clock: () => number
}

const optionNames: ReadonlySet<string | symbol> = new Set<keyof ValidatorOptions>([
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

function readOptions(options: ValidatorOptions): Settings {
  // A limit with a typing error in its name is a limit that nobody keeps.
  for (const name of Reflect.ownKeys(options)) {
    if (!optionNames.has(name)) throw new TypeError(`createValidator knows no option ${String(name)}`)
  }
  const { trust, tokenType = 'access', maxStaleSeconds = 60, clockToleranceSeconds = 5 } = options
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
  const realms = readNames('realm', options.realm)
  return {
    question: {
      realms,
      audiences: readNames('audience', options.audience),
      tokenType,
      receiptRequired: !isWeakened(
        acceptWithoutReceipt,
        options[acceptWithoutReceipt],
        'a validator accepts tokens without receipt',
      ),
      boundRealms: readBoundRealms(options.requireBinding, realms, tokenType),
      clockToleranceSeconds,
    },
    trust,
    maxStaleSeconds,
    denials: readDenials(options.denials),
    onSighting: options.onSighting,
    clock: options.now ?? (() => Date.now() / 1000),
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

function readNames(option: string, value: string | readonly string[]): readonly string[] {
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
