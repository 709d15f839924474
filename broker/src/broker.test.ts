/**
 * Goal: a token leaves only when signer and witness both did their part; when either is away, lies or dies, the issuer
 * hears so in one word, nothing hangs and nothing is lost. Method: a whole broker with real, confined signers, between
 * an authority and a witness that the test plays.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { keepConnected } from '@countersign/lines'
import { createLog } from '@countersign/service'
import { encode } from '@countersign/validator/base64url'
import { encodeEntry, entryOf } from '@countersign/validator/entry'
import { eventually } from '@countersign/validator/eventually'
import { mailAudience } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { startBroker } from './broker.ts'
import { connectBroker, type KeyCounts, openBrokerAdmin } from './client.ts'
import { initSigner, startTestBroker } from './testing.ts'

const broker = await startTestBroker()
after(() => broker.stop())
const { world, witness } = broker

function accepted(token: string, realm = 'consumer'): boolean {
  const validator = createValidator({ realm, audience: mailAudience, trust: world.trust })
  return validator.decide(token).accepted
}

test('T120 R2: a canary is a real token of the key that is asked for, for nobody, and no key can be asked for more', async () => {
  const admin = openBrokerAdmin(join(broker.folder, 'admin.sock'))
  const request = { realm: 'consumer', kid: broker.kid('consumer'), audience: mailAudience }
  const { token } = await admin.canary(request)
  const validator = createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust })
  const { kid, subject, scopes, clientId, issuedAt, expiresAt } = validator.validate(token)
  assert.deepEqual([kid, subject, scopes, clientId], [request.kid, 'canary', [], 'canary'])
  assert.equal(expiresAt - issuedAt, 3600)
  for (const [change, code] of [
    [{ kid: broker.kid('enterprise') }, 'unknown_key'],
    [{ kid: 'unknown' }, 'unknown_key'],
    [{ realm: 'nowhere' }, 'unknown_key'],
    [{ audience: '' }, 'malformed'],
  ] as const)
    await assert.rejects(admin.canary({ ...request, ...change }), { code })
  world.setState(request.kid, 'blocked')
  await broker.deliver()
  await assert.rejects(admin.canary(request), { code: 'no_active_key' })
  world.setState(request.kid, 'active')
  await broker.deliver()
  admin.close()
})

async function countsOf(kid: string): Promise<KeyCounts> {
  const admin = openBrokerAdmin(join(broker.folder, 'admin.sock'))
  const { realms } = await admin.counters()
  admin.close()
  return realms['consumer']?.keys.find((key) => key.kid === kid) as KeyCounts
}

/** The processes of this broker's signers, by the keystore that they were started on. */
function signerPid(realm: string): number {
  const keystore = join(broker.folder, realm, 'keystore.age')
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const found = pids.find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`\0${keystore}\0`)
    } catch {
      return false
    }
  })
  return Number(found)
}

test('each realm gets tokens that its validators accept and the other’s refuse', async () => {
  const [consumer, enterprise] = await Promise.all([broker.issue('consumer'), broker.issue('enterprise')])
  assert.deepEqual([accepted(consumer), accepted(enterprise)], [true, false])
  assert.deepEqual([accepted(consumer, 'enterprise'), accepted(enterprise, 'enterprise')], [false, true])
})

test('the client sends claims as they are, and what is undefined not at all', async () => {
  const client = await connectBroker(join(broker.folder, 'consumer.sock'))
  const claims = JSON.parse(broker.claims('consumer')) as object
  const { token } = await client.issue({ type: 'access', claims: { ...claims, scope: undefined, acr: 'ä' } })
  const payload = JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString())
  assert.deepEqual([payload.acr, 'scope' in payload], ['ä', false])
  client.close()
  await assert.rejects(connectBroker(join(broker.folder, 'nobody.sock')), { code: 'disconnected' })
})

test('T222 F1: a realm’s socket gives that realm’s tokens alone, and nothing of what a broker asks its signer', async () => {
  assert.equal(await broker.issue('consumer', { claims: broker.claims('enterprise') }), 'issuer_mismatch')
  assert.equal(await broker.issue('consumer', { realm: 'enterprise' }), 'malformed')
  assert.equal(await broker.issue('consumer', { kid: broker.kid('enterprise') }), 'malformed')
  for (const method of ['generate', 'counters', 'trust', 'prepare', 'sign', 'append'])
    await assert.rejects(broker.line('consumer').call(method, {}), { code: 'unknown_method' })
  for (const params of [null, 7, {}, { type: 'access' }, { type: 'access', claims: {} }])
    await assert.rejects(broker.line('consumer').call('issue', params), { code: 'malformed' })
})

