/**
 * Goal: an event is in the outbox exactly if it happened, of its own tenant, once, and never more than may wait; and what a
 * receiver entrusted to us goes nowhere else. Method: the stores over a database in memory, with a change that fails.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodePayload } from '@countersign/validator/document'
import { tenants } from '@countersign/validator/testing'
import { openIssuerDatabase } from '../schema.ts'
import { type SignalEvent, sessionsRevoked } from './events.ts'
import { type Desk, replaceStream, updateStream } from './management.ts'
import { createMint } from './mint.ts'
import { createOutbox, WAITING_MAX } from './outbox.ts'
import { openStreams } from './streams.ts'

const now = 1_800_000_000
const database = await openIssuerDatabase(':memory:')

function openTenant(tenant: string, wishes: object = {}) {
  const written: string[] = []
  const outbox = createOutbox({ database, tenant, onWritten: (ids) => written.push(...ids), now: () => now })
  const streams = openStreams({
    database,
    tenant,
    outbox,
    key: Buffer.alloc(32, 1),
    onChange: () => {},
    onWritten: () => {},
    now: () => now,
  })
  const create = async () => {
    const stream = await streams.create('client', {
      delivery: { method: 'poll' },
      eventsRequested: undefined,
      description: undefined,
      ...wishes,
    })
    assert.ok(stream)
    return stream
  }
  return { outbox, streams, create, written }
}

function ended(sid: string, at = now): readonly SignalEvent[] {
  const teller = { issuer: 'https://login.example', tenant: tenants.home }
  return sessionsRevoked(teller, [{ sid, subject: 'ada' }], 'signed_out', at)
}

test('a receiver that leaves out a thousand subjects keeps nobody waiting when thousands of sessions end', async () => {
  const { outbox, streams, create } = openTenant('excluding')
  const { id } = await create()
  const person = (name: string) => ({ format: 'iss_sub', iss: 'https://login.example', sub: name })
  for (let nth = 0; nth < 500; nth++) {
    await streams.exclude(id, person(`out-${nth}`))
    await streams.exclude(id, { format: 'complex', user: person(`gone-${nth}`) })
  }
  const names = Array.from({ length: 2000 }, (_, nth) => `in-${nth}`)
  const sessions = [...names, 'out-7', 'gone-7'].map((subject) => ({ sid: subject, subject }))
  const teller = { issuer: 'https://login.example', tenant: tenants.home }
  const before = process.cpuUsage()
  await outbox.record(async () => sessionsRevoked(teller, sessions, 'cut_off', now))
  const { user } = process.cpuUsage(before)
  const told = (await outbox.waiting(id, 5000)).map(({ event }) => event.subject['user'])
  assert.deepEqual(told, names.map(person))
  assert.ok(user < 1_500_000, `${user} microseconds`)
})

test('no client has more streams, and no stream leaves out more, than it may, however many are asked for at once', async () => {
  const { streams } = openTenant('bounds')
  const wishes = { delivery: { method: 'poll' }, eventsRequested: undefined, description: undefined } as const
  const asked = await Promise.all(Array.from({ length: 25 }, () => streams.create('client', wishes)))
  assert.equal(asked.filter((stream) => stream !== undefined).length, 10)
  const [stream] = await streams.list('client')
  assert.ok(stream)
  const subjects = Array.from({ length: 1020 }, (_, nth) => ({ format: 'opaque', id: `${nth}` }))
  const taken = await Promise.all(subjects.map((subject) => streams.exclude(stream.id, subject)))
  assert.equal(taken.filter(Boolean).length, 1000)
})

test('T218 a change that fails is not told of, and one that is told of was made', async () => {
  const { outbox, create, written } = openTenant('atomic')
  const { id } = await create()
  const remember = (name: string) => ({ tenant: 'atomic', kind: 'key', name, told_at: now }) as const
  await assert.rejects(
    outbox.record(async (transaction) => {
      await transaction.insertInto('signal_told').values(remember('a')).execute()
      throw new Error('no')
    }),
  )
  await assert.rejects(
    outbox.record(async (transaction) => {
      await transaction.insertInto('signal_told').values(remember('b')).execute()
      return [{ ...ended('s')[0], payload: 7n } as never]
    }),
    'an event that cannot be written',
  )
  assert.deepEqual(await outbox.waiting(id, 10), [])
  assert.deepEqual(written, [])
  await outbox.record(async (transaction) => {
    await transaction.insertInto('signal_told').values(remember('c')).execute()
    return ended('s')
  })
  const told = await database
    .selectFrom('signal_told')
    .where('tenant', '=', 'atomic')
    .select('name')
    .execute()
  assert.deepEqual(
    told.map(({ name }) => name),
    ['c'],
  )
  assert.equal((await outbox.waiting(id, 10)).length, 1)
  assert.deepEqual(written, [id])
})

test('T219 A4 each tenant has its own streams, events and acknowledgements', async () => {
  const [here, there] = [openTenant('here'), openTenant('there')]
  const [mine, theirs] = [await here.create(), await there.create()]
  await here.outbox.record(async () => ended('s'))
  const [waiting] = await here.outbox.waiting(mine.id, 10)
  assert.ok(waiting)
  assert.deepEqual(await there.outbox.waiting(theirs.id, 10), [])
  assert.deepEqual(await there.outbox.waiting(mine.id, 10), [])
  assert.equal(await there.outbox.settle(mine.id, [waiting.jti]), 0)
  assert.equal(await there.streams.find('client', mine.id), undefined)
  await there.streams.remove(mine.id)
  await there.outbox.keep(waiting.sequence, 'token', 'kid')
  assert.equal((await here.outbox.waiting(mine.id, 10))[0]?.token, undefined)
  assert.equal(await here.outbox.settle(mine.id, [waiting.jti]), 1)
})

test('what ends twice in a second, for two reasons, is told once; what ends again later is told again', async () => {
  const { outbox, create } = openTenant('once')
  const { id } = await create()
  const teller = { issuer: 'https://login.example', tenant: tenants.home }
  await outbox.record(async () => ended('s'))
  await outbox.record(async () => sessionsRevoked(teller, [{ sid: 's', subject: 'ada' }], 'revoked', now))
  assert.equal((await outbox.waiting(id, 10)).length, 1)
  await outbox.record(async () => ended('s', now + 1))
  await outbox.record(async () => ended('other'))
  assert.equal((await outbox.waiting(id, 10)).length, 3)
})

test('T218 a stream in which too much waits is disabled, and that is all that is kept of it', async () => {
  const { outbox, streams, create } = openTenant('full')
  const { id } = await create()
  const many = Array.from({ length: WAITING_MAX }, (_, at) => ended(`s-${at}`)).flat()
  await outbox.record(async () => many)
  assert.equal((await streams.get(id))?.status, 'enabled')
  assert.equal((await outbox.waiting(id, WAITING_MAX + 1)).length, WAITING_MAX)
  await outbox.record(async () => ended('one more'))
  assert.equal((await streams.get(id))?.status, 'disabled')
  const [told, ...others] = await outbox.waiting(id, 10)
  assert.match(told?.type ?? '', /stream-updated$/)
  assert.deepEqual(others, [])
  await outbox.record(async () => ended('later'))
  assert.equal((await outbox.waiting(id, 10)).length, 1)
})

test('T217 the secret of a receiver stays with the URL that it was given for', async () => {
  const url = 'https://receiver.example/events'
  const delivery = { method: 'push', url, authorization: 'Bearer secret' } as const
  const { streams, create } = openTenant('secret', { delivery })
  const { id } = await create()
  const desk = { issuer: 'https://login.example', streams, reach: { loopback: false } } as unknown as Desk
  const kept = async (): Promise<string | undefined> => {
    const stream = await streams.get(id)
    return stream?.delivery.method === 'push' ? stream.delivery.authorization : undefined
  }
  const push = (endpoint_url: string, more = {}) => ({
    stream_id: id,
    delivery: { method: 'urn:ietf:rfc:8935', endpoint_url, ...more },
  })
  await updateStream(desk, 'client', { stream_id: id, description: 'x' })
  assert.equal(await kept(), 'Bearer secret')
  const answer = await updateStream(desk, 'client', push(url))
  assert.equal(await kept(), 'Bearer secret')
  assert.ok(!JSON.stringify(answer).includes('secret'))
  await updateStream(desk, 'client', push(`${url}/other`))
  assert.equal(await kept(), undefined, 'not to another URL')
  await updateStream(desk, 'client', push(url, { authorization_header: 'Bearer another' }))
  assert.equal(await kept(), 'Bearer another')
  await replaceStream(desk, 'client', push(url))
  assert.equal(await kept(), undefined, 'given up')
})

test('a SET is made once, and anew under its jti when its key has died', async () => {
  const { outbox, create } = openTenant('mint')
  const stream = await create()
  await outbox.record(async () => ended('s'))
  const made: string[] = []
  const keys = new Map([['k', { state: 'active', verifyUntil: now + 100 }]])
  const mint = createMint({
    issuer: 'https://login.example',
    issue: async (type, claims, algorithm) => {
      made.push(`${type} ${algorithm} ${claims['jti']}`)
      return `${encodePayload({ kid: 'k' })}.${encodePayload({ ...claims, made: made.length })}.AA`
    },
    trust: { state: { manifest: { keys } } as never, ageSeconds: () => 0 },
    outbox,
    now: () => now,
  })
  const ask = async (): Promise<string> => {
    const [waiting] = await outbox.waiting(stream.id, 1)
    assert.ok(waiting)
    return mint(stream, waiting)
  }
  const first = await ask()
  assert.equal(await ask(), first)
  assert.equal(made.length, 1)
  for (const state of ['blocked', 'revoked', 'retired']) {
    keys.set('k', { state, verifyUntil: now + 100 })
    assert.notEqual(await ask(), first, state)
  }
  keys.set('k', { state: 'retiring', verifyUntil: now })
  await ask()
  assert.equal(made.length, 5)
  assert.equal(new Set(made).size, 1, 'always the same jti, as a SET, with RS256')
})
