/**
 * The keys of an issuer that is not ours, followed in the background: its metadata (OpenID Connect Discovery) say where its
 * key set is (RFC 7517), and both are fetched again every few minutes. No token has a say in what is fetched, but that a
 * key of an unknown name may bring the next fetch forward.
 *
 * A set that comes takes the place of the one before, so a key that its owner has removed is gone with it; one that does not
 * come takes nothing away, until too much time has passed. A set is read key by key: what is no key for signatures is left
 * out and told of, and the others count.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { DeliveryFault, fetchObject } from './delivery.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import { type Algorithm, InvalidKey, importPublicJwk } from './jws.ts'
import type { KeyScope } from './manifest.ts'
import { foreignName } from './members.ts'
import { parseUrl } from './url.ts'

/** A key with what it may vouch for. */
export interface ForeignKey extends KeyScope {
  readonly publicKey: KeyObject
  /** RFC 7638; `kid` is what its owner calls it. */
  readonly thumbprint: string
}

export interface KeyFollower {
  find(kid: string): ForeignKey | undefined
  /** There is no set, or none was fetched for longer than may be decided by. */
  readonly isStale: boolean
  /** A key was asked for that is not there. */
  miss(): void
  /**
   * Settles when a set has come with a key in it; rejects when it is stopped before, or after so long, with the last problem as
   * cause. Without a limit it keeps no process alive.
   */
  ready(milliseconds?: number): Promise<void>
  stop(): void
}

export interface KeyFollowerOptions {
  /** Where the metadata are, and what they must call the issuer. */
  readonly metadata: { readonly url: string; readonly issuer: string }
  /** Where a key set may be: the origin of the metadata, and these. */
  readonly keyOrigins?: readonly string[] | undefined
  /** What each key of the set may vouch for; `issuer` is the member of that name, undefined where the key has none. */
  readonly scopeOf: (issuer: string | undefined) => Omit<KeyScope, 'kid' | 'algorithm'> | undefined
  /** Allowed for keys of the issuer; the first RSA one is that of an RSA key which names none. */
  readonly algorithms: readonly Algorithm[]
  readonly refreshSeconds?: number | undefined
  /** How old the last set that came may be. */
  readonly ageSecondsMax?: number | undefined
  /** Instead of the origins of all URLs. */
  readonly loopback?: string | undefined
  readonly onProblem?: ((problem: Error) => void) | undefined
  /** Hears of the end of each fetch, good or bad. */
  readonly onFetched?: (() => void) | undefined
  readonly clock?: Clock | undefined
}

export interface Clock {
  /** Milliseconds, on a clock that never jumps. */
  monotonic(): number
  /** Calls back once. Gives back how to prevent that. */
  after(milliseconds: number, act: () => void): () => void
}

const systemClock: Clock = {
  monotonic: () => performance.now(),
  after: (milliseconds, act) => {
    const timer = setTimeout(act, milliseconds).unref()
    return () => clearTimeout(timer)
  },
}

const REFRESH_SECONDS = 300
const AGE_SECONDS_MAX = 3600
/** Whoever sends tokens decides how often a key is missing, and not how often its issuer is asked. */
const PAUSE_MILLISECONDS = 30_000
/** Validators that started together do not come back as one. */
const JITTER = 0.1
const KEYS_MAX = 100
const DOCUMENT_BYTES_MAX = 512 * 1024
/** What a timer can count. */
const READY_MILLISECONDS_MAX = 2 ** 31 - 1

