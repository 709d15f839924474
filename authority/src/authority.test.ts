/**
 * Goal: what the authority publishes grows in one line only, whatever fails, and time alone keeps keys young. Method: a
 * whole authority over HTTP, beside a witness and a broker that can fail, under a clock that the test turns; the
 * validator's own code judges what comes out.
 */

import assert from 'node:assert/strict'
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { publicHalf } from '@countersign/validator/document'
import { followManifest } from '@countersign/validator/follow'
import type { PublicJwk } from '@countersign/validator/jws'
import { type Manifest, verifyManifest } from '@countersign/validator/manifest'
import { readPrivateFile } from '@countersign/validator/private-file'
import { createTestKey } from '@countersign/validator/testing'
import { fetchRotation, type RotationStep } from './client.ts'
import { initAuthority, openManifestKeys } from './init.ts'
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

test('K10: the first manifest names an active and a standing next key per realm and purpose, logged by the witness', async (t) => {
  const authority = await startTestAuthority(t)
  const manifest = await readManifest(authority)
  assert.equal(manifest.version, 1)
  const keys = [...manifest.keys.values()].map(
    ({ realm, algorithm, tokenTypes, state }) => `${realm} ${algorithm} ${tokenTypes} ${state}`,
  )
  assert.deepEqual(keys.sort(), [
    'consumer ES256 access,id,logout active',
    'consumer ES256 access,id,logout published',
    'consumer RS256 set active',
    'consumer RS256 set published',
    'enterprise ES256 access,id,logout active',
    'enterprise ES256 access,id,logout published',
    'enterprise RS256 set active',
    'enterprise RS256 set published',
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

test('K3: a key that waited for the witness is known for twice the slowest cache before it signs, from when it was published', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  await authority.command({ op: 'revoke', kid: authority.key('consumer', 'published').kid, reason: 'test' })
  const madeAt = world.now
  authority.witness.isRefusing = true
  await assert.rejects(authority.running.keeper.keep())
  world.now += 3600
  authority.witness.isRefusing = false
  await authority.running.keeper.keep()
  const { notBefore, signUntil } = authority.key('consumer', 'published')
  assert.equal(notBefore, world.now + 2 * 600)
  assert.equal(signUntil, madeAt + 14 * DAY, 'its age counts from when it was made')
})

test('K3: a key that waited for longer than it may sign is not published; another is made', async (t) => {
  const authority = await startTestAuthority(t)
  const { world, broker } = authority
  await authority.command({ op: 'revoke', kid: authority.key('consumer', 'published').kid, reason: 'test' })
  authority.witness.isRefusing = true
  await assert.rejects(authority.running.keeper.keep())
  const before = broker.keyCount
  world.now += 14 * DAY
  authority.witness.isRefusing = false
  await authority.running.keeper.keep()
  assert.ok(broker.keyCount > before)
  const waiting = [...authority.manifest.keys.values()].filter(({ state }) => state === 'published')
  assert.ok(waiting.length > 0 && waiting.every(({ signUntil }) => signUntil > world.now))
})

test('T115: what was due by a clock that was wrong is not published once it is right again', async (t) => {
  const authority = await startTestAuthority(t)
  const { world, running } = authority
  const { kid } = authority.key('consumer', 'active')
  const gate = Promise.withResolvers<void>()
  const held = running.publisher.change(async (trust) => {
    await gate.promise
    return trust
  })
  const { change } = running.publisher
  const isAsked = Promise.withResolvers<void>()
  running.publisher.change = (plan) => {
    isAsked.resolve()
    return change(plan)
  }
  const right = world.now
  world.now += 2 * DAY
  const kept = running.keeper.keep()
  await isAsked.promise
  world.now = right
  gate.resolve()
  await Promise.all([held, kept])
  assert.equal(authority.manifest.keys.get(kid)?.state, 'active')
  assert.ok(authority.manifest.issuedAt <= right)
})

test('a log of the witness that no manifest names yet is named at once, and a sealed one as sealed', async (t) => {
  const authority = await startTestAuthority(t)
  const { origin } = authority.world.witness
  authority.witness.logs = [
    { origin, state: 'sealed' },
    { origin: 'witness.example/2027', state: 'open' },
  ]
  await authority.running.keeper.keep()
  const named = [...authority.manifest.logs.values()].map((log) => [log.origin, log.state])
  assert.deepEqual(named, [
    [origin, 'sealed'],
    ['witness.example/2027', 'open'],
  ])
  const { version } = authority.manifest
  await authority.running.keeper.keep()
  assert.equal(authority.manifest.version, version, 'and once')
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

test('F13 K3: no key takes over while an enrolled validator has not heard of it, whether it listens or not', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const { kid } = authority.key('consumer', 'active')
  const next = authority.key('consumer', 'published')
  const enrolled = Promise.withResolvers<void>()
  const held = authority.running.publisher.change(async (trust) => {
    await enrolled.promise
    return trust
  })
  world.now += DAY
  // Just enrolled, so that their time is not over.
  const [gateway] = [await authority.enrol('gateway'), await authority.enrol('away')]
  enrolled.resolve()
  await held
  const stream = await authority.stream('gateway')
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, kid)
  await authority.acknowledge('gateway', gateway)
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, kid, 'one that is away counts too')
  const waiting = await readSlot(authority)
  assert.deepEqual([waiting.waits_for, waiting.overdue, waiting.next], [['away'], [], next.kid])

  world.now += 60
  const overdue = await readSlot(authority)
  assert.deepEqual([overdue.waits_for, overdue.overdue], [[], ['away']])
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').kid, next.kid, 'it goes on, and says who is silent')
  await stream.close()
})

test('F13 K3: a first manifest whose answer was lost is waited for like any other, once it is published', async (t) => {
  const authority = await startTestAuthority(t, { isFirstMade: false })
  const { world, witness, broker, running } = authority
  witness.isMute = true
  await witness.open()
  await broker.open()
  await assert.rejects(running.keeper.keep())
  await authority.enrol('away')
  world.now += DAY + 60
  witness.isMute = false
  await witness.open()
  await running.keeper.keep()
  const { active, waits_for: waitsFor } = await readSlot(authority)
  assert.equal(active, authority.key('consumer', 'active').kid)
  assert.deepEqual(waitsFor, ['away'], 'its turn has come, and nobody has heard of the next')
  assert.equal([...authority.manifest.keys.values()].filter(({ state }) => state === 'retiring').length, 0)
})

async function readSlot(authority: TestAuthority): Promise<RotationStep> {
  const { slots } = await fetchRotation(authority.url)
  return slots.find(({ realm, purpose }) => realm === 'consumer' && purpose === 'token') as RotationStep
}

test('F5 K5: GET /rotation and GET /metrics say of each slot which key signs, how old it is, and what comes next', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const begun = world.now
  const [active, next] = [authority.key('consumer', 'active'), authority.key('consumer', 'published')]
  world.now += 7 * 3600
  assert.deepEqual(await readSlot(authority), {
    realm: 'consumer',
    issuer: active.issuer,
    purpose: 'token',
    active: active.kid,
    next: next.kid,
    due_at: begun + DAY,
    waits_for: [],
    overdue: [],
    age_ratio: (7 * 3600) / (14 * DAY),
  })
  assert.equal((await fetchRotation(authority.url)).leader, true)
  const text = await (await fetch(`${authority.url}/metrics`)).text()
  const labels = `realm="consumer",issuer="${active.issuer}",purpose="token"`
  for (const line of [
    'countersign_authority_leader 1',
    'countersign_manifest_version 1',
    `countersign_slot_keys{${labels},state="published"} 1`,
    `countersign_slot_keys{${labels},state="revoked"} 0`,
    `countersign_active_key_age_ratio{${labels},kid="${active.kid}"} ${(7 * 3600) / (14 * DAY)}`,
    `countersign_rotation_due_timestamp_seconds{${labels}} ${begun + DAY}`,
    `countersign_rotation_overdue{${labels}} 0`,
  ]) {
    assert.ok(text.split('\n').includes(line), line)
  }
})

test('R5 L8: nothing that time does ever drops a key from the manifest or its history', async (t) => {
  const authority = await startTestAuthority(t)
  const seen = new Set<string>()
  for (let day = 0; day < 20; day++) {
    authority.world.now += DAY
    await authority.running.keeper.keep()
    await authority.running.keeper.keep()
    for (const kid of authority.manifest.keys.keys()) seen.add(kid)
  }
  assert.ok(seen.size > 80, `${seen.size} keys`)
  assert.deepEqual(new Set(authority.manifest.keys.keys()), seen)
  await authority.stop()
  const database = new DatabaseSync(join(authority.folder, 'authority.db'))
  const rows = database.prepare('SELECT kid FROM keys').all()
  database.close()
  assert.deepEqual(new Set(rows.map(({ kid }) => kid)), seen)
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

test('R4 T114: what the witness logged is carried out although its answer was lost, and no version ever has two contents', async (t) => {
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
  assert.deepEqual(body, { version: 2, changed: false })
  assert.deepEqual(authority.witness.versions, [1, 2])
  const { acts } = (await authority.get('acts')).body as { acts: { command?: { op: string } }[] }
  assert.equal(acts.length, 2, 'both are on record')
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
  for (const attempt of ['at first', 'and again']) {
    await assert.rejects(authority.start(), /old copy: 2 there, 1 here/, attempt)
  }

  // With the witness away it starts; as soon as the two can be compared, it vouches for nothing any more.
  await authority.witness.close()
  await authority.start()
  await authority.witness.open()
  await assert.rejects(authority.running.keeper.keep(), /old copy/)
  const { kid } = authority.key('consumer', 'active')
  const answer = await authority.command({ op: 'block', kid, reason: 'test' })
  assert.deepEqual([answer.status, answer.body['error']], [500, 'behind_log'])
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
  assert.deepEqual(publicHalf(openManifestKeys(data).under({ manifestKeys: [jwk] })).jwk, jwk)
  chmodSync(join(data, 'manifest-key.json'), 0o644)
  assert.throws(() => openManifestKeys(data), /can be read by others/)
  assert.throws(() => readPrivateFile(join(data, 'manifest-key.json')), /can be read by others/)
})

test('init --next makes a key beside the first, which is found while the authority runs', (t) => {
  const data = mkdtempSync(join(tmpdir(), 'countersign-init-'))
  t.after(() => rmSync(data, { recursive: true }))
  assert.throws(() => initAuthority(data, { isNext: true }), /init makes the first/)
  const first = initAuthority(data)
  const keys = openManifestKeys(data)
  const [second, third] = [initAuthority(data, { isNext: true }), initAuthority(data, { isNext: true })]
  const under = (...named: { readonly jwk: PublicJwk }[]): PublicJwk =>
    publicHalf(keys.under({ manifestKeys: named.map(({ jwk }) => jwk) })).jwk
  assert.deepEqual(under(first), first.jwk)
  assert.deepEqual(under(second), second.jwk)
  assert.deepEqual(under(first, third), third.jwk, 'of several, the last')
  const strange = createTestKey('ES256')
  assert.deepEqual(under(second, strange), second.jwk)
  assert.throws(() => under(strange), { code: 'no_manifest_key' })
  assert.deepEqual(readdirSync(data).sort(), [
    'manifest-key-2.json',
    'manifest-key-3.json',
    'manifest-key.json',
  ])
})
