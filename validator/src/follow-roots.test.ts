/**
 * Goal: a follower that asks for roots has them for its validator, and neither a lie nor a flood of them changes what it
 * believes otherwise. Method: an authority on loopback that sends what it is told to, and tokens whose receipts are worth
 * nothing unless their root was told.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { type FakeAuthority, startFakeAuthority } from './fake-authority.ts'
import { type Follower, type FollowOptions, followManifest } from './follow.ts'
import { SplitRoots, signRoots } from './roots.ts'
import { subtreeOf, tellRoots, withReceipt, wrongSignature } from './test-roots.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

interface Scene {
  readonly world: TestWorld
  readonly authority: FakeAuthority
  readonly follower: Follower
  readonly problems: readonly Error[]
  verdict(token: string): string
  /** Publishes and waits for it: whatever was sent before is decided then. */
  settle(): Promise<void>
}

async function begin(t: TestContext, options: Partial<FollowOptions> = {}): Promise<Scene> {
  const world = createTestWorld()
  const authority = await startFakeAuthority(world)
  const problems: Error[] = []
  const follower = followManifest({
    authority: authority.url,
    trustAnchor: world.trustAnchor,
    now: () => world.now,
    retryMilliseconds: 1,
    pushedRoots: true,
    onProblem: (problem) => problems.push(problem),
    ...options,
  })
  t.after(async () => {
    await follower.stop()
    await authority.stop()
  })
  await follower.ready()
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: follower,
    now: () => world.now,
  })
  return {
    world,
    authority,
    follower,
    problems,
    verdict: (token) => {
      return verdictOf(validator.decide(token))
    },
    settle: async () => {
      const { version } = world.publish().manifest
      authority.push()
      await follower.waitForVersion(version, 5000)
    },
  }
}

test('what the authority passes on of the witness counts at the validator', async (t) => {
  const { world, authority, problems, verdict, settle } = await begin(t)
  const token = withReceipt(world, world.issue(), wrongSignature)
  assert.equal(verdict(token), 'receipt_invalid')
  authority.send('roots', tellRoots(world, [token]))
  await settle()
  assert.equal(verdict(token), 'accepted')
  world.setState(world.keys.consumer.kid, 'revoked')
  await settle()
  assert.equal(verdict(token), 'key_revoked')
  assert.deepEqual(problems, [])
})

test('roots are asked for where they are wanted, and mean nothing elsewhere', async () => {
  const asked: string[] = []
  const world = createTestWorld()
  const authority = await startFakeAuthority(world)
  authority.answer('/stream', ({ url = '' }, response) => {
    asked.push(url)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`event: roots\ndata: ${tellRoots(world, [world.issue()])}\n\n`)
    response.write(`event: manifest\ndata: ${authority.delivery()}\n\n`)
  })
  for (const pushedRoots of [undefined, false, true]) {
    const follower = followManifest({
      authority: authority.url,
      trustAnchor: world.trustAnchor,
      now: () => world.now,
      pushedRoots,
    })
    await follower.ready()
    assert.equal(follower.roots === undefined, pushedRoots !== true)
    await follower.stop()
  }
  await authority.stop()
  assert.deepEqual(asked, ['/stream', '/stream', '/stream?roots=1'])
})

test('T109: roots that the authority made up are refused and reported, and its stream goes on', async (t) => {
  const { world, authority, problems, verdict, settle } = await begin(t)
  const token = withReceipt(world, world.issue(), wrongSignature)
  const forged = [
    tellRoots(world, [token], world.manifestKey.privateKey),
    tellRoots(world, [token], createTestKey('ES256').privateKey),
    'eyJh.b.c',
    'nonsense',
  ]
  for (const statement of forged) authority.send('roots', statement)
  await settle()
  assert.equal(verdict(token), 'receipt_invalid')
  assert.equal(problems.length, forged.length)
  assert.equal(authority.requests.filter((request) => request === 'GET /stream').length, 1)
  authority.send('roots', tellRoots(world, [token]))
  await settle()
  assert.equal(verdict(token), 'accepted')
})

test('a flood of roots that nobody signed is left unread after a few', async (t) => {
  const { world, authority, problems, settle } = await begin(t, { monotonic: () => 0 })
  const forged = tellRoots(world, [world.issue()], createTestKey('ES256').privateKey)
  for (let count = 0; count < 200; count++) authority.send('roots', forged)
  await settle()
  assert.equal(problems.length, 16)
})

test('T115 T121: roots are no sign of life: a stream that brings nothing else is left, and trust grows old', async (t) => {
  const { world, authority, follower, problems, settle } = await begin(t, { silenceMillisecondsMax: 50 })
  const statement = tellRoots(world, [world.issue()])
  const sending = setInterval(() => authority.send('roots', statement), 1)
  t.after(() => clearInterval(sending))
  await authority.asked('/stream')
  assert.match(problems[0]?.message ?? '', /silent/)
  world.now += 100
  assert.ok(follower.ageSeconds() >= 100)
  clearInterval(sending)
  await settle()
})

test('T114: a witness that signs two roots for one range is reported with both', async (t) => {
  const { world, authority, problems, verdict, settle } = await begin(t)
  const { origin, receiptKey } = world.witness
  const token = world.issue()
  const lie = signRoots(
    origin,
    [{ ...subtreeOf(world, token), root: new Uint8Array(32) }],
    world.now,
    receiptKey.privateKey,
  )
  authority.send('roots', lie)
  await settle()
  assert.equal(verdict(token), 'accepted')
  authority.send('roots', tellRoots(world, [token]))
  await settle()
  assert.equal(problems.length, 2)
  for (const problem of problems) {
    assert.ok(problem instanceof SplitRoots)
    assert.equal(problem.proofs[0], lie)
  }
})

test('T116: what was told before a restart is not known after it, and each receipt speaks for itself', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-roots-'))
  const stateFile = join(folder, 'manifest.json')
  const { world, authority, follower, settle } = await begin(t, { stateFile })
  const token = world.issue()
  authority.send('roots', tellRoots(world, [token]))
  await settle()
  await follower.stop()
  const again = followManifest({
    authority: authority.url,
    trustAnchor: world.trustAnchor,
    now: () => world.now,
    stateFile,
    pushedRoots: true,
  })
  t.after(async () => {
    await again.stop()
    rmSync(folder, { recursive: true })
  })
  await again.ready()
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: again,
    now: () => world.now,
  })
  assert.equal(validator.decide(withReceipt(world, token, wrongSignature)).accepted, false)
  assert.equal(validator.decide(token).accepted, true)
  // The log was known from the state file on, so that nothing of a statement gets lost.
  authority.send('roots', tellRoots(world, [token]))
  const { version } = world.publish().manifest
  authority.push()
  await again.waitForVersion(version, 5000)
  assert.equal(validator.decide(withReceipt(world, token, wrongSignature)).accepted, true)
})
