/**
 * Goal: a URL that a receiver gave never leads a SET anywhere but to a receiver (T217), and no receiver can hold us, flood
 * us or send us on. Method: a server that does each of that, and a name server that changes its mind.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { findUrlProblem, judgeAnswer, PushFault, pushSet, type Resolve } from './push.ts'

const order = { authorization: 'Bearer receiver-secret', token: 'a.b.c' }
const never = new AbortController().signal

/** What a server at this machine says to what is pushed to it. */
async function withReceiver(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  act: (origin: string, requests: readonly IncomingMessage[]) => Promise<void>,
): Promise<void> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await act(`http://localhost:${(server.address() as AddressInfo).port}`, requests)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

const urls: readonly (readonly [url: string, problem: RegExp])[] = [
  ['receiver.example', /not a URL/],
  ['https://', /not a URL/],
  [`https://receiver.example/${'x'.repeat(2048)}`, /not a URL/],
  ['http://receiver.example/', /not an https URL/],
  ['file:///etc/passwd', /not an https URL/],
  ['javascript:alert(1)', /not an https URL/],
  ['https://user@receiver.example/', /credential/],
  ['https://receiver.example/#f', /fragment/],
  ['https://receiver.example:22/', /port/],
  ['https://receiver.example:8080/', /port/],
  ['http://127.0.0.1/', /not an https URL/],
  ['http://localhost/', /not an https URL/],
  ['https://127.0.0.1/', /not public/],
  ['https://[::1]/', /not public/],
  ['https://0x7f.1/', /not public/],
  ['https://2130706433/', /not public/],
  ['https://169.254.169.254/', /not public/],
  ['https://[::ffff:169.254.169.254]/', /not public/],
  ['https://[64:ff9b::a00:1]/', /not public/],
  ['https://[fe80::1]/', /not public/],
]
for (const [url, problem] of urls) {
  test(`T217 no receiver is at ${url.slice(0, 60)}`, async () => {
    assert.match(findUrlProblem(url, { loopback: false }) ?? '', problem)
    await assert.rejects(pushSet({ ...order, url }, { loopback: false }, never), PushFault)
  })
}

test('T217 a receiver with a name, https and its port may be one', () => {
  for (const url of [
    'https://receiver.example',
    'https://receiver.example:8443/events?a=b',
    'https://1.1.1.1/',
  ])
    assert.equal(findUrlProblem(url, { loopback: false }), undefined)
  assert.equal(findUrlProblem('http://localhost:9/', { loopback: true }), undefined)
  assert.ok(
    findUrlProblem('http://10.0.0.1:9/', { loopback: true }),
    'a sample reaches no further than its machine',
  )
})

for (const addresses of [
  ['127.0.0.1'],
  ['10.0.0.1'],
  ['169.254.169.254'],
  ['fd00:ec2::254'],
  ['::ffff:127.0.0.1'],
  ['1.1.1.1', '10.0.0.1'],
  ['1.1.1.1', '::1'],
  [],
]) {
  test(`T217 a name that leads to ${addresses.join(' and ') || 'nothing'} is not followed`, async () => {
    const resolve: Resolve = (_name, answer) =>
      answer(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )
    for (const loopback of [false, true])
      await assert.rejects(
        pushSet({ ...order, url: 'https://receiver.example/' }, { loopback, resolve }, never),
        /does not lead to public addresses/,
      )
  })
}

test('T217 a name is resolved once for a delivery: whatever it leads to later is not where the connection goes', async () => {
  let asked = 0
  await withReceiver(
    (_request, response) => response.writeHead(202).end(),
    async (origin, requests) => {
      const resolve: Resolve = (_name, answer) => {
        asked++
        // At first itself, then the metadata service: what is looked at must be what is connected to.
        answer(null, [{ address: asked === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }])
      }
      const url = `${origin}/events`
      assert.equal((await pushSet({ ...order, url }, { loopback: true, resolve }, never)).status, 202)
      assert.deepEqual([asked, requests.length], [1, 1])
      await assert.rejects(pushSet({ ...order, url }, { loopback: true, resolve }, never), PushFault)
      assert.deepEqual([asked, requests.length], [2, 1], 'and looked at anew for the next')
    },
  )
})

