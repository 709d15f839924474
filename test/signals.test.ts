/**
 * Goal: a receiver that knows the specifications and nothing of us is told of what ends, of all of it and of nothing else's.
 * Method: a receiver process written from the RFCs (`ssf-receiver/`) goes through every verb, rightly and wrongly, while
 * sessions and keys of a test issuer end in each way there is. Steps build on each other where they are numbered.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createTestKey, tenants } from '@countersign/validator/testing'
import { decodeJwt } from 'jose'
import { FakeBrowser } from '../issuer/src/fake-browser.ts'
import { authorize, codeFrom, exchangeCode, post, signIn } from '../issuer/src/flows.ts'
import { openPeople } from '../issuer/src/people.ts'
import { openIssuerDatabase } from '../issuer/src/schema.ts'
import { WAITING_SECONDS_MAX } from '../issuer/src/signals/outbox.ts'
import {
  clientIds,
  passSeconds,
  quietTransmitter,
  startTestIssuer,
  type TestIssuer,
} from '../issuer/src/testing.ts'
import { type Arrived, type CallAnswer, type Receiver, startReceiver } from './ssf-receiver.ts'

const caep = 'https://schemas.openid.net/secevent/caep/event-type'
const ssf = 'https://schemas.openid.net/secevent/ssf/event-type'
const keyRevoked = 'https://countersign.example/secevent/event-type/key-revoked'
const push = 'urn:ietf:rfc:8935'
const poll = 'urn:ietf:rfc:8936'

let consumer: TestIssuer
let enterprise: TestIssuer
let receiver: Receiver
let pushUrl: string
before(async () => {
  consumer = await startTestIssuer('consumer', { signals: true })
  enterprise = await startTestIssuer('enterprise', {
    world: consumer.world,
    signals: true,
    settings: {
      signals: { loopback_receivers: true, bearer_allowed: 'this receiver knows the specifications alone' },
    },
  })
  receiver = await startReceiver({
    [new URL(consumer.issuers[0] ?? '').origin]: consumer.url,
    [new URL(enterprise.issuers[0] ?? '').origin]: enterprise.url,
  })
  pushUrl = await receiver.do('listen')
})
after(async () => {
  await receiver?.stop()
  await Promise.all([consumer.stop(), enterprise.stop()])
})

/** Turns the receiver to an issuer, as a client of it. */
async function face(issuer: string, client: string = clientIds.receiver, scope?: string): Promise<string> {
  const realm = consumer.issuers.includes(issuer) ? consumer : enterprise
  await receiver.do('discover', { issuer })
  await receiver.do('expect', { audience: client })
  return receiver.authorize(client, realm.secrets[client] ?? '', scope)
}

interface Subscription {
  readonly id: string
  readonly endpoint: string
}

async function subscribe(body: object = {}): Promise<Subscription> {
  const made = await receiver.call('POST', 'configuration_endpoint', { body })
  assert.equal(made.status, 201, made.text)
  return { id: made.body.stream_id, endpoint: made.body.delivery.endpoint_url }
}

function cancel({ id }: Subscription): Promise<CallAnswer> {
  return receiver.call('DELETE', 'configuration_endpoint', { query: { stream_id: id } })
}

/** What waits in a polled stream, verified; taken out, unless it is only to be looked at. */
async function take({ endpoint }: Subscription, { acknowledge } = { acknowledge: true }): Promise<Arrived[]> {
  const { status, text, body } = await receiver.call('POST', endpoint, { body: { returnImmediately: true } })
  assert.equal(status, 200, text)
  const arrived: Arrived[] = []
  for (const [jti, token] of Object.entries(body.sets)) {
    const set = (await receiver.do('verify', { text: token })) as Arrived
    assert.equal(set.jti, jti)
    arrived.push(set)
  }
  if (acknowledge)
    await receiver.call('POST', endpoint, { body: { maxEvents: 0, ack: arrived.map(({ jti }) => jti) } })
  return arrived
}

function eventOf({ payload }: Arrived): readonly [type: string, event: Readonly<Record<string, unknown>>] {
  const [[type, event] = []] = Object.entries(payload.events)
  return [type ?? '', event ?? {}]
}

/** The session that a SET is about. */
function sidOf(set: Arrived | undefined): string | undefined {
  return (set?.payload.sub_id as { readonly session?: { readonly id: string } } | undefined)?.session?.id
}

const typesOf = (arrived: readonly Arrived[]): string[] => arrived.map((each) => eventOf(each)[0])

