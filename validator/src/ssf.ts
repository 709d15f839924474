/**
 * Follows a foreign transmitter of shared signals (OpenID SSF 1.0), so that what ends there ends here: its SETs are verified,
 * and sessions, keys and credentials that it revokes become denials, which a validator asks about. One function takes what is
 * pushed (RFC 8935), from the text of a request to its answer; another fetches what is to be polled (RFC 8936).
 *
 *     const denials = openDenials({ file })
 *     const receiver = createReceiver({ issuer, audience, keys: followKeys({ jwksUri }), denials })
 *     const validator = createValidator({ …, denials })
 *     const { status, headers, body } = await receiver.push({ contentType, authorization, body: text })
 *     const poll = pollTransmitter({ endpoint, accessToken, receiver })
 *
 * A transmitter can deny tokens of its own issuer and of no other (T220); and it can only deny.
 * @module
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import { BoundedCache } from './cache.ts'
import type { SecurityEvent } from './claims.ts'
import type { Denial, Denials } from './denials.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import { mediaType } from './jws.ts'
import { eventTypes, SET_MEDIA_TYPE, THUMBPRINT_URI } from './ssf-events.ts'
import type { TransmitterKeys } from './ssf-keys.ts'
import { type ForeignSet, type SetErrorCode, SetRefusal, verifySet } from './ssf-set.ts'

export { type Denial, type DenialSource, type Denials, openDenials } from './denials.ts'
export { fixedKeys, followKeys, type TransmitterKeys } from './ssf-keys.ts'
export { type Polling, type PollOptions, pollTransmitter } from './ssf-poll.ts'
export { type ForeignSet, type SetErrorCode, SetRefusal }

/** What happened to a credential (CAEP 1.0, section 3.3). */
export type CredentialChangeType = 'create' | 'revoke' | 'update' | 'delete'

/** Whose SETs count here, and where what they end is kept. */
export interface ReceiverOptions {
  /** Compared as text with `iss`, and the issuer of the tokens that it may deny. */
  readonly issuer: string
  /** What we are to the transmitter: `aud` of the stream. */
  readonly audience: string | readonly string[]
  readonly keys: TransmitterKeys
  readonly denials: Pick<Denials, 'add'>
  /** What the transmitter sends in `Authorization` with a push. Left out: whoever has a SET that verifies may bring it. */
  readonly authorization?: string | undefined
  /** Which changes of a credential end what the person is signed in to. A new one beside the others need not. */
  readonly credentialChanges?: readonly CredentialChangeType[] | undefined
  /** `sub` of our tokens for a subject identifier other than `iss_sub`, such as a mail address, where somebody knows it. */
  readonly subjectOf?: ((subject: JsonObject) => string | undefined) | undefined
  /** Hears of each event once, after it was acted on. What it throws has the SET sent again. */
  readonly onEvent?: ((set: ForeignSet) => void | Promise<void>) | undefined
  /** Seconds since the epoch. */
  readonly now?: (() => number) | undefined
}

/** What of an HTTP request a receiver asks for. */
export interface PushRequest {
  readonly contentType: string | undefined
  readonly authorization: string | undefined
  readonly body: string
}

