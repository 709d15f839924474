/**
 * Goal: nobody but the transmitter that was configured denies anything here, it denies tokens of its own issuer alone, and
 * each wrong SET gets the word that the RFCs have for it. Method: SETs made by hand with a key of the test's own, spoilt in one
 * respect at a time, pushed and polled.
 */

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { encode } from './base64url.ts'
import { encodePayload } from './document.ts'
import { signInput } from './jws.ts'
import {
  createReceiver,
  fixedKeys,
  followKeys,
  openDenials,
  pollTransmitter,
  type ReceiverOptions,
  SetRefusal,
} from './ssf.ts'
import { eventTypes, THUMBPRINT_URI } from './ssf-events.ts'
import { createTestKey } from './testing.ts'

const issuer = 'https://transmitter.example/tenant'
const now = 1_800_000_000
const key = createTestKey('RS256')
const other = createTestKey('RS256')
const es256 = createTestKey('ES256')
const jwk = { ...key.jwk, kid: 'key-1', use: 'sig' }

const sessionRevoked = {
  sub_id: { format: 'complex', session: { format: 'opaque', id: 'session-1' } },
  events: { [eventTypes.sessionRevoked]: { event_timestamp: now - 10 } },
}

interface Order {
  readonly claims?: object
  readonly header?: object
  readonly by?: typeof key
}

let last = 0
function makeSet({ claims = {}, header = {}, by = key }: Order = {}): string {
  const payload = { iss: issuer, aud: 'us', iat: now, jti: `jti-${++last}`, ...sessionRevoked, ...claims }
  const input = [{ alg: 'RS256', typ: 'secevent+jwt', kid: 'key-1', ...header }, payload]
    .map(encodePayload)
    .join('.')
  return `${input}.${encode(signInput(by.algorithm, by.privateKey, input))}`
}

function receiverWith(options: Partial<ReceiverOptions> = {}) {
  const denials = openDenials({ now: () => now })
  const receiver = createReceiver({
    issuer,
    audience: 'us',
    keys: fixedKeys([jwk]),
    denials,
    now: () => now,
    ...options,
  })
  const isDenied = (
    token: { kid?: string; subject?: string; session?: string; issuer?: string },
    issuedAt = now - 10,
  ) => denials.reasonFor({ issuer, kid: 'k', subject: undefined, session: undefined, issuedAt, ...token })
  return { receiver, denials, isDenied }
}

/** The answer to a push, as status and word. */
async function push(receiver: ReturnType<typeof createReceiver>, body: string, more = {}): Promise<string> {
  const contentType = 'application/secevent+jwt'
  const answer = await receiver.push({ contentType, authorization: undefined, body, ...more })
  if (answer.status !== 400) return String(answer.status)
  assert.equal(answer.headers['content-type'], 'application/json')
  assert.ok(answer.headers['content-language'])
  const { err, description } = JSON.parse(answer.body) as { err: string; description: string }
  assert.ok(description)
  return err
}

