/**
 * Goal: what the authority publishes grows in one line only, whatever fails, and time alone keeps keys young. Method: a
 * whole authority over HTTP, beside a witness and a broker that can fail, under a clock that the test turns; the
 * validator's own code judges what comes out.
 */

import assert from 'node:assert/strict'
import { chmodSync, copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { followManifest } from '@countersign/validator/follow'
import { type Manifest, verifyManifest } from '@countersign/validator/manifest'
import { readPrivateFile } from '@countersign/validator/private-file'
import { initAuthority, readManifestKey } from './init.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

const DAY = 24 * 3600

/** The manifest as anybody reads it, verified. */
async function readManifest(authority: TestAuthority): Promise<Manifest> {
  const { status, body } = await authority.get('manifest')
  assert.equal(status, 200)
  const { freshness, ...document } = body
  assert.equal(typeof freshness, 'string')
  return verifyManifest(document, authority.world.charter)
}

test('the first manifest names an active and a standing next key per realm, logged by the witness', async (t) => {
  const authority = await startTestAuthority(t)
  const manifest = await readManifest(authority)
  assert.equal(manifest.version, 1)
  const keys = [...manifest.keys.values()].map(({ realm, state }) => `${realm} ${state}`)
  assert.deepEqual(keys.sort(), [
    'consumer active',
    'consumer published',
    'enterprise active',
    'enterprise published',
  ])
  assert.deepEqual(authority.witness.versions, [1])
})

test('before the first manifest it says so, serves the charter, and waits for broker and witness', async (t) => {
  const authority = await startTestAuthority(t, { isFirstMade: false })
  const { status, body } = await authority.get('manifest')
  assert.deepEqual([status, body['error']], [503, 'no_manifest_yet'])
  assert.equal((await authority.get('charter')).status, 200)
  const order = { op: 'rotate', realm: 'consumer', reason: 'early' } as const
  assert.equal((await authority.command(order)).body['error'], 'no_manifest_yet')

  await assert.rejects(authority.running.keeper.keep(), /witness/)
  await authority.witness.open()
  await assert.rejects(authority.running.keeper.keep(), /nobody listens/)
  await authority.witness.close()
  await authority.broker.open()
  await authority.witness.open()
  await authority.running.keeper.keep()
  assert.equal((await readManifest(authority)).version, 1)
})

test('a signer is not asked for more keys because the witness was away', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid } = authority.key('consumer', 'published')
  await authority.command({ op: 'revoke', kid, reason: 'test' })
  const before = authority.broker.keyCount
  authority.witness.isRefusing = true
  for (let attempt = 0; attempt < 3; attempt++) await assert.rejects(authority.running.keeper.keep())
  authority.witness.isRefusing = false
  await authority.running.keeper.keep()
  assert.equal(authority.broker.keyCount, before + 1)
  assert.ok(authority.key('consumer', 'published'))
})

test('what is due waits for no signer: while the broker is away, manifests are made anew and keys retired', async (t) => {
  const authority = await startTestAuthority(t)
  await authority.command({ op: 'rotate', realm: 'consumer', reason: 'leaves no standing next key' })
  const { kid, verifyUntil } = authority.key('consumer', 'retiring')
  await authority.broker.close()
  authority.world.now = verifyUntil
  await assert.rejects(authority.running.keeper.keep(), { code: 'disconnected' })
  assert.equal(authority.manifest.keys.get(kid)?.state, 'retired')
  authority.world.now += DAY / 2
  await assert.rejects(authority.running.keeper.keep(), { code: 'disconnected' })
  assert.equal(authority.manifest.issuedAt, authority.world.now)
})

test('T113 F1: a key that its signer attested for something else enters no manifest, and spoils none', async (t) => {
  const authority = await startTestAuthority(t)
  await authority.command({ op: 'rotate', realm: 'consumer', reason: 'leaves no standing next key' })
  const lies = [
    { kid: authority.key('consumer', 'active').kid },
    { realm: 'enterprise' },
    { issuer: 'https://elsewhere.example' },
    { tokenTypes: ['id'] },
    { lifetimeSecondsMax: 60 },
  ] as const
  for (const lie of lies) {
    authority.broker.lie = lie
    authority.world.now += DAY / 2
    await assert.rejects(authority.running.keeper.keep(), /made another key/)
    assert.equal(authority.manifest.issuedAt, authority.world.now, 'the manifest is made anew all the same')
    assert.equal(authority.key('consumer', 'published'), undefined)
  }
  authority.broker.lie = {}
  await authority.running.keeper.keep()
  assert.ok(authority.key('consumer', 'published'))
})

test('charter and trust anchor are served as they were approved, and nothing else', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  for (const path of ['charter', 'charter/1']) {
    assert.deepEqual((await authority.get(path)).body, { ...world.charterDocuments[0] })
  }
  assert.deepEqual((await authority.get('trust-anchor')).body, JSON.parse(JSON.stringify(world.trustAnchor)))
  for (const path of [
    'charter/2',
    'charter/0',
    'charter/-1',
    'charter/1.0',
    'charter/x',
    'charter/../manifest-key',
  ]) {
    assert.equal((await authority.get(path)).status, 404, path)
  }
})

