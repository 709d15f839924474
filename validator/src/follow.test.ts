/**
 * Goal: a validator learns of a block at once, says so, and is never moved backwards or fooled by an authority that is
 * slow, broken, replaced or lying. Method: real HTTP on loopback against an authority that behaves, then in each test
 * in one way does not; clocks are variables, and every wait is for an event.
 * @module
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { gzipSync } from 'node:zlib'
import { verifyAcknowledgement } from './acknowledgement.ts'
import { DeliveryFault } from './delivery.ts'
import { DocumentRefusal, encodePayload, readPayload } from './document.ts'
import { encodeEntry } from './entry.ts'
import { type FakeAuthority, startFakeAuthority } from './fake-authority.ts'
import { type Follower, type FollowOptions, followManifest, pauseMilliseconds } from './follow.ts'
import { InvalidKey } from './jws.ts'
import { manifestEntry, manifestSha256, signManifest, type TrustState } from './manifest.ts'
import type { Refusal } from './refusal.ts'
import { StateFileFault } from './state-file.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld } from './testing.ts'
import type { SplitView } from './trust.ts'
import { createValidator } from './validator.ts'

const validatorKey = createTestKey('EdDSA')
const enrolment = { name: 'gateway-1', privateKey: validatorKey.privateKey }

interface Scene {
  readonly world: TestWorld
  readonly authority: FakeAuthority
  /** What the follower reported; `next` settles with the next one. */
  readonly problems: Error[]
  next(): Promise<Error>
  follow(options?: Partial<FollowOptions>): Follower
}

async function begin(t: TestContext): Promise<Scene> {
  const world = createTestWorld()
  const authority = await startFakeAuthority(world)
  const followers: Follower[] = []
  const problems: Error[] = []
  let settle: (problem: Error) => void = () => {}
  t.after(async () => {
    await Promise.all(followers.map((follower) => follower.stop()))
    await authority.stop()
  })
  return {
    world,
    authority,
    problems,
    next: () => new Promise((resolve) => (settle = resolve)),
    follow: (options = {}) => {
      const follower = followManifest({
        authority: authority.url,
        trustAnchor: world.trustAnchor,
        now: () => world.now,
        retryMilliseconds: 1,
        onProblem: (problem) => {
          problems.push(problem)
          settle(problem)
        },
        ...options,
      })
      followers.push(follower)
      return follower
    },
  }
}

function temporaryFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-follow-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'manifest.json')
}

const json =
  (body: string): RequestListener =>
  (_request, response) =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(body)

const status =
  (code: number): RequestListener =>
  (_request, response) =>
    void response.writeHead(code, { 'content-type': 'application/json' }).end('{}')

test('a follower has the newest state as soon as the authority delivers it', async (t) => {
  const { world, follow } = await begin(t)
  const follower = follow()
  assert.deepEqual([follower.state, follower.ageSeconds()], [undefined, Number.POSITIVE_INFINITY])
  await follower.ready()
  assert.equal(follower.state?.manifest.version, 1)
  assert.deepEqual(follower.documents?.manifest, world.manifestDocument)
})

test('a block is in force when the authority has pushed it', async (t) => {
  const { world, authority, follow } = await begin(t)
  const states: TrustState[] = []
  const follower = follow({ onState: (state) => states.push(state) })
  await follower.ready()
  world.setState(world.keys.consumer.kid, 'blocked')
  authority.push()
  await follower.waitForVersion(2, 5000)
  assert.equal(follower.state?.manifest.keys.get(world.keys.consumer.kid)?.state, 'blocked')
  assert.equal(states.length, 2)
  assert.equal(states[1], follower.state)
})

test('each version is acknowledged with the key of the validator, once it is in force', async (t) => {
  const { world, authority, follow } = await begin(t)
  const inForce: number[] = []
  const follower = follow({ enrolment, onState: ({ manifest }) => inForce.push(manifest.version) })
  await authority.acknowledged(1)
  assert.deepEqual(inForce, [1])
  world.setState(world.keys.consumer.kid, 'blocked')
  authority.push()
  await authority.acknowledged(2)
  assert.deepEqual(inForce, [1, 2])
  const [first, second] = authority.acknowledgements.map((statement) =>
    verifyAcknowledgement(statement, () => validatorKey.jwk),
  )
  assert.equal(first?.version, 1)
  assert.deepEqual(second, {
    validator: 'gateway-1',
    version: 2,
    manifestSha256: manifestSha256(world.manifestDocument),
    issuedAt: world.now,
  })
  assert.equal(follower.state?.manifest.version, 2)
})

