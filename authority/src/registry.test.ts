/**
 * Goal: the authority knows at any moment who has not confirmed a manifest, and nobody can make it believe otherwise.
 * Method: validators with real keys over HTTP; acknowledgements forged, bent, recorded and sent again.
 */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { signAcknowledgement } from '@countersign/validator/acknowledgement'
import { eventually } from '@countersign/validator/eventually'
import { createTestKey, type TestKey } from '@countersign/validator/testing'
import type { Acks } from './client.ts'
import { openRegistry, type Registry } from './registry.ts'
import { openStore, type Store } from './store.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

async function readAcks(authority: TestAuthority): Promise<Acks> {
  return (await authority.get('acks')).body as unknown as Acks
}

async function publishAnother(authority: TestAuthority): Promise<void> {
  await authority.command({
    op: 'cutoff',
    realm: 'consumer',
    before: authority.manifest.version,
    reason: 'test',
  })
}

test('F13: who has not confirmed the newest manifest is on the silent list at once', async (t) => {
  const authority = await startTestAuthority(t)
  const [gateway, webmail] = [await authority.enrol('gateway'), await authority.enrol('webmail')]
  assert.deepEqual((await readAcks(authority)).silent, ['gateway', 'webmail'])
  assert.equal((await authority.acknowledge('gateway', gateway)).status, 200)
  assert.deepEqual((await readAcks(authority)).silent, ['webmail'])
  await authority.acknowledge('webmail', webmail)
  assert.deepEqual((await readAcks(authority)).silent, [])
  await publishAnother(authority)
  const { version, silent, validators } = await readAcks(authority)
  assert.deepEqual([version, silent], [2, ['gateway', 'webmail']])
  assert.deepEqual(validators[0], {
    name: 'gateway',
    version: 1,
    acknowledged_at: authority.world.now,
    connected: false,
  })
})

test('T120: an open stream shows who listens, but only a signed acknowledgement counts', async (t) => {
  const authority = await startTestAuthority(t)
  await authority.enrol('gateway')
  const stream = await authority.stream('gateway')
  await stream.next('manifest')
  const { validators, silent } = await readAcks(authority)
  assert.deepEqual([validators[0]?.connected, silent], [true, ['gateway']])
  await stream.close()
})

test('T119: an acknowledgement that is forged, bent or by nobody enrolled is refused and changes nothing', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const [gateway, webmail] = [await authority.enrol('gateway'), await authority.enrol('webmail')]
  await publishAnother(authority)
  const refused = [
    [await authority.acknowledge('gateway', webmail), 401, 'acknowledgement_invalid'],
    [await authority.acknowledge('gateway', createTestKey('EdDSA')), 401, 'acknowledgement_invalid'],
    [await authority.acknowledge('nobody', createTestKey('EdDSA')), 401, 'acknowledgement_invalid'],
    [await authority.acknowledge('__proto__', gateway), 401, 'acknowledgement_invalid'],
    [await authority.acknowledge('gateway', gateway, { iat: world.now - 61 }), 401, 'acknowledgement_stale'],
    [await authority.acknowledge('gateway', gateway, { iat: world.now + 61 }), 401, 'acknowledgement_stale'],
    [await authority.acknowledge('gateway', gateway, { version: 3 }), 409, 'acknowledgement_outdated'],
    [await authority.acknowledge('gateway', gateway, { version: 1 }), 409, 'acknowledgement_outdated'],
    [
      await authority.acknowledge('gateway', gateway, { manifest_sha256: 'A'.repeat(43) }),
      409,
      'acknowledgement_outdated',
    ],
    [
      await authority.acknowledge('gateway', gateway, { manifest_sha256: 'A' }),
      400,
      'acknowledgement_malformed',
    ],
    [await authority.acknowledge('gateway', gateway, { more: true }), 400, 'acknowledgement_malformed'],
    [await authority.post('acks', 'not a token'), 400, 'acknowledgement_malformed'],
  ] as const
  for (const [index, [{ status, body }, expected, error]] of refused.entries()) {
    assert.deepEqual([status, body['error']], [expected, error], `case ${index}`)
  }
  assert.deepEqual((await readAcks(authority)).silent, ['gateway', 'webmail'])
})

test('T119: a recorded acknowledgement sent again cannot move a validator back', async (t) => {
  const authority = await startTestAuthority(t)
  const gateway = await authority.enrol('gateway')
  const { sha256 } = authority.running.publisher.newest ?? { sha256: '' }
  await publishAnother(authority)
  await authority.acknowledge('gateway', gateway)
  const older = await authority.acknowledge('gateway', gateway, { version: 1, manifest_sha256: sha256 })
  assert.deepEqual([older.status, older.body['error']], [409, 'acknowledgement_outdated'])
  const { now } = authority.world
  authority.world.now += 10
  assert.equal((await authority.acknowledge('gateway', gateway)).status, 200)
  const [validator] = (await readAcks(authority)).validators
  assert.deepEqual([validator?.version, validator?.acknowledged_at], [2, now], 'the first time stays')
})

test('a validator that is one manifest behind is believed for that one', async (t) => {
  const authority = await startTestAuthority(t)
  const gateway = await authority.enrol('gateway')
  const { sha256 } = authority.running.publisher.newest ?? { sha256: '' }
  await publishAnother(authority)
  const { status } = await authority.acknowledge('gateway', gateway, { version: 1, manifest_sha256: sha256 })
  assert.equal(status, 200)
  assert.deepEqual((await readAcks(authority)).silent, ['gateway'])
})

