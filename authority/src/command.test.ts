/**
 * Goal: only who may gives a command, each is carried out once, and what it did stays. Method: a whole authority over
 * HTTP; commands signed by operators, by the block key, by strangers, late, twice, and bent in every member.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { encode } from '@countersign/validator/base64url'
import { signInput } from '@countersign/validator/jws'
import { CUTOFF_COUNT_MAX, type KeyState } from '@countersign/validator/manifest'
import { signStatement } from '@countersign/validator/statement'
import { createTestKey, type TestKey } from '@countersign/validator/testing'
import { signCommand } from './client.ts'
import { readCommand } from './command.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

/** What stands in the manifest of every key: a command that was refused has changed nothing of it. */
function states({ manifest }: TestAuthority): [version: number, states: KeyState[]] {
  return [manifest.version, [...manifest.keys.values()].map(({ state }) => state)]
}

function operator(authority: TestAuthority, index = 0): TestKey {
  return authority.world.operators[index] as TestKey
}

test('the vectors of spec/vectors/command.json are judged as they say', () => {
  const file = new URL('../../spec/vectors/command.json', import.meta.url)
  const { now, operators, block_keys: blockKeys, cases } = JSON.parse(readFileSync(file, 'utf8'))
  for (const { name, command, by, error } of cases) {
    if (error === undefined) assert.equal(readCommand(command, { operators, blockKeys }, now).by, by, name)
    else assert.throws(() => readCommand(command, { operators, blockKeys }, now), { code: error }, name)
  }
})

test('T118: killing the only key of a realm works, and killing it twice says that nothing was left to do', async (t) => {
  const authority = await startTestAuthority(t)
  const kids = [authority.key('consumer', 'active').kid, authority.key('consumer', 'published').kid]
  for (const [index, kid] of kids.entries()) {
    const { body } = await authority.command({ op: 'revoke', kid, reason: 'stolen' })
    assert.deepEqual(body, { version: index + 2, changed: true })
  }
  for (const op of ['revoke', 'block', 'retire'] as const) {
    const { status, body } = await authority.command(
      { op, kid: kids[0] as string, reason: 'again' },
      operator(authority, 1),
    )
    assert.deepEqual([status, body], [200, { version: 3, changed: false }])
  }
  assert.equal(authority.manifest.keys.get(kids[0] as string)?.revoked?.reason, 'stolen')
  assert.equal(authority.key('enterprise', 'active').state, 'active', 'the other realm signs on')
})

test('T118: after a kill, rotating brings the standing next key in at once and a new one behind it', async (t) => {
  const authority = await startTestAuthority(t)
  const [stolen, next] = [authority.key('consumer', 'active'), authority.key('consumer', 'published')]
  await authority.command({ op: 'block', kid: stolen.kid, reason: 'stolen' })
  await authority.running.keeper.keep()
  assert.equal(authority.key('consumer', 'active'), undefined, 'no key takes over by itself')
  const { body } = await authority.command({ op: 'rotate', realm: 'consumer', reason: 'service resumes' })
  assert.equal(body['changed'], true)
  assert.equal(authority.key('consumer', 'active').kid, next.kid)
  assert.equal(authority.key('consumer', 'blocked').kid, stolen.kid)
  const tooSoon = await authority.command({ op: 'rotate', realm: 'consumer', reason: 'again' })
  assert.deepEqual([tooSoon.status, tooSoon.body['error']], [409, 'no_next_key'])
  await authority.running.keeper.keep()
  assert.ok(authority.key('consumer', 'published'))
})

test('T124 F4: rotating lets the old key verify until its last token has expired', async (t) => {
  const authority = await startTestAuthority(t)
  const { now } = authority.world
  const old = authority.key('enterprise', 'active')
  await authority.command({ op: 'rotate', kid: old.kid, reason: 'drill' })
  const retiring = authority.key('enterprise', 'retiring')
  assert.equal(retiring.kid, old.kid)
  assert.deepEqual([retiring.signUntil - now, retiring.verifyUntil - now], [60, 60 + 3600 + 60])
  assert.equal(authority.key('consumer', 'retiring'), undefined, 'the other realm is left alone')
})

test('R5: nothing brings a revoked key back, neither commands nor time', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid } = authority.key('consumer', 'published')
  await authority.command({ op: 'revoke', kid, reason: 'stolen' })
  for (const op of ['rotate', 'block', 'retire', 'revoke'] as const) {
    await authority.command({ op, kid, reason: 'again' })
  }
  authority.world.now += 40 * 24 * 3600
  await authority.running.keeper.keep()
  await authority.restart()
  await authority.running.keeper.keep()
  assert.equal(authority.manifest.keys.get(kid)?.state, 'revoked')
})