test('metadata stands where the specification puts it, for an issuer with a path too, and for no other path', async () => {
  const [home = ''] = consumer.issuers
  const plain = await receiver.do('discover', { issuer: home })
  assert.equal(plain.type, 'application/json; charset=utf-8')
  const { metadata } = plain
  assert.equal(metadata.spec_version, '1_0')
  assert.deepEqual(metadata.delivery_methods_supported, [push, poll])
  assert.deepEqual(metadata.authorization_schemes, [{ spec_urn: 'urn:ietf:rfc:6749' }])
  for (const endpoint of ['configuration', 'status', 'add_subject', 'remove_subject', 'verification'])
    assert.ok(metadata[`${endpoint}_endpoint`].startsWith(`${home}/`))
  for (const issuer of enterprise.issuers)
    assert.equal((await receiver.do('discover', { issuer })).metadata.issuer, issuer)
  const { origin } = new URL(enterprise.issuers[0] ?? '')
  for (const path of ['', '/', '/44444444-4444-4444-8444-444444444444/v2.0', `/${tenants.fabrikam}`])
    assert.equal((await enterprise.fetch(`${origin}/.well-known/ssf-configuration${path}`)).status, 404, path)
})

test('K10 the key for SETs stands in the key set, and ID tokens are announced and signed without it', async () => {
  const [issuer = ''] = consumer.issuers
  const { keys } = (await (await consumer.fetch(`${issuer}/jwks`)).json()) as { keys: { alg: string }[] }
  assert.deepEqual(keys.map(({ alg }) => alg).sort(), ['ES256', 'ES256', 'RS256'])
  const discovery = await (await consumer.fetch(`${issuer}/.well-known/openid-configuration`)).json()
  assert.deepEqual(
    (discovery as { id_token_signing_alg_values_supported: string[] }).id_token_signing_alg_values_supported,
    ['ES256'],
  )
})

test('T212 T213 every verb asks for a token of a client, of this tenant, for this transmitter, with the scope', async () => {
  const [fabrikam = '', northwind = ''] = enterprise.issuers
  const other = await face(northwind)
  const reading = await face(fabrikam, clientIds.receiver, 'ssf.read')
  const good = await face(fabrikam)
  const stream = await subscribe()
  const named = { stream_id: stream.id }
  const subject = { format: 'opaque', id: 's' }
  const verbs: readonly (readonly [method: string, endpoint: string, order: object, reads?: true])[] = [
    ['POST', 'configuration_endpoint', { body: {} }],
    ['GET', 'configuration_endpoint', { query: named }, true],
    ['GET', 'configuration_endpoint', {}, true],
    ['PATCH', 'configuration_endpoint', { body: named }],
    ['PUT', 'configuration_endpoint', { body: named }],
    ['GET', 'status_endpoint', { query: named }, true],
    ['POST', 'status_endpoint', { body: { ...named, status: 'enabled' } }],
    ['POST', 'add_subject_endpoint', { body: { ...named, subject } }],
    ['POST', 'remove_subject_endpoint', { body: { ...named, subject } }],
    ['POST', 'verification_endpoint', { body: named }],
    ['POST', stream.endpoint, { body: { returnImmediately: true } }],
    ['DELETE', 'configuration_endpoint', { query: named }],
  ]
  const mail = await post(enterprise, '/token', clientIds.mailService, { grant_type: 'client_credentials' })
  const person = await exchangeCode(enterprise, await codeFrom(enterprise))
  const forged = `${good.slice(0, -8)}AAAAAAAA`
  for (const [method, endpoint, order, reads] of verbs) {
    const ask = (token: string | undefined): Promise<CallAnswer> =>
      receiver.call(method, endpoint, { ...order, token })
    const anonymous = await ask('')
    assert.equal(anonymous.status, 401, `${method} ${endpoint} without a token`)
    assert.equal(anonymous.headers['www-authenticate'], 'Bearer, DPoP algs="ES256 EdDSA Ed25519 PS256"')
    for (const [what, token] of Object.entries({
      other,
      forged,
      mail: mail.access_token,
      person: person.access_token,
    })) {
      const refused = await ask(token)
      assert.equal(refused.status, 401, `${method} ${endpoint} with the token of ${what}`)
      assert.match(refused.headers['www-authenticate'] ?? '', /^Bearer error="invalid_token"/)
      assert.equal(refused.headers['cache-control'], 'no-store')
    }
    const read = await ask(reading)
    if (reads) assert.equal(read.status, 200)
    else {
      assert.equal(read.status, 403, `${method} ${endpoint} to read alone`)
      assert.match(read.headers['www-authenticate'] ?? '', /insufficient_scope.*ssf\.manage/)
    }
    const inQuery = {
      ...order,
      query: { ...(order as { query?: object }).query, access_token: good },
      token: '',
    }
    assert.equal((await receiver.call(method, endpoint, inQuery)).status, 401, 'a token in the query')
  }
  const revoked = await face(fabrikam)
  await post(enterprise, '/revoke', clientIds.receiver, { token: revoked })
  assert.equal((await receiver.call('GET', 'configuration_endpoint', { token: revoked })).status, 401)
  await face(fabrikam)
  await cancel(stream)
})

