/**
 * What a receiver can do with its streams (section 8 of OpenID SSF 1.0): one function for each verb, from what was asked
 * to what is answered. Who asks is known already, and may; whose stream it is is asked here.
 * @module
 */

import { isObject, type JsonObject, type JsonValue } from '@countersign/validator/json'
import { deliveryMethods } from '@countersign/validator/ssf-events'
import { offeredEvents } from './events.ts'
import { type Poller, readPollRequest } from './poll.ts'
import { findUrlProblem, type Reach } from './push.ts'
import type { StreamStatus } from './schema.ts'
import { type Delivery, type Stream, type Streams, VERIFICATION_SECONDS_MIN, type Wishes } from './streams.ts'
import { readSubject } from './subject.ts'

export const paths = {
  configuration: '/ssf/stream',
  status: '/ssf/status',
  addSubject: '/ssf/subjects/add',
  removeSubject: '/ssf/subjects/remove',
  verification: '/ssf/verify',
  poll: '/ssf/poll',
} as const

export interface Answer {
  readonly status: number
  readonly body?: object | undefined
  readonly headers?: Readonly<Record<string, string>>
}

/** An answer other than the one that was asked for. */
export class Declined extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = 'Declined'
    this.status = status
    this.headers = headers
  }
}

export interface Desk {
  readonly issuer: string
  readonly streams: Streams
  readonly poller: Poller
  readonly reach: Reach
}

const DESCRIPTION_CHARACTERS_MAX = 256
const EVENTS_REQUESTED_MAX = 64
const URI_CHARACTERS_MAX = 512
const STATE_CHARACTERS_MAX = 1024
const REASON_CHARACTERS_MAX = 256
const AUTHORIZATION_CHARACTERS_MAX = 2048

export async function createStream(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const stream = await desk.streams.create(clientId, readWishes(desk, body))
  if (stream === undefined) throw new Declined(409, 'this client has as many streams as it may have')
  return { status: 201, body: describeStream(desk, stream) }
}

export async function readStreams(desk: Desk, clientId: string, id: string | undefined): Promise<Answer> {
  if (id !== undefined) return { status: 200, body: describeStream(desk, await own(desk, clientId, id)) }
  const streams = await desk.streams.list(clientId)
  return { status: 200, body: streams.map((stream) => describeStream(desk, stream)) }
}

/** PATCH: what is not named stays as it is. */
export async function updateStream(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const stream = await own(desk, clientId, body['stream_id'])
  checkSupplied(desk, stream, body)
  const wishes = readWishes(desk, body, stream, true)
  const kept: Partial<Record<keyof Wishes, unknown>> = {
    ...(body['delivery'] === undefined && { delivery: stream.delivery }),
    ...(body['events_requested'] === undefined && { eventsRequested: stream.eventsRequested }),
    ...(body['description'] === undefined && { description: stream.description }),
  }
  return change(desk, stream, { ...wishes, ...kept } as Wishes)
}

/** PUT: what is not named is given up. */
export async function replaceStream(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const stream = await own(desk, clientId, body['stream_id'])
  checkSupplied(desk, stream, body)
  return change(desk, stream, readWishes(desk, body, stream, false))
}

export async function deleteStream(desk: Desk, clientId: string, id: string | undefined): Promise<Answer> {
  await desk.streams.remove((await own(desk, clientId, id)).id)
  return { status: 204 }
}

export async function readStatus(desk: Desk, clientId: string, id: string | undefined): Promise<Answer> {
  return { status: 200, body: describeStatus(await own(desk, clientId, id)) }
}

export async function updateStatus(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const { id } = await own(desk, clientId, body['stream_id'])
  const status = statuses.find((each) => each === body['status'])
  if (status === undefined) throw new Declined(400, 'status is none of enabled, paused and disabled')
  await desk.streams.setStatus(id, status, optionalText(body, 'reason', REASON_CHARACTERS_MAX))
  return { status: 200, body: describeStatus(await own(desk, clientId, id)) }
}

/** Answers the same whether or not anybody is meant by the subject, so that nobody learns it by asking. */
export async function addSubject(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const { id } = await own(desk, clientId, body['stream_id'])
  const subject = readNamedSubject(body)
  if (body['verified'] !== undefined && typeof body['verified'] !== 'boolean')
    throw new Declined(400, 'verified is neither true nor false')
  await desk.streams.include(id, subject)
  return { status: 200 }
}

export async function removeSubject(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const { id } = await own(desk, clientId, body['stream_id'])
  if (!(await desk.streams.exclude(id, readNamedSubject(body))))
    throw new Declined(403, 'the stream leaves out as many subjects as it may')
  return { status: 204 }
}

export async function verifyStream(desk: Desk, clientId: string, body: JsonObject): Promise<Answer> {
  const { id, status } = await own(desk, clientId, body['stream_id'])
  const state = optionalText(body, 'state', STATE_CHARACTERS_MAX)
  if (status === 'disabled') throw new Declined(400, 'the stream is disabled')
  const earlySeconds = await desk.streams.verify(id, state)
  if (earlySeconds > 0)
    throw new Declined(429, 'a verification was asked for a moment ago', {
      'retry-after': String(earlySeconds),
    })
  return { status: 204 }
}

export async function pollStream(
  desk: Desk,
  clientId: string,
  id: string,
  body: JsonObject,
  gone: AbortSignal,
): Promise<Answer> {
  const stream = await own(desk, clientId, id)
  if (stream.delivery.method !== 'poll') throw new Declined(404, 'this stream is not polled')
  const request = readPollRequest(body)
  if (request === undefined) throw new Declined(400, 'the body is not a poll')
  return { status: 200, body: await desk.poller.poll(stream, request, gone) }
}