test('a SET goes as RFC 8935 has it', async () => {
  await withReceiver(
    (_request, response) => response.writeHead(202).end(),
    async (origin, requests) => {
      await pushSet({ ...order, url: `${origin}/events?a=b` }, { loopback: true }, never)
      const [{ method, url, headers } = { headers: {} }] = requests as [IncomingMessage]
      assert.deepEqual([method, url], ['POST', '/events?a=b'])
      assert.equal(headers['content-type'], 'application/secevent+jwt')
      assert.equal(headers.accept, 'application/json')
      assert.equal(headers.authorization, 'Bearer receiver-secret')
    },
  )
})

test('T217 no redirect is followed', async () => {
  await withReceiver(
    (request, response) => {
      if (request.url === '/events') response.writeHead(307, { location: '/inside' }).end()
      else response.writeHead(202).end()
    },
    async (origin, requests) => {
      const answer = await pushSet({ ...order, url: `${origin}/events` }, { loopback: true }, never)
      assert.equal(answer.status, 307)
      assert.equal(judgeAnswer(answer), 'retry')
      assert.equal(requests.length, 1)
    },
  )
})

test('a receiver that answers without end is left', async () => {
  await withReceiver(
    (_request, response) => {
      response.writeHead(200)
      const more = setInterval(() => response.write('x'.repeat(8192)), 1)
      response.on('close', () => clearInterval(more))
    },
    async (origin) => {
      await assert.rejects(
        pushSet({ ...order, url: origin }, { loopback: true }, never),
        /too long|ECONNRESET/,
      )
    },
  )
})

test('a receiver that does not answer is left when it is time to stop, and its secret stands in no message', async () => {
  await withReceiver(
    () => {},
    async (origin) => {
      const stopping = new AbortController()
      const pushed = pushSet({ ...order, url: origin }, { loopback: true }, stopping.signal)
      stopping.abort()
      const error = await pushed.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      assert.ok(error instanceof PushFault)
      for (const secret of [order.authorization, order.token])
        assert.ok(!`${error.message}${error.stack}`.includes(secret))
    },
  )
})

test('only 202 acknowledges, and only what the receiver says of the SET itself is final', () => {
  assert.equal(judgeAnswer({ status: 202, code: undefined }), 'acknowledged')
  for (const code of ['invalid_request', 'invalid_issuer', 'invalid_audience', 'invalid_state'])
    assert.equal(judgeAnswer({ status: 400, code }), 'rejected', code)
  for (const code of ['invalid_key', 'authentication_failed', 'access_denied', 'other', undefined])
    assert.equal(judgeAnswer({ status: 400, code }), 'retry', String(code))
  for (const status of [200, 204, 301, 401, 403, 404, 410, 429, 500, 503])
    assert.equal(judgeAnswer({ status, code: 'invalid_request' }), 'retry', String(status))
})

test('of an answer only a short code and a number of seconds are read', async () => {
  for (const [body, code] of [
    ['{"err":"invalid_key","description":"x"}', 'invalid_key'],
    ['{"err":"Bad\\nline"}', undefined],
    [`{"err":"${'x'.repeat(65)}"}`, undefined],
    ['{"err":7}', undefined],
    ['null', undefined],
    ['<html>', undefined],
  ] as const)
    await withReceiver(
      (_request, response) => {
        response.writeHead(400, { 'retry-after': '7' }).end(body)
      },
      async (origin) =>
        assert.deepEqual(await pushSet({ ...order, url: origin }, { loopback: true }, never), {
          status: 400,
          code,
          retryAfterSeconds: 7,
        }),
    )
})