test('a client that was not given the transmitter as an audience gets no token for it', async () => {
  for (const client of [clientIds.web, clientIds.service, clientIds.mailService]) {
    const request = {
      grant_type: 'client_credentials',
      scope: 'ssf.manage',
      resource: `${consumer.issuers[0]}/ssf`,
    }
    const { access_token, error } = await post(consumer, '/token', client, request)
    assert.equal(access_token, undefined)
    assert.ok(error)
  }
})

test('a stream is created with what the receiver wants, and shows what it will get', async () => {
  await face(consumer.issuers[0] ?? '')
  const { status, body, headers } = await receiver.call('POST', 'configuration_endpoint', {
    body: {
      delivery: { method: push, endpoint_url: pushUrl, authorization_header: 'Bearer receiver-secret' },
      events_requested: [`${caep}/session-revoked`, 'urn:example:unknown'],
      description: 'd'.repeat(300),
      unknown: true,
    },
  })
  assert.equal(status, 201)
  assert.equal(headers['content-type'], 'application/json; charset=utf-8')
  assert.equal(body.iss, consumer.issuers[0])
  assert.equal(body.aud, clientIds.receiver)
  assert.deepEqual(body.delivery, { method: push, endpoint_url: pushUrl }, 'the secret is not shown')
  assert.deepEqual(body.events_requested, [`${caep}/session-revoked`, 'urn:example:unknown'])
  assert.deepEqual(body.events_delivered, [`${caep}/session-revoked`])
  assert.equal(body.description.length, 256)
  assert.match(body.stream_id, /^[\w-]{22}$/)
  const read = await receiver.call('GET', 'configuration_endpoint', { query: { stream_id: body.stream_id } })
  assert.deepEqual(read.body, body)
  const plain = await subscribe()
  assert.match(
    plain.endpoint,
    new RegExp(`^${consumer.issuers[0]}/ssf/poll/${plain.id}$`),
    'poll unless said otherwise',
  )
  const list = await receiver.call('GET', 'configuration_endpoint')
  assert.deepEqual(
    list.body.map((each: { stream_id: string }) => each.stream_id).sort(),
    [body.stream_id, plain.id].sort(),
  )
  const [database, wal] = ['issuer.sqlite', 'issuer.sqlite-wal'].map((name) =>
    readFileSync(join(consumer.folder, name)),
  )
  assert.ok(
    !database?.includes('receiver-secret') && !wal?.includes('receiver-secret'),
    'nor readable in the file',
  )
  await cancel(plain)
  assert.equal((await cancel({ id: body.stream_id, endpoint: '' })).status, 204)
  assert.deepEqual((await receiver.call('GET', 'configuration_endpoint')).body, [])
})

test('T217 what is no stream is not created, and where a receiver may not be it is not', async () => {
  await face(consumer.issuers[0] ?? '')
  const to = (endpoint_url: unknown, more = {}): object => ({
    delivery: { method: push, endpoint_url, ...more },
  })
  const bodies: readonly (readonly [what: string, body: object | string])[] = [
    ['no JSON', '{'],
    ['a list', '[]'],
    ['a member twice', '{"description":"a","description":"b"}'],
    ['an unknown method', { delivery: { method: 'urn:example:carrier-pigeon' } }],
    ['no method', { delivery: {} }],
    ['a delivery that is a text', { delivery: push }],
    ['no URL', to(undefined)],
    ['a poll URL of its own', { delivery: { method: poll, endpoint_url: 'https://receiver.example/' } }],
    ['http', to('http://receiver.example/')],
    ['another scheme', to('ftp://receiver.example/')],
    ['a credential in the URL', to('https://user:secret@receiver.example/')],
    ['a fragment', to('https://receiver.example/#here')],
    ['another port', to('https://receiver.example:22/')],
    ['a private address', to('https://10.0.0.1/')],
    ['the metadata service', to('https://169.254.169.254/latest/')],
    ['a decimal address', to('https://167772161/')],
    ['a mapped address', to('https://[::ffff:10.0.0.1]/')],
    ['a header that begins another', to(pushUrl, { authorization_header: 'a\r\nhost: b' })],
    ['a header that is a number', to(pushUrl, { authorization_header: 7 })],
    ['events that are a text', { events_requested: `${caep}/session-revoked` }],
    ['an event that is no URI', { events_requested: ['session revoked'] }],
    ['a description that is a number', { description: 7 }],
  ]
  for (const [what, body] of bodies)
    assert.equal((await receiver.call('POST', 'configuration_endpoint', { body })).status, 400, what)
  assert.deepEqual((await receiver.call('GET', 'configuration_endpoint')).body, [])
  const streams = []
  for (let count = 0; count < 10; count++) streams.push(await subscribe())
  assert.equal((await receiver.call('POST', 'configuration_endpoint', { body: {} })).status, 409)
  for (const stream of streams) await cancel(stream)
})

