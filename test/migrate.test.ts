/**
 * Goal: a running system moves a realm's keys into a token and back into a file by one command, while clients ask for
 * tokens and use them, and nobody notices; a migration that is killed goes on where it was; nothing of the old keys is left.
 * Method: `countersign up` as everybody starts it, a SoftHSM2 token, clients that never pause.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openBrokerAdmin } from '@countersign/broker/client'
import { type RunningSystem, startSystem } from '@countersign/cli/client'
import { createSoftToken, missingSoftHsm, type SoftToken } from '@countersign/signer/client'
import { decodeProtectedHeader } from 'jose'

const skip = missingSoftHsm() ?? false
const folder = mkdtempSync(join(tmpdir(), 'countersign-migrate-'))
const data = join(folder, 'data')
const main = fileURLToPath(new URL('../cli/src/main.ts', import.meta.url))

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

/** Gets a token and uses it. Gives the key that signed it, or throws. */
async function useToken(): Promise<string> {
  const { consumer } = system.ready.realms
  const client = consumer.clients[1]
  const basic = Buffer.from(`${client?.client_id}:${client?.client_secret}`).toString('base64')
  const granted = await fetch(`${consumer.issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  if (granted.status !== 200) throw new Error(`no token: ${granted.status} ${await granted.text()}`)
  const { access_token: made } = (await granted.json()) as { access_token: string }
  const used = await fetch(`${system.ready.gateway.url}/auth`, {
    headers: { authorization: `Bearer ${made}` },
  })
  if (used.status !== 200) throw new Error(`refused: ${used.headers.get('x-countersign-reason')}`)
  return decodeProtectedHeader(made).kid as string
}

/** Clients that never pause. */
function startLoad(t: TestContext) {
  let isOver = false
  // A test that fails must not leave them running.
  t.after(() => {
    isOver = true
  })
  const kids = new Map<string, number>()
  const failures: string[] = []
  const clients = Array.from({ length: 3 }, async () => {
    while (!isOver) {
      try {
        const kid = await useToken()
        kids.set(kid, (kids.get(kid) ?? 0) + 1)
      } catch (error) {
        failures.push((error as Error).message)
      }
    }
  })
  return {
    stop: async () => {
      isOver = true
      await Promise.all(clients)
      return { kids, failures }
    },
  }
}

/** `countersign key migrate`, which is killed as soon as it says `until`. */
async function migrate(
  args: readonly string[],
  until?: RegExp,
): Promise<{ code: number | null; said: string }> {
  const command = ['key', 'migrate', '--ready', join(data, 'ready.json'), '--realm', 'consumer', ...args]
  const child = spawn(process.execPath, [main, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (until?.test(said) === true) child.kill('SIGKILL')
    })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, said }
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
  const load = startLoad(t)
  for (const until of [/made the new keystore/, /started its signer/, /the charter names it/])
    assert.equal((await migrate([...toToken(), ...twoPeople, '--early'], until)).code, null)
  const { said } = await migrate(
    [...toToken(), ...twoPeople, '--early'],
    /the last tokens of the old keys expire/,
  )
  assert.match(said, /a new key signs, before its time/)
  // A signer that has not heard yet still signs with the old key for a moment, in good order.
  while ((await useToken()) === before);
  const { kids, failures } = await load.stop()
  assert.deepEqual(failures, [])
  assert.ok((kids.get(before) ?? 0) > 0)
  const [old, moved] = await signersOf()
  assert.deepEqual([old?.protection, moved?.protection].sort(), ['hardware', 'low'])
  t.diagnostic(
    `${[...kids.values()].reduce((sum, count) => sum + count, 0)} tokens given and used, none failed`,
  )
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
  const load = startLoad(t)
  const first = await migrate(['--to', to, ...twoPeople, '--early'], /the last tokens of the old keys expire/)
  assert.match(first.said, /a new key signs, before its time/)
  assert.deepEqual((await load.stop()).failures, [])
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