test('T222: only the broker’s own user can open its sockets', () => {
  for (const name of ['consumer', 'enterprise', 'admin'])
    assert.equal(statSync(join(broker.folder, `${name}.sock`)).mode & 0o777, 0o600)
})

test('of a batch, those that may be signed are signed, each in its place', async () => {
  const claims = broker.claims('consumer')
  const requests = [
    { type: 'access', claims },
    { type: 'access', claims: '{}' },
    { type: 'id', claims },
    7,
    { type: 'access', claims: broker.claims('enterprise') },
    { type: 'access', claims },
  ]
  const { results } = await broker
    .line('consumer')
    .call<{ results: readonly { token?: string; error?: { code: string } }[] }>('issue_batch', { requests })
  assert.deepEqual(
    results.map(({ token, error }) => error?.code ?? accepted(token as string)),
    [true, 'malformed', false, 'malformed', 'issuer_mismatch', true],
  )
  await assert.rejects(broker.line('consumer').call('issue_batch', { requests: Array(257).fill(7) }), {
    code: 'malformed',
  })
})

test('K8: under load every request gets a token of its own, in few appends, and the counters show each', async () => {
  const { signed } = await countsOf(broker.kid('consumer'))
  witness.appends.length = 0
  const tokens = await Promise.all(Array.from({ length: 1000 }, () => broker.issue('consumer')))
  assert.equal(new Set(tokens).size, 1000)
  for (const token of tokens) assert.ok(accepted(token))
  assert.ok(witness.appends.length < 100, `${witness.appends.length} appends`)
  assert.equal((await countsOf(broker.kid('consumer'))).signed - signed, 1000)
})

test('while one batch is at the witness the next is prepared', async () => {
  const gate = Promise.withResolvers<void>()
  witness.hold = gate.promise
  witness.appends.length = 0
  const first = broker.issue('consumer')
  await eventually(() => witness.appends.length >= 1)
  const others = Array.from({ length: 32 }, () => broker.issue('consumer'))
  await eventually(() => witness.appends.length >= 2)
  witness.hold = undefined
  gate.resolve()
  for (const token of await Promise.all([first, ...others])) assert.ok(accepted(token))
})

test('T265: with the witness away there is no token, at once and retryable; back again, there is', async () => {
  await witness.close()
  await assert.rejects(
    broker.line('consumer').call('issue', { type: 'access', claims: broker.claims('consumer') }),
    { code: 'witness_unavailable', retryable: true },
  )
  await witness.open()
  assert.ok(accepted(await broker.issue('consumer')))
})

test('T265 T139: a witness that logs and is gone before it answers leaves no token, and nobody waiting', async () => {
  witness.isMute = true
  witness.appends.length = 0
  const waiting = Array.from({ length: 20 }, () => broker.issue('consumer'))
  await eventually(() => witness.appends.length >= 1)
  await witness.close()
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(['witness_unavailable']))
  witness.isMute = false
  await witness.open()
  assert.ok(accepted(await broker.issue('consumer')))
})

test('T126 T128: a witness that answers with something else than the receipt gets nothing signed', async () => {
  let kept: unknown
  for (const [lie, code] of [
    [() => [{ receipt: 'AAAA' }], 'receipt_invalid'],
    [() => [], 'witness_unavailable'],
    [() => [{ error: { code: 'key_blocked', message: 'blocked' } }], 'key_blocked'],
    [
      (receipts: readonly unknown[]) => {
        kept = receipts[0]
        return [{ error: { code: 'clock_off', message: 'clock' } }]
      },
      'clock_off',
    ],
    [() => [kept], 'receipt_invalid'],
  ] as const) {
    witness.lie = lie as typeof witness.lie
    assert.equal(await broker.issue('consumer'), code)
  }
  witness.lie = (receipts) => receipts
  assert.ok(accepted(await broker.issue('consumer')))
})

test('T144: counters restored from a copy sign nothing, and the error says what has happened', async () => {
  const [counters, copy] = ['counters', 'copy'].map((name) => join(broker.folder, 'consumer', name)) as [
    string,
    string,
  ]
  await broker.restart(() => cpSync(counters, copy, { recursive: true }))
  assert.ok(accepted(await broker.issue('consumer')))
  await broker.restart(() => {
    rmSync(counters, { recursive: true })
    cpSync(copy, counters, { recursive: true })
  })
  await assert.rejects(
    broker.line('consumer').call('issue', { type: 'access', claims: broker.claims('consumer') }),
    { code: 'serial_repeated', message: /counters of this signer went back.* restored from a copy/ },
  )
  // Each refusal uses up a serial; once they rise above what was logged, the witness takes them.
  assert.ok(accepted(await broker.issue('consumer')))
})

