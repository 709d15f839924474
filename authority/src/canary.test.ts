/**
 * Goal: a gateway that does not enforce a kill is found out, whoever is away, and one that does is not accused. Method:
 * gateways that the test plays, honest, deaf and lying, and a broker that can be away.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { eventually } from '@countersign/validator/eventually'
import { createTestKey, createTestWorld, mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { type CanaryOptions, createCanaries, judgeAnswer, type Proof } from './canary.ts'

const patience = 5000

function start(context: TestContext, change: Partial<CanaryOptions> = {}) {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const done: Proof[] = []
  const problems: Error[] = []
  let broken: Error | undefined
  const made: string[] = []
  const probes: { name: string; url: string; audience: string }[] = []
  const canaries = createCanaries({
    manifest: () => world.state.manifest,
    probes: () => probes,
    broker: {
      canary: async ({ realm, kid, audience }) => {
        if (broken !== undefined) throw broken
        made.push(`${realm} ${kid} ${audience}`)
        const claims = { sub: 'canary', client_id: 'canary', aud: audience, exp: world.now + 3600 }
        return { token: world.issue({ realm: realm as 'consumer', claims }) }
      },
    },
    hasApplied: () => true,
    onDone: (proof) => void done.push(proof),
    onProblem: (problem) => problems.push(problem),
    now: () => world.now,
    ...change,
  })
  context.after(canaries.stop)
  return {
    world,
    canaries,
    probes,
    made,
    done,
    problems,
    breakBroker: (error: Error | undefined) => {
      broken = error
    },
    /** Serves a gateway that answers as the function says, or as an honest one. */
    gateway: async (name: string, answer?: (token: string) => [status: number, reason?: string]) => {
      const validator = createValidator({
        realm: ['consumer', 'enterprise'],
        audience: mailAudience,
        trust: world.trust,
        now: () => world.now,
      })
      const honest = (token: string): [number, string?] => {
        const decision = validator.decide(token)
        return decision.accepted ? [200] : [decision.refusal.status, decision.refusal.reason]
      }
      const tokens: string[] = []
      const server = createServer((request, response) => {
        const token = (request.headers.authorization ?? '').replace('Bearer ', '')
        tokens.push(token)
        const [status, reason] = (answer ?? honest)(token)
        response.writeHead(status, reason === undefined ? {} : { 'x-countersign-reason': reason }).end()
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      context.after(() => server.close())
      probes.push({
        name,
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`,
        audience: mailAudience,
      })
      return tokens
    },
    ready: async (count: number) => {
      canaries.wake()
      await eventually(() => canaries.count >= count)
    },
  }
}

test('T120 R2: canaries of the killed key find the gateway that acknowledges and does not enforce', async (context) => {
  const { world, canaries, gateway, probes, ready, done } = start(context)
  const tokens = await gateway('honest')
  await gateway('deaf', () => [200])
  await gateway('wants a scope', () => [403, 'insufficient_scope'])
  await gateway('serves no mailbox', () => [404])
  await gateway('broken', () => [500])
  probes.push({ name: 'away', url: 'http://127.0.0.1:1/auth', audience: mailAudience })
  await ready(2)
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
  })
  const { kid } = world.keys.consumer
  world.setState(kid, 'blocked')
  const proof = await canaries.prove(kid, 7, performance.now())
  assert.deepEqual(
    proof.results.map(({ name, outcome, reason, is_real }) => [name, outcome, reason, is_real]),
    [
      ['away', 'unreachable', null, true],
      ['broken', 'unproven', null, true],
      ['deaf', 'accepted', null, true],
      ['honest', 'refused', 'key_blocked', true],
      ['serves no mailbox', 'accepted', null, true],
      ['wants a scope', 'accepted', 'insufficient_scope', true],
    ],
  )
  for (const { milliseconds } of proof.results) assert.ok(milliseconds >= 0 && milliseconds < patience)
  world.setState(kid, 'active')
  assert.equal(validator.validate(tokens[0] ?? '').subject, 'canary', 'it was good until the kill')
  assert.deepEqual(done, [proof])
  assert.deepEqual(canaries.proofs, [proof])
})

test('T118 T120 R2: with the broker away the reason is the same, and a gateway that thinks the key alive still shows', async (context) => {
  const { world, canaries, gateway, breakBroker, problems } = start(context)
  breakBroker(new Error('away'))
  await gateway('honest')
  const behind = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    // It has the key, and has not heard of the kill.
    trust: { state: world.state, ageSeconds: () => 0 },
    now: () => world.now,
  })
  await gateway('behind', (token) => {
    const decision = behind.decide(token)
    return decision.accepted ? [200] : [decision.refusal.status, decision.refusal.reason]
  })
  canaries.wake()
  await eventually(() => problems.length > 0)
  const { kid } = world.keys.consumer
  for (const state of ['blocked', 'revoked'] as const) {
    world.setState(kid, state)
    const { results } = await canaries.prove(kid, 7, performance.now())
    assert.deepEqual(
      results.map(({ name, outcome, reason, is_real }) => [name, outcome, reason, is_real]),
      [
        ['behind', 'unproven', 'signature_invalid', false],
        ['honest', 'refused', `key_${state}`, false],
      ],
    )
  }
})

test('R2: a realm whose signer is away takes no canary from another', async (context) => {
  const away: string[] = []
  const { world, canaries, probes, made, problems } = start(context, {
    broker: {
      canary: async ({ realm, audience }) => {
        if (away.includes(realm)) throw new Error(`the signer of ${realm} is away`)
        made.push(realm)
        const claims = { sub: 'canary', client_id: 'canary', aud: audience, exp: world.now + 3600 }
        return { token: world.issue({ realm: realm as 'consumer', claims }) }
      },
    },
  })
  probes.push({ name: 'one', url: 'http://127.0.0.1:1/', audience: mailAudience })
  // Whichever is asked for first.
  away.push([...world.state.manifest.keys.values()][0]?.realm ?? '')
  canaries.wake()
  await eventually(() => problems.length > 0 && made.length > 0)
  assert.ok(!made.includes(away[0] ?? ''))
})

test('R2: what came of the canaries is shown, although it cannot be stored', async (context) => {
  const onDone = async (): Promise<void> => {
    throw new Error('the disk is full')
  }
  const { world, canaries } = start(context, { onDone })
  const { kid } = world.keys.consumer
  world.setState(kid, 'blocked')
  await assert.rejects(canaries.prove(kid, 7, performance.now()), { message: 'the disk is full' })
  assert.equal(canaries.proofs[0]?.state, 'done')
})

test('R2: one canary stands ready for each key that signs and each audience, and is renewed before half its life', async (context) => {
  const { world, canaries, probes, made, ready } = start(context)
  probes.push({ name: 'one', url: 'http://127.0.0.1:1/', audience: mailAudience })
  probes.push({ name: 'two', url: 'http://127.0.0.1:1/', audience: mailAudience })
  await ready(2)
  assert.equal(made.length, 2)
  probes.push({ name: 'three', url: 'http://127.0.0.1:1/', audience: 'https://other.example' })
  await ready(4)
  assert.equal(made.length, 4)
  // Events alone: no service takes such tokens.
  const signals = createTestKey('ES256')
  world.publish(({ keys }) => ({
    keys: [...keys, world.draftKey(signals, 'consumer', { tokenTypes: ['set'] as const })],
  }))
  await ready(4)
  assert.equal(made.length, 4)
  assert.deepEqual((await canaries.prove(signals.kid, 8, performance.now())).results, [])
  world.now += 1799
  canaries.wake()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(made.length, 4)
  world.now += 1
  canaries.wake()
  await eventually(() => made.length >= 8)
})

test('R2: a gateway is asked once it has acknowledged the kill, and a silent one after a while', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const applied = new Set<string>()
  const { world, canaries, gateway, ready } = start(context, { hasApplied: (name) => applied.has(name) })
  const [first, second] = [await gateway('first'), await gateway('second')]
  await ready(2)
  const { kid } = world.keys.consumer
  world.setState(kid, 'blocked')
  const proving = canaries.prove(kid, 7, performance.now())
  assert.equal(canaries.proofs[0]?.state, 'under_way')
  applied.add('first')
  canaries.heard()
  await eventually(() => first.length > 0)
  assert.equal(second.length, 0)
  context.mock.timers.tick(5000)
  const { results, state } = await proving
  assert.equal(state, 'done')
  assert.deepEqual(
    results.map(({ outcome }) => outcome),
    ['refused', 'refused'],
  )
})

test('what an answer to a canary shows: only a refusal for the key’s sake proves the kill', () => {
  for (const [status, reason, outcome] of [
    [401, 'key_blocked', 'refused'],
    [401, 'key_revoked', 'refused'],
    [403, 'key_out_of_scope', 'refused'],
    [401, 'manifest_stale', 'refused'],
    [200, 'key_blocked', 'accepted'],
    [401, 'signature_invalid', 'unproven'],
    [401, 'audience_mismatch', 'unproven'],
    [401, 'token_missing', 'unproven'],
    [401, null, 'unproven'],
    [302, null, 'accepted'],
    [503, null, 'unproven'],
  ] as const)
    assert.equal(judgeAnswer({ status, reason }).outcome, outcome, `${status} ${reason}`)
})
