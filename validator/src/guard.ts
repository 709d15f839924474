/**
 * Decides about whole requests: whether a good token came with one, by whoever may show it, and whether it reaches as far
 * as the resource. One guard stands behind every adapter, so that no two frameworks can come to differ:
 *
 *     const guard = createGuard(validator, { scopes: 'mail.read' })
 *     const admission = await guard.admit({ source: request, rawHeaders, method, target, network })
 *
 * Before anything else of the request is looked at, it gives a `ValidatedToken` or what to answer instead: 401 or 403 with
 * a challenge (RFC 6750), which also tells a client when its user has to sign in again, better or just now (RFC 9470).
 * @module
 */

import {
  type Admission,
  bearerScheme,
  type Credentials,
  type Denial,
  deny,
  denyAuthentication,
  denyError,
  denyMissing,
  denyScope,
  readCredentials,
  type Scheme,
  scopeToken,
} from './bearer.ts'
import type { Confirmation } from './confirmation.ts'
import { headerValues } from './headers.ts'
import type { Hold } from './hold.ts'
import { refuseUnknown } from './options.ts'
import { Refusal } from './refusal.ts'
import type { Sender, ValidatedToken, Validator } from './validator.ts'

/** What a resource needs of a token besides that it is good. */
export interface Needs {
  /** Each of them has to be in the token's `scope`. */
  readonly scopes?: string | readonly string[] | undefined
  /** How the owner signed in: one of these authentication contexts, the preferred one first. */
  readonly acr?: string | readonly string[] | undefined
  /** How long ago the owner signed in, at most. */
  readonly maxAgeSeconds?: number | undefined
}