test('T120: what the validator did not apply is not acknowledged', async (t) => {
  const { authority, follow, problems } = await begin(t)
  const follower = follow({
    enrolment,
    onState: () => {
      throw new Error('out of memory')
    },
  })
  await follower.ready()
  authority.disconnect()
  await authority.asked('/stream')
  assert.deepEqual(authority.acknowledgements, [])
  assert.equal(problems[0]?.message, 'out of memory')
})

test('T120: what others decide by is acknowledged once all of them have it, and nothing newer in its place', async (t) => {
  const { world, authority, follow } = await begin(t)
  const statements: string[] = []
  const waiting = new Map<number, () => void>()
  const follower = follow({
    enrolment,
    onFreshness: (statement) => statements.push(statement),
    whenApplied: (version) => new Promise((resolve) => waiting.set(version, resolve)),
  })
  await follower.ready()
  assert.equal(authority.acknowledgements.length, 0)
  world.setState(world.keys.consumer.kid, 'blocked')
  authority.push()
  await follower.waitForVersion(2, 5000)
  const versions = () =>
    authority.acknowledgements.map((each) => verifyAcknowledgement(each, () => validatorKey.jwk).version)
  while (!waiting.has(2)) await new Promise((resolve) => setImmediate(resolve))
  waiting.get(1)?.()
  world.now++
  const statement = world.freshness()
  authority.send('freshness', statement)
  while (!statements.includes(statement)) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(versions(), [])
  const acknowledged = authority.acknowledged(1)
  waiting.get(2)?.()
  await acknowledged
  assert.deepEqual(versions(), [2])
})

test('an acknowledgement is sent until it is taken', async (t) => {
  const { authority, follow } = await begin(t)
  authority.answer('/acks', status(503))
  follow({ enrolment })
  for (let count = 0; count < 3; count++) await authority.asked('/acks')
  assert.deepEqual(authority.acknowledgements, [])
  authority.answer('/acks', undefined)
  await authority.acknowledged(1)
})

test('an acknowledgement that nobody took gives way to that of a newer version', async (t) => {
  const { world, authority, follow } = await begin(t)
  authority.answer('/acks', status(503))
  // So rarely that only a newer version can be the reason for the next attempt.
  follow({ enrolment, retryMilliseconds: 1e8 })
  await authority.asked('/acks')
  authority.answer('/acks', undefined)
  world.publish()
  authority.push()
  await authority.acknowledged(1)
  const [statement] = authority.acknowledgements
  assert.equal(verifyAcknowledgement(statement ?? '', () => validatorKey.jwk).version, 2)
})

test('after the authority was away, the follower comes back and acknowledges again', async (t) => {
  const { world, authority, follow } = await begin(t)
  const follower = follow({ enrolment })
  await authority.acknowledged(1)
  world.now += 3
  authority.disconnect()
  await authority.acknowledged(2)
  assert.equal(follower.state?.manifest.version, 1)
  assert.equal(follower.ageSeconds() < 3, true)
})

test('freshness on the stream keeps the state young', async (t) => {
  const { world, authority, follow } = await begin(t)
  let monotonicSeconds = 0
  const follower = follow({ monotonic: () => monotonicSeconds * 1000 })
  await follower.ready()
  world.now += 50
  monotonicSeconds += 50
  assert.equal(follower.ageSeconds(), 50)
  authority.send('freshness', world.freshness())
  world.publish()
  authority.push()
  await follower.waitForVersion(2, 5000)
  assert.equal(follower.ageSeconds(), 0)
})

test('freshness of a version that was missed makes the follower ask for it', async (t) => {
  const { world, authority, follow } = await begin(t)
  const follower = follow()
  await follower.ready()
  world.publish()
  authority.send('freshness', world.freshness())
  await follower.waitForVersion(2, 5000)
  assert.ok(authority.requests.includes('GET /manifest'))
})

test('where events do not come through, the follower polls', async (t) => {
  const { world, authority, follow } = await begin(t)
  authority.answer('/stream', status(404))
  const follower = follow()
  await follower.ready()
  world.setState(world.keys.consumer.kid, 'blocked')
  await follower.waitForVersion(2, 5000)
})

test('T110: a stream that only drips comments counts as silent, and is left', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const drips = new Set<NodeJS.Timeout>()
  authority.answer('/stream', (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const drip = setInterval(() => response.write(': still here\n\n'), 1)
    drips.add(drip)
    response.once('close', () => clearInterval(drip))
  })
  const follower = follow({ silenceMillisecondsMax: 30 })
  assert.match((await next()).message, /silent/)
  await follower.ready()
  world.publish()
  await follower.waitForVersion(2, 5000)
  for (const drip of drips) clearInterval(drip)
})