test('two commands at once become two manifests in a row, and neither is lost', async (t) => {
  const authority = await startTestAuthority(t)
  const kids = [...authority.manifest.keys.keys()]
  const answers = await Promise.all(
    kids.map((kid) => authority.command({ op: 'block', kid, reason: 'all of them' })),
  )
  const versions = kids.map((_, index) => index + 2)
  const answered = answers.map(({ body }) => body['version'] as number)
  assert.deepEqual(
    answered.sort((a, b) => a - b),
    versions,
  )
  assert.deepEqual(states(authority), [versions.at(-1), kids.map(() => 'blocked')])
  assert.deepEqual(authority.witness.versions, [1, ...versions])
})

test('one operator suffices, a block key may only block, and nobody else may do anything', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const kid = authority.key('consumer', 'active').kid
  const before = states(authority)
  const strangers = [createTestKey('EdDSA'), world.manifestKey, world.signers.consumer, world.keys.consumer]
  for (const stranger of strangers) {
    const { status, body } = await authority.command({ op: 'block', kid, reason: 'test' }, stranger)
    assert.deepEqual([status, body['error']], [401, 'command_not_authorised'])
  }
  for (const op of ['revoke', 'retire', 'rotate', 'cutoff'] as const) {
    const { status, body } = await authority.command({ op, kid, reason: 'test' }, world.blockKey)
    assert.deepEqual([status, body['error']], [403, 'command_not_allowed'])
  }
  assert.deepEqual(states(authority), before)
  const { status } = await authority.command(
    { op: 'block', kid, reason: 'forged token seen' },
    world.blockKey,
  )
  assert.equal(status, 200)
  const { by, reason } = authority.manifest.keys.get(kid)?.blocked ?? {}
  assert.deepEqual([by, reason], [`block-key ${world.blockKey.kid}`, 'forged token seen'])
})

test('a command is carried out once: replayed, late or early it is refused, also after a restart', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const { kid } = authority.key('consumer', 'active')
  const token = signCommand({ op: 'block', kid, reason: 'test' }, operator(authority), world.now)
  assert.equal((await authority.post('commands', token)).status, 200)
  const before = states(authority)
  for (const when of ['at once', 'after a restart']) {
    const { status, body } = await authority.post('commands', token)
    assert.deepEqual([status, body['error']], [409, 'command_replayed'], when)
    await authority.restart()
  }
  const other = authority.key('consumer', 'published').kid
  for (const seconds of [-61, 61]) {
    const late = signCommand(
      { op: 'block', kid: other, reason: 'test' },
      operator(authority),
      world.now + seconds,
    )
    const { status, body } = await authority.post('commands', late)
    assert.deepEqual([status, body['error']], [401, 'command_stale'], `${seconds} s`)
  }
  assert.deepEqual(states(authority), before)
})

test('a command sent twice at once is carried out once', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid } = authority.key('consumer', 'active')
  const token = signCommand({ op: 'block', kid, reason: 'test' }, operator(authority), authority.world.now)
  const answers = await Promise.all([1, 2, 3].map(() => authority.post('commands', token)))
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409, 409])
})

test('when the witness is away nothing changes, and the very same command is taken once it is back', async (t) => {
  const authority = await startTestAuthority(t)
  const before = states(authority)
  const { kid } = authority.key('consumer', 'active')
  const token = signCommand({ op: 'block', kid, reason: 'test' }, operator(authority), authority.world.now)
  await authority.witness.close()
  const { status, body } = await authority.post('commands', token)
  assert.deepEqual([status, body['error']], [503, 'witness_unavailable'])
  assert.deepEqual(states(authority), before)
  await authority.witness.open()
  assert.equal((await authority.post('commands', token)).status, 200)
})

