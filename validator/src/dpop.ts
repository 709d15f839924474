/**
 * DPoP (RFC 9449): a token that is bound to a key (`cnf.jkt`) counts only with a proof, a small JWT that the key's holder
 * signs for this one request. As a binding of a guard:
 *
 *     createGuard(validator, { bindings: [dpop({ base: 'https://mail.example' })] })
 *
 * The proof is checked first and remembered last, once its token was found to be good: nobody without one can fill the
 * cache. Rule: spec/sender.md, section 2.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { sha256 } from '#platform'
import { encode } from './base64url.ts'
import { BoundedCache } from './cache.ts'
import type { Binding, Proof, ProofError } from './guard.ts'
import { headerValues } from './headers.ts'
import { isObject, type JsonObject } from './json.ts'
import {
  type Algorithm,
  InvalidKey,
  importPublicJwk,
  mediaType,
  parseCompact,
  thumbprint,
  type UncheckedJws,
  verifySignature,
} from './jws.ts'
import type { Nonces } from './nonces.ts'
import { refuseUnknown } from './options.ts'
import { Refusal } from './refusal.ts'
import { createReplayCache, type ReplayCache } from './replay.ts'

/** Which proofs count. Only `base` has no default. */
export interface DpopOptions {
  /**
   * Where clients find this service: scheme, host, and the path that a proxy strips, if it does. Never taken from a
   * request: a proof for another host would come with that host's name.
   */
  readonly base: string | readonly string[]
  /** Shared where several processes serve the same URLs. Left out: one of this process. */
  readonly replay?: ReplayCache | undefined
  /** Given: every proof needs a nonce of these. Shared like `replay`. */
  readonly nonces?: Nonces | undefined
  readonly algorithms?: readonly ProofAlgorithm[] | undefined
  /** How old a proof may be. With nonces, they say it. */
  readonly ageSecondsMax?: number | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

/** As in a proof's header; RFC 9864 gives Ed25519 a name of its own. Never symmetric, and never `none`. */
const algorithmsByName = {
  ES256: 'ES256',
  EdDSA: 'EdDSA',
  Ed25519: 'EdDSA',
  PS256: 'PS256',
  RS256: 'RS256',
} as const
/** An algorithm as the header of a proof names it. */
export type ProofAlgorithm = keyof typeof algorithmsByName

/** Why a proof is refused. The sentences stand in the challenge. */
export const proofFlaws = {
  missing: 'a token under DPoP comes with a proof',
  several: 'there is more than one proof',
  oversized: 'the proof is larger than is read here',
  malformed: 'the proof is not a compact JWS with the claims of a proof',
  typ_wrong: 'the proof is not of the type dpop+jwt',
  alg_not_allowed: 'the proof is signed by an algorithm that is not allowed here',
  header_not_allowed: 'the header of the proof has a member besides typ, alg and jwk',
  jwk_invalid: 'jwk is not a public key for the algorithm of the proof',
  signature_invalid: 'the signature of the proof does not verify',
  htm_mismatch: 'the proof is for another method',
  htu_mismatch: 'the proof is for another URL',
  ath_mismatch: 'the proof is for another token',
  nonce_missing: 'the proof needs a nonce',
  nonce_unknown: 'the nonce of the proof is stale or of another server',
  iat_outside_window: 'the proof was not made just now',
  replayed: 'the proof was shown before',
} as const
/** What is wrong with a proof, in one word. */
export type ProofFlaw = keyof typeof proofFlaws

/** A proof is refused. The message stands in the challenge, and holds nothing from the proof. */
export class ProofRefusal extends Error {
  readonly flaw: ProofFlaw
  constructor(flaw: ProofFlaw) {
    super(proofFlaws[flaw])
    this.name = 'ProofRefusal'
    this.flaw = flaw
  }
}

const ALGORITHMS: readonly ProofAlgorithm[] = ['ES256', 'EdDSA', 'Ed25519', 'PS256']
const AGE_SECONDS_MAX = 60
/** A client's clock may be ahead by this. */
const AHEAD_SECONDS_MAX = 10
const LIMITS = { tokenCharactersMax: 8 * 1024, headerCharactersMax: 2 * 1024 }
/** One client shows the same key again and again; reading it costs half of what the signature does. */
const KEYS_MAX = 1000

const optionNames: ReadonlySet<string> = new Set<keyof DpopOptions>([
  'base',
  'replay',
  'nonces',
  'algorithms',
  'ageSecondsMax',
  'now',
])

/** Throws `TypeError` where an option is of no use, or not known. */
export function dpop(options: DpopOptions): Binding {
  // Nonces, or a cache to share, under a name with a typing error are asked by nobody.
  refuseUnknown('dpop', options, optionNames)
  const { nonces, now = () => Date.now() / 1000 } = options
  const replay = options.replay ?? createReplayCache({ now })
  const check = createCheck(options)
  const scheme = { name: 'DPoP', parameters: `algs="${(options.algorithms ?? ALGORITHMS).join(' ')}"` }

  return {
    scheme,
    confirm: ({ rawHeaders, method, target, host }, { token }): Proof => {
      const at = now()
      const current = nonces?.current(at)
      const offer = current === undefined ? {} : { 'dpop-nonce': current }
      try {
        const [proof, ...others] = headerValues(rawHeaders, 'dpop')
        if (proof === undefined) throw new ProofRefusal('missing')
        if (others.length > 0) throw new ProofRefusal('several')
        const { nonce, ...shown } = check(proof, { method, target, host, token }, at)
        let first: Promise<ProofError | undefined> | undefined
        return {
          confirmation: { jkt: shown.jkt },
          headers: nonce === current ? {} : offer,
          once: () => {
            first ??= Promise.resolve(replay.add(shown)).then((isNew) =>
              isNew ? undefined : errorFor('replayed'),
            )
            return first
          },
        }
      } catch (error) {
        if (error instanceof ProofRefusal) return { error: errorFor(error.flaw), headers: offer }
        throw error
      }
    },
  }
}

function errorFor(flaw: ProofFlaw): ProofError {
  const isAsked = flaw === 'nonce_missing' || flaw === 'nonce_unknown'
  return {
    code: isAsked ? 'use_dpop_nonce' : 'invalid_dpop_proof',
    description: proofFlaws[flaw],
    // A client cannot know a nonce before it was told one.
    isExpected: isAsked,
  }
}

/** What a proof has to be for. */
export interface ProvenRequest {
  readonly method: string
  /** Path and query. */
  readonly target: string
  /** Where known from somebody who may say it: the one of several bases that was asked. */
  readonly host?: string | undefined
  readonly token: string
}

/** A proof that is good, but for whether it was shown before. */
export interface CheckedProof {
  readonly id: string
  readonly jkt: string
  readonly nonce: string | undefined
  /** Seconds since the epoch. */
  readonly expiresAt: number
}

/** Whether a proof is one for a request at a time, in itself; throws `ProofRefusal`. Remembers nothing but keys. */
export function createCheck({
  base,
  nonces,
  algorithms = ALGORITHMS,
  ageSecondsMax = AGE_SECONDS_MAX,
}: Omit<DpopOptions, 'replay' | 'now'>): (
  proof: string,
  request: ProvenRequest,
  now: number,
) => CheckedProof {
  const bases = readBases(base)
  if (algorithms.length === 0 || !algorithms.every((name) => Object.hasOwn(algorithmsByName, name)))
    throw new TypeError('algorithms are not ones that a proof is signed with')
  // Without an end, no proof would ever be forgotten.
  if (!(Number.isFinite(ageSecondsMax) && ageSecondsMax > 0))
    throw new TypeError('ageSecondsMax is not a number of seconds')
  const keys = new BoundedCache<ProofKey>(KEYS_MAX)

  return (proof, request, now) => {
    const jws = parse(proof)
    let key = keys.get(jws.headerSegment)
    if (key === undefined) {
      key = readHeader(jws.header, algorithms)
      keys.set(jws.headerSegment, key)
    }
    const { jti, htm, htu, iat, ath, nonce } = readClaims(jws.claims)
    if (!verifySignature(key.algorithm, key.key, jws.signingInput, jws.signature))
      throw new ProofRefusal('signature_invalid')
    if (htm !== request.method) throw new ProofRefusal('htm_mismatch')
    if (!isFor(htu, bases, request)) throw new ProofRefusal('htu_mismatch')
    if (ath !== encode(sha256(request.token))) throw new ProofRefusal('ath_mismatch')
    const { jkt } = key
    return {
      id: encode(sha256(`${jkt}.${jti}`)),
      jkt,
      nonce,
      expiresAt: checkAge(iat, nonce, now),
    }
  }

  /** When the proof ends. */
  function checkAge(iat: number, nonce: string | undefined, now: number): number {
    if (nonces !== undefined) {
      if (nonce === undefined) throw new ProofRefusal('nonce_missing')
      const endsAt = nonces.endOf(nonce, now)
      if (endsAt === undefined) throw new ProofRefusal('nonce_unknown')
      return endsAt
    }
    if (!(iat <= now + AHEAD_SECONDS_MAX && iat >= now - ageSecondsMax))
      throw new ProofRefusal('iat_outside_window')
    // The window's end is part of it.
    return iat + ageSecondsMax + 1
  }
}

interface ProofKey {
  readonly algorithm: Algorithm
  readonly key: KeyObject
  readonly jkt: string
}

function parse(proof: string): UncheckedJws {
  try {
    return parseCompact(proof, LIMITS)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    throw new ProofRefusal(error.reason === 'oversized' ? 'oversized' : 'malformed')
  }
}

function readHeader(header: JsonObject, algorithms: readonly ProofAlgorithm[]): ProofKey {
  const { typ, alg, jwk, ...others } = header
  if (typeof typ !== 'string' || mediaType(typ) !== 'dpop+jwt') throw new ProofRefusal('typ_wrong')
  const name = algorithms.find((allowed) => allowed === alg)
  if (name === undefined) throw new ProofRefusal('alg_not_allowed')
  if (Object.keys(others).length > 0) throw new ProofRefusal('header_not_allowed')
  if (!isObject(jwk)) throw new ProofRefusal('jwk_invalid')
  const algorithm = algorithmsByName[name]
  // Of a client's key, neither the name counts nor, where there is one, that its algorithm has two names.
  const { kid: _, alg: own, ...members } = jwk
  if (own !== undefined && own !== name && own !== algorithm) throw new ProofRefusal('jwk_invalid')
  try {
    const key = importPublicJwk({ ...members, alg: algorithm })
    return { algorithm, key: key.key, jkt: thumbprint(key.jwk) }
  } catch (error) {
    if (error instanceof InvalidKey) throw new ProofRefusal('jwk_invalid')
    throw error
  }
}

interface ProofClaims {
  readonly jti: string
  readonly htm: string
  readonly htu: string
  readonly iat: number
  readonly ath: string | undefined
  readonly nonce: string | undefined
}

const JTI_CHARACTERS_MAX = 256

function readClaims({ jti, htm, htu, iat, ath, nonce }: JsonObject): ProofClaims {
  if (
    typeof jti !== 'string' ||
    jti === '' ||
    jti.length > JTI_CHARACTERS_MAX ||
    typeof htm !== 'string' ||
    typeof htu !== 'string' ||
    typeof iat !== 'number' ||
    (ath !== undefined && typeof ath !== 'string') ||
    (nonce !== undefined && typeof nonce !== 'string')
  )
    throw new ProofRefusal('malformed')
  return { jti, htm, htu, iat, ath, nonce }
}

interface Base {
  readonly text: string
  readonly scheme: string
  readonly host: string
}

function readBases(base: string | readonly string[]): readonly Base[] {
  const bases = (typeof base === 'string' ? [base] : [...base]).map((text): Base => {
    const url = normalize(text)
    if (url === undefined || /[?#]/.test(text)) throw new TypeError('base is no URL of a service')
    const { protocol: scheme, host } = new URL(url)
    return { text: text.replace(/(?<!\/)\/+$/, ''), scheme, host }
  })
  if (bases.length === 0) throw new TypeError('base is missing')
  return bases
}

function isFor(htu: string, bases: readonly Base[], { target, host }: ProvenRequest): boolean {
  // A target that is a whole URL, or the `*` of OPTIONS, is no path of ours.
  const proven = target.startsWith('/') ? normalize(htu) : undefined
  if (proven === undefined) return false
  return bases.some(
    (base) =>
      (host === undefined || parseUrl(`${base.scheme}//${host}`)?.host === base.host) &&
      normalize(base.text + target) === proven,
  )
}

/**
 * The URL without query and fragment, in the one spelling of RFC 3986, sections 6.2.2 and 6.2.3: case of scheme, host and
 * escapes, escapes that need not be, dot segments, default port, empty path. Undefined for what is no http URL by that
 * RFC: `URL` would mend it.
 */
function normalize(text: string): string | undefined {
  if (!httpUrl.test(text)) return undefined
  const url = parseUrl(text.replace(/[?#].*$/s, ''))
  return url?.href.replace(/%[0-9a-f]{2}/gi, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16))
    return /[A-Za-z0-9._~-]/.test(character) ? character : encoded.toUpperCase()
  })
}

/** No user, no backslash, nothing outside ASCII, and each `%` with its two digits. */
const httpUrl =
  /^https?:\/\/(?:[\w.~!$&'()*+,;=:[\]-]|%[0-9a-f]{2})+(?:[/?#](?:[\w.~!$&'()*+,;=:@/?#[\]|{}^"-]|%[0-9a-f]{2})*)?$/i

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}
