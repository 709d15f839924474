/**
 * Goal: a kill goes out whatever else is away, and what the gateways made of it is on record. Method: a whole authority
 * over HTTP with a gateway behind a real validator, beside a witness and a broker that can be away.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { admit } from '@countersign/validator/bearer'
import { followManifest } from '@countersign/validator/follow'
import { mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import type { Proof } from './canary.ts'
import { enrol, fetchAcks, fetchProofs } from './client.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

/** A gateway that follows, acknowledges and refuses, enrolled with a probe. */
async function startGateway(t: TestContext, authority: TestAuthority): Promise<void> {
  const { world, url } = authority
  const key = await authority.enrol('gateway')
  const enrolment = { name: 'gateway', privateKey: key.privateKey }
  const follower = followManifest({
    authority: url,
    trustAnchor: world.trustAnchor,
    enrolment,
    now: () => world.now,
  })
  const validator = createValidator({
    realm: ['consumer', 'enterprise'],
    audience: mailAudience,
    trust: follower,
    now: () => world.now,
  })
  const server = createServer((request, response) => {
    const admission = admit(validator, request.rawHeaders)
    if (admission.admitted) response.writeHead(200).end()
    else response.writeHead(admission.denial.status, admission.denial.headers).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.close()
    await follower.stop()
  })
  const probe = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`,
    audience: mailAudience,
  }
  await enrol(url, authority.enrolmentToken, 'gateway', key.jwk, probe)
  await follower.ready()
}

async function proofOf(authority: TestAuthority, kid: string, version: unknown): Promise<Proof> {
  for (;;) {
    const proofs = await fetchProofs(authority.url)
    const proof = proofs.find((each) => each.kid === kid && each.version === version)
    if (proof?.state === 'done') return proof
  }
}

test('T118 R1 R2: a kill goes out and is proven with the broker away, twice if it is given twice, and stays on record', async (t) => {
  const authority = await startTestAuthority(t)
  await startGateway(t, authority)
  await authority.broker.close()
  const { kid } = authority.key('consumer', 'active')
  const first = await authority.command({ op: 'block', kid, reason: 'stolen' })
  assert.deepEqual([first.status, first.body['changed']], [200, true])
  const expected = [['gateway', 'refused', 'key_blocked', false]]
  const shown = ({ results }: Proof) =>
    results.map((each) => [each.name, each.outcome, each.reason, each.is_real])
  const proof = await proofOf(authority, kid, first.body['version'])
  assert.deepEqual(shown(proof), expected)

  const second = await authority.command({ op: 'block', kid, reason: 'stolen' })
  assert.deepEqual([second.status, second.body['changed']], [200, false])
  assert.deepEqual(shown(await proofOf(authority, kid, second.body['version'])), expected)

  const third = await authority.command({ op: 'revoke', kid, reason: 'stolen' })
  assert.equal(third.body['changed'], true)
  const last = await proofOf(authority, kid, third.body['version'])
  assert.deepEqual(shown(last), [['gateway', 'refused', 'key_revoked', false]])

  await authority.broker.open()
  await authority.restart()
  const kept = await fetchProofs(authority.url)
  assert.deepEqual(
    kept.map(({ version, state }) => [version, state]),
    [
      [third.body['version'], 'done'],
      [first.body['version'], 'done'],
    ],
  )
})

test('T118 R1: with the witness away a kill is refused, changes nothing, and the same kill goes out once it is back', async (t) => {
  const authority = await startTestAuthority(t)
  await startGateway(t, authority)
  const { kid } = authority.key('consumer', 'active')
  const kill = { op: 'revoke', kid, reason: 'stolen' } as const
  await authority.witness.close()
  const { status, body } = await authority.command(kill)
  assert.deepEqual([status, body['error']], [503, 'witness_unavailable'])
  assert.equal(authority.key('consumer', 'active').kid, kid)
  assert.deepEqual(await fetchProofs(authority.url), [])
  await authority.witness.open()
  const answer = await authority.command(kill)
  assert.equal(answer.status, 200)
  assert.equal((await proofOf(authority, kid, answer.body['version'])).results[0]?.reason, 'key_revoked')
})

test('T118: kills and a rotation at once all take effect, in whatever order they come', async (t) => {
  for (const order of [
    ['block', 'rotate', 'revoke'],
    ['rotate', 'block', 'revoke'],
    ['revoke', 'block', 'rotate'],
  ] as const) {
    await t.test(order.join(', '), async (step) => {
      const authority = await startTestAuthority(step)
      const { kid } = authority.key('consumer', 'active')
      const answers = await Promise.all(order.map((op) => authority.command({ op, kid, reason: 'now' })))
      // A rotation may be told to wait for its turn; a kill never is.
      order.forEach((op, at) => {
        if (op !== 'rotate') assert.equal(answers[at]?.status, 200, op)
      })
      assert.equal(authority.manifest.keys.get(kid)?.state, 'revoked')
    })
  }
})

test('R1: whoever waits for acknowledgements is answered with the last one, and names who is silent when time is up', async (t) => {
  const authority = await startTestAuthority(t)
  const [one, two] = [await authority.enrol('one'), await authority.enrol('two')]
  const streams = [await authority.stream('one'), await authority.stream('two')]
  const { version } = authority.manifest
  await authority.acknowledge('one', one)
  const late = await fetchAcks(authority.url, { version, milliseconds: 20 })
  assert.deepEqual(late.silent, ['two'])
  let isAnswered = false
  const waiting = fetchAcks(authority.url, { version, milliseconds: 10_000 }).then((acks) => {
    isAnswered = true
    return acks
  })
  await authority.get('acks')
  assert.equal(isAnswered, false)
  await authority.acknowledge('two', two)
  assert.deepEqual((await waiting).silent, [])
  for (const stream of streams) await stream.close()
})

test('R2: a probe is an address without credentials, and the last one counts, also for another authority', async (t) => {
  const authority = await startTestAuthority(t)
  const key = await authority.enrol('gateway')
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${authority.enrolmentToken}` }
  const send = async (probe: unknown) =>
    (await authority.post('validators', JSON.stringify({ name: 'gateway', jwk: key.jwk, probe }), headers))
      .status
  for (const url of ['ftp://127.0.0.1/', 'http://a:b@127.0.0.1/', 'nowhere', ''])
    assert.equal(await send({ url, audience: mailAudience }), 400, url)
  assert.equal(await send({ url: 'http://127.0.0.1:1/' }), 400)
  assert.equal(await send({ url: 'http://127.0.0.1:1/', audience: mailAudience, more: 1 }), 400)
  for (const url of ['http://127.0.0.1:1/old', 'http://127.0.0.1:1/new'])
    assert.equal(await send({ url, audience: mailAudience }), 200)
  await authority.restart()
  const { kid } = authority.key('consumer', 'active')
  const { body } = await authority.command({ op: 'block', kid, reason: 'stolen' })
  await authority.acknowledge('gateway', key)
  const { results } = await proofOf(authority, kid, body['version'])
  assert.deepEqual(
    results.map(({ name, outcome }) => [name, outcome]),
    [['gateway', 'unreachable']],
  )
})
