/**
 * Goal: whoever runs a system denies a key that is not theirs by the commands of the documentation: reads who would notice, kills,
 * sees it refused, and two take it back. Method: `countersign up`, a provider on loopback, and a service of one's own that
 * is enrolled as `countersign validator enrol` does it.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type RunningSystem, startSystem } from '@countersign/cli/client'
import { type ConnectedValidator, connectValidator } from '@countersign/validator/connect'
import {
  createProviderKey,
  type FakeProvider,
  signAs,
  startFakeProvider,
} from '@countersign/validator/fake-provider'
import { fetchFromLoopback, keycloak } from '@countersign/validator/issuers'
import { acceptWithoutReceipt } from '@countersign/validator/validator'
import { countersign } from '../cli/src/testing.ts'

const issuer = 'https://id.example/realms/staff'
const audience = 'api://orders'
const folder = mkdtempSync(join(tmpdir(), 'countersign-foreign-'))
const stolen = createProviderKey('2025-11', 'RS256')
let system: RunningSystem
let provider: FakeProvider
let orders: ConnectedValidator

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await countersign([...args, '--ready', join(folder, 'data', 'ready.json')])
  assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`)
  return stdout
}

before(async () => {
  provider = await startFakeProvider({
    issuer,
    metadataPath: '/realms/staff/.well-known/openid-configuration',
    keySet: `${issuer}/protocol/openid-connect/certs`,
  })
  provider.keys = [stolen.shown]
  system = await startSystem(join(folder, 'data'))
  const own = join(folder, 'orders')
  await run('validator', 'enrol', '--name', 'orders', '--folder', own)
  orders = connectValidator({
    issuers: [keycloak({ url: 'https://id.example', realm: 'staff', [fetchFromLoopback]: provider.origin })],
    audience,
    [acceptWithoutReceipt]: 'Keycloak logs nothing',
    authority: system.ready.authority.url,
    trustAnchorFile: join(own, 'trust-anchor.json'),
    stateFolder: join(own, 'state'),
    enrolment: { name: 'orders', keyFile: join(own, 'enrolment.json') },
    sentinel: system.ready.sentinel.url,
  })
  await orders.whenReady(10_000)
})
after(async () => {
  await orders?.stop()
  await system?.stop()
  await provider?.stop()
  rmSync(folder, { recursive: true, force: true })
})

let count = 0
function issue(): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: issuer,
    aud: audience,
    sub: 'victim',
    typ: 'Bearer',
    azp: 'thief',
    scope: 'orders.read',
  }
  return signAs(stolen, { typ: 'JWT' }, { ...claims, jti: `token-${count++}`, iat: now, exp: now + 300 })
}

const key = ['--iss', issuer, '--kid', stolen.kid] as const

test('1. R6: the dry run names the service that takes its tokens, and nothing is done', async () => {
  const before = await run('key', 'block', ...key, '--dry-run')
  assert.match(before, /Nobody saw it/)
  for (let n = 0; n < 3; n++) orders.validate(issue())
  // Accepted tokens are reported in batches.
  let said = ''
  while (!/orders +3 +0/.test(said)) said = await run('key', 'block', ...key, '--dry-run')
  assert.match(said, /https:\/\/id\.example\/realms\/staff +3 /)
  const { validators } = JSON.parse(await run('cutoff', '--iss', issuer, '--dry-run', '--json'))
  assert.equal(validators[0].name, 'orders')
  orders.validate(issue())
})

test('2. R1 R2: one person kills it, and reads where a real token was refused for it', async (t) => {
  let isOver = false
  // The thief does not pause.
  const using = (async () => {
    for (; !isOver; await delay(20)) orders.decide(issue())
  })()
  const said = await run('key', 'block', ...key, '--reason', 'stolen').finally(() => {
    isOver = true
  })
  await using
  assert.match(said, /acknowledged by all that are connected/)
  const [, milliseconds] = /orders +key_blocked +\d+ +(\d+) ms/.exec(said) ?? []
  assert.ok(Number(milliseconds) < 3000, said)
  t.diagnostic(`the first token was refused ${milliseconds} ms after the command`)
  assert.throws(() => orders.validate(issue()), { reason: 'key_blocked' })
  assert.match(await run('key', 'list'), /2025-11 +https:\/\/id\.example\/realms\/staff/)
  assert.match(await run('key', 'block', ...key, '--dry-run'), /it is blocked already, since/)
})

test('3. K11: two people take it back, the block and no other', async () => {
  const proposed = await run('key', 'lift', ...key, '--reason', 'it was another key')
  assert.match(proposed, /key "2025-11" of "https:\/\/id\.example\/realms\/staff", not ours, counts again/)
  assert.throws(() => orders.validate(issue()), { reason: 'key_blocked' })
  const [, id = ''] = /proposal ([0-9a-f]{32}),/.exec(proposed) ?? []
  assert.match(await run('approve', id, '--operator', 'omar', '--yes'), /carried out: approved by olga, omar/)
  assert.equal(orders.validate(issue()).subject, 'victim')
  assert.doesNotMatch(await run('key', 'list'), /2025-11/)
})

test('4. T118: an issuer of our own is not denied as somebody else’s', async () => {
  const { issuer: own } = system.ready.realms.consumer
  const ready = ['--ready', join(folder, 'data', 'ready.json')]
  const { code, stderr } = await countersign([
    ...['key', 'block', '--iss', own, '--kid', 'k'.repeat(43), '--reason', 'stolen'],
    ...ready,
  ])
  assert.equal(code, 2)
  assert.match(stderr, /ours, of the realm consumer: leave iss out/)
})