test('an update changes what it names, a replacement gives up what it does not, and neither what is ours', async () => {
  await face(consumer.issuers[0] ?? '')
  const events_requested = [`${caep}/session-revoked`]
  const { id, endpoint } = await subscribe({ events_requested, description: 'first' })
  const call = (method: string, body: object): Promise<CallAnswer> =>
    receiver.call(method, 'configuration_endpoint', { body: { stream_id: id, ...body } })
  const updated = await call('PATCH', { description: 'second' })
  assert.equal(updated.status, 200)
  assert.equal(updated.body.description, 'second')
  assert.deepEqual(updated.body.events_requested, events_requested)
  const pushed = await call('PATCH', { delivery: { method: push, endpoint_url: pushUrl } })
  assert.deepEqual(pushed.body.delivery, { method: push, endpoint_url: pushUrl })
  assert.equal(pushed.body.description, 'second')
  const replaced = await call('PUT', { delivery: { method: poll, endpoint_url: endpoint } })
  assert.equal(replaced.status, 200)
  assert.deepEqual(replaced.body.delivery, { method: poll, endpoint_url: endpoint })
  assert.ok(!('description' in replaced.body) && !('events_requested' in replaced.body))
  assert.deepEqual(replaced.body.events_delivered, replaced.body.events_supported)
  assert.equal((await call('PUT', replaced.body)).status, 200, 'what was read may be written')
  for (const method of ['PATCH', 'PUT']) {
    for (const wrong of [
      { iss: 'https://other.example' },
      { aud: clientIds.otherReceiver },
      { events_supported: [] },
      { events_delivered: [] },
      { min_verification_interval: 1 },
      { delivery: { method: push, endpoint_url: 'https://127.0.0.1.nip.io:22/' } },
      { delivery: { method: poll, endpoint_url: 'https://elsewhere.example/' } },
    ])
      assert.equal((await call(method, wrong)).status, 400, `${method} ${JSON.stringify(wrong)}`)
    const unnamed = await receiver.call(method, 'configuration_endpoint', { body: {} })
    assert.equal(unnamed.status, 400, `${method} of no stream`)
  }
  await cancel({ id, endpoint })
})

test('T213 T219 one client sees nothing of the streams of another, and one tenant nothing of another', async () => {
  const [fabrikam = '', northwind = ''] = enterprise.issuers
  await face(fabrikam)
  const stream = await subscribe()
  for (const [issuer, client] of [
    [fabrikam, clientIds.otherReceiver],
    [northwind, clientIds.receiver],
  ] as const) {
    await face(issuer, client)
    const named = { stream_id: stream.id }
    const subject = { format: 'opaque', id: 's' }
    assert.deepEqual((await receiver.call('GET', 'configuration_endpoint')).body, [])
    const answers = await Promise.all([
      receiver.call('GET', 'configuration_endpoint', { query: named }),
      receiver.call('PATCH', 'configuration_endpoint', { body: named }),
      receiver.call('PUT', 'configuration_endpoint', { body: named }),
      receiver.call('DELETE', 'configuration_endpoint', { query: named }),
      receiver.call('GET', 'status_endpoint', { query: named }),
      receiver.call('POST', 'status_endpoint', { body: { ...named, status: 'disabled' } }),
      receiver.call('POST', 'add_subject_endpoint', { body: { ...named, subject } }),
      receiver.call('POST', 'remove_subject_endpoint', { body: { ...named, subject } }),
      receiver.call('POST', 'verification_endpoint', { body: named }),
      receiver.call('POST', `${issuer}/ssf/poll/${stream.id}`, { body: { returnImmediately: true } }),
    ])
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([404]))
  }
  await face(fabrikam)
  await cancel(stream)
})

test('T216 a verification arrives with the state that was given, and not more often than allowed', async () => {
  await face(consumer.issuers[0] ?? '')
  await receiver.do('expect', { audience: clientIds.receiver, authorization: 'Bearer receiver-secret' })
  const stream = await subscribe({
    delivery: { method: push, endpoint_url: pushUrl, authorization_header: 'Bearer receiver-secret' },
  })
  const verify = (body: object): Promise<CallAnswer> =>
    receiver.call('POST', 'verification_endpoint', { body: { stream_id: stream.id, ...body } })
  for (const state of [7, 'x'.repeat(1025)]) assert.equal((await verify({ state })).status, 400)
  const before = (await receiver.received(0)).length
  const asked = await verify({ state: 'VGhpcyBpcyBhbiBleGFtcGxlLg==' })
  assert.deepEqual([asked.status, asked.text], [204, ''])
  const [arrived] = (await receiver.received(before + 1)).slice(before)
  assert.ok(arrived)
  assert.deepEqual(eventOf(arrived), [`${ssf}/verification`, { state: 'VGhpcyBpcyBhbiBleGFtcGxlLg==' }])
  assert.deepEqual(arrived.payload.sub_id, { format: 'opaque', id: stream.id })
  assert.ok(arrived.header.rcpt, 'with a receipt')
  const early = await verify({})
  assert.equal(early.status, 429)
  assert.ok(Number(early.headers['retry-after']) > 0)
  passSeconds(30)
  assert.equal((await verify({})).status, 204, 'as often as min_verification_interval says')
  const [, plain] = (await receiver.received(before + 2)).slice(before)
  assert.deepEqual(plain && eventOf(plain)[1], {})
  assert.equal((await receiver.call('POST', 'verification_endpoint', { body: {} })).status, 400)
  await cancel(stream)
})