test('T145: entries that somebody else has logged for a key show at the signer’s next token', async (t) => {
  const [kid, thief] = [broker.kid('consumer'), keepConnected(witness.path, 5000)]
  t.after(() => thief.close())
  const { last_serial: last } = await countsOf(kid)
  const stolen = { tokenType: 'access', kid, issuedAt: 1, expiresAt: 2, payloadSegment: 'e30' } as const
  const entries = [encode(encodeEntry(entryOf({ ...stolen, serial: last + 1 })))]
  const { receipts } = await thief.call<{ receipts: readonly object[] }>('append', { entries })
  assert.deepEqual(
    receipts.map((receipt) => 'receipt' in receipt),
    [true],
  )
  assert.equal(await broker.issue('consumer'), 'serial_repeated')
  assert.ok(accepted(await broker.issue('consumer')))
})

test('T144 T265: a signer that is killed fails what was asked of it, and another goes on without repeating a serial', async () => {
  const gate = Promise.withResolvers<void>()
  witness.hold = gate.promise
  witness.appends.length = 0
  const outstanding = [broker.issue('consumer'), broker.issue('consumer')]
  await eventually(() => witness.appends.length >= 1)
  process.kill(signerPid('consumer'), 'SIGKILL')
  const whileAway = broker.issue('consumer')
  witness.hold = undefined
  gate.resolve()
  for (const outcome of await Promise.all(outstanding))
    assert.match(outcome, /^(signer_unavailable|unknown_request)$/)
  assert.ok(accepted(await broker.issue('enterprise'), 'enterprise'), 'the other realm is not concerned')
  const outcome = await whileAway
  assert.ok(outcome === 'signer_unavailable' || accepted(outcome), outcome)
  assert.ok(accepted(await broker.issue('consumer')))
})

test('a signer that hangs keeps nobody from what the signers of other realms counted', async () => {
  const admin = openBrokerAdmin(join(broker.folder, 'admin.sock'))
  const hanging = signerPid('consumer')
  process.kill(hanging, 'SIGSTOP')
  const { realms } = await admin.counters().finally(() => process.kill(hanging, 'SIGCONT'))
  admin.close()
  assert.deepEqual(realms['consumer'], { keys: [] })
  assert.deepEqual(
    realms['enterprise']?.keys.map(({ kid }) => kid),
    [broker.kid('enterprise')],
  )
})

test('a manifest reaches the signers: a key that is blocked signs no more', async () => {
  world.setState(broker.kid('enterprise'), 'blocked')
  await broker.deliver()
  assert.equal(await broker.issue('enterprise'), 'no_active_key')
  assert.ok(accepted(await broker.issue('consumer')))
  world.setState(broker.kid('enterprise'), 'active')
  await broker.deliver()
  assert.ok(accepted(await broker.issue('enterprise'), 'enterprise'))
})

test('the admin socket makes keys for the realms that there are', async () => {
  await assert.rejects(broker.line('admin').call('generate', { realm: 'other' }), { code: 'unknown_realm' })
  await assert.rejects(broker.line('admin').call('generate', {}), { code: 'unknown_realm' })
  await assert.rejects(broker.line('admin').call('generate', { realm: 'consumer' }), { code: 'malformed' })
})

test('a broker that is stopped while it takes in a realm leaves no socket of it open', async () => {
  await initSigner(broker.folder, 'partner')
  const folder = join(broker.folder, 'partner')
  const partner = {
    socket: join(broker.folder, 'partner.sock'),
    keystores: [{ keystore: join(folder, 'keystore.age'), passphrase_file: join(folder, 'passphrase') }],
    signatures_per_second: 100,
  }
  const taken = broker.reload({ realms: { ...broker.config.realms, partner } })
  let isOpen = true
  await broker.restart(() => {
    isOpen = existsSync(partner.socket)
  })
  await taken
  assert.equal(isOpen, false)
  assert.ok(accepted(await broker.issue('consumer')))
})

test('K12: a broker one of whose signers cannot start does not start, and leaves no process behind', async () => {
  const { config } = broker
  const realms = {
    ...config.realms,
    consumer: {
      ...config.realms['consumer'],
      keystores: [
        {
          keystore: join(broker.folder, 'consumer', 'keystore.age'),
          passphrase_file: join(broker.folder, 'enterprise', 'none'),
        },
      ],
    },
  } as typeof config.realms
  const log = createLog('broker')
  log.level = 'silent'
  const before = execFileSync('ps', ['--ppid', String(process.pid), '-o', 'pid='], { encoding: 'utf8' })
  await assert.rejects(startBroker({ ...config, realms }, log), /the signer of consumer did not start/)
  const after = execFileSync('ps', ['--ppid', String(process.pid), '-o', 'pid='], { encoding: 'utf8' })
  assert.equal(after.trim().split('\n').length, before.trim().split('\n').length)
})