test('T110: headers that never come do not hold the follower', async (t) => {
  const { authority, follow, next } = await begin(t)
  authority.answer('/stream', () => {})
  const follower = follow({ silenceMillisecondsMax: 30 })
  assert.match((await next()).message, /silent/)
  await follower.ready()
})

test('T110: answers that are not what was asked for change nothing', async (t) => {
  const { authority, follow, problems } = await begin(t)
  const follower = follow()
  await follower.ready()
  const { state } = follower
  const endless: RequestListener = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const more = (): void => {
      while (!response.destroyed && response.write(' '.repeat(65_536)));
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  }
  const answers: readonly (readonly [RegExp, RequestListener])[] = [
    [
      /something else than/,
      (_request, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    ],
    [/something else than/, (_request, response) => void response.writeHead(200).end(authority.delivery())],
    [
      /something else than/,
      (_request, response) =>
        void response
          .writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
          .end(gzipSync(' '.repeat(1e6))),
    ],
    [/not JSON/, json('<html>')],
    [/not JSON/, json('')],
    [/not JSON/, json('[]')],
    [/status 304/, (_request, response) => void response.writeHead(304).end()],
    [/status 500/, status(500)],
    [/status 204/, (_request, response) => void response.writeHead(204).end()],
    [/without end/, endless],
    [
      /broke off/,
      (_request, response) =>
        void response
          .writeHead(200, { 'content-type': 'application/json', 'content-length': 9 })
          .write('{', () => response.destroy()),
    ],
  ]
  authority.answer('/stream', status(404))
  for (const [message, listener] of answers) {
    authority.answer('/manifest', listener)
    authority.disconnect()
    const seen = problems.length
    while (
      !problems
        .slice(seen)
        .some((problem) => problem instanceof DeliveryFault && message.test(problem.message))
    ) {
      await authority.asked('/manifest')
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  assert.equal(follower.state, state)
})

test('T108: a redirect is not followed, wherever it leads', async (t) => {
  const { authority, follow, next } = await begin(t)
  const visitors: string[] = []
  const other = createServer((request, response) => {
    visitors.push(request.url ?? '')
    response.writeHead(200, { 'content-type': 'application/json' }).end(authority.delivery())
  }).listen(0, '127.0.0.1')
  t.after(() => other.close())
  await once(other, 'listening')
  const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/`
  const redirect: RequestListener = (_request, response) => void response.writeHead(307, { location }).end()
  for (const path of ['/manifest', '/stream', '/charter']) authority.answer(path, redirect)
  const follower = follow({ enrolment })
  for (let count = 0; count < 4; count++) await next()
  assert.equal(follower.state, undefined)
  assert.deepEqual(visitors, [])
})

test('T112 T122: a cache that serves an old manifest changes nothing', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const old = authority.delivery()
  world.setState(world.keys.consumer.kid, 'revoked')
  const follower = follow()
  await follower.waitForVersion(2, 5000)
  authority.answer('/stream', status(404))
  authority.answer('/manifest', json(old))
  authority.disconnect()
  let problem = await next()
  while (!(problem instanceof DocumentRefusal)) problem = await next()
  assert.equal(problem.flaw, 'rolled_back')
  assert.equal(follower.state?.manifest.version, 2)
})

test('T118: a kill is not undone by the answer to a question asked before it', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const before = authority.delivery()
  const follower = follow()
  await follower.ready()
  let answer = (): void => {}
  authority.answer('/manifest', (request, response) => {
    answer = () => json(before)(request, response)
  })
  world.setState(world.keys.consumer.kid, 'revoked')
  authority.send('freshness', world.freshness())
  await authority.asked('/manifest')
  authority.push()
  answer()
  // Asked while version 1 was the newest, the old answer is no news; then comes the kill.
  await follower.waitForVersion(2, 5000)
  authority.send('manifest', before)
  const problem = await next()
  assert.equal(problem instanceof DocumentRefusal && problem.flaw, 'rolled_back')
  assert.equal(follower.state?.manifest.keys.get(world.keys.consumer.kid)?.state, 'revoked')
})

test('T118: the only key of a realm can be killed', async (t) => {
  const { world, authority, follow } = await begin(t)
  const follower = follow()
  await follower.ready()
  const revoked = { at: world.now, reason: 'stolen' }
  world.publish(({ keys }) => ({
    keys: keys.map((key) => (key.realm === 'consumer' ? { ...key, state: 'revoked', revoked } : key)),
  }))
  authority.push()
  await follower.waitForVersion(2, 5000)
  const live = [...(follower.state?.manifest.keys.values() ?? [])].filter(({ state }) => state !== 'revoked')
  assert.deepEqual(new Set(live.map(({ realm }) => realm)), new Set(['enterprise']))
})

test('T104: bad documents on the stream evict nothing, and the next good one counts', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const follower = follow()
  await follower.ready()
  const { state } = follower
  for (const data of ['nonsense', '{}', '{"payload":"e30","signatures":[]}', '{"payload":1}']) {
    authority.answer('/stream', (_request, response) => {
      response
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .write(`event: manifest\ndata: ${data}\n\n`)
    })
    authority.disconnect()
    while (!((await next()) instanceof DocumentRefusal));
    assert.equal(follower.state, state)
  }
  authority.answer('/stream', undefined)
  world.publish()
  await follower.waitForVersion(2, 5000)
})

test('T110: an event without end is given up', async (t) => {
  const { authority, follow, next } = await begin(t)
  authority.answer('/stream', (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(1_000_000)));
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  })
  const follower = follow()
  assert.match((await next()).message, /without end/)
  await follower.ready()
})

test('T114: a split view is reported with both documents, and the state stays', async (t) => {
  const { world, authority, follow } = await begin(t)
  const { promise: proof, resolve: onMisbehavior } = Promise.withResolvers<SplitView>()
  const follower = follow({ onMisbehavior })
  await follower.ready()
  const held = world.manifestDocument
  const segment = encodePayload({ ...readPayload(held.payload), cutoffs: [{ realm: 'consumer', before: 1 }] })
  const [receipt] = world.witness.append([encodeEntry(manifestEntry(segment, world.manifestKey.kid))], 1)
  const other = signManifest(segment, receipt as Uint8Array, world.manifestKey.privateKey)
  authority.send('manifest', JSON.stringify(other))
  const { held: first, shown: second } = await proof
  assert.deepEqual([first, second], [held, other])
  assert.deepEqual(follower.documents?.manifest, held)
})

test('T109 T113: somebody else in the place of the authority is not believed', async (t) => {
  const scene = await begin(t)
  const { world: other } = await begin(t)
  const follower = scene.follow({ trustAnchor: other.trustAnchor })
  const problem = await scene.next()
  assert.equal(problem instanceof DocumentRefusal && problem.flaw, 'signature_invalid')
  assert.equal(follower.state, undefined)
})

test('a newer charter is fetched link by link, and only as far as it verifies', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const follower = follow()
  await follower.ready()
  world.amend()
  world.amend()
  authority.push()
  await follower.waitForVersion(3, 5000)
  assert.equal(follower.state?.charter.version, 3)
  assert.deepEqual(
    authority.requests.filter((request) => request.startsWith('GET /charter')),
    ['GET /charter/1', 'GET /charter/2', 'GET /charter/3'],
  )
  // A manifest that names a charter far away makes the follower ask for the next one, once, and for no other.
  authority.answer('/charter', json(JSON.stringify(world.charterDocuments[0])))
  const payload = encodePayload({ ...readPayload(world.manifestDocument.payload), charter_version: 4e9 })
  authority.send('manifest', JSON.stringify({ ...world.manifestDocument, payload }))
  assert.ok((await next()) instanceof DocumentRefusal)
  assert.equal(authority.requests.filter((request) => request === 'GET /charter/4').length, 1)
  assert.equal(authority.requests.includes('GET /charter/5'), false)
})

test('T115 T121: without the authority the state grows old, whatever the clock says', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  let monotonicSeconds = 0
  const follower = follow({ monotonic: () => monotonicSeconds * 1000 })
  await follower.ready()
  for (const path of ['/stream', '/manifest']) authority.answer(path, status(503))
  authority.disconnect()
  await next()
  monotonicSeconds += 61
  world.now -= 3600
  assert.equal(follower.ageSeconds(), 61)
})

test('T112 T116: after a restart an older manifest is refused, and nothing is fresh until the authority vouches', async (t) => {
  const { world, authority, follow, next } = await begin(t)
  const stateFile = temporaryFile(t)
  const old = authority.delivery()
  world.setState(world.keys.consumer.kid, 'revoked')
  const first = follow({ stateFile })
  await first.waitForVersion(2, 5000)
  await first.stop()
  authority.answer('/stream', status(404))
  authority.answer('/manifest', json(old))
  const told: number[] = []
  const second = follow({ stateFile, onState: ({ manifest }) => told.push(manifest.version) })
  assert.equal(second.state?.manifest.version, 2)
  assert.equal(second.ageSeconds(), Number.POSITIVE_INFINITY)
  let problem = await next()
  while (!(problem instanceof DocumentRefusal)) problem = await next()
  assert.equal(problem.flaw, 'rolled_back')
  assert.deepEqual(told, [2])
  authority.answer('/manifest', undefined)
  await second.ready()
  assert.equal(second.ageSeconds() < Number.POSITIVE_INFINITY, true)
})

test('a damaged state file stops the start', async (t) => {
  const { follow } = await begin(t)
  const stateFile = temporaryFile(t)
  writeFileSync(stateFile, '{', { mode: 0o600 })
  assert.throws(() => follow({ stateFile }), StateFileFault)
  assert.equal(readFileSync(stateFile, 'utf8'), '{')
})

test('a state that cannot be written is in force, acknowledged and complained about', async (t) => {
  const { authority, follow, problems } = await begin(t)
  const stateFile = temporaryFile(t)
  const follower = follow({ stateFile, enrolment })
  rmSync(join(stateFile, '..'), { recursive: true })
  await authority.acknowledged(1)
  assert.equal(follower.state?.manifest.version, 1)
  assert.equal((problems[0] as NodeJS.ErrnoException).code, 'ENOENT')
})

test('waiting ends with a fault when the version does not come, or the follower is stopped', async (t) => {
  const { follow } = await begin(t)
  const follower = follow()
  await assert.rejects(follower.waitForVersion(99, 5), DeliveryFault)
  const waiting = assert.rejects(follower.waitForVersion(99, 60_000), DeliveryFault)
  await follower.stop()
  await waiting
  await assert.rejects(follow({ authority: 'http://127.0.0.1:1' }).waitForVersion(1, 5), DeliveryFault)
})

test('a trust anchor that is none makes no follower', async (t) => {
  const { world, follow } = await begin(t)
  assert.throws(() => follow({ trustAnchor: { ...world.trustAnchor, threshold: 0 } }), DocumentRefusal)
  assert.throws(() => follow({ authority: 'nowhere' }), TypeError)
})

test('T103 T107: tokens with keys that nobody knows make the validator fetch nothing', async (t) => {
  const { world, authority, follow } = await begin(t)
  const follower = follow()
  await follower.ready()
  const { decide } = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: follower,
    now: () => world.now,
  })
  const before = authority.requests.length
  const stranger = createTestKey('ES256')
  for (let count = 0; count < 50; count++) {
    const { accepted, refusal } = decide(world.issue({ key: stranger })) as {
      accepted: boolean
      refusal?: Refusal
    }
    assert.deepEqual([accepted, refusal?.reason], [false, 'unknown_key'])
  }
  assert.equal(decide(world.issue()).accepted, true)
  world.publish()
  authority.push()
  await follower.waitForVersion(2, 5000)
  assert.equal(authority.requests.length, before)
})

test('T106: after an attempt that failed the follower waits, like after any other', async (t) => {
  const { authority, follow, next } = await begin(t)
  for (const path of ['/stream', '/manifest']) authority.answer(path, status(503))
  const follower = follow({ retryMilliseconds: 1e8 })
  await next()
  await next()
  for (const path of ['/stream', '/manifest']) authority.answer(path, undefined)
  await assert.rejects(follower.waitForVersion(1, 50), DeliveryFault)
  assert.deepEqual(authority.requests, ['GET /stream', 'GET /manifest'])
})

test('a key that cannot sign acknowledgements makes no follower', async (t) => {
  const { follow } = await begin(t)
  const { privateKey } = createTestKey('RS256')
  assert.throws(() => follow({ enrolment: { name: 'gateway-1', privateKey } }), InvalidKey)
})

test('T117: ten thousand that lose the authority at once come back spread over seconds', () => {
  const counts = new Map<number, number>()
  for (let count = 0; count < 10_000; count++) {
    const tenth = Math.floor(pauseMilliseconds(0, 250) / 100)
    counts.set(tenth, (counts.get(tenth) ?? 0) + 1)
  }
  assert.equal(counts.size, 20)
  assert.equal(Math.max(...counts.values()) < 700, true)
  // While nobody answers they spread out further, and never wait for so long that they would grow stale unseen.
  assert.equal(
    Array.from({ length: 1000 }, () => pauseMilliseconds(20, 250)).some((wait) => wait > 5000),
    true,
  )
  assert.equal(
    Array.from({ length: 1000 }, () => pauseMilliseconds(1000, 250)).every((wait) => wait < 7500),
    true,
  )
})