test('what was acknowledged is known after a restart', async (t) => {
  const authority = await startTestAuthority(t)
  const gateway = await authority.enrol('gateway')
  await authority.acknowledge('gateway', gateway)
  const before = await readAcks(authority)
  await authority.restart()
  assert.deepEqual(await readAcks(authority), before)
})

test('enrolling needs the token, a name of its own and a public Ed25519 key', async (t) => {
  const authority = await startTestAuthority(t)
  const { jwk, privateKey } = createTestKey('EdDSA')
  const enrol = async (body: object | string, token = authority.enrolmentToken) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const { status, body: answer } = await authority.post('validators', text, headers)
    return [status, answer['error']]
  }
  const name = 'gateway'
  for (const token of ['', 'wrong', `${authority.enrolmentToken}x`, authority.enrolmentToken.slice(1)]) {
    assert.deepEqual(await enrol({ name, jwk }, token), [401, 'enrolment_not_authorised'])
  }
  const malformed = [
    {},
    { name },
    { jwk },
    { name: '', jwk },
    { name: 'two\nlines', jwk },
    { name: 'x'.repeat(129), jwk },
    { name, jwk: createTestKey('ES256').jwk },
    { name, jwk: privateKey.export({ format: 'jwk' }) },
    { name, jwk: { ...jwk, note: 'more' } },
    { name, jwk, role: 'admin' },
    `{"name":"a","name":"b","jwk":${JSON.stringify(jwk)}}`,
    'not json',
  ]
  for (const body of malformed) {
    assert.deepEqual(await enrol(body), [400, 'enrolment_malformed'], JSON.stringify(body))
  }
  assert.deepEqual((await readAcks(authority)).validators, [])
  assert.deepEqual(await enrol({ name, jwk }), [200, undefined])
  assert.deepEqual(await enrol({ name, jwk }), [200, undefined], 'again, with the same key')
  const other = createTestKey('EdDSA').jwk
  assert.deepEqual(await enrol({ name, jwk: other }), [409, 'validator_exists'])
  await authority.restart()
  assert.deepEqual(await enrol({ name, jwk: other }), [409, 'validator_exists'])
  const { body } = await authority.get('validators')
  assert.deepEqual(body, { validators: [{ name, jwk }] })
})

/** A store that can be full. */
async function openFull(t: TestContext): Promise<{ readonly store: Store; isFull: boolean }> {
  const opened = await openStore(':memory:')
  t.after(opened.close)
  const full = { store: opened, isFull: false }
  const unlessFull =
    <Given extends unknown[]>(write: (...given: Given) => Promise<void>) =>
    async (...given: Given): Promise<void> => {
      if (full.isFull) throw new Error('the disk is full')
      await write(...given)
    }
  full.store = {
    ...opened,
    addValidator: unlessFull(opened.addValidator),
    setProbe: unlessFull(opened.setProbe),
    acknowledge: unlessFull(opened.acknowledge),
  }
  return full
}

const manifestSha256 = 'A'.repeat(43)

function acknowledge(registry: Registry, { privateKey }: TestKey, version: number): void {
  const statement = { version, manifestSha256, issuedAt: 1000 }
  registry.acknowledge(signAcknowledgement(statement, { name: 'gateway', privateKey }), () => manifestSha256)
}

test('whom the store did not take is not enrolled, and is once it does', async (t) => {
  const full = await openFull(t)
  const registry = await openRegistry(full.store, () => 1000, assert.fail)
  const { jwk } = createTestKey('EdDSA')
  const probe = { url: 'https://gateway.example/auth', audience: 'https://mail.example' }
  full.isFull = true
  const request = { name: 'gateway', jwk: { ...jwk } }
  const both = await Promise.allSettled([registry.enrol(request), registry.enrol(request)])
  assert.deepEqual(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.deepEqual(registry.enrolled(), [])
  full.isFull = false
  await registry.enrol(request)
  full.isFull = true
  await assert.rejects(registry.enrol({ ...request, probe }))
  full.isFull = false
  await registry.enrol({ ...request, probe })
  assert.deepEqual((await full.store.validators())[0]?.probe, probe)
  assert.deepEqual(registry.probes(), [{ name: 'gateway', ...probe }])
})

test('an acknowledgement that the store did not take is written once it does', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const full = await openFull(t)
  const faults: Error[] = []
  const registry = await openRegistry(
    full.store,
    () => 1000,
    (error) => faults.push(error),
  )
  const key = createTestKey('EdDSA')
  await registry.enrol({ name: 'gateway', jwk: { ...key.jwk } })
  acknowledge(registry, key, 7)
  full.isFull = true
  t.mock.timers.tick(100)
  await eventually(() => faults.length === 1)
  full.isFull = false
  t.mock.timers.tick(1000)
  await eventually(async () => (await full.store.validators())[0]?.version === 7)
})

test('T119: whom another authority enrolled anew is believed here with the new key alone', async (t) => {
  const { store } = await openFull(t)
  const [here, elsewhere] = [
    await openRegistry(store, () => 1000, assert.fail),
    await openRegistry(store, () => 1000, assert.fail),
  ]
  const [before, after] = [createTestKey('EdDSA'), createTestKey('EdDSA')]
  await here.enrol({ name: 'gateway', jwk: { ...before.jwk } })
  acknowledge(here, before, 7)
  await store.record({ removedValidator: 'gateway' }, 1)
  await elsewhere.enrol({ name: 'gateway', jwk: { ...after.jwk } })
  await here.follow()
  assert.throws(() => acknowledge(here, before, 7), { code: 'acknowledgement_invalid' })
  assert.ok(!here.hasApplied('gateway', 1))
  acknowledge(here, after, 7)
  await here.close()
  assert.equal((await store.validators())[0]?.version, 7)
})
