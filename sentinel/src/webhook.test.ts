/**
 * Goal: an alert reaches its receiver whole, once and provably ours, however often the receiver fails. Method: a
 * receiver on loopback that checks the signature as Standard Webhooks says, and answers as the test wants.
 */

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { createTestWorld } from '@countersign/validator/testing'
import { createAlarm } from './alarm.ts'
import { sentinelConfig } from './config.ts'
import { openStore } from './store.ts'
import { createWebhook, readWebhookSecret } from './webhook.ts'

const secret = Buffer.alloc(32, 7)
const received: { headers: IncomingHttpHeaders; body: string }[] = []
let statuses: number[] = []
/** The actor whose alert the receiver does not like. */
let refused: string | undefined
let arrived = Promise.withResolvers<void>()
let receiver: Server
let url = ''

before(async () => {
  receiver = createServer(async (request, response) => {
    const body = await text(request)
    received.push({ headers: request.headers, body })
    const status = JSON.parse(body).data.actor === refused ? 403 : (statuses.shift() ?? 204)
    response.writeHead(status, status === 302 ? { location: `${url}/elsewhere` } : {}).end()
    arrived.resolve()
    arrived = Promise.withResolvers()
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`
})
beforeEach(() => {
  received.length = 0
  statuses = []
})
after(() => receiver.close())

test('an alert is delivered with a signature over id, time and body, and nothing secret in the URL', async () => {
  const { raise, close } = await open()
  await raise('a')
  await until(1)
  await close()
  const [{ headers, body } = assert.fail()] = received
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  const expected = createHmac('sha256', secret).update(signed).digest('base64')
  assert.equal(headers['webhook-signature'], `v1,${expected}`)
  const { type, data } = JSON.parse(body)
  assert.equal(type, 'alert.raised')
  assert.deepEqual([data.rule, data.actor, data.id], ['receipt_missing', 'a', 1])
})

test('what the receiver did not take is sent again under the same id, in order, also after a restart', async () => {
  const first = await open()
  statuses = [503, 302]
  await first.raise('a')
  await first.raise('b')
  await until(1)
  await first.webhook.stop()
  const second = first.reopen()
  for (const count of [2, 3, 4]) {
    second.webhook.wake()
    await until(count)
  }
  await second.close()
  const sent = received.map(({ headers, body }) => `${headers['webhook-id']} ${JSON.parse(body).data.actor}`)
  assert.deepEqual(sent, ['alert_1 a', 'alert_1 a', 'alert_1 a', 'alert_2 b'])
})

test('T267: an alert that the receiver refuses, such as for what a sender wrote in it, holds up no other', async () => {
  const { raise, close, clock, webhook } = await open(0)
  refused = 'DROP TABLE'
  await raise(refused)
  await until(1)
  await raise('b')
  await until(2)
  refused = undefined
  clock.now += 500
  webhook.wake()
  await until(3)
  await close()
  assert.deepEqual(
    received.map(({ body }) => JSON.parse(body).data.actor),
    ['DROP TABLE', 'b', 'DROP TABLE'],
  )
})

test('T237 T239: a secret is read from a private file, and refused in a URL', () => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-webhook-'))
  const file = join(folder, 'secret')
  writeFileSync(file, `whsec_${secret.toString('base64')}\n`, { mode: 0o600 })
  assert.deepEqual(readWebhookSecret(file), secret)
  for (const [name, content, mode] of [
    ['open', `whsec_${secret.toString('base64')}`, 0o644],
    ['bare', secret.toString('base64'), 0o600],
    ['short', 'whsec_AAAA', 0o600],
  ] as const) {
    writeFileSync(join(folder, name), content, { mode })
    assert.throws(() => readWebhookSecret(join(folder, name)), name)
  }
  rmSync(folder, { recursive: true })
  for (const target of [
    'https://user:secret@a.example/',
    'https://a.example/?key=secret',
    'file:///etc/passwd',
    'ftp://a/',
  ])
    assert.equal(sentinelConfig.shape.webhook.safeParse({ url: target, key: 'file' }).success, false, target)
  assert.ok(sentinelConfig.shape.webhook.safeParse({ url: 'https://a.example/hook', key: 'file' }).success)
})

async function open(stepMilliseconds = 3_600_000) {
  const database = await openStore(':memory:')
  // Runs so fast that whatever waits for its time is due at the next look.
  const clock = { now: Date.now() }
  const now = (): number => {
    clock.now += stepMilliseconds
    return clock.now
  }
  const { trust } = createTestWorld()
  const policy = { auto_block: [], silent_seconds: 60, merge_delay_seconds: 3, retention_days: 1 }
  const alarm = createAlarm({ database, policy, trust, isDelivered: true, now })
  const reopen = () => {
    const webhook = createWebhook({ database, alarm, url, secret, onProblem: () => {}, now })
    alarm.onOrder(webhook.wake)
    const close = async (): Promise<void> => {
      await webhook.stop()
      await database.destroy()
    }
    return { webhook, close }
  }
  const raise = (actor: string): Promise<void> =>
    alarm.record(async () => [
      {
        rule: 'receipt_missing',
        severity: 'critical',
        reason: 'receipt_missing',
        realm: null,
        kid: 'a',
        actor,
        validator: null,
        seenAt: clock.now,
      },
    ])
  return { ...reopen(), reopen, raise, clock }
}

async function until(count: number): Promise<void> {
  while (received.length < count) await arrived.promise
}