/** What a guard needs to know besides its validator. Nothing asked for: a good token is enough. */
export interface GuardOptions extends Needs {
  /** Ways to prove that one is who a token was given to. Left out: a bound token is refused. */
  readonly bindings?: readonly Binding[] | undefined
  /**
   * Hears of every request that is not admitted, before that is answered: for logs and counters. `denial.refusal` says more than the
   * answer does, and never a word of the token's; the request's own words are the sender's. Must not throw.
   */
  readonly onRefusal?: ((denial: Denial, request: GuardedRequest) => void) | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

/** A request as it arrived, before any framework or proxy of this process put it right. */
export interface GuardedRequest {
  /** One object per request: a guard for the application and one for the route then ask for one proof, not two. */
  readonly source: object
  /** Name and value in turn: a parsed object has already dropped all but one of several. */
  readonly rawHeaders: readonly string[]
  /** As sent: `GET`. */
  readonly method: string
  /** The request target: path and query. */
  readonly target: string
  /** Where it came from. */
  readonly network?: string | undefined
  /** How its sender speaks TLS, as a proxy names it; for the sighting alone. */
  readonly fingerprint?: string | undefined
  /** The address at the other end of this very connection, whatever a header says: a client's or a proxy's. */
  readonly peer?: string | undefined
  /** The host that was asked, where it was told by somebody who may: not the request's own word for it. */
  readonly host?: string | undefined
  /** The certificate that the peer showed on this very connection, in DER; undefined where it showed none. */
  readonly certificate?: (() => Uint8Array | undefined) | undefined
}

/** Proof of possession: DPoP, mutual TLS. */
export interface Binding {
  /** The scheme that its tokens come under. Left out: it is asked whatever the scheme. */
  readonly scheme?: Scheme | undefined
  /** Looks for a proof. Rejects only where the world failed. */
  confirm(request: GuardedRequest, credentials: Credentials): Proof | Promise<Proof>
}

/** What came of looking for a proof. */
export interface Proof {
  /** What the sender has proven to hold, if anything. */
  readonly confirmation?: Confirmation | undefined
  /** The proof itself is wrong, and that is the answer. */
  readonly error?: ProofError | undefined
  /**
   * Asked once the token was found to be good, so that nobody without one takes up room: what is wrong, should the proof
   * have been shown before. Asked again for the same request, it answers the same.
   */
  readonly once?: (() => Promise<ProofError | undefined>) | undefined
  /** Sent with whatever is answered. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** What is wrong with a proof of possession, as an answer says it. */
export interface ProofError {
  /** `error` of the answer: `invalid_dpop_proof`, `use_dpop_nonce`. */
  readonly code: string
  /** ASCII without quotes: it stands in a header. */
  readonly description: string
  /** It is how the protocol begins, and not worth a sighting. */
  readonly isExpected?: boolean | undefined
}

/** What came of a request: its token, or what to answer instead. */
export type GuardAdmission = Admission & {
  /** To be sent with the answer, whoever gives it; those of a denial are among its own. */
  readonly headers: Readonly<Record<string, string>>
}

/** Stands in front of what needs a token, whatever the framework. */
export interface Guard {
  /** Rejects only where the world failed; what is wrong with a request is a denial. */
  admit(request: GuardedRequest): Promise<GuardAdmission>
  /** A guard that asks for this too. */
  requiring(needs: Needs): Guard
  /** Watches over a token for what outlives its request: see hold.ts. */
  hold(token: ValidatedToken): Hold
}

/** A validator, at once or later. */
export interface Validating extends Pick<Validator, 'hold'> {
  validate(token: string, sender?: Sender): ValidatedToken | Promise<ValidatedToken>
}

/** Puts a guard in front of a validator. Throws `TypeError` where an option is not known or would ask for nothing. */
export function createGuard(validator: Validating, options: GuardOptions = {}): Guard {
  if (typeof validator?.validate !== 'function') throw new TypeError('a guard takes a validator first')
  const { bindings = [], now = () => Date.now() / 1000, onRefusal, ...needs } = options
  const schemes = [bearerScheme, ...bindings.flatMap(({ scheme }) => scheme ?? [])]
  const proofs = new WeakMap<object, Promise<Proof>>()

  function guardFor(asked: readonly Asked[]): Guard {
    const scopes = [...new Set(asked.flatMap((each) => each.scopes))]
    const decide = (request: GuardedRequest): Promise<GuardAdmission> => admit(request, asked, scopes)
    return {
      admit: onRefusal === undefined ? decide : (request) => told(request, decide(request), onRefusal),
      requiring: (more) => guardFor([...asked, readNeeds(more)]),
      hold: (token) => validator.hold(token),
    }
  }

  /** `scopes`: all that is asked for, each once. */
  async function admit(
    request: GuardedRequest,
    asked: readonly Asked[],
    scopes: readonly string[],
  ): Promise<GuardAdmission> {
    let scheme = bearerScheme
    let headers: Proof['headers'] = {}
    try {
      const credentials = readCredentials(request.rawHeaders, schemes)
      if (credentials === undefined) return refuse(denyMissing(schemes), headers)
      scheme = credentials.scheme
      const proof = await proofOf(request, credentials)
      headers = proof.headers ?? {}
      const seen = hintsOf(request)
      if (proof.error !== undefined) return await refuseProof(proof.error, credentials, seen, headers)
      const { confirmation } = proof
      const sender = { ...seen, confirmation }
      let token = await validator.validate(credentials.token, sender)
      if (proof.once !== undefined) {
        const replayed = await proof.once()
        if (replayed !== undefined) return await refuseProof(replayed, credentials, seen, headers)
        // Whoever was asked may be far away, and what died meanwhile is dead.
        token = await validator.validate(credentials.token, sender)
      }
      const denial = denialFor(token, asked, scopes, scheme, now())
      return denial === undefined ? { admitted: true, token, headers } : refuse(denial, headers)
    } catch (error) {
      if (error instanceof Refusal) return refuse(deny(error, scheme), headers)
      throw error
    }
  }

  async function refuseProof(
    error: ProofError,
    { scheme, token }: Credentials,
    seen: Sender,
    headers: Readonly<Record<string, string>>,
  ): Promise<GuardAdmission> {
    if (error.isExpected !== true) {
      try {
        // For the sighting: whoever it was, it was not whom the token is for.
        await validator.validate(token, { ...seen, confirmation: nobody })
      } catch (refusal) {
        if (!(refusal instanceof Refusal)) throw refusal
      }
    }
    return refuse(denyProof(error, scheme), headers)
  }

  function proofOf(request: GuardedRequest, credentials: Credentials): Promise<Proof> | Proof {
    if (!bindings.some((binding) => isAskedFor(binding, credentials))) return {}
    const known = proofs.get(request.source)
    if (known !== undefined) return known
    const proof = confirm(bindings, request, credentials)
    proofs.set(request.source, proof)
    return proof
  }

  return guardFor([readNeeds(needs)])
}

async function told(
  request: GuardedRequest,
  decided: Promise<GuardAdmission>,
  onRefusal: NonNullable<GuardOptions['onRefusal']>,
): Promise<GuardAdmission> {
  const admission = await decided
  if (!admission.admitted) onRefusal(admission.denial, request)
  return admission
}

/** No token is bound to it, and a token that is bound to nothing is refused with it. */
const nobody: Confirmation = { jkt: '' }

/** What is told of a request, besides the token. */
function hintsOf({ network, fingerprint, rawHeaders }: GuardedRequest): Sender {
  const [userAgent] = headerValues(rawHeaders, 'user-agent')
  return { network, userAgent, fingerprint }
}

interface Asked {
  readonly scopes: readonly string[]
  readonly acr: readonly string[] | undefined
  readonly maxAgeSeconds: number | undefined
}

function isAskedFor(binding: Binding, credentials: Credentials): boolean {
  return binding.scheme === undefined || binding.scheme === credentials.scheme
}

async function confirm(
  bindings: readonly Binding[],
  request: GuardedRequest,
  credentials: Credentials,
): Promise<Proof> {
  let all: Proof = {}
  for (const binding of bindings) {
    if (!isAskedFor(binding, credentials)) continue
    const {
      confirmation,
      error = all.error,
      once = all.once,
      headers,
    } = await binding.confirm(request, credentials)
    all = {
      confirmation: { ...all.confirmation, ...confirmation },
      error,
      once,
      headers: { ...all.headers, ...headers },
    }
  }
  return all
}

/** What to answer to a good token that is not enough, or undefined. */
function denialFor(
  token: ValidatedToken,
  asked: readonly Asked[],
  scopes: readonly string[],
  scheme: Scheme,
  now: number,
): Denial | undefined {
  const reaches = scopes.every((scope) => token.scopes.includes(scope))
  for (const { acr, maxAgeSeconds } of asked) {
    if (isSignedInAs(token, acr) && isSignedInSince(token, maxAgeSeconds, now)) continue
    return denyAuthentication({ acr, maxAgeSeconds, scopes: reaches ? undefined : scopes }, scheme)
  }
  return reaches ? undefined : denyScope(scopes, scheme)
}

function isSignedInAs({ claims }: ValidatedToken, acr: readonly string[] | undefined): boolean {
  const value = claims['acr']
  return acr === undefined || (typeof value === 'string' && acr.includes(value))
}

/** Two clocks of one deployment differ by less. */
const CLOCK_TOLERANCE_SECONDS = 5

function isSignedInSince(
  { claims }: ValidatedToken,
  maxAgeSeconds: number | undefined,
  now: number,
): boolean {
  const signedInAt = claims['auth_time']
  if (maxAgeSeconds === undefined) return true
  // A sign-in that has not happened yet vouches for nobody.
  if (typeof signedInAt !== 'number' || signedInAt > now + CLOCK_TOLERANCE_SECONDS) return false
  return now - signedInAt <= maxAgeSeconds + CLOCK_TOLERANCE_SECONDS
}

function denyProof({ code, description }: ProofError, scheme: Scheme): Denial {
  return denyError({ status: 401, reason: 'sender_mismatch', message: description }, code, scheme)
}

function refuse(denial: Denial, headers: Readonly<Record<string, string>>): GuardAdmission {
  const all = { ...headers, ...denial.headers }
  return { admitted: false, denial: { ...denial, headers: all }, headers }
}

const needNames: ReadonlySet<string> = new Set<keyof Needs>(['scopes', 'acr', 'maxAgeSeconds'])

function readNeeds(needs: Needs): Asked {
  // A need with a typing error in its name is one that nobody asks for.
  refuseUnknown('a guard', needs, needNames)
  const { scopes = [], acr, maxAgeSeconds } = needs
  if (maxAgeSeconds !== undefined && !(Number.isSafeInteger(maxAgeSeconds) && maxAgeSeconds >= 0)) {
    throw new TypeError('maxAgeSeconds is not a number of seconds')
  }
  return {
    scopes: readWords('scopes', scopes),
    acr: acr === undefined ? undefined : readWords('acr', acr, 1),
    maxAgeSeconds,
  }
}

/** They go into a challenge, in quotes and with spaces between, so a word is what may stand there. */
function readWords(
  option: string,
  value: string | readonly string[],
  wordsMin: number = 0,
): readonly string[] {
  const words = Array.isArray(value) ? [...value] : [value]
  if (words.length < wordsMin || !words.every((word) => typeof word === 'string' && scopeToken.test(word))) {
    throw new TypeError(`${option} is not a list of words${adviceFor(value)}`)
  }
  return words
}

/** Whoever writes several words as they stand in a token means all of them. */
function adviceFor(value: string | readonly string[]): string {
  const words = typeof value === 'string' ? value.split(' ') : []
  const areWords = words.length > 1 && words.every((word) => scopeToken.test(word))
  return areWords ? `: write [${words.map((word) => `'${word}'`).join(', ')}]` : ''
}