const spoilt: readonly (readonly [what: string, set: () => string, err: string])[] = [
  ['no text', () => '', 'invalid_request'],
  ['no JWS', () => 'a.b', 'invalid_request'],
  [
    'a JWS of something else than an object',
    () => makeSet().replace(/\.[^.]+\./, '.W10.'),
    'invalid_request',
  ],
  ['more than is read', () => makeSet({ claims: { padding: 'x'.repeat(16_384) } }), 'invalid_request'],
  [
    'alg none',
    () =>
      `${makeSet({ header: { alg: 'none' } })
        .split('.')
        .slice(0, 2)
        .join('.')}.`,
    'invalid_key',
  ],
  ['alg ES256', () => makeSet({ header: { alg: 'ES256' }, by: es256 }), 'invalid_key'],
  ['alg PS256', () => makeSet({ header: { alg: 'PS256' } }), 'invalid_key'],
  [
    'alg HS256 with the public key as its secret',
    () => {
      const [header = '', payload] = makeSet({ header: { alg: 'HS256' } }).split('.')
      const input = `${header}.${payload}`
      return `${input}.${createHmac('sha256', JSON.stringify(jwk)).update(input).digest('base64url')}`
    },
    'invalid_key',
  ],
  ['no typ', () => makeSet({ header: { typ: undefined } }), 'invalid_request'],
  ['typ JWT', () => makeSet({ header: { typ: 'JWT' } }), 'invalid_request'],
  ['typ logout+jwt', () => makeSet({ header: { typ: 'logout+jwt' } }), 'invalid_request'],
  ['crit', () => makeSet({ header: { crit: ['x'], x: 1 } }), 'invalid_request'],
  ['no kid', () => makeSet({ header: { kid: undefined } }), 'invalid_key'],
  ['an unknown kid', () => makeSet({ header: { kid: 'key-2' } }), 'invalid_key'],
  ['another key', () => makeSet({ by: other }), 'authentication_failed'],
  [
    'another key, which it brings along',
    () => makeSet({ by: other, header: { jwk: other.jwk } }),
    'authentication_failed',
  ],
  [
    'a changed claim',
    () =>
      makeSet()
        .replace(/\.(.)/, (_all, first) => `.${first}`)
        .replace(/.{8}$/, 'AAAAAAAA'),
    'authentication_failed',
  ],
  [
    'another issuer',
    () => makeSet({ claims: { iss: 'https://transmitter.example/other' } }),
    'invalid_issuer',
  ],
  ['no issuer', () => makeSet({ claims: { iss: undefined } }), 'invalid_issuer'],
  ['another audience', () => makeSet({ claims: { aud: 'them' } }), 'invalid_audience'],
  ['no audience', () => makeSet({ claims: { aud: undefined } }), 'invalid_audience'],
  ['an audience that is a number', () => makeSet({ claims: { aud: [7] } }), 'invalid_audience'],
  ['exp', () => makeSet({ claims: { exp: now + 300 } }), 'invalid_request'],
  ['sub', () => makeSet({ claims: { sub: 'ada' } }), 'invalid_request'],
  ['no iat', () => makeSet({ claims: { iat: undefined } }), 'invalid_request'],
  ['iat still to come', () => makeSet({ claims: { iat: now + 61 } }), 'invalid_request'],
  ['no jti', () => makeSet({ claims: { jti: undefined } }), 'invalid_request'],
  ['no sub_id', () => makeSet({ claims: { sub_id: undefined } }), 'invalid_request'],
  ['no event', () => makeSet({ claims: { events: {} } }), 'invalid_request'],
  ['two events', () => makeSet({ claims: { events: { a: {}, b: {} } } }), 'invalid_request'],
  ['an event that is a text', () => makeSet({ claims: { events: { a: 'x' } } }), 'invalid_request'],
]
for (const [what, set, err] of spoilt) {
  test(`T210 a SET with ${what} is answered ${err}, and denies nothing`, async () => {
    const { receiver, denials } = receiverWith()
    assert.equal(await push(receiver, set()), err)
    assert.equal(denials.count, 0)
  })
}

test('a SET that is right is answered 202 with nothing more, and its session is over', async () => {
  const { receiver, isDenied } = receiverWith()
  const answer = await receiver.push({
    contentType: 'Application/SecEvent+JWT; charset=utf-8',
    authorization: undefined,
    body: makeSet({ claims: { aud: ['them', 'us'], unknown: {} }, header: { x5t: 'ignored' } }),
  })
  assert.deepEqual(answer, { status: 202, headers: {}, body: '' })
  assert.equal(isDenied({ session: 'session-1' }), 'issued_before_cutoff')
  assert.equal(isDenied({ session: 'session-1' }, now - 9), undefined, 'what came later is another sign-in')
  assert.equal(isDenied({ session: 'session-2' }), undefined)
})

test('T212 who pushes has to show what the transmitter was given, and the right kind of body', async () => {
  const { receiver, denials } = receiverWith({ authorization: 'Bearer secret' })
  for (const authorization of [undefined, '', 'Bearer secre', 'Bearer secret ', 'bearer secret'])
    assert.equal(await push(receiver, makeSet(), { authorization }), 'authentication_failed')
  for (const contentType of [undefined, 'application/jwt', 'text/plain', ''])
    assert.equal(
      await push(receiver, makeSet(), { authorization: 'Bearer secret', contentType }),
      'invalid_request',
    )
  assert.equal(denials.count, 0)
  assert.equal(await push(receiver, makeSet(), { authorization: 'Bearer secret' }), '202')
})

test('T211 a replay and a late SET do nothing that was not done before', async () => {
  const heard: string[] = []
  const { receiver, isDenied } = receiverWith({ onEvent: ({ jti }) => void heard.push(jti) })
  const set = makeSet({ claims: { iat: now - 5 * 24 * 3600, events: { [eventTypes.sessionRevoked]: {} } } })
  assert.equal(await push(receiver, set), '202')
  assert.equal(await push(receiver, set), '202', 'our answer may have been lost')
  assert.equal(heard.length, 1)
  assert.equal(isDenied({ session: 'session-1' }), undefined, 'a sign-in since then is left alone')
  assert.equal(isDenied({ session: 'session-1' }, now - 5 * 24 * 3600), 'issued_before_cutoff')
  const ahead = makeSet({
    claims: { events: { [eventTypes.sessionRevoked]: { event_timestamp: now + 9999 } } },
  })
  await push(receiver, ahead)
  assert.equal(isDenied({ session: 'session-1' }, now + 1), undefined, 'nothing is denied ahead of its time')
  // Older before newer and newer before older end the same.
  await push(receiver, set)
  assert.equal(isDenied({ session: 'session-1' }, now), 'issued_before_cutoff')
})

