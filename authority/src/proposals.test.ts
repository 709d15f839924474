/**
 * Goal: what widens trust, or cannot be undone, takes two people, whoever they are and in whatever order they come; and
 * what was approved is carried out whole or not at all. Method: an authority over HTTP under a clock that the test
 * turns, operators who sign once, twice, late, too early and something else, and each step on the way failing.
 */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { APPROVAL_TYPE, approve, readApproval, writeApproval } from '@countersign/validator/approval'
import { approveCharter, CHARTER_TYPE, verifyCharter } from '@countersign/validator/charter'
import {
  type DocumentSignature,
  encodePayload,
  readPayload,
  type SignedDocument,
  signDocument,
} from '@countersign/validator/document'
import { followManifest } from '@countersign/validator/follow'
import type { ManifestKey } from '@countersign/validator/manifest'
import { createTestKey, type TestKey } from '@countersign/validator/testing'
import { initAuthority } from './init.ts'
import { openStore } from './store.ts'
import { type Answer, startTestAuthority, type TestAuthority } from './testing.ts'

type Person = TestAuthority['world']['operators'][number]

/** The three operators of the test world. Two of them are enough. */
function people({ world }: TestAuthority): readonly [olga: Person, omar: Person, opal: Person] {
  return world.operators as unknown as readonly [Person, Person, Person]
}

/** An approval's payload, as of now. */
function draft(authority: TestAuthority, target: object, change: object = {}): object {
  const { now, charter } = authority.world
  return {
    ...target,
    reason: 'a test',
    proposer: 'olga',
    iat: now,
    exp: now + 900,
    jti: randomBytes(16).toString('base64url'),
    charter_version: charter.version,
    ...change,
  }
}

function post(authority: TestAuthority, path: string, body: object): Promise<Answer> {
  return authority.post(path, JSON.stringify(body), { 'content-type': 'application/json' })
}

function propose(authority: TestAuthority, document: SignedDocument): Promise<Answer> {
  return post(authority, 'proposals', document)
}

/** A signature line of somebody over a payload segment. */
function lineOf(
  { privateKey }: Pick<TestKey, 'privateKey'>,
  segment: string,
  type = APPROVAL_TYPE,
): DocumentSignature {
  return signDocument(segment, type, [privateKey]).signatures[0] as DocumentSignature
}

function countersign(
  authority: TestAuthority,
  { id, segment, by, type }: { id: unknown; segment: string; by: Pick<TestKey, 'privateKey'>; type?: string },
): Promise<Answer> {
  return post(authority, `proposals/${id}/approvals`, lineOf(by, segment, type))
}

/** Both people want it. */
async function carryOut(authority: TestAuthority, target: object): Promise<Answer> {
  const [olga, omar] = people(authority)
  const document = approve(draft(authority, target), olga.privateKey)
  const proposed = await propose(authority, document)
  assert.equal(proposed.status, 200, JSON.stringify(proposed.body))
  return countersign(authority, { id: proposed.body['id'], segment: document.payload, by: omar })
}

function errorOf({ status, body }: Answer): unknown {
  return [status, body['error']]
}

/** Each operation that takes two people, in an authority where it could be carried out. */
const operations = {
  lift: async (authority: TestAuthority) => {
    const { kid } = authority.key('consumer', 'active')
    await authority.command({ op: 'block', kid, reason: 'suspected' })
    return { op: 'lift', kid, blocked_at: authority.manifest.keys.get(kid)?.blocked?.at }
  },
  activate: async (authority: TestAuthority) => ({
    op: 'activate',
    kid: authority.key('consumer', 'published').kid,
  }),
  'break-glass': async ({ world }: TestAuthority) => ({
    op: 'break-glass',
    realm: 'consumer',
    until: world.now + 1800,
  }),
  prune: async (authority: TestAuthority) => {
    const { kid } = authority.key('consumer', 'published')
    await authority.command({ op: 'revoke', kid, reason: 'to be dropped' })
    return { op: 'prune', kids: [kid] }
  },
  'remove-validator': async (authority: TestAuthority) => {
    await authority.enrol('gateway')
    return { op: 'remove-validator', name: 'gateway' }
  },
} satisfies Readonly<Record<string, (authority: TestAuthority) => Promise<object>>>

