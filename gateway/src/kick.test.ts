/**
 * Goal: a session at a mail server ends with its token, also where the mail server is away for a while; and nothing is
 * answered for that could not be ended. Method: a mail server on loopback that notes whom it is told to put out.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { createTestWorld, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { createKicker, type Kicker } from './kick.ts'

const world = createTestWorld()
const validator = createValidator({
  realm: 'consumer',
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
})
const kicked: string[] = []
const credentials = new Set<string | undefined>()
let answer: object = ['doveadmResponse', [], 'kick']
let status = 200
const dovecot = createServer(async (request, response) => {
  const [[, { mask }]] = (await json(request)) as [[string, { mask: [string] }]]
  credentials.add(request.headers.authorization)
  kicked.push(mask[0])
  response.writeHead(status).end(JSON.stringify([answer]))
  dovecot.emit('kick')
})
let kicker: Kicker
const problems: Error[] = []

before(async () => {
  await once(dovecot.listen(0, '127.0.0.1'), 'listening')
  const started = once(dovecot, 'kick')
  const url = `http://127.0.0.1:${(dovecot.address() as AddressInfo).port}/doveadm/v1`
  kicker = createKicker({
    target: { url, api_key: 'an api key', username: 'sub' },
    validator,
    onProblem: (problem) => problems.push(problem),
  })
  await started
})
after(() => {
  kicker.stop()
  dovecot.close()
  dovecot.closeAllConnections()
})

test('whoever is there at the start is put out: nobody knows by which token he came', () => {
  assert.deepEqual(kicked.splice(0), ['*'])
  assert.deepEqual([...credentials], [`X-Dovecot-API ${Buffer.from('an api key').toString('base64')}`])
})

test('T252 a token that is shown again is watched once; nobody is answered for whose name stands for others', () => {
  const token = validator.validate(world.issue())
  assert.equal(kicker.watch(token), true)
  assert.equal(kicker.watch(token), true)
  assert.equal(kicker.watched, 1)
  for (const sub of ['*', 'a?', 'two words', 'a\u0000', 'a'.repeat(257)])
    assert.equal(kicker.watch(validator.validate(world.issue({ claims: { sub } }))), false, sub)
  assert.equal(kicker.watched, 1)
})

test('T252 a name that the mail server would read as an address is put out as a name', async () => {
  const { now } = world
  const names = ['1234567', '192.0.2.7', '0x1F', '1.2.3.4.5', 'face', '7-up']
  for (const sub of names) kicker.watch(validator.validate(world.issue({ claims: { sub, exp: now + 60 } })))
  kicked.length = 0
  world.now += 120
  while (new Set(kicked).size < names.length) await once(dovecot, 'kick')
  world.now = now
  assert.deepEqual([...new Set(kicked)].sort(), ['0x1?', '1.2.3.4.5', '123456?', '192.0.2.?', '7-up', 'face'])
})

test('T252 T254 a killed key puts out its people, as soon as the mail server can be asked, and once more', async () => {
  kicker.watch(validator.validate(world.issue({ claims: { sub: 'user-2' } })))
  kicked.length = 0
  status = 503
  world.setState(world.keys.consumer.kid, 'revoked')
  while (new Set(kicked).size < 2) await once(dovecot, 'kick')
  assert.equal(kicker.watched, 0)
  assert.ok(problems.length > 0)
  status = 200
  answer = ['error', { type: 'exitCode', exitCode: 68 }, 'kick']
  kicked.length = 0
  while (['user-1', 'user-2'].some((name) => kicked.filter((one) => one === name).length < 2))
    await once(dovecot, 'kick')
})