const iss_sub = { format: 'iss_sub', iss: issuer, sub: 'ada' }
const subjects: readonly (readonly [what: string, subject: object, token: object])[] = [
  ['a session by itself', { format: 'opaque', id: 's' }, { session: 's' }],
  [
    'a session of somebody',
    { format: 'complex', session: { format: 'opaque', id: 's' }, user: iss_sub },
    { session: 's' },
  ],
  [
    'everything of somebody',
    { format: 'complex', user: iss_sub, tenant: { format: 'opaque', id: 't' } },
    { subject: 'ada' },
  ],
  ['somebody by itself', iss_sub, { subject: 'ada' }],
  ['a mail address that somebody knows', { format: 'email', email: 'ada@home.example' }, { subject: 'ada' }],
]
for (const [what, sub_id, token] of subjects) {
  test(`session-revoked with ${what} reaches just that`, async () => {
    const subjectOf = (subject: { readonly email?: unknown }) =>
      subject.email === 'ada@home.example' ? 'ada' : undefined
    const { receiver, isDenied, denials } = receiverWith({ subjectOf: subjectOf as never })
    assert.equal(await push(receiver, makeSet({ claims: { sub_id } })), '202')
    assert.equal(isDenied(token), 'issued_before_cutoff')
    assert.equal(denials.count, 1)
  })
}

test('T220 a transmitter does not speak for people and keys of another issuer', async () => {
  const { receiver, denials, isDenied } = receiverWith()
  const foreign = { ...iss_sub, iss: 'https://other.example' }
  assert.equal(await push(receiver, makeSet({ claims: { sub_id: foreign } })), 'access_denied')
  assert.equal(
    await push(receiver, makeSet({ claims: { sub_id: { format: 'complex', user: foreign } } })),
    'access_denied',
  )
  assert.equal(denials.count, 0)
  const keyRevoked = (kid: unknown, uri: string) =>
    makeSet({ claims: { sub_id: { format: 'uri', uri }, events: { [eventTypes.keyRevoked]: { kid } } } })
  assert.equal(await push(receiver, keyRevoked('k', `${THUMBPRINT_URI}k`)), '202')
  assert.equal(isDenied({ kid: 'k' }), 'key_revoked')
  assert.equal(isDenied({ kid: 'k', issuer: 'https://other.example' }), undefined)
  for (const [kid, uri] of [
    ['k', `${THUMBPRINT_URI}other`],
    ['k', 'urn:other'],
    [7, `${THUMBPRINT_URI}7`],
    [undefined, `${THUMBPRINT_URI}k`],
  ] as const)
    assert.equal(await push(receiver, keyRevoked(kid, uri)), 'invalid_request')
})

test('a changed credential ends what came before it, and a new one beside it does not, unless that is wanted', async () => {
  const change = (change_type: string) =>
    makeSet({
      claims: {
        sub_id: iss_sub,
        events: { [eventTypes.credentialChange]: { credential_type: 'password', change_type } },
      },
    })
  for (const type of ['update', 'revoke', 'delete', 'create']) {
    const { receiver, isDenied } = receiverWith()
    assert.equal(await push(receiver, change(type)), '202')
    assert.equal(isDenied({ subject: 'ada' }) !== undefined, type !== 'create', type)
  }
  const strict = receiverWith({ credentialChanges: ['create'] })
  await push(strict.receiver, change('create'))
  assert.ok(strict.isDenied({ subject: 'ada' }))
})

test('an event that is not known, or about somebody who is not, is taken and denies nothing', async () => {
  const heard: string[] = []
  const { receiver, denials } = receiverWith({ onEvent: ({ event }) => void heard.push(event.type) })
  const claims = { events: { 'https://schemas.openid.net/secevent/caep/event-type/risk-level-change': {} } }
  assert.equal(await push(receiver, makeSet({ claims })), '202')
  const mail = { sub_id: { format: 'email', email: 'nobody@home.example' } }
  assert.equal(await push(receiver, makeSet({ claims: mail })), '202')
  assert.equal(denials.count, 0)
  assert.equal(heard.length, 2)
})