for (const [op, prepare] of Object.entries(operations)) {
  test(`K11 A3 T228: ${op} takes two people, each of them once, in time`, async (t) => {
    const authority = await startTestAuthority(t)
    const [olga, omar, opal] = people(authority)
    const target = await prepare(authority)
    // So that time asks for nothing while people decide.
    await authority.running.keeper.keep()
    const before = authority.manifest
    const document = approve(draft(authority, target), olga.privateKey)
    const { payload: segment } = document

    // One person, as a command or as a proposal, gets nowhere.
    assert.notEqual((await authority.command({ ...target, reason: 'alone' } as never)).status, 200)
    const proposed = await propose(authority, document)
    const { id } = proposed.body
    assert.deepEqual(proposed.body, {
      id,
      expires_at: authority.world.now + 900,
      approved_by: ['olga'],
      needed: 2,
    })

    // The same person again, under whatever line, is still one person.
    for (let again = 0; again < 2; again++) {
      assert.deepEqual(errorOf(await countersign(authority, { id, segment, by: olga })), [
        409,
        'already_approved',
      ])
    }
    assert.deepEqual(errorOf(await propose(authority, document)), [409, 'proposal_exists'])

    // A stranger, a block key, a signature over something else or of another kind of document.
    const altered = encodePayload({ ...readPayload(segment), reason: 'another' })
    const refusals = [
      { id, segment, by: createTestKey('EdDSA') },
      { id, segment, by: authority.world.blockKey },
      { id, segment: altered, by: omar },
      { id, segment, by: omar, type: CHARTER_TYPE },
    ]
    for (const refused of refusals) {
      assert.deepEqual(errorOf(await countersign(authority, refused)), [401, 'approval_not_authorised'])
    }
    assert.equal(authority.manifest, before)

    // Late by a second.
    authority.world.now += 900
    assert.deepEqual(errorOf(await countersign(authority, { id, segment, by: omar })), [
      410,
      'proposal_expired',
    ])
    assert.deepEqual(errorOf(await propose(authority, document)), [409, 'proposal_exists'])
    authority.world.now -= 900

    const carriedOut = await countersign(authority, { id, segment, by: omar })
    const version = before.version + 1
    assert.deepEqual(carriedOut.body, { approved_by: ['olga', 'omar'], needed: 2, version })
    assert.equal(authority.manifest.version, version)
    assert.deepEqual(errorOf(await countersign(authority, { id, segment, by: opal })), [
      409,
      'proposal_carried_out',
    ])

    // It is in the manifest, and so in the log, with both signatures.
    const [act] = authority.manifest.acts
    assert.ok(act !== undefined && 'approval' in act)
    assert.deepEqual([act.approval.payload, act.approval.signatures.length], [segment, 2])
    const { body } = await authority.get('acts')
    const [newest] = body['acts'] as Record<string, unknown>[]
    assert.deepEqual([newest?.['op'], newest?.['by'], newest?.['version']], [op, ['olga', 'omar'], version])
    // A validator that has followed from the start takes it, and so does one that comes only now.
    await judge(authority)
  })
}

/** Follows the authority as a validator does. */
async function judge(authority: TestAuthority): Promise<ReturnType<typeof followManifest>> {
  const { trustAnchor, now } = authority.world
  const follower = followManifest({ authority: authority.url, trustAnchor, now: () => now })
  await follower.ready()
  assert.equal(follower.state?.manifest.version, authority.manifest.version)
  await follower.stop()
  return follower
}

test('K11: block, revoke and cutoff need one person, and land in the log with the proof of who it was', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid } = authority.key('consumer', 'published')
  const commands = [
    { op: 'block', kid, reason: 'one' },
    { op: 'revoke', kid, reason: 'two' },
    { op: 'cutoff', realm: 'consumer', reason: 'three' },
  ] as const
  for (const command of commands) {
    assert.equal((await authority.command(command)).status, 200)
    const [act] = authority.manifest.acts
    assert.ok(act !== undefined && 'command' in act)
  }
  await authority.running.keeper.keep()
  const { body } = await authority.get('acts')
  const acts = body['acts'] as Record<string, unknown>[]
  assert.deepEqual(
    acts.map(({ op, by, reason }) => [op, by, reason]),
    commands.map(({ op, reason }) => [op, ['olga'], reason]).reverse(),
  )
  const older = await authority.get(`acts?before=${acts[0]?.['version']}`)
  assert.deepEqual(older.body['acts'], acts.slice(1))
  const logged = await authority.get(`manifest/${acts[0]?.['version']}`)
  assert.deepEqual(readPayload(logged.body['payload'] as string)['acts'], [{ command: acts[0]?.['proof'] }])
  assert.deepEqual(errorOf(await authority.get('manifest/99')), [404, 'unknown_manifest'])
})

