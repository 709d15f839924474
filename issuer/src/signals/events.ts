/**
 * What the transmitter tells of, as it stands in a SET: the event, whom it is about, and what caused it. Pure.
 * docs/signals.md has each event with its members.
 * @module
 */

import { randomBytes } from 'node:crypto'
import type { JsonObject } from '@countersign/validator/json'
import { eventTypes, THUMBPRINT_URI } from '@countersign/validator/ssf-events'

/** Something that happened, before it is known who wants to hear of it. */
export interface SignalEvent {
  readonly type: string
  /** `sub_id`. */
  readonly subject: JsonObject
  readonly payload: JsonObject
  /** `txn`: the same for all that has one cause. */
  readonly cause: string
}

/** What a receiver may ask to be told of. Events about a stream itself come unasked. */
export const offeredEvents: readonly string[] = [
  eventTypes.sessionRevoked,
  eventTypes.credentialChange,
  eventTypes.tokenClaimsChange,
  eventTypes.keyRevoked,
]

/** Whose events these are. */
export interface Teller {
  readonly issuer: string
  readonly tenant: string
}

/** A person's session at one client: what `sid` in a token names. */
export interface EndedSession {
  readonly sid: string
  readonly subject: string
}

const sessionEndings = {
  signed_out: ['user', 'The person signed out.'],
  revoked: ['user', 'The grant was revoked.'],
  expelled: ['admin', 'The account was signed out everywhere.'],
  cut_off: ['admin', 'A cutoff or the kill of a signing key ended the session.'],
} as const
export type SessionEnding = keyof typeof sessionEndings

/** One event per session. `at` in seconds since the epoch: nothing from before counts any more. */
export function sessionsRevoked(
  teller: Teller,
  sessions: readonly EndedSession[],
  ending: SessionEnding,
  at: number,
): readonly SignalEvent[] {
  const [entity, reason] = sessionEndings[ending]
  const cause = newCause()
  return sessions.map(({ sid, subject }) => ({
    type: eventTypes.sessionRevoked,
    subject: {
      format: 'complex',
      session: { format: 'opaque', id: sid },
      user: personIn(teller, subject),
      tenant: { format: 'opaque', id: teller.tenant },
    },
    payload: because(entity, reason, at),
    cause,
  }))
}

export interface CredentialChange {
  readonly credential: 'password' | 'app' | 'fido2-platform' | 'fido2-roaming'
  readonly change: 'create' | 'revoke' | 'update' | 'delete'
  readonly by: 'user' | 'admin'
}

export function credentialChanged(
  teller: Teller,
  subject: string,
  { credential, change, by }: CredentialChange,
  at: number,
): SignalEvent {
  return {
    type: eventTypes.credentialChange,
    subject: personIn(teller, subject),
    payload: {
      credential_type: credential,
      change_type: change,
      ...because(by, `A credential was changed: ${credential}, ${change}.`, at),
    },
    cause: newCause(),
  }
}

/** `claims` with their new values. */
export function claimsChanged(teller: Teller, subject: string, claims: JsonObject, at: number): SignalEvent {
  return {
    type: eventTypes.tokenClaimsChange,
    subject: personIn(teller, subject),
    payload: { claims, ...because('admin', 'What is known of the person was changed.', at) },
    cause: newCause(),
  }
}

export interface DeadKey {
  readonly kid: string
  readonly state: 'blocked' | 'revoked'
  readonly at: number
}

export function keyRevoked({ kid, state, at }: DeadKey): SignalEvent {
  return {
    type: eventTypes.keyRevoked,
    subject: { format: 'uri', uri: `${THUMBPRINT_URI}${kid}` },
    payload: { kid, state, ...because('admin', `The signing key was ${state}.`, at) },
    cause: newCause(),
  }
}

/** The receiver asked whether anything arrives; `state` is what it wants to read there. */
export function verification(streamId: string, state: string | undefined): SignalEvent {
  return aboutStream(eventTypes.verification, streamId, state === undefined ? {} : { state })
}

export function streamUpdated(streamId: string, status: string, reason: string): SignalEvent {
  return aboutStream(eventTypes.streamUpdated, streamId, { status, reason })
}

/** Whether it speaks about the stream that it goes over: such an event is neither ordered nor to be kept away. */
export function isAboutStream(type: string): boolean {
  return type === eventTypes.verification || type === eventTypes.streamUpdated
}

function aboutStream(type: string, streamId: string, payload: JsonObject): SignalEvent {
  return { type, subject: { format: 'opaque', id: streamId }, payload, cause: newCause() }
}

function personIn({ issuer }: Teller, subject: string): JsonObject {
  return { format: 'iss_sub', iss: issuer, sub: subject }
}

/** The members that every event of CAEP may have; the interoperability profile wants `reason_admin`. */
function because(entity: 'user' | 'admin', reason: string, at: number): JsonObject {
  return { event_timestamp: at, initiating_entity: entity, reason_admin: { en: reason } }
}

function newCause(): string {
  return randomBytes(16).toString('base64url')
}