test('T215 a verification counts with the state that was asked for, once', async () => {
  const { receiver } = receiverWith()
  const verification = (event: object) =>
    makeSet({
      claims: { sub_id: { format: 'opaque', id: 'stream' }, events: { [eventTypes.verification]: event } },
    })
  assert.equal(await push(receiver, verification({ state: 'a' })), 'invalid_state')
  receiver.expectVerification('a')
  assert.equal(await push(receiver, verification({ state: 'b' })), 'invalid_state')
  assert.equal(await push(receiver, verification({ state: 'a' })), '202')
  assert.equal(await push(receiver, verification({ state: 'a' })), 'invalid_state')
  assert.equal(await push(receiver, verification({})), '202', 'the transmitter may verify by itself')

  let isBroken = true
  const failing = receiverWith({
    onEvent: () => {
      if (isBroken) throw new Error('not now')
    },
  }).receiver
  failing.expectVerification('c')
  assert.equal(await push(failing, verification({ state: 'c' })), '503')
  isBroken = false
  assert.equal(await push(failing, verification({ state: 'c' })), '202', 'it was to be sent again')
})

test('what cannot be acted on is to be sent again, and then counts', async () => {
  let isBroken = true
  const { receiver, denials } = receiverWith()
  const failing = receiverWith({
    denials: {
      add: async (denial) => {
        if (isBroken) throw new Error('no space left at /var/secret')
        await denials.add(denial)
      },
    },
  }).receiver
  const set = makeSet()
  const answer = await failing.push({
    contentType: 'application/secevent+jwt',
    authorization: undefined,
    body: set,
  })
  assert.deepEqual([answer.status, answer.body], [503, ''])
  isBroken = false
  assert.equal(await push(failing, set), '202')
  assert.equal(denials.count, 1)
  assert.ok(receiver)
})