/** Starts to follow at once. Its timers keep no process alive. */
export function followKeys(options: KeyFollowerOptions): KeyFollower {
  const { refreshSeconds = REFRESH_SECONDS, ageSecondsMax = AGE_SECONDS_MAX } = options
  const { clock = systemClock, onProblem = () => {} } = options
  const ending = new AbortController()
  let settle = (): void => {}
  let fail = (_: Error): void => {}
  const first = new Promise<void>((resolve, reject) => {
    settle = resolve
    fail = reject
  })
  first.catch(() => {})
  let keys: ReadonlyMap<string, ForeignKey> | undefined
  let fetchedAt = Number.NEGATIVE_INFINITY
  let askedAt = Number.NEGATIVE_INFINITY
  let isFetching = false
  let cancel = (): void => {}
  let wakesAt = Number.POSITIVE_INFINITY
  let lastProblem: Error | undefined

  function report(problem: Error): void {
    lastProblem = problem
    onProblem(problem)
  }

  async function fetchKeys(): Promise<void> {
    cancel()
    wakesAt = Number.POSITIVE_INFINITY
    isFetching = true
    // Of before the question: what was removed while the answer was on its way counts as removed then.
    askedAt = clock.monotonic()
    const startedAt = askedAt
    try {
      const set = await fetchSet(options, ending.signal)
      const known = lastProblem
      keys = readKeys(set, keys, options, report)
      fetchedAt = startedAt
      if (keys.size > 0) settle()
      // Where a key was left out, that says more.
      else if (lastProblem === known) report(new DeliveryFault('the key set has no key that may sign'))
    } catch (error) {
      if (!ending.signal.aborted) report(error as Error)
    }
    isFetching = false
    wakeAfter(
      fetchedAt === startedAt ? refreshSeconds * 1000 * (1 - JITTER * Math.random()) : PAUSE_MILLISECONDS,
    )
    options.onFetched?.()
  }

  function wakeAfter(milliseconds: number): void {
    const at = clock.monotonic() + milliseconds
    if (ending.signal.aborted || isFetching || at >= wakesAt) return
    cancel()
    wakesAt = at
    cancel = clock.after(Math.max(0, milliseconds), () => void fetchKeys())
  }

  void fetchKeys()
  return {
    find: (kid) => keys?.get(kid),
    get isStale() {
      // Written so that an age which is no number counts as too old.
      return keys === undefined || !(clock.monotonic() - fetchedAt <= ageSecondsMax * 1000)
    },
    miss: () => wakeAfter(askedAt + PAUSE_MILLISECONDS - clock.monotonic()),
    ready: (milliseconds) =>
      milliseconds === undefined ? first : within(milliseconds, first, () => tooLate(options, lastProblem)),
    stop: () => {
      ending.abort()
      cancel()
      fail(new Error('the keys are followed no more'))
    },
  }
}

/** As `promise`, unless that takes longer; the process is kept alive meanwhile, so that somebody hears of it. */
async function within(milliseconds: number, promise: Promise<void>, late: () => Error): Promise<void> {
  if (!(milliseconds >= 0 && milliseconds <= READY_MILLISECONDS_MAX))
    throw new TypeError(`ready does not wait for more than ${READY_MILLISECONDS_MAX} milliseconds`)
  let timer: NodeJS.Timeout | undefined
  const ended = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), milliseconds)
  })
  try {
    await Promise.race([promise, ended])
  } finally {
    clearTimeout(timer)
  }
}

function tooLate({ metadata: { issuer } }: KeyFollowerOptions, cause: Error | undefined): Error {
  const why = cause?.message ?? 'it has not answered yet'
  return new Error(`no keys of ${issuer} have come: ${why}`, { cause })
}

async function fetchSet(
  { metadata, keyOrigins = [], loopback }: KeyFollowerOptions,
  signal: AbortSignal,
): Promise<JsonValue | undefined> {
  // Not resolved against it: a path that begins with two slashes would name another host.
  const from = (url: URL): URL =>
    loopback === undefined
      ? url
      : Object.assign(new URL(loopback), { pathname: url.pathname, search: url.search })
  const home = new URL(metadata.url)
  const { issuer, jwks_uri: place } = await fetchObject(from(home), signal, jsonTypes, DOCUMENT_BYTES_MAX)
  // Before anything that they name is fetched.
  if (issuer !== metadata.issuer)
    throw new DeliveryFault(`the metadata at ${home.host} are of another issuer: ${shown(issuer)}`)
  const url = parseUrl(String(place))
  if (url === null || url.username !== '' || !(url.origin === home.origin || keyOrigins.includes(url.origin)))
    throw new DeliveryFault(`the metadata at ${home.host} name a key set somewhere else`)
  const { keys } = await fetchObject(from(url), signal, keySetTypes, DOCUMENT_BYTES_MAX)
  return keys
}