test('T214 polled: nothing is lost without an acknowledgement, and each acknowledgement is believed once', async () => {
  await face(consumer.issuers[0] ?? '')
  const stream = await subscribe()
  const ask = async (body: object | string): Promise<CallAnswer> =>
    receiver.call('POST', stream.endpoint, { body })
  assert.deepEqual((await ask({ returnImmediately: true })).body, { sets: {}, moreAvailable: false })
  for (let count = 0; count < 3; count++) {
    await receiver.call('POST', 'verification_endpoint', {
      body: { stream_id: stream.id, state: String(count) },
    })
    passSeconds(30)
  }
  await face(consumer.issuers[0] ?? '')
  const one = await ask({ maxEvents: 1, returnImmediately: true })
  assert.equal(Object.keys(one.body.sets).length, 1)
  assert.equal(one.body.moreAvailable, true)
  const all = await ask({ returnImmediately: true })
  const jtis = Object.keys(all.body.sets)
  assert.equal(jtis.length, 3)
  assert.equal(all.body.moreAvailable, false)
  assert.equal(jtis[0], Object.keys(one.body.sets)[0], 'the same once more, in the same order')
  assert.deepEqual(all.body.sets[jtis[0] ?? ''], one.body.sets[jtis[0] ?? ''], 'to the letter')
  const acknowledged = await ask({ maxEvents: 0, ack: [jtis[0], 'unknown', 'x'.repeat(100)] })
  assert.deepEqual(acknowledged.body, { sets: {}, moreAvailable: false })
  const refused = await ask({
    returnImmediately: true,
    setErrs: { [jtis[1] ?? '']: { err: 'invalid_state', description: 'another one' }, unknown: { err: 'x' } },
  })
  assert.deepEqual(Object.keys(refused.body.sets), [jtis[2]], 'refused is settled too')
  for (const wrong of [
    '[]',
    { maxEvents: -1 },
    { maxEvents: 1.5 },
    { maxEvents: '1' },
    { returnImmediately: 'yes' },
    { ack: 'jti' },
    { ack: [7] },
    { setErrs: [] },
    { setErrs: { a: 'invalid_request' } },
    { ack: Array.from({ length: 1001 }, (_, at) => String(at)) },
  ])
    assert.equal((await ask(wrong)).status, 400, JSON.stringify(wrong).slice(0, 60))
  await cancel(stream)
  assert.equal((await ask({ returnImmediately: true })).status, 404)
  const pushed = await subscribe({ delivery: { method: push, endpoint_url: pushUrl } })
  assert.equal(
    (await receiver.call('POST', `${consumer.issuers[0]}/ssf/poll/${pushed.id}`, { body: {} })).status,
    404,
    'what is pushed is not polled',
  )
  await cancel(pushed)
})

test('a poll that waits is answered as soon as there is something, and gives way to the next one', async () => {
  await face(consumer.issuers[0] ?? '')
  const stream = await subscribe()
  const first = receiver.call('POST', stream.endpoint, { body: {} })
  // It waits once nothing more is answered: a second one shows that it is there, by ending it.
  const second = receiver.call('POST', stream.endpoint, { body: {} })
  const ended = await Promise.race([first, second])
  assert.deepEqual(ended.body, { sets: {}, moreAvailable: false })
  await receiver.call('POST', 'verification_endpoint', { body: { stream_id: stream.id } })
  const answers = await Promise.all([first, second])
  assert.equal(answers.filter(({ body }) => Object.keys(body.sets).length === 1).length, 1)
  await take(stream)
  const polls = [0, 1].map(() => receiver.call('POST', stream.endpoint, { body: {} }))
  await Promise.race(polls)
  await cancel(stream)
  const over = await Promise.all(polls)
  assert.deepEqual(
    over.map(({ body }) => body.sets),
    [{}, {}],
    'a stream that is gone keeps nobody waiting',
  )
})