test('F5 T124: rotation needs no person: the next key takes over when its turn has come, and a new one stands by', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const [old, next] = [authority.key('consumer', 'active'), authority.key('consumer', 'published')]
  world.now += DAY - 1
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, old.kid, 'not before its turn')
  world.now += 1
  await authority.running.keeper.keep()
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, next.kid)
  assert.equal(authority.key('consumer', 'retiring').kid, old.kid)
  assert.notEqual(authority.key('consumer', 'published'), undefined, 'a new one stands by')

  world.now = authority.key('consumer', 'retiring').verifyUntil - 1
  await authority.running.keeper.keep()
  assert.equal((await readManifest(authority)).keys.get(old.kid)?.state, 'retiring')
  world.now += 1
  await authority.running.keeper.keep()
  assert.equal((await readManifest(authority)).keys.get(old.kid)?.state, 'retired')
})

test('F13: no key takes over by itself while a validator that listens has not heard of it', async (t) => {
  const authority = await startTestAuthority(t)
  const gateway = await authority.enrol('gateway')
  const stream = await authority.stream('gateway')
  const { kid } = authority.key('consumer', 'active')
  authority.world.now += DAY + 1
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, kid)
  await authority.acknowledge('gateway', gateway)
  await authority.running.keeper.keep()
  assert.notEqual(authority.key('consumer', 'active').kid, kid)
  await stream.close()
})

test('a manifest is made anew when half its life is over, also when the authority was away for longer', async (t) => {
  const authority = await startTestAuthority(t)
  authority.world.now += DAY / 2 - 1
  await authority.running.keeper.keep()
  assert.equal((await readManifest(authority)).version, 1)
  authority.world.now += 1
  await authority.running.keeper.keep()
  assert.equal((await readManifest(authority)).version, 2)
  authority.world.now += 40 * DAY
  await authority.restart()
  await authority.running.keeper.keep()
  const { expiresAt } = await readManifest(authority)
  assert.ok(expiresAt > authority.world.now)
})

test('R4: after a restart it serves the same manifest, byte for byte', async (t) => {
  const authority = await startTestAuthority(t)
  const before = (await authority.get('manifest')).body
  await authority.restart()
  const after = (await authority.get('manifest')).body
  assert.equal(after['payload'], before['payload'])
  assert.deepEqual(after['signatures'], before['signatures'])
})

test('R4 T114: an answer of the witness that is lost costs a version, and no version ever has two contents', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid } = authority.key('consumer', 'active')
  authority.witness.isMute = true
  const lost = await authority.command({ op: 'block', kid, reason: 'test' })
  assert.deepEqual([lost.status, lost.body['error']], [503, 'witness_unavailable'])
  assert.equal((await readManifest(authority)).version, 1, 'nothing was published')
  authority.witness.isMute = false
  await authority.witness.open()
  await authority.restart()
  const { body } = await authority.command({ op: 'block', kid, reason: 'test' })
  assert.deepEqual(body, { version: 3, changed: true })
  assert.deepEqual(authority.witness.versions, [1, 2, 3])
})

test('R5 T236: a data folder restored from before a kill is refused, so that no key comes back', async (t) => {
  const authority = await startTestAuthority(t)
  const file = join(authority.folder, 'authority.db')
  await authority.stop()
  copyFileSync(file, `${file}.backup`)
  await authority.start()
  await authority.command({ op: 'revoke', kid: authority.key('consumer', 'active').kid, reason: 'stolen' })
  await authority.stop()
  copyFileSync(`${file}.backup`, file)
  await assert.rejects(authority.start(), /old copy: 2 there, 1 here/)

  // With the witness away it starts; as soon as the two can be compared, it vouches for nothing any more.
  await authority.witness.close()
  await authority.start()
  await authority.witness.open()
  await assert.rejects(authority.running.keeper.keep(), /old copy/)
  const { kid } = authority.key('consumer', 'active')
  const answer = await authority.command({ op: 'block', kid, reason: 'test' })
  assert.deepEqual([answer.status, answer.body['error']], [500, 'behind_log'])
})

test('T124: a second authority on the same folder does not start', async (t) => {
  const authority = await startTestAuthority(t)
  await assert.rejects(authority.start(), /another process/)
})

test('a block reaches a real validator, and its acknowledgement comes back', async (t) => {
  const authority = await startTestAuthority(t)
  const { url, world } = authority
  const { privateKey } = await authority.enrol('gateway')
  const follower = followManifest({
    authority: url,
    trustAnchor: world.trustAnchor,
    enrolment: { name: 'gateway', privateKey },
    now: () => world.now,
  })
  t.after(() => follower.stop())
  await follower.ready()
  const { kid } = authority.key('consumer', 'active')
  const { body } = await authority.command({ op: 'block', kid, reason: 'stolen' })
  await follower.waitForVersion(body['version'] as number, 5000)
  assert.equal(follower.state?.manifest.keys.get(kid)?.state, 'blocked')
  await authority.allAcknowledged()
  const { silent, validators } = (await authority.get('acks')).body as {
    silent: string[]
    validators: object[]
  }
  assert.deepEqual(silent, [])
  assert.deepEqual(validators, [{ name: 'gateway', version: 2, acknowledged_at: world.now, connected: true }])
})

test('init makes a manifest key once, for this user only, and prints its public half', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-init-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const data = join(folder, 'authority')
  const { jwk } = initAuthority(data)
  assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kty', 'x', 'y'])
  assert.equal(statSync(join(data, 'manifest-key.json')).mode & 0o777, 0o600)
  assert.throws(() => initAuthority(data), /EEXIST/)
  assert.equal(readManifestKey(data).asymmetricKeyType, 'ec')
  chmodSync(join(data, 'manifest-key.json'), 0o644)
  assert.throws(() => readManifestKey(data), /can be read by others/)
  assert.throws(() => readPrivateFile(join(data, 'manifest-key.json')), /can be read by others/)
})