test('T239: a command with a member missing, unknown, of another kind or out of range is refused', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const before = states(authority)
  const { kid } = authority.key('consumer', 'active')
  const good = { op: 'block', kid, reason: 'test', iat: world.now, jti: 'a'.repeat(22) }
  const bent: readonly object[] = [
    { op: 'unblock' },
    { op: 'toString' },
    { op: undefined },
    { kid: undefined },
    { kid: 7 },
    { reason: undefined },
    { reason: '' },
    { reason: 'two\nlines' },
    { iat: undefined },
    { iat: String(world.now) },
    { iat: world.now * 1000 },
    { jti: undefined },
    { jti: 'short' },
    { unknown: true },
    { realm: 'enterprise' },
    { tenant: 'tenant-1' },
    { sub: 'user-1' },
    { before: world.now },
    { op: 'retire', realm: 'consumer' },
    { op: 'rotate', sub: 'user-1' },
    { op: 'rotate', kid: undefined },
    { op: 'cutoff', kid: undefined },
    { op: 'cutoff', kid: undefined, sub: 'user-1' },
    { op: 'cutoff', before: world.now + 61 },
    { op: 'cutoff', before: world.now * 1000 },
  ]
  for (const change of bent) {
    const token = signStatement(
      'operator-command+jwt',
      { ...good, ...change },
      operator(authority).privateKey,
    )
    const { status, body } = await authority.post('commands', token)
    assert.deepEqual([status, body['error']], [400, 'command_malformed'], JSON.stringify(change))
  }
  for (const [change, error] of [
    [{ kid: 'x'.repeat(43) }, 'unknown_key'],
    [{ op: 'rotate', kid: undefined, realm: 'other' }, 'unknown_realm'],
    [{ op: 'rotate', realm: 'enterprise' }, 'unknown_key'],
    [{ op: 'rotate', kid: undefined, realm: '__proto__' }, 'unknown_realm'],
    [{ op: 'cutoff', kid: undefined, realm: 'other' }, 'unknown_realm'],
    [{ op: 'cutoff', kid: 'x'.repeat(43) }, 'unknown_key'],
  ] as const) {
    const token = signStatement(
      'operator-command+jwt',
      { ...good, ...change },
      operator(authority).privateKey,
    )
    const { status, body } = await authority.post('commands', token)
    assert.deepEqual([status, body['error']], [404, error])
  }
  assert.deepEqual(states(authority), before)
})

test('T001 T035 T092: a command is a JWS of its own type by the named key, and no other text', async (t) => {
  const authority = await startTestAuthority(t)
  const { world } = authority
  const before = states(authority)
  const { kid } = authority.key('consumer', 'active')
  const claims = { op: 'block', kid, reason: 'test', iat: world.now, jti: 'a'.repeat(22) }
  const { privateKey, kid: author, jwk } = operator(authority)
  const sign = (header: object): string => {
    const input = [header, claims].map((part) => encode(Buffer.from(JSON.stringify(part)))).join('.')
    return `${input}.${encode(signInput('EdDSA', privateKey, input))}`
  }
  const typ = 'operator-command+jwt'
  const token = sign({ alg: 'EdDSA', typ, kid: author })
  const refused: readonly (readonly [string, string])[] = [
    ['', 'command_malformed'],
    ['{}', 'command_malformed'],
    [`${token}.`, 'command_malformed'],
    [token.slice(0, -1), 'command_malformed'],
    [sign({ alg: 'EdDSA', typ: 'manifest-ack+jwt', kid: author }), 'command_malformed'],
    [sign({ alg: 'EdDSA', kid: author }), 'command_malformed'],
    [sign({ alg: 'none', typ, kid: author }), 'command_malformed'],
    [sign({ alg: 'EdDSA', typ, kid: author, jwk }), 'command_malformed'],
    [sign({ alg: 'EdDSA', typ }), 'command_not_authorised'],
    [sign({ alg: 'ES256', typ, kid: author }), 'command_not_authorised'],
    [sign({ alg: 'EdDSA', typ, kid: world.manifestKey.kid }), 'command_not_authorised'],
    [`${token.slice(0, token.lastIndexOf('.'))}.${encode(new Uint8Array(64))}`, 'command_not_authorised'],
  ]
  for (const [text, error] of refused) {
    const { body } = await authority.post('commands', text)
    assert.equal(body['error'], error, text.slice(0, 40))
  }
  const { status } = await authority.post('commands', token, { 'content-type': 'text/plain' })
  assert.equal(status, 415)
  assert.deepEqual(states(authority), before)
  assert.equal((await authority.post('commands', token)).status, 200)
})

