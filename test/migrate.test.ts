/**
 * Goal: a running system moves a realm's keys into a token and back into a file by one command, while clients ask for
 * tokens and use them, and nobody notices; a migration that is killed goes on where it was; nothing of the old keys is left.
 * Method: `countersign up` as everybody starts it, a SoftHSM2 token, clients that never pause.
 */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { openBrokerAdmin } from '@countersign/broker/client'
import { type Load, type RunningSystem, startLoad, startSystem } from '@countersign/cli/client'
import { createSoftToken, missingSoftHsm, type SoftToken } from '@countersign/signer/client'
import { countersign } from '../cli/src/testing.ts'

const skip = missingSoftHsm() ?? false
const folder = mkdtempSync(join(tmpdir(), 'countersign-migrate-'))
const data = join(folder, 'data')

let system: RunningSystem
let token: SoftToken
let oldKeystore = ''

before(async () => {
  if (skip !== false) return
  mkdirSync(join(folder, 'token'))
  token = await createSoftToken(join(folder, 'token'))
  system = await startSystem(data)
  oldKeystore = system.ready.keystores.consumer
})
after(async () => {
  await system?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Clients that never pause. A test that fails does not leave them running. */
function keepUsing(t: TestContext): Load {
  const load = startLoad(system.ready)
  t.after(load.stop)
  return load
}

/** Gets a token of the realm and uses it. Gives the key that signed it. */
async function useToken(): Promise<string> {
  const load = startLoad(system.ready, ['consumer'])
  await load.until(({ kids, failures }) => kids.consumer.size + failures.length > 0)
  await load.stop()
  assert.deepEqual(load.failures, [])
  return [...load.kids.consumer][0] as string
}

/** `countersign key migrate`, which is killed as soon as it says `until`. */
async function migrate(
  args: readonly string[],
  until?: RegExp,
): Promise<{ code: number | null; said: string }> {
  const command = ['key', 'migrate', '--ready', join(data, 'ready.json'), '--realm', 'consumer', ...args]
  const { code, stdout, stderr } = await countersign(command, { until })
  return { code, said: `${stdout}${stderr}` }
}

const twoPeople = ['--operator', 'olga', '--operator', 'omar'] as const
const toToken = (): string[] => [
  ...['--to', token.uri, '--pin-file', token.pinFile],
  ...['--environment', `SOFTHSM2_CONF=${token.environment['SOFTHSM2_CONF']}`],
]

async function signersOf(): Promise<
  readonly { realm: string; protection: string; keys: readonly string[] | null }[]
> {
  const broker = openBrokerAdmin(join(data, 'run', 'broker-admin.sock'))
  const { signers } = await broker.status()
  broker.close()
  return signers.filter(({ realm }) => realm === 'consumer')
}

test('1. K1 under load, killed at one step after the other, a realm moves into a token and no request fails', {
  skip,
}, async (t) => {
  const before = await useToken()
  const load = keepUsing(t)
  for (const until of [/made the new keystore/, /started its signer/, /the charter names it/])
    assert.equal((await migrate([...toToken(), ...twoPeople, '--early'], until)).code, null)
  const { said } = await migrate(
    [...toToken(), ...twoPeople, '--early'],
    /the last tokens of the old keys expire/,
  )
  assert.match(said, /a new key signs, before its time/)
  // A signer that has not heard yet still signs with the old key for a moment, in good order.
  await load.until(({ kids, failures }) => kids.consumer.size > 1 || failures.length > 0)
  await load.stop()
  assert.deepEqual(load.failures, [])
  assert.ok(load.kids.consumer.has(before))
  const [old, moved] = await signersOf()
  assert.deepEqual([old?.protection, moved?.protection].sort(), ['hardware', 'low'])
  t.diagnostic(`${load.grants} tokens given, ${load.shown} used, none failed`)
})

test('2. F6 it ends with the old keys destroyed, and says so', { skip }, async () => {
  assert.ok(existsSync(oldKeystore))
  const { code, said } = await migrate([...toToken(), ...twoPeople, '--early', '--revoke'])
  assert.equal(code, 0, said)
  assert.match(said, /protection hardware/)
  assert.match(said, /none is left to sign with/)
  assert.equal(existsSync(dirname(oldKeystore)), false)
  const signers = await signersOf()
  assert.deepEqual(
    signers.map(({ protection }) => protection),
    ['hardware'],
  )
  assert.ok(signers[0]?.keys?.includes(await useToken()))
  const { keystores } = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
  assert.equal(keystores.consumer, token.uri)
  const again = await migrate([...toToken(), ...twoPeople])
  assert.equal(again.code, 0)
  assert.match(again.said, /^consumer signs in pkcs11:/)
})

test('3. the next start finds the keys in the token', { skip }, async () => {
  await system.stop()
  system = await startSystem(data)
  await useToken()
  assert.equal(system.ready.keystores.consumer, token.uri)
})

test('4. the realm moves back into a file, and nothing is left on the token', { skip }, async (t) => {
  const to = join(data, 'signers', 'consumer-again', 'keystore.age')
  const load = keepUsing(t)
  const first = await migrate(['--to', to, ...twoPeople, '--early'], /the last tokens of the old keys expire/)
  assert.match(first.said, /a new key signs, before its time/)
  await load.stop()
  assert.deepEqual(load.failures, [])
  const { code, said } = await migrate(['--to', to, ...twoPeople, '--revoke'])
  assert.equal(code, 0, said)
  await useToken()
  // SoftHSM keeps a file for each object, beside the one of the token itself.
  const [name] = readdirSync(token.tokenFolder)
  const objects = readdirSync(join(token.tokenFolder, name as string)).filter((file) =>
    /^[0-9a-f-]{36}\.object$/.test(file),
  )
  assert.deepEqual(objects, [])
})