/** What to answer to a push (RFC 8935). */
export interface PushAnswer {
  readonly status: 202 | 400 | 503
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Takes SETs, pushed or polled, and hands what they end to a validator as denials. */
export interface Receiver {
  /** Acts on a SET. Throws `SetRefusal`; rejects with anything else where it should be sent again. */
  receive(token: string): Promise<void>
  /** The answer to a push. */
  push(request: PushRequest): Promise<PushAnswer>
  /** The state of a verification that was asked for; one that comes with another state is refused. */
  expectVerification(state: string): void
}

/** SETs that are remembered, so that a replay has no effect. */
const REMEMBERED_MAX = 10_000
const EXPECTED_STATES_MAX = 100

/** Receives the SETs of one transmitter. Throws `TypeError` where something that decides trust is left open. */
export function createReceiver(options: ReceiverOptions): Receiver {
  const { issuer, keys, denials, onEvent } = options
  const audiences = readAudiences(options.audience)
  const now = options.now ?? (() => Date.now() / 1000)
  const seen = new BoundedCache<true>(REMEMBERED_MAX)
  const expected = new Set<JsonValue | undefined>()

  async function receive(token: string): Promise<void> {
    const set = await verifySet(token, { issuer, audiences, keyOf: keys.keyOf, now })
    // Sent again, since our answer was lost, or replayed: either way it was acted on.
    if (seen.get(set.jti) !== undefined) return
    const state = set.event.type === eventTypes.verification ? set.event.payload['state'] : undefined
    // Without a state it was not asked for: the transmitter may send one whenever it likes.
    if (state !== undefined && !expected.has(state))
      throw new SetRefusal('invalid_state', 'the state is not one that was asked for')
    const denial = denialFor(set, options)
    if (denial !== undefined) await denials.add(denial)
    await onEvent?.(set)
    // Only now: what comes again, since this failed, has to find it.
    expected.delete(state)
    seen.set(set.jti, true)
  }

  return {
    receive,
    push: async ({ contentType, authorization, body }) => {
      try {
        checkSender(options.authorization, authorization)
        if (mediaType((contentType ?? '').split(';', 1)[0]?.trim() ?? '') !== mediaType(SET_MEDIA_TYPE))
          throw new SetRefusal('invalid_request', `the body is not ${SET_MEDIA_TYPE}`)
        await receive(body.trim())
        return { status: 202, headers: {}, body: '' }
      } catch (error) {
        if (error instanceof SetRefusal) return describeRefusal(error)
        return { status: 503, headers: { 'retry-after': '5' }, body: '' }
      }
    },
    expectVerification: (state) => {
      expected.add(state)
      const [oldest] = expected
      if (expected.size > EXPECTED_STATES_MAX && oldest !== undefined) expected.delete(oldest)
    },
  }
}

/** RFC 8935, section 2.3. */
function describeRefusal({ code, message }: SetRefusal): PushAnswer {
  return {
    status: 400,
    headers: { 'content-type': 'application/json', 'content-language': 'en' },
    body: JSON.stringify({ err: code, description: message }),
  }
}

function checkSender(expected: string | undefined, given: string | undefined): void {
  if (expected === undefined) return
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  if (given === undefined || !timingSafeEqual(digest(given), digest(expected)))
    throw new SetRefusal('authentication_failed', 'the request is not from the transmitter')
}

const credentialChangesDefault: readonly CredentialChangeType[] = ['revoke', 'update', 'delete']

/** What an event takes away here, if anything. Pure. Throws `SetRefusal`. */
function denialFor(
  { issuer, issuedAt, event }: ForeignSet,
  { credentialChanges = credentialChangesDefault, subjectOf }: ReceiverOptions,
): Denial | undefined {
  const { type, payload, subject } = event
  switch (type) {
    case eventTypes.sessionRevoked: {
      const before = timeOf(payload, issuedAt)
      const session = sessionIn(subject)
      if (session !== undefined) return { issuer, session, before }
      const person = personIn(subject, issuer, subjectOf)
      return person === undefined ? undefined : { issuer, subject: person, before }
    }
    case eventTypes.credentialChange: {
      if (!credentialChanges.includes(payload['change_type'] as CredentialChangeType)) return undefined
      const person = personIn(subject, issuer, subjectOf)
      return person === undefined ? undefined : { issuer, subject: person, before: timeOf(payload, issuedAt) }
    }
    case eventTypes.keyRevoked:
      return { issuer, kid: keyIn(event) }
    default:
      return undefined
  }
}

/**
 * Nothing from before counts, nor from the same second. It is the event's own time, so that a SET which arrives late, or again,
 * reaches no further than it did; and never later than the SET.
 */
function timeOf({ event_timestamp: at }: JsonObject, issuedAt: number): number {
  const happened = typeof at === 'number' && Number.isFinite(at) && at >= 0 ? Math.floor(at) : issuedAt
  return Math.min(happened, issuedAt) + 1
}

/** Of a complex subject its session; an opaque one by itself names a session (CAEP 1.0, section 3.1). */
function sessionIn(subject: JsonObject): string | undefined {
  const named = subject['format'] === 'complex' ? subject['session'] : subject
  return isObject(named) && named['format'] === 'opaque' && typeof named['id'] === 'string'
    ? named['id']
    : undefined
}

function personIn(
  subject: JsonObject,
  issuer: string,
  subjectOf: ReceiverOptions['subjectOf'],
): string | undefined {
  const person = subject['format'] === 'complex' ? subject['user'] : subject
  if (!isObject(person)) return undefined
  if (person['format'] !== 'iss_sub') return subjectOf?.(person)
  if (person['iss'] !== issuer)
    throw new SetRefusal('access_denied', 'the transmitter does not speak for that issuer')
  return typeof person['sub'] === 'string' ? person['sub'] : undefined
}

/** The key is named twice, and both must say the same. */
function keyIn({ payload, subject }: SecurityEvent): string {
  const { kid } = payload
  if (typeof kid !== 'string' || subject['format'] !== 'uri' || subject['uri'] !== `${THUMBPRINT_URI}${kid}`)
    throw new SetRefusal('invalid_request', 'the event names no key')
  return kid
}

function readAudiences(value: string | readonly string[]): readonly string[] {
  const names = Array.isArray(value) ? [...value] : [value]
  if (names.length === 0 || !names.every((name) => typeof name === 'string' && name !== ''))
    throw new TypeError('audience is missing')
  return names
}