/** A transmitter at this machine: keys and a stream to poll. */
async function withTransmitter(
  answer: (path: string, body: Record<string, never>) => object | number,
  act: (origin: string) => Promise<void>,
): Promise<void> {
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const answered = answer(request.url ?? '', text === '' ? {} : JSON.parse(text))
    if (typeof answered === 'number') return void response.writeHead(answered).end()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answered))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await act(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

/** A transmitter's keys as they are followed, and what was asked for; both change under the hands of a test. */
async function withKeys(
  keys: readonly object[],
  act: (
    set: { keys: readonly object[]; fetched: number; isAway: boolean; clock: number },
    receiver: ReturnType<typeof createReceiver>,
  ) => Promise<void>,
): Promise<void> {
  const set = { keys, fetched: 0, isAway: false, clock: 0 }
  await withTransmitter(
    () => {
      set.fetched++
      return set.isAway ? 503 : { keys: set.keys }
    },
    async (origin) => {
      const followed = followKeys({ jwksUri: `${origin}/jwks`, monotonic: () => set.clock })
      await act(set, receiverWith({ keys: followed }).receiver)
    },
  )
}

test('V4 keys are fetched once for a name that is not known, and kept where they do not come', async () => {
  const keys = [
    { kty: 'oct', kid: 'key-1', k: 'x' },
    { ...es256.jwk, kid: 'key-1' },
    jwk,
    { ...other.jwk, kid: 7 },
  ]
  await withKeys(keys, async (set, receiver) => {
    assert.deepEqual(await Promise.all([push(receiver, makeSet()), push(receiver, makeSet())]), [
      '202',
      '202',
    ])
    assert.equal(set.fetched, 1)
    const next = () => makeSet({ by: other, header: { kid: 'key-2' } })
    for (let count = 0; count < 5; count++) assert.equal(await push(receiver, next()), 'invalid_key')
    assert.equal(set.fetched, 1, 'a stranger cannot have us ask more often')
    set.clock = 30_000
    set.isAway = true
    assert.equal(await push(receiver, next()), '503', 'our fault, not the SET')
    assert.equal(await push(receiver, makeSet()), '202', 'the known key is still known')
    set.clock = 60_000
    set.isAway = false
    set.keys = [{ ...other.jwk, alg: undefined, kid: 'key-2' }]
    assert.equal(await push(receiver, next()), '202')
    assert.equal(await push(receiver, makeSet()), 'invalid_key', 'what is gone from the set is gone')
  })
})

test('V4 a key that the transmitter removed counts for 10 minutes at most, though nobody names another, and longer only while no set comes', async () => {
  await withKeys([jwk], async (set, receiver) => {
    assert.equal(await push(receiver, makeSet()), '202')
    set.keys = []
    set.clock = 599_999
    assert.equal(await push(receiver, makeSet()), '202')
    assert.equal(set.fetched, 1)
    set.isAway = true
    set.clock = 600_000
    for (let count = 0; count < 3; count++) assert.equal(await push(receiver, makeSet()), '202')
    assert.equal(set.fetched, 2)
    set.isAway = false
    set.clock = 630_000
    assert.equal(await push(receiver, makeSet()), 'invalid_key')
    assert.equal(set.fetched, 3)
  })
})

test('a transmitter that keeps no request waiting is not asked without end, nor one that sends what was refused again and again', async () => {
  for (const sets of [{}, { bad: 'no SET' }]) {
    const third = Promise.withResolvers<void>()
    let asked = 0
    await withTransmitter(
      () => {
        if (++asked === 3) third.resolve()
        return { sets }
      },
      async (origin) => {
        const startedAt = performance.now()
        const polling = pollTransmitter({
          endpoint: `${origin}/poll`,
          accessToken: () => 'token',
          receiver: receiverWith().receiver,
          retryMilliseconds: 100,
        })
        await third.promise
        const milliseconds = performance.now() - startedAt
        await polling.stop()
        // A timer may be a millisecond early.
        assert.ok(milliseconds >= 198, `the third request came after ${milliseconds} ms`)
      },
    )
  }
})

test('T214 polled SETs are acknowledged with the next request, refused ones by name, and failed ones come again', async () => {
  const requests: Record<string, unknown>[] = []
  const [good, bad] = [makeSet(), makeSet({ by: other })]
  let isBroken = true
  const problems: string[] = []
  const done = Promise.withResolvers<void>()
  const { receiver, denials } = receiverWith({
    onEvent: () => {
      if (isBroken) throw new Error('not now')
    },
  })
  await withTransmitter(
    (_path, body) => {
      requests.push(body)
      if (requests.length === 1) return 503
      if (requests.length === 2) return { sets: { bad, good }, moreAvailable: false }
      if (requests.length === 3) {
        isBroken = false
        return { sets: { good }, moreAvailable: false }
      }
      if (requests.length === 4) done.resolve()
      return { sets: {} }
    },
    async (origin) => {
      const polling = pollTransmitter({
        endpoint: `${origin}/poll`,
        accessToken: () => 'token',
        receiver,
        retryMilliseconds: 1,
        onProblem: ({ message }) => problems.push(message),
      })
      await done.promise
      await polling.stop()
    },
  )
  assert.deepEqual(requests[0], { maxEvents: 100, returnImmediately: false, ack: [], setErrs: {} })
  assert.deepEqual(requests[2]?.['ack'], [], 'what failed is not mentioned')
  assert.deepEqual(requests[2]?.['setErrs'], {
    bad: { err: 'authentication_failed', description: 'the signature does not verify' },
  })
  assert.deepEqual([requests[3]?.['ack'], requests[3]?.['setErrs']], [['good'], {}])
  assert.equal(denials.count, 1)
  assert.equal(problems.length, 3)
})

test('V3 keys and signals come by https alone, but on loopback, so that nobody on the way puts in their own', () => {
  for (const url of [
    'http://transmitter.example/jwks',
    'transmitter.example',
    'file:///jwks',
    'http://127.0.0.1.example/',
  ]) {
    assert.throws(() => followKeys({ jwksUri: url }), {
      name: 'TypeError',
      message: 'jwksUri is no https URL',
    })
    const options = { endpoint: url, accessToken: () => 'token', receiver: receiverWith().receiver }
    assert.throws(() => pollTransmitter(options), { name: 'TypeError', message: 'endpoint is no https URL' })
  }
})

test('polling stops although nobody has an access token for it', async () => {
  const asked = Promise.withResolvers<void>()
  const polling = pollTransmitter({
    endpoint: 'http://127.0.0.1:9/poll',
    accessToken: () => {
      asked.resolve()
      return new Promise(() => {})
    },
    receiver: receiverWith().receiver,
  })
  await asked.promise
  await polling.stop()
})

test('a key that no SET could name is not configured', () => {
  assert.throws(() => fixedKeys([{ ...jwk, kid: undefined }]), { name: 'InvalidKey' })
})

test('a receiver without an audience is not made, and a refusal says nothing of what it refuses', async () => {
  for (const audience of ['', [], ['']]) assert.throws(() => receiverWith({ audience }), TypeError)
  const { receiver } = receiverWith()
  const error = await receiver
    .receive(makeSet({ claims: { aud: 'secret-audience' } }))
    .catch((reason) => reason)
  assert.ok(error instanceof SetRefusal)
  assert.ok(!error.message.includes('secret-audience'))
})