test('T218 what happens while a stream is paused waits, and while it is disabled does not', async () => {
  await face(consumer.issuers[0] ?? '')
  const stream = await subscribe()
  const setStatus = (body: object): Promise<CallAnswer> =>
    receiver.call('POST', 'status_endpoint', { body: { stream_id: stream.id, ...body } })
  const readStatus = (query: object = { stream_id: stream.id }): Promise<CallAnswer> =>
    receiver.call('GET', 'status_endpoint', { query })
  assert.deepEqual((await readStatus()).body, { stream_id: stream.id, status: 'enabled' })
  for (const wrong of [{}, { status: 'off' }, { status: 7 }, { status: 'paused', reason: 7 }])
    assert.equal((await setStatus(wrong)).status, 400)
  assert.equal((await readStatus({})).status, 400)
  assert.equal((await readStatus({ stream_id: 'other' })).status, 404)
  const paused = await setStatus({ status: 'paused', reason: 'maintenance' })
  assert.deepEqual(paused.body, { stream_id: stream.id, status: 'paused', reason: 'maintenance' })
  assert.deepEqual((await readStatus()).body, paused.body)
  await endOneSession(consumer)
  assert.deepEqual(await take(stream), [])
  await setStatus({ status: 'enabled' })
  assert.deepEqual(typesOf(await take(stream, { acknowledge: false })), [`${caep}/session-revoked`])
  await setStatus({ status: 'disabled' })
  await endOneSession(consumer)
  assert.equal(
    (await receiver.call('POST', 'verification_endpoint', { body: { stream_id: stream.id } })).status,
    400,
  )
  await setStatus({ status: 'enabled' })
  assert.deepEqual(await take(stream), [])
  await cancel(stream)
})

test('T218 a stream whose receiver has stayed away too long is disabled, and says so', async () => {
  await face(consumer.issuers[0] ?? '')
  const stream = await subscribe()
  await endOneSession(consumer)
  const database = await openIssuerDatabase(join(consumer.folder, 'issuer.sqlite'))
  const late = (): number => Math.floor(Date.now() / 1000) + WAITING_SECONDS_MAX + 1
  const other = quietTransmitter(database, tenants.home, late)
  await other.sweep()
  await other.stop()
  await database.destroy()
  const status = await receiver.call('GET', 'status_endpoint', { query: { stream_id: stream.id } })
  assert.equal(status.body.status, 'disabled')
  const [told, ...others] = await take(stream)
  assert.ok(told)
  assert.deepEqual(eventOf(told), [
    `${ssf}/stream-updated`,
    { status: 'disabled', reason: status.body.reason },
  ])
  assert.deepEqual(others, [])
  await cancel(stream)
})

test('a receiver is not told of subjects that it removed, until it adds them again', async () => {
  const [issuer = ''] = consumer.issuers
  await face(issuer)
  const stream = await subscribe()
  const name = (endpoint: string, subject: unknown, more = {}): Promise<CallAnswer> =>
    receiver.call('POST', endpoint, { body: { stream_id: stream.id, subject, ...more } })
  const sub = '00000000-0000-4000-8000-000000000000'
  const ada = { format: 'iss_sub', iss: issuer, sub }
  const removed = await name('remove_subject_endpoint', ada)
  assert.deepEqual([removed.status, removed.text], [204, ''])
  await endOneSession(consumer)
  assert.deepEqual(await take(stream), [])
  const added = await name('add_subject_endpoint', ada, { verified: true })
  assert.deepEqual([added.status, added.text], [200, ''])
  const { sid } = await endOneSession(consumer)
  assert.equal((await take(stream)).length, 1)

  await name('remove_subject_endpoint', {
    format: 'complex',
    user: ada,
    device: { format: 'opaque', id: 'd' },
  })
  await name('remove_subject_endpoint', { format: 'complex', session: { format: 'opaque', id: sid } })
  await endOneSession(consumer)
  assert.equal((await take(stream)).length, 1, 'T213 nobody removes more than they name')
  await name('remove_subject_endpoint', { format: 'complex', tenant: { format: 'opaque', id: tenants.home } })
  await endOneSession(consumer)
  assert.deepEqual(await take(stream), [])

  const unknown = { format: 'email', email: 'nobody@home.example' }
  assert.equal((await name('add_subject_endpoint', unknown)).status, 200, 'T213 nobody learns who there is')
  assert.equal((await name('remove_subject_endpoint', unknown)).status, 204)
  for (const wrong of [
    undefined,
    'ada',
    {},
    { format: 'iss_sub', iss: issuer },
    { ...ada, extra: true },
    { format: 'handwriting', sample: 'x' },
    { format: 'complex' },
    { format: 'complex', user: { format: 'complex', user: ada } },
    { format: 'toString' },
  ])
    for (const endpoint of ['add_subject_endpoint', 'remove_subject_endpoint'])
      assert.equal((await name(endpoint, wrong)).status, 400, JSON.stringify(wrong))
  assert.equal((await name('add_subject_endpoint', ada, { verified: 'yes' })).status, 400)
  await cancel(stream)
})