test('K11: a block is lifted as it was made: a key blocked again stays blocked by an older approval', async (t) => {
  const authority = await startTestAuthority(t)
  const [, omar] = people(authority)
  const target = (await operations.lift(authority)) as { kid: string; blocked_at: number }
  authority.world.now += 10
  const document = approve(draft(authority, target), (people(authority)[0] as Person).privateKey)
  const { body } = await propose(authority, document)
  assert.equal((await carryOut(authority, target)).status, 200)
  assert.equal(authority.manifest.keys.get(target.kid)?.state, 'active')
  await authority.command({ op: 'block', kid: target.kid, reason: 'again' })
  const late = await countersign(authority, { id: body['id'], segment: document.payload, by: omar })
  assert.deepEqual(errorOf(late), [409, 'proposal_impossible'])
  assert.equal(authority.manifest.keys.get(target.kid)?.state, 'blocked')
})

test('F5 K11: a key signs before its time by two people alone; one who rotates is told to wait', async (t) => {
  const authority = await startTestAuthority(t)
  await authority.command({ op: 'rotate', realm: 'consumer', reason: 'the first next key has had its time' })
  await authority.running.keeper.keep()
  const young = authority.key('consumer', 'published')
  assert.ok(young.notBefore > authority.world.now)
  const alone = await authority.command({ op: 'rotate', realm: 'consumer', reason: 'now' })
  assert.deepEqual(errorOf(alone), [409, 'activation_too_early'])
  assert.equal((await carryOut(authority, { op: 'activate', kid: young.kid })).status, 200)
  const key = authority.manifest.keys.get(young.kid) as ManifestKey
  assert.equal(key.state, 'active')
  assert.equal(readApproval(key.early).target.op, 'activate')
  await judge(authority)
})

test('A3 F5: a broken glass lets a realm sign at once, that realm alone, and ends by itself', async (t) => {
  const authority = await startTestAuthority(t)
  const rotate = (realm: string): Promise<Answer> => authority.command({ op: 'rotate', realm, reason: 'now' })
  for (const realm of ['consumer', 'enterprise']) await rotate(realm)
  await authority.running.keeper.keep()
  const until = authority.world.now + 600
  assert.equal((await carryOut(authority, { op: 'break-glass', realm: 'consumer', until })).status, 200)
  assert.equal(authority.manifest.breakGlass.length, 1)
  const young = authority.key('consumer', 'published')
  assert.equal((await rotate('consumer')).status, 200)
  assert.equal(authority.manifest.keys.get(young.kid)?.state, 'active')
  assert.deepEqual(errorOf(await rotate('enterprise')), [409, 'activation_too_early'])
  await judge(authority)
  await authority.running.keeper.keep()
  authority.world.now = until
  await authority.running.keeper.keep()
  assert.deepEqual(authority.manifest.breakGlass, [])
  assert.deepEqual(errorOf(await rotate('consumer')), [409, 'activation_too_early'])
  await judge(authority)
})

test('A3: a new charter ends a broken glass, since no validator that has it takes approvals of the one before', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const rotate = (): Promise<Answer> => authority.command({ op: 'rotate', realm: 'consumer', reason: 'now' })
  await rotate()
  await authority.running.keeper.keep()
  const until = authority.world.now + 600
  await carryOut(authority, { op: 'break-glass', realm: 'consumer', until })
  await propose(authority, nextCharter(authority, {}, olga, omar))
  assert.deepEqual([authority.manifest.charterVersion, authority.manifest.breakGlass], [2, []])
  assert.deepEqual(errorOf(await rotate()), [409, 'activation_too_early'])
  const cutoff = await authority.command({ op: 'cutoff', realm: 'consumer', reason: 'goes on' })
  assert.equal(cutoff.status, 200)
  await judge(authority)
})