const SHOWN_CHARACTERS_MAX = 200

/** Most often what is missing is a slash at the end, so it is told; in a log, where somebody else's words are quoted. */
function shown(value: JsonValue | undefined): string {
  return (JSON.stringify(value) ?? 'none').slice(0, SHOWN_CHARACTERS_MAX)
}

const jsonTypes = ['application/json']
const keySetTypes = ['application/json', 'application/jwk-set+json']

/** The keys of a set. One that was there before stays the same object, so that verdicts by it can be remembered. */
function readKeys(
  set: JsonValue | undefined,
  before: ReadonlyMap<string, ForeignKey> | undefined,
  options: KeyFollowerOptions,
  onProblem: (problem: Error) => void,
): ReadonlyMap<string, ForeignKey> {
  if (!Array.isArray(set)) throw new DeliveryFault('the key set has no keys')
  if (set.length > KEYS_MAX) throw new DeliveryFault('the key set has more keys than anybody needs')
  const keys = new Map<string, ForeignKey>()
  const twice = new Set<string>()
  for (const jwk of set as readonly JsonValue[]) {
    try {
      const key = readKey(jwk, options)
      if (key === undefined) continue
      // Which of the two is meant nobody can say.
      if (keys.has(key.kid)) twice.add(key.kid)
      keys.set(key.kid, keep(before?.get(key.kid), key))
    } catch (error) {
      if (!(error instanceof InvalidKey)) throw error
      onProblem(new Error(`a key of the set is left out: ${error.message}`))
    }
  }
  for (const kid of twice) {
    keys.delete(kid)
    onProblem(new Error('a key of the set is left out: its kid stands there twice'))
  }
  return keys
}

/** Undefined for what is not meant for signatures. Throws `InvalidKey`. */
function readKey(jwk: JsonValue, { scopeOf, algorithms }: KeyFollowerOptions): ForeignKey | undefined {
  if (!isObject(jwk)) throw new InvalidKey('it is no object')
  const { kid, issuer, ...members } = jwk
  if (members['use'] === 'enc') return undefined
  // One that could not be named in a block could not be killed.
  if (typeof kid !== 'string' || !foreignName.test(kid)) throw new InvalidKey('it has no kid, or an odd one')
  if (issuer !== undefined && typeof issuer !== 'string') throw new InvalidKey('its issuer is no text')
  const { algorithm, key: publicKey, kid: thumbprint } = importPublicJwk(pinned(members, algorithms))
  if (!algorithms.includes(algorithm)) throw new InvalidKey('its algorithm is not one of this issuer')
  const scope = scopeOf(issuer)
  if (scope === undefined) throw new InvalidKey('it does not say whose it is')
  return { ...scope, kid, algorithm, publicKey, thumbprint }
}

/** Each key has one algorithm, and no header chooses it. */
function pinned(members: JsonObject, algorithms: readonly Algorithm[]): JsonObject {
  if (members['kty'] !== 'RSA' || members['alg'] !== undefined) return members
  const alg = algorithms.find((name) => name === 'RS256' || name === 'PS256')
  return alg === undefined ? members : { ...members, alg }
}

function keep(before: ForeignKey | undefined, key: ForeignKey): ForeignKey {
  const isSame =
    before?.thumbprint === key.thumbprint &&
    before.algorithm === key.algorithm &&
    before.issuer === key.issuer
  return isSame ? before : key
}