test('a cutoff only moves forward, and each names what it is for', async (t) => {
  const authority = await startTestAuthority(t)
  const { now } = authority.world
  const cut = async (change: object): Promise<boolean> => {
    const { body } = await authority.command({ op: 'cutoff', realm: 'consumer', reason: 'test', ...change })
    return body['changed'] as boolean
  }
  assert.equal(await cut({ sub: 'user-1', before: now - 100 }), true)
  assert.equal(
    await cut({ sub: 'user-1', before: now - 200 }),
    false,
    'an earlier one would let tokens back in',
  )
  assert.equal(await cut({ sub: 'user-1' }), true, 'without a time: all that was issued so far')
  assert.equal(await cut({ sub: 'user-2', before: now - 100 }), true)
  assert.deepEqual(authority.manifest.cutoffs, [
    { realm: 'consumer', subject: 'user-1', before: now + 1 },
    { realm: 'consumer', subject: 'user-2', before: now - 100 },
  ])
})

test('where a manifest has no room for another cutoff, that is said, and a wider one takes the place of those that it reaches', async (t) => {
  const authority = await startTestAuthority(t)
  const { now } = authority.world
  const { kid } = authority.key('consumer', 'active')
  const people = Array.from({ length: CUTOFF_COUNT_MAX - 1 }, (_, nth) => {
    return { realm: 'consumer', subject: `person-${nth}`, before: now - (nth % 2) * 100 }
  })
  const ofKey = { kid, before: 1 }
  await authority.running.publisher.change((trust) => ({ ...trust, cutoffs: [ofKey, ...people] }))
  const cut = (change: object) =>
    authority.command({ op: 'cutoff', realm: 'consumer', reason: 'test', ...change })
  const { status, body } = await cut({ sub: 'another' })
  assert.deepEqual([status, body['error']], [400, 'command_malformed'])
  assert.match(String(body['error_description']), /at most 10000/)
  assert.equal((await cut({ sub: 'person-1', before: now - 50 })).status, 200, 'it takes its own place')
  assert.equal((await cut({ before: now - 60 })).body['changed'], true)
  assert.equal(authority.manifest.cutoffs.length, CUTOFF_COUNT_MAX / 2 + 3, 'what is later stays')
  assert.equal((await cut({ sub: 'another', before: now - 70 })).body['changed'], false, 'it is cut off')
  assert.equal((await cut({})).body['changed'], true)
  assert.deepEqual(authority.manifest.cutoffs, [ofKey, { realm: 'consumer', before: now + 1 }])
})

test('what would make a manifest too large for validators is denied before it is logged, and a kill has room', async (t) => {
  const authority = await startTestAuthority(t)
  const subject = (nth: number): string => `${nth}${'\u{1f600}'.repeat(1000)}`
  await authority.running.publisher.change((trust) => ({
    ...trust,
    cutoffs: Array.from({ length: 774 }, (_, nth) => ({
      realm: 'consumer',
      subject: subject(nth),
      before: 1,
    })),
  }))
  const { length: logged } = authority.witness.versions
  const cut = (sub: string) => authority.command({ op: 'cutoff', realm: 'consumer', sub, reason: 'test' })
  const { status, body } = await cut('\u{1f600}'.repeat(1000))
  assert.deepEqual([status, body['error']], [409, 'command_impossible'])
  assert.equal(authority.witness.versions.length, logged)
  const { kid } = authority.key('consumer', 'active')
  const killed = await authority.command({ op: 'block', kid, reason: 'stolen' })
  assert.deepEqual(killed.body, { version: 3, changed: true })
})

test('every command is kept: who, what, when, why, the proof, and the version that carries it', async (t) => {
  const authority = await startTestAuthority(t)
  const { now } = authority.world
  const { kid } = authority.key('consumer', 'active')
  const token = signCommand({ op: 'block', kid, reason: 'stolen' }, operator(authority), now)
  await authority.post('commands', token)
  await authority.command({ op: 'block', kid, reason: 'again' }, operator(authority, 2))
  await authority.command({ op: 'rotate', realm: 'consumer', reason: 'resume' }, operator(authority, 1))
  await authority.stop()
  const database = new DatabaseSync(join(authority.folder, 'authority.db'))
  const rows = database
    .prepare('SELECT at, "by", op, realm, kid, reason, version FROM commands ORDER BY id')
    .all()
  const [proof] = database.prepare('SELECT token FROM commands').all()
  database.close()
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    [
      { at: now, by: 'olga', op: 'block', realm: null, kid, reason: 'stolen', version: 2 },
      { at: now, by: 'opal', op: 'block', realm: null, kid, reason: 'again', version: 2 },
      { at: now, by: 'omar', op: 'rotate', realm: 'consumer', kid: null, reason: 'resume', version: 3 },
    ],
  )
  assert.equal(proof?.['token'], token)
})