test('A3: a realm whose key was killed signs again with the approval that breaks the glass', async (t) => {
  const authority = await startTestAuthority(t)
  await authority.command({ op: 'rotate', realm: 'consumer', reason: 'leaves a young next key' })
  await authority.running.keeper.keep()
  const young = authority.key('consumer', 'published')
  await authority.command({ op: 'block', kid: authority.key('consumer', 'active').kid, reason: 'stolen' })
  const target = { op: 'break-glass', realm: 'consumer', until: authority.world.now + 600 }
  assert.equal((await carryOut(authority, target)).status, 200)
  assert.equal(authority.manifest.keys.get(young.kid)?.state, 'active')
  await judge(authority)
})

test('F13: only keys that have ended are dropped, and a validator removed is waited for no longer', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga] = people(authority)
  for (const state of ['active', 'published'] as const) {
    const target = { op: 'prune', kids: [authority.key('consumer', state).kid] }
    const refused = await propose(authority, approve(draft(authority, target), olga.privateKey))
    assert.deepEqual(errorOf(refused), [409, 'proposal_impossible'])
  }
  const { kids } = (await operations.prune(authority)) as { kids: string[] }
  await carryOut(authority, { op: 'prune', kids })
  assert.equal(authority.manifest.keys.has(kids[0] as string), false)
  await authority.enrol('gateway')
  const names = async (): Promise<unknown[]> =>
    ((await authority.get('validators')).body['validators'] as { name: string }[]).map(({ name }) => name)
  assert.deepEqual(await names(), ['gateway'])
  await carryOut(authority, { op: 'remove-validator', name: 'gateway' })
  assert.deepEqual(await names(), [])
  await authority.restart()
  assert.deepEqual(await names(), [])
  assert.equal(authority.manifest.keys.has(kids[0] as string), false)
})

test('T239: a proposal that is malformed, stale, of a stranger or of another charter is not taken', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const { now } = authority.world
  const target = { op: 'break-glass', realm: 'consumer', until: now + 600 }
  const signed = (change: object, by: Pick<TestKey, 'privateKey'> = olga): SignedDocument =>
    signDocument(encodePayload(draft(authority, target, change)), APPROVAL_TYPE, [by.privateKey])
  const refused = [
    [signed({ op: 'export' }), 400, 'proposal_malformed'],
    [signed({ until: now + 3601 }), 400, 'proposal_malformed'],
    [signed({ exp: now + 901 }), 400, 'proposal_malformed'],
    [signed({}, omar), 400, 'proposal_malformed'],
    [signed({}, createTestKey('EdDSA')), 401, 'proposal_not_authorised'],
    [signed({ iat: now - 61, exp: now + 800 }), 401, 'proposal_stale'],
    [signed({ iat: now + 61, exp: now + 900, until: now + 600 }), 401, 'proposal_stale'],
    [signed({ charter_version: 2 }), 409, 'proposal_outdated'],
    [signed({ realm: 'nowhere' }), 409, 'proposal_impossible'],
  ] as const
  for (const [document, status, error] of refused) {
    assert.deepEqual(errorOf(await propose(authority, document)), [status, error])
  }
  for (const body of [{}, { payload: 'x', signatures: [] }, { ...signed({}), more: 1 }]) {
    assert.deepEqual(errorOf(await post(authority, 'proposals', body)), [400, 'proposal_malformed'])
  }
  assert.deepEqual(errorOf(await authority.get('proposals/none')), [404, 'unknown_proposal'])
  const { body } = await propose(authority, signed({}))
  const path = `proposals/${body['id']}/approvals`
  for (const line of [{}, { protected: 'x' }, { protected: 'x', signature: 'y', more: 1 }]) {
    assert.deepEqual(errorOf(await post(authority, path, line)), [400, 'approval_malformed'])
  }
  const shown = (await authority.get('proposals')).body['proposals'] as { id: string }[]
  assert.deepEqual(
    shown.map(({ id }) => id),
    [body['id']],
  )
})

/** The next charter, changed; `by` have signed it. */
function nextCharter(authority: TestAuthority, change: object, ...by: readonly Person[]): SignedDocument {
  const { charterDocuments, charter, now } = authority.world
  const { payload } = charterDocuments.at(-1) as SignedDocument
  const next: object = { ...readPayload(payload), version: charter.version + 1, iat: now, ...change }
  return by.reduce((document, { privateKey }) => approveCharter(document, privateKey), next) as SignedDocument
}

