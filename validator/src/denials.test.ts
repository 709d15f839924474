/**
 * Goal: what was denied stays denied: to a token that was accepted before, after a restart, after a crash in the middle of a
 * line, and past the bound; and nobody denies more than they may. Method: a validator beside the list, and its file in hand.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Denial, type Denials, openDenials } from './denials.ts'
import { createTestWorld, mailAudience, tenants, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

const folder = mkdtempSync(join(tmpdir(), 'denials-'))
after(() => rmSync(folder, { recursive: true }))
const world = createTestWorld()
const { now } = world
const issuer = `https://login.enterprise.example/${tenants.fabrikam}/v2.0`
const { kid } = world.keys.enterprise

function validatorWith(denials: Pick<Denials, 'reasonFor'>) {
  return createValidator({
    realm: 'enterprise',
    audience: mailAudience,
    trust: world.trust,
    denials,
    now: () => world.now,
  })
}

const token = world.issue({ realm: 'enterprise', claims: { sid: 'session-1', sub: 'ada' } })

const cases: readonly (readonly [what: string, denial: Denial, reason: string])[] = [
  ['its session', { issuer, session: 'session-1', before: now + 1 }, 'issued_before_cutoff'],
  ['its session, before it was issued', { issuer, session: 'session-1', before: now }, 'accepted'],
  ['another session', { issuer, session: 'session-2', before: now + 1 }, 'accepted'],
  ['its subject', { issuer, subject: 'ada', before: now + 1 }, 'issued_before_cutoff'],
  ['another subject', { issuer, subject: 'ben', before: now + 1 }, 'accepted'],
  ['a session that is named like its subject', { issuer, session: 'ada', before: now + 1 }, 'accepted'],
  ['its key', { issuer, kid }, 'key_revoked'],
  ['another key', { issuer, kid: world.keys.consumer.kid }, 'accepted'],
  ['its issuer', { issuer, before: now + 1 }, 'issued_before_cutoff'],
  ['T220 the key, by another issuer', { issuer: 'https://other.example', kid }, 'accepted'],
  [
    'T220 the session, by another issuer',
    { issuer: `${issuer}/`, session: 'session-1', before: now + 1 },
    'accepted',
  ],
]
for (const [what, denial, reason] of cases) {
  test(`a token is asked about: ${what}: ${reason}, also where it was accepted before`, async () => {
    const denials = openDenials({ now: () => now })
    const validator = validatorWith(denials)
    assert.ok(validator.decide(token).accepted)
    await denials.add(denial)
    assert.equal(verdictOf(validator.decide(token)), reason)
  })
}

test('what came of a token by exchange falls with what the token fell with', async () => {
  const denials = openDenials({ now: () => now })
  const exchanged = world.issue({
    realm: 'enterprise',
    claims: { sid: 'session-3', iat: now + 2, exp: now + 300, via: [{ kid, iat: now }] },
  })
  world.now = now + 2
  const validator = validatorWith(denials)
  assert.ok(validator.decide(exchanged).accepted)
  await denials.add({ issuer, session: 'session-3', before: now + 1 })
  assert.ok(!validator.decide(exchanged).accepted)
  world.now = now
})

test('a held stream ends with a denial', async () => {
  const denials = openDenials({ now: () => now })
  const validator = validatorWith(denials)
  const { signal } = validator.hold(validator.validate(token))
  const ended = once(signal, 'abort')
  await denials.add({ issuer, session: 'session-1', before: now + 1 })
  await ended
  assert.equal(signal.reason.reason, 'issued_before_cutoff')
})

test('R4 denials outlive a restart, and a crash in the middle of a line', async () => {
  const file = join(folder, 'restart.jsonl')
  const first = openDenials({ file, now: () => now })
  await first.add({ issuer, session: 'session-1', before: now + 1 })
  await first.add({ issuer, kid: 'k' })
  assert.equal(statSync(file).mode & 0o777, 0o600)
  appendFileSync(file, '{"issuer":"https://torn.exam')
  const second = openDenials({ file, now: () => now })
  assert.equal(second.count, 2)
  assert.ok(!validatorWith(second).decide(token).accepted)
  await second.add({ issuer, subject: 'ben', before: now })
  assert.equal(openDenials({ file }).count, 3)
  assert.ok(!readFileSync(file, 'utf8').includes('torn'))
})

test('R4 while a service is replaced by the next one on the same file, nothing is acknowledged that the next does not keep', async () => {
  const file = join(folder, 'replaced.jsonl')
  const before = openDenials({ file, now: () => now })
  await before.add({ issuer, session: 'session-1', before: now + 1 })
  const next = openDenials({ file, now: () => now })
  for (let count = 0; count < 2; count++)
    await assert.rejects(
      before.add({ issuer, session: 'session-2', before: now + 1 }),
      /no longer of this process/,
    )
  assert.equal(before.count, 2, 'it holds all the same')
  await next.add({ issuer, session: 'session-3', before: now + 1 })
  assert.equal(openDenials({ file, now: () => now }).count, 2)
  rmSync(file)
  await assert.rejects(next.add({ issuer, kid: 'k' }), /or it was removed/)
})

test('R4 a disk that is full in the middle of a line: what was not written is not acknowledged, and what comes after it is kept', () => {
  const file = join(folder, 'full.jsonl')
  const script = `
    import { execFileSync } from 'node:child_process'
    import { openDenials } from './denials.ts'
    const limitFile = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':'])
    const denials = openDenials({ file: process.argv[1] })
    limitFile(100)
    const issuer = 'https://issuer.example'
    const add = (session) => denials.add({ issuer, session, before: 2e9 }).then(() => true, () => false)
    const kept = [await add('a'), await add('b'), await add('c')]
    limitFile('unlimited')
    console.log(JSON.stringify([...kept, await add('d')]))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script, file], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  })
  assert.equal(stdout, '[true,false,false,true]\n', stderr)
  assert.equal(openDenials({ file }).count, 4, 'those that were not acknowledged held all the same')
})

test('a file that cannot be read as it was written is not taken for an empty one', () => {
  const file = join(folder, 'broken.jsonl')
  for (const line of [
    '{}',
    'null',
    '[]',
    '{"issuer":7}',
    '{"issuer":"i","session":"s"}',
    '{"issuer":"i","kid":7}',
  ]) {
    writeFileSync(file, `${line}\n`)
    assert.throws(() => openDenials({ file }), /line 1, is no denial/, line)
  }
  assert.throws(() => openDenials({ file: folder }), /EISDIR/)
})

test('the file is written anew before it grows without end', async () => {
  const file = join(folder, 'growing.jsonl')
  const denials = openDenials({ file, now: () => now })
  for (let at = 1; at <= 300; at++) await denials.add({ issuer, session: 'session-1', before: at })
  assert.ok(readFileSync(file, 'utf8').split('\n').length < 100)
  assert.equal(openDenials({ file }).count, 1)
})

test('past the bound old denials go first, and then more is denied rather than less', async () => {
  const denials = openDenials({ entriesMax: 10, now: () => now })
  const days = 24 * 3600
  for (let at = 0; at < 10; at++)
    await denials.add({ issuer, session: `old-${at}`, before: now - 30 * days - 1 })
  await denials.add({ issuer, kid: 'k' })
  assert.equal(denials.count, 1)
  for (let at = 0; at < 20; at++) await denials.add({ issuer, session: `new-${at}`, before: now + 1 })
  assert.ok(denials.count <= 10)
  const ask = (session: string, from = issuer) =>
    denials.reasonFor({ issuer: from, kid: 'other', subject: 'ada', session, issuedAt: now })
  for (let at = 0; at < 20; at++) assert.equal(ask(`new-${at}`), 'issued_before_cutoff')
  assert.equal(ask('never named'), 'issued_before_cutoff')
  assert.equal(ask('never named', 'https://other.example'), undefined)
  assert.equal(
    denials.reasonFor({ issuer, kid: 'k', subject: '', session: '', issuedAt: now + 9 }),
    'key_revoked',
  )
})

test('T220 an issuer that denies without end has no effect on the tokens of another, and is bounded even where it names keys', async () => {
  const other = 'https://other.example'
  const denials = openDenials({ entriesMax: 10, now: () => now })
  await denials.add({ issuer: other, session: 'session-1', before: now + 1 })
  for (let at = 0; at < 30; at++) await denials.add({ issuer, session: `session-${at}`, before: now + 1 })
  for (let at = 0; at < 30; at++) await denials.add({ issuer, kid: `key-${at}` })
  assert.ok(denials.count <= 22)
  const ask = (from: string, session: string, key = 'other') =>
    denials.reasonFor({ issuer: from, kid: key, subject: undefined, session, issuedAt: now })
  assert.equal(ask(other, 'session-1'), 'issued_before_cutoff')
  assert.equal(ask(other, 'session-2'), undefined)
  for (let at = 0; at < 30; at++) assert.ok(ask(issuer, 'never named', `key-${at}`))
})

test('a denial that a token of a longer life may still be from is not forgotten for room', async () => {
  const denials = openDenials({ entriesMax: 2, now: () => now })
  const yesterday = now - 25 * 3600
  for (const session of ['a', 'b', 'c']) await denials.add({ issuer, session, before: yesterday })
  const token = { issuer, kid: 'k', subject: undefined, session: 'a', issuedAt: yesterday - 1 }
  assert.equal(denials.reasonFor(token), 'issued_before_cutoff')
})

test('V1 denials that cannot be asked are refused when the validator is made', () => {
  assert.throws(() => validatorWith({} as never), TypeError)
})