async function change(desk: Desk, { id, clientId }: Stream, wishes: Wishes): Promise<Answer> {
  await desk.streams.change(id, wishes)
  return { status: 200, body: describeStream(desk, await own(desk, clientId, id)) }
}

/** The client's stream. Another's is not there for it. */
async function own(desk: Desk, clientId: string, id: JsonValue | undefined): Promise<Stream> {
  if (id === undefined) throw new Declined(400, 'stream_id is missing')
  const stream = typeof id === 'string' ? await desk.streams.find(clientId, id) : undefined
  if (stream === undefined) throw new Declined(404, 'there is no such stream')
  return stream
}

/** `before`, where there is a stream already; `isUpdate`, where it keeps what is not named. */
function readWishes(desk: Desk, body: JsonObject, before?: Stream, isUpdate = false): Wishes {
  const delivery = readDelivery(desk, body['delivery'], before)
  return {
    delivery: isUpdate ? withKnownAuthorization(delivery, before) : delivery,
    eventsRequested: readEvents(body['events_requested']),
    description: optionalText(body, 'description')?.slice(0, DESCRIPTION_CHARACTERS_MAX),
  }
}

/** Without one a receiver wants to poll (section 8.1.1.1). */
function readDelivery(desk: Desk, value: JsonValue | undefined, before?: Stream): Delivery {
  if (value === undefined) return { method: 'poll' }
  if (!isObject(value)) throw new Declined(400, 'delivery is not an object')
  const { method, endpoint_url: url, authorization_header: authorization } = value
  switch (method) {
    case deliveryMethods.poll:
      if (url !== undefined && (before === undefined || url !== pollUrl(desk, before.id)))
        throw new Declined(400, 'endpoint_url is ours to choose')
      return { method: 'poll' }
    case deliveryMethods.push: {
      if (typeof url !== 'string') throw new Declined(400, 'endpoint_url is missing')
      const problem = findUrlProblem(url, desk.reach)
      if (problem !== undefined) throw new Declined(400, `endpoint_url: ${problem}`)
      return { method: 'push', url, authorization: readAuthorization(authorization) }
    }
    default:
      throw new Declined(400, 'this delivery method is not supported')
  }
}

/** Since it is never shown, who updates a stream cannot repeat it. It goes to the URL that it was given for, and no other. */
function withKnownAuthorization(delivery: Delivery, before: Stream | undefined): Delivery {
  if (delivery.method !== 'push' || before?.delivery.method !== 'push') return delivery
  const known = before.delivery.url === delivery.url ? before.delivery.authorization : undefined
  return { ...delivery, authorization: delivery.authorization ?? known }
}

function readAuthorization(value: JsonValue | undefined): string | undefined {
  if (value === undefined) return undefined
  // What may stand in a field (RFC 9110, section 5.5): nothing that could begin another.
  if (
    typeof value !== 'string' ||
    value.length > AUTHORIZATION_CHARACTERS_MAX ||
    !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value)
  )
    throw new Declined(400, 'authorization_header is not the value of a header')
  return value
}

function readEvents(value: JsonValue | undefined): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length > EVENTS_REQUESTED_MAX || !value.every(isUri))
    throw new Declined(400, 'events_requested is not a list of URIs')
  return value
}

function isUri(value: JsonValue): value is string {
  return (
    typeof value === 'string' && value.length <= URI_CHARACTERS_MAX && /^[a-z][a-z0-9+.-]*:\S+$/i.test(value)
  )
}

/** What we have chosen may be repeated, and not be changed (section 8.1.1.3). */
function checkSupplied(desk: Desk, stream: Stream, body: JsonObject): void {
  const supplied = describeStream(desk, stream) as Readonly<Record<string, unknown>>
  for (const name of ['iss', 'aud', 'events_supported', 'events_delivered', 'min_verification_interval'])
    if (body[name] !== undefined && JSON.stringify(body[name]) !== JSON.stringify(supplied[name]))
      throw new Declined(400, `${name} is ours to choose`)
}

function readNamedSubject(body: JsonObject): JsonObject {
  const subject = readSubject(body['subject'])
  if (subject === undefined) throw new Declined(400, 'subject is not a subject identifier that is known here')
  return subject
}

function optionalText(
  body: JsonObject,
  name: string,
  charactersMax = Number.POSITIVE_INFINITY,
): string | undefined {
  const value = body[name]
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value.length > charactersMax)
    throw new Declined(400, `${name} is not a text, or too long`)
  return value
}

const statuses: readonly StreamStatus[] = ['enabled', 'paused', 'disabled']

/** As section 8.1.1 has it. `authorization_header` is a secret of the receiver, and stays out. */
function describeStream(desk: Desk, stream: Stream): object {
  const { id, clientId, delivery, eventsRequested, eventsDelivered, description } = stream
  return {
    stream_id: id,
    iss: desk.issuer,
    aud: clientId,
    delivery: {
      method: deliveryMethods[delivery.method],
      endpoint_url: delivery.method === 'push' ? delivery.url : pollUrl(desk, id),
    },
    events_supported: offeredEvents,
    ...(eventsRequested !== undefined && { events_requested: eventsRequested }),
    events_delivered: eventsDelivered,
    min_verification_interval: VERIFICATION_SECONDS_MIN,
    ...(description !== undefined && { description }),
  }
}

function describeStatus({ id, status, statusReason }: Stream): object {
  return { stream_id: id, status, ...(statusReason !== undefined && { reason: statusReason }) }
}

function pollUrl({ issuer }: Desk, id: string): string {
  return `${issuer}${paths.poll}/${id}`
}