function realmsWith(authority: TestAuthority, realm: string, change: object): object {
  const { payload } = authority.world.charterDocuments.at(-1) as SignedDocument
  const realms = readPayload(payload)['realms'] as Record<string, object>
  return { realms: { ...realms, [realm]: { ...realms[realm], ...change } } }
}

test('K11 F12: a charter takes two people; with its first manifest it reaches a validator, and ends what it no longer allows', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar, opal] = people(authority)
  const { trustAnchor, charter: first, now } = authority.world
  const follower = followManifest({ authority: authority.url, trustAnchor, now: () => now })
  t.after(() => follower.stop())
  await follower.ready()
  const change = realmsWith(authority, 'consumer', { max_ttl: 600 })
  const document = nextCharter(authority, change, olga)
  const proposed = await propose(authority, document)
  const { id } = proposed.body
  assert.deepEqual(proposed.body, { id, expires_at: now + 900, approved_by: ['olga'], needed: 2 })
  const { body: shown } = await authority.get(`proposals/${id}`)
  const changes = shown['changes'] as string[]
  assert.ok(
    changes.includes(
      'realms.consumer.max_ttl (the longest life of a token): 3600 s (1 h) -> 600 s (10 min), shorter',
    ),
  )
  assert.equal(shown['segment'], document.payload)
  const again = { id, segment: document.payload, by: olga, type: CHARTER_TYPE }
  assert.deepEqual(errorOf(await countersign(authority, again)), [409, 'already_approved'])
  // Something else that waits for a second signature ends with the charter that it was proposed under.
  const glass = approve(
    draft(authority, { op: 'break-glass', realm: 'consumer', until: now + 600 }),
    opal.privateKey,
  )
  assert.deepEqual(
    errorOf(await propose(authority, glass)),
    [400, 'proposal_malformed'],
    'olga said so, opal signed',
  )
  const waiting = approve(
    draft(authority, { op: 'break-glass', realm: 'consumer', until: now + 600 }),
    olga.privateKey,
  )
  const { body: waits } = await propose(authority, waiting)

  const { body } = await countersign(authority, { ...again, by: opal })
  assert.deepEqual(body, { approved_by: ['olga', 'opal'], needed: 2, version: 2 })
  await follower.waitForVersion(2, 5000)
  assert.equal(follower.state?.charter.version, 2)
  for (const key of follower.state?.manifest.keys.values() ?? []) {
    assert.equal(key.lifetimeSecondsMax, key.realm === 'consumer' ? 600 : 3600)
  }
  const { body: charter } = await authority.get('charter')
  assert.equal(verifyCharter(charter, first).version, 2)
  const late = { id: waits['id'], segment: waiting.payload, by: omar }
  assert.deepEqual(errorOf(await countersign(authority, late)), [409, 'proposal_outdated'])
  const acts = (await authority.get('acts')).body['acts'] as Record<string, unknown>[]
  assert.deepEqual([acts[0]?.['op'], acts[0]?.['charter_version']], ['charter', 2])
  await authority.restart()
  assert.equal(authority.manifest.charterVersion, 2)
})

test('T113: a charter replaces the manifest key: the one that it names signs, from its first manifest on', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const strange = nextCharter(authority, { manifest_keys: [createTestKey('ES256').jwk] }, olga)
  assert.deepEqual(errorOf(await propose(authority, strange)), [409, 'no_manifest_key'])
  const { jwk } = initAuthority(authority.folder, { isNext: true })
  const document = nextCharter(authority, { manifest_keys: [jwk] }, olga, omar)
  // Enough have signed before it is proposed: it is carried out at once.
  assert.equal((await propose(authority, document)).body['version'], 2)
  await judge(authority)
  await authority.restart()
  await judge(authority)
  authority.world.now += 1
  await authority.command({ op: 'cutoff', realm: 'consumer', reason: 'goes on with the new key' })
  await judge(authority)
})