test('signing out ends the session at each client, and each is told of once', async () => {
  const [issuer = ''] = consumer.issuers
  await face(issuer)
  const stream = await subscribe({ events_requested: [`${caep}/session-revoked`] })
  const { sid, sub } = await endOneSession(consumer)
  const arrived = await take(stream)
  const [told] = arrived
  assert.equal(arrived.length, 1)
  assert.ok(told)
  assert.deepEqual(told.payload.sub_id, {
    format: 'complex',
    session: { format: 'opaque', id: sid },
    user: { format: 'iss_sub', iss: issuer, sub },
    tenant: { format: 'opaque', id: tenants.home },
  })
  const [type, event] = eventOf(told)
  assert.equal(type, `${caep}/session-revoked`)
  assert.equal(event['initiating_entity'], 'user')
  assert.deepEqual(Object.keys(event['reason_admin'] as object), ['en'])
  assert.ok(Math.abs(Number(event['event_timestamp']) - Date.now() / 1000) < 5)
  assert.ok(told.payload.txn)

  // A second sign-in in the same browser goes on with the session, though its row gets another id.
  const browser = new FakeBrowser(consumer)
  await signIn(browser, (await authorize(consumer)).url)
  await signIn(browser, (await authorize(consumer, { prompt: 'login' })).url)
  assert.deepEqual(await take(stream), [])
  await cancel(stream)
})

test('T191 a revoked refresh token, and one that was used twice, end the session that they are of', async () => {
  await face(consumer.issuers[0] ?? '')
  const stream = await subscribe()
  const first = await exchangeCode(consumer, await codeFrom(consumer))
  await post(consumer, '/revoke', clientIds.web, { token: first.refresh_token ?? '' })
  const [revoked, ...none] = await take(stream)
  assert.equal(sidOf(revoked), decodeJwt(first.access_token ?? '')['sid'])
  assert.deepEqual(none, [])
  const second = await exchangeCode(consumer, await codeFrom(consumer))
  const refresh = { grant_type: 'refresh_token', refresh_token: second.refresh_token ?? '' }
  await post(consumer, '/token', clientIds.web, refresh)
  assert.deepEqual(await take(stream), [], 'a rotation ends nothing')
  await post(consumer, '/token', clientIds.web, refresh)
  const [reused] = await take(stream)
  assert.equal(sidOf(reused), decodeJwt(second.access_token ?? '')['sid'])
  await cancel(stream)
})

test('what is done to a person is told: signed out everywhere, a new password, another name', async () => {
  const [issuer = ''] = consumer.issuers
  await face(issuer)
  const stream = await subscribe()
  const { access_token = '' } = await exchangeCode(consumer, await codeFrom(consumer))
  const { sub = '', sid } = decodeJwt(access_token)
  await take(stream)
  const database = await openIssuerDatabase(join(consumer.folder, 'issuer.sqlite'))
  const now = (): number => Math.floor(Date.now() / 1000)
  const signals = quietTransmitter(database, tenants.home, now)
  const people = openPeople({ database, tenant: tenants.home, totpKey: Buffer.alloc(32), signals, now })
  await people.expel(sub)
  const expelled = await take(stream)
  assert.ok(expelled.some((each) => sidOf(each) === sid))
  assert.deepEqual(new Set(typesOf(expelled)), new Set([`${caep}/session-revoked`]))
  passSeconds(1)
  await people.setPassword(sub, 'another one entirely', 'admin')
  const [changed] = await take(stream)
  assert.ok(changed)
  const { event_timestamp: _at, reason_admin: _why, ...event } = eventOf(changed)[1]
  assert.deepEqual(
    [eventOf(changed)[0], event],
    [
      `${caep}/credential-change`,
      { credential_type: 'password', change_type: 'update', initiating_entity: 'admin' },
    ],
  )
  assert.deepEqual(changed.payload.sub_id, { format: 'iss_sub', iss: issuer, sub })
  await people.setPassword(sub, 'correct horse battery staple', 'user')
  await take(stream)
  await people.rename(sub, 'Ada@Work.Example')
  const [renamed] = await take(stream)
  assert.equal(renamed && eventOf(renamed)[0], `${caep}/token-claims-change`)
  assert.deepEqual(renamed && eventOf(renamed)[1]['claims'], {
    preferred_username: 'ada@work.example',
    email: 'ada@work.example',
    email_verified: false,
  })
  await people.rename(sub, 'ada@home.example')
  await assert.rejects(people.rename(sub, 'ben'), 'a name that somebody has')
  assert.equal((await take(stream)).length, 1, 'what did not happen is not told')
  await signals.stop()
  await database.destroy()
  passSeconds(2)
  await cancel(stream)
})