test('T228: an operator and the threshold can be replaced, and who is none any more has no say', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const otto = { id: 'otto', ...createTestKey('EdDSA') }
  const operators = [otto, omar].map(({ id, jwk }) => ({ id, jwk }))
  const first = nextCharter(authority, { operators, threshold: 1 }, olga, omar)
  assert.equal((await propose(authority, first)).status, 200)
  const command = { op: 'cutoff', realm: 'consumer', reason: 'who may' } as const
  assert.equal((await authority.command(command, olga)).body['error'], 'command_not_authorised')
  assert.equal((await authority.command(command, otto)).status, 200)
  const payload = draft(authority, { op: 'break-glass', realm: 'consumer', until: authority.world.now + 60 })
  const alone = approve({ ...payload, proposer: 'otto', charter_version: 2 }, otto.privateKey)
  assert.equal(
    typeof (await propose(authority, alone)).body['version'],
    'number',
    'one is enough by this charter',
  )
  await judge(authority)
})

test('a charter that ends every key of a realm says so, is taken, and the realm gets new ones', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const change = realmsWith(authority, 'consumer', { algs: ['EdDSA'] })
  const document = nextCharter(authority, change, olga)
  const { body } = await propose(authority, document)
  const changes = (await authority.get(`proposals/${body['id']}`)).body['changes'] as string[]
  assert.match(changes.join('\n'), /NO KEY OF consumer CAN SIGN/)
  const active = authority.key('consumer', 'active')
  assert.match(changes.join('\n'), new RegExp(`key ${active.kid} of consumer, active, becomes retired`))
  await countersign(authority, { id: body['id'], segment: document.payload, by: omar, type: CHARTER_TYPE })
  assert.equal(authority.manifest.keys.get(active.kid)?.state, 'retired')
  await authority.running.keeper.keep()
  authority.world.now += 1200
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active').algorithm, 'EdDSA')
  await judge(authority)
})

test('a charter that allows a realm more has a next key made for it at once, one, and leaves the others as they are', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const before = authority.manifest.keys
  const made = authority.broker.keyCount
  const wider = realmsWith(authority, 'consumer', { max_ttl: 7200, overlap_seconds: 8000 })
  await propose(authority, nextCharter(authority, wider, olga, omar))
  for (const [kid, key] of before) assert.equal(authority.manifest.keys.get(kid)?.state, key.state)
  for (let times = 0; times < 3; times++) await authority.running.keeper.keep()
  // One for tokens, one for security events.
  assert.equal(authority.broker.keyCount, made + 2)
  const next = [...authority.manifest.keys.values()].filter(({ kid }) => !before.has(kid))
  for (const key of next) assert.deepEqual([key.state, key.lifetimeSecondsMax], ['published', 7200])
  await judge(authority)
})

test('F6: a key that no signer of the new charter attested is revoked in its first manifest', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const change = realmsWith(authority, 'consumer', { signers: [createTestKey('EdDSA').jwk] })
  const before = [...authority.manifest.keys.values()].filter(({ realm }) => realm === 'consumer')
  await propose(authority, nextCharter(authority, change, olga, omar))
  for (const { kid } of before) assert.equal(authority.manifest.keys.get(kid)?.state, 'revoked')
  await judge(authority)
})

test('a charter is refused that no manifest could lie in', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga] = people(authority)
  const { jwk } = authority.key('consumer', 'active')
  const other = { ...authority.world.witness, name: 'other.example' }
  const changes = {
    'a signing key gets a role': { block_keys: [jwk] },
    'no witness stays': {
      witnesses: [
        {
          name: other.name,
          receipt_key: createTestKey('ES256').jwk,
          checkpoint_keys: [createTestKey('EdDSA').jwk],
        },
      ],
    },
  }
  for (const [what, change] of Object.entries(changes)) {
    const answer = await propose(authority, nextCharter(authority, change, olga))
    assert.deepEqual(errorOf(answer), [409, 'proposal_impossible'], what)
  }
  const skipped = { ...readPayload(nextCharter(authority, {}, olga).payload), version: 3 }
  const document = approveCharter(skipped, olga.privateKey)
  assert.deepEqual(errorOf(await propose(authority, document)), [409, 'proposal_outdated'])
})

/** Where the way from the last approval to the manifest can break off. */
const breaks: Readonly<Record<string, (authority: TestAuthority) => Promise<() => Promise<void>>>> = {
  'the witness is away': async ({ witness }) => {
    await witness.close()
    return witness.open
  },
  'the witness refuses': async ({ witness }) => {
    witness.isRefusing = true
    return async () => {
      witness.isRefusing = false
    }
  },
}

async function loseAnswer({ witness }: TestAuthority): Promise<() => Promise<void>> {
  witness.isMute = true
  return async () => {
    witness.isMute = false
    await witness.open()
  }
}

for (const [what, breakOff] of Object.entries(breaks)) {
  for (const isRestarted of [false, true]) {
    test(`T114: ${what}${isRestarted ? ', and the authority starts anew' : ''}: nothing of the charter is there, and the last approval is given again`, async (t) => {
      const authority = await startTestAuthority(t)
      await approveThroughBreak(authority, breakOff, isRestarted)
    })
  }
}

for (const isRestarted of [false, true]) {
  test(`T114: the first manifest of a charter is logged, and the answer is lost${isRestarted ? ', and the authority starts anew' : ''}: both are there after all`, async (t) => {
    const authority = await startTestAuthority(t)
    const { id, approval } = await breakApproval(authority, loseAnswer, isRestarted)
    await authority.running.keeper.keep()
    assert.equal(authority.manifest.charterVersion, 2)
    assert.equal((await authority.get(`proposals/${id}`)).body['state'], 'carried_out')
    assert.deepEqual(errorOf(await countersign(authority, approval)), [409, 'proposal_carried_out'])
    assert.deepEqual(authority.witness.versions, [1, 2])
    await judge(authority)
  })
}

/** Gives the last approval of a charter while something is broken, and mends that. */
async function breakApproval(
  authority: TestAuthority,
  breakOff: (authority: TestAuthority) => Promise<() => Promise<void>>,
  isRestarted: boolean,
) {
  const [olga, omar] = people(authority)
  const { jwk } = initAuthority(authority.folder, { isNext: true })
  const document = nextCharter(authority, { manifest_keys: [jwk] }, olga)
  const { id } = (await propose(authority, document)).body
  const mend = await breakOff(authority)
  const approval = { id, segment: document.payload, by: omar, type: CHARTER_TYPE }
  const failed = await countersign(authority, approval)
  assert.ok(failed.status >= 500, String(failed.status))
  await mend()
  if (isRestarted) await authority.restart()
  return { id, approval }
}

async function approveThroughBreak(
  authority: TestAuthority,
  breakOff: (authority: TestAuthority) => Promise<() => Promise<void>>,
  isRestarted: boolean,
): Promise<void> {
  const { id, approval } = await breakApproval(authority, breakOff, isRestarted)
  assert.equal(
    JSON.parse(JSON.stringify((await authority.get('charter')).body))['payload'],
    authority.world.charterDocuments[0]?.payload,
  )
  const { body } = await authority.get(`proposals/${id}`)
  assert.deepEqual([body['state'], body['approved_by']], ['open', ['olga']])
  // The old charter goes on meanwhile, signed by the old key.
  assert.equal(
    (await authority.command({ op: 'cutoff', realm: 'consumer', reason: 'meanwhile' })).status,
    200,
  )
  assert.equal(authority.manifest.charterVersion, 1)
  assert.equal((await countersign(authority, approval)).status, 200)
  assert.equal(authority.manifest.charterVersion, 2)
  await judge(authority)
}

test('a charter that was stored and never got its manifest gets one at the next start', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga, omar] = people(authority)
  const document = nextCharter(authority, realmsWith(authority, 'consumer', { max_ttl: 600 }), olga, omar)
  await authority.stop()
  const store = await openStore(join(authority.folder, 'authority.db'))
  assert.ok(await store.takeLease(await store.readLease(), 'a process that died'))
  await store.addCharter(2, document)
  await store.releaseLease()
  await store.close()
  await authority.start()
  await authority.running.keeper.keep()
  assert.equal(authority.manifest.charterVersion, 2)
  assert.equal(authority.key('consumer', 'active').lifetimeSecondsMax, 600)
  await judge(authority)
})

test('T229: the approver sees what is signed: the id of a proposal is the hash of its content', async (t) => {
  const authority = await startTestAuthority(t)
  const [olga] = people(authority)
  const target = await operations.activate(authority)
  const document = approve(draft(authority, target as object), olga.privateKey)
  const { body } = await propose(authority, document)
  assert.equal(body['id'], createHash('sha256').update(document.payload).digest('hex').slice(0, 32))
  assert.deepEqual(writeApproval(readApproval(document)), readPayload(document.payload))
})