test('T219 a cutoff ends the sessions that it reaches, of its tenant, once, and again after a lift', async () => {
  const [fabrikam = '', northwind = ''] = enterprise.issuers
  const { world } = enterprise
  await face(northwind)
  const elsewhere = await subscribe()
  await face(fabrikam)
  const stream = await subscribe()
  const { access_token = '' } = await exchangeCode(enterprise, await codeFrom(enterprise))
  const { sid, sub } = decodeJwt(access_token)
  const cut = async (): Promise<void> => {
    passSeconds(1)
    const before = Math.floor(Date.now() / 1000)
    world.publish(() => ({ cutoffs: [{ realm: 'enterprise', tenant: tenants.fabrikam, before }] }))
    enterprise.hearNews()
    // It reaches the receiver's own token too.
    await face(fabrikam)
  }
  await cut()
  const told = await waitFor(stream)
  const about = told.find((each) => sidOf(each) === sid)
  assert.deepEqual(about?.payload.sub_id, {
    format: 'complex',
    session: { format: 'opaque', id: sid },
    user: { format: 'iss_sub', iss: fabrikam, sub },
    tenant: { format: 'opaque', id: tenants.fabrikam },
  })
  assert.equal(new Set(told.map(({ payload }) => payload.txn)).size, 1, 'one cause')
  world.publish()
  enterprise.hearNews()
  await endOneSession(enterprise)
  assert.equal((await waitFor(stream)).length, 1, 'only what is new')
  // A key that dies with the lift, and never signed for a session, shows that the lift was seen.
  const spare = world.draftKey(createTestKey('ES256'), 'enterprise', { tokenTypes: ['logout'] })
  world.publish(({ keys }) => ({ cutoffs: [], keys: [...keys, spare] }))
  world.setState(spare.kid, 'revoked')
  enterprise.hearNews()
  assert.deepEqual(typesOf(await waitFor(stream)), [keyRevoked])
  await cut()
  const again = await waitFor(stream)
  assert.ok(again.some((each) => sidOf(each) === sid))
  assert.equal(again.length, told.length)
  await cancel(stream)
  await face(northwind)
  assert.deepEqual(
    typesOf(await take(elsewhere)),
    [keyRevoked],
    'of another tenant nothing, but of the shared key',
  )
  await cancel(elsewhere)
  world.publish(() => ({ cutoffs: [] }))
})

test('R3 the kill of a key is told once, with the sessions that end by it', async () => {
  const [fabrikam = ''] = enterprise.issuers
  const { world } = enterprise
  await face(fabrikam)
  const stream = await subscribe()
  const { access_token = '' } = await exchangeCode(enterprise, await codeFrom(enterprise))
  const { kid } = world.keys.enterprise
  world.setState(kid, 'blocked')
  enterprise.hearNews()
  assert.equal(
    (await receiver.call('POST', stream.endpoint, { body: {} })).status,
    401,
    'a token by that key',
  )
  const successor = createTestKey('ES256')
  world.publish((draft) => ({ keys: [...draft.keys, world.draftKey(successor, 'enterprise')] }))
  enterprise.key = successor
  await face(fabrikam)
  const told: Arrived[] = []
  while (!typesOf(told).includes(keyRevoked)) told.push(...(await waitFor(stream)))
  const key = told.find((each) => eventOf(each)[0] === keyRevoked)
  assert.ok(key)
  assert.deepEqual(key.payload.sub_id, {
    format: 'uri',
    uri: `urn:ietf:params:oauth:jwk-thumbprint:sha-256:${kid}`,
  })
  const { event_timestamp: at, reason_admin: _why, ...event } = eventOf(key)[1]
  assert.deepEqual(event, { kid, state: 'blocked', initiating_entity: 'admin' })
  assert.ok(typeof at === 'number')
  const sessions = told.filter((each) => eventOf(each)[0] === `${caep}/session-revoked`)
  assert.ok(sessions.some((each) => sidOf(each) === decodeJwt(access_token)['sid']))
  await cancel(stream)
})

/** Signs somebody in and out again. */
async function endOneSession(realm: TestIssuer): Promise<{ readonly sid: string; readonly sub: string }> {
  const browser = new FakeBrowser(realm)
  const { url, verifier } = await authorize(realm)
  const { url: answer } = await signIn(browser, url)
  const tokens = await exchangeCode(realm, { code: answer.searchParams.get('code') ?? '', verifier })
  const logout = new URL(`${realm.issuers[0]}/logout`)
  logout.searchParams.set('id_token_hint', tokens.id_token ?? '')
  await browser.open(logout)
  await browser.submit({ logout: 'yes' })
  const { sid, sub } = decodeJwt(tokens.access_token ?? '')
  return { sid: String(sid), sub: String(sub) }
}

/** What comes into a polled stream next. */
async function waitFor(stream: Subscription): Promise<Arrived[]> {
  const { status, text } = await receiver.call('POST', stream.endpoint, { body: { maxEvents: 1 } })
  assert.equal(status, 200, text)
  return take(stream)
}
