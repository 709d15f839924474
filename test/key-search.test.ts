/**
 * Goal: a private key is in its signer and nowhere else: not in another process, a log, a core file or any file of the
 * system, not even after the signer was killed in the middle of its work. Method: the whole system on file keystores, whose
 * keys the test opens as their owner would; then it looks for them everywhere, in memory and in heap snapshots too. Each way
 * of looking is first shown a planted key, since a search that finds nothing may be blind.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { openBrokerAdmin } from '@countersign/broker/client'
import { type RunningSystem, startSystem } from '@countersign/cli/client'
import { stealSigningKey } from '../drill/src/steal.ts'
import { type Form, findIn, findInFolder, findInMemory, formsOf } from './key-search.ts'
import { descendants, type Process } from './processes.ts'

const skip = process.platform === 'linux' ? false : 'only Linux shows the memory of processes like this'
const folder = mkdtempSync(join(tmpdir(), 'countersign-search-'))
const data = join(folder, 'data')
const snapshots = join(folder, 'snapshots')
const PATIENCE_MILLISECONDS = 60_000

let system: RunningSystem
let output = ''
let forms: readonly Form[] = []

before(async () => {
  if (skip !== false) return
  mkdirSync(snapshots)
  // Not SIGUSR2, by which the test runner's flags, which children inherit, have a report written.
  // Reaches every process but the signers, whose environment is empty: that nobody can ask a signer is part of the point.
  process.env['NODE_OPTIONS'] = `--heapsnapshot-signal=SIGURG --diagnostic-dir=${snapshots}`
  process.env['COUNTERSIGN_LOG_LEVEL'] = 'trace'
  system = await startSystem(data, { onOutput: (text) => (output += text), logLevel: 'trace' })
  forms = (await Promise.all((['consumer', 'enterprise'] as const).map(secretsOf))).flat()
})
after(async () => {
  await system?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** The private values of the keys that a realm's signer holds, as a thief with file and passphrase reads them. */
async function secretsOf(realm: 'consumer' | 'enterprise'): Promise<readonly Form[]> {
  const broker = openBrokerAdmin(join(data, 'run', 'broker-admin.sock'))
  const { signers } = await broker.status()
  broker.close()
  const kids = signers.find((signer) => signer.realm === realm)?.keys ?? []
  assert.ok(kids.length >= 2)
  const keys = await Promise.all(kids.map((kid) => stealSigningKey(data, realm, kid)))
  return keys.flatMap((key) => {
    const { d, p = '' } = key as { readonly d?: string; readonly p?: string }
    assert.ok(d !== undefined)
    return [d, p].flatMap((value, at) =>
      formsOf(`${realm} ${key.kid} ${at === 0 ? 'd' : 'p'}`, Buffer.from(value, 'base64url')),
    )
  })
}

function processes(): { readonly signers: readonly Process[]; readonly others: readonly Process[] } {
  const all = descendants(process.pid).filter(({ commandLine }) => commandLine.includes('/src/main.ts'))
  const isSigner = ({ commandLine }: Process): boolean => commandLine.includes('signer/src/main.ts')
  return { signers: all.filter(isSigner), others: all.filter((each) => !isSigner(each)) }
}

async function issue(): Promise<number> {
  const { issuer, clients } = system.ready.realms.consumer
  const basic = Buffer.from(`${clients[1]?.client_id}:${clients[1]?.client_secret}`).toString('base64')
  const body = new URLSearchParams({ grant_type: 'client_credentials' })
  const headers = { authorization: `Basic ${basic}` }
  return (await fetch(`${issuer}/token`, { method: 'POST', headers, body })).status
}

async function snapshotOf(pid: number): Promise<Buffer> {
  process.kill(pid, 'SIGURG')
  for (const endsAt = Date.now() + PATIENCE_MILLISECONDS; Date.now() < endsAt; await delay(50)) {
    const name = readdirSync(snapshots).find((each) => each.split('.').includes(String(pid)))
    if (name === undefined) continue
    const bytes = readFileSync(join(snapshots, name))
    if (!bytes.subarray(-8).toString().trimEnd().endsWith('}')) continue
    rmSync(join(snapshots, name))
    return bytes
  }
  throw new Error(`process ${pid} wrote no heap snapshot`)
}

test('K9 each way of looking finds a planted key: in a file, in memory, in a heap snapshot', {
  skip,
}, async (t) => {
  const secret = randomBytes(32)
  const planted = formsOf('planted', secret)
  const written = join(folder, 'planted.log')
  for (const encoding of ['latin1', 'hex', 'base64url', 'base64'] as const) {
    writeFileSync(written, `{"msg":"${secret.toString(encoding)}"}`, 'latin1')
    const found = findInFolder(folder, planted)
    assert.ok(
      found.some((each) => each.startsWith(written)),
      encoding,
    )
  }
  rmSync(written)
  // It is given by standard input, so that it stands nowhere but in that process.
  const program = `let text = ''
    process.stdin.on('data', (chunk) => { text += chunk }).on('end', () => {
      globalThis.kept = { text, bytes: Buffer.from(text, 'base64url') }
      process.stdout.write('ready')
    })
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  child.stdin.end(secret.toString('base64url'))
  await once(child.stdout, 'data')
  const pid = child.pid as number
  const found = findInMemory(pid, planted)
  assert.ok(found.includes('planted raw') && found.includes('planted base64url'), String(found))
  // One in four secrets is written alike in both alphabets.
  assert.ok(findIn(await snapshotOf(pid), planted).includes('planted base64url'))
})

test('K9 a signer’s keys are in its own memory, and in that of no other process', { skip }, async () => {
  assert.ok(forms.length > 0)
  assert.equal(await issue(), 200)
  const { signers, others } = processes()
  assert.equal(signers.length, 2)
  assert.ok(others.length >= 9, `${others.length} other processes`)
  for (const { pid } of signers)
    assert.ok(findInMemory(pid, forms).length > 0, 'the search must find them where they are')
  for (const { pid, commandLine } of others) assert.deepEqual(findInMemory(pid, forms), [], commandLine)
})

test('K9 no heap snapshot of another process holds a key, and a signer gives none', { skip }, async () => {
  const { signers, others } = processes()
  for (const { pid, commandLine } of others)
    assert.deepEqual(findIn(await snapshotOf(pid), forms), [], commandLine)
  const [{ pid } = { pid: 0 }] = signers
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
  assert.doesNotMatch(environment, /NODE_OPTIONS/)
})

test('K9 a signer that crashes leaves no core, and no key in any log or file', { skip }, async () => {
  const crashed = processes().signers
  for (const { pid } of crashed) process.kill(pid, 'SIGSEGV')
  while (crashed.some(({ pid }) => existsSync(`/proc/${pid}/exe`))) await delay(10)
  const endsAt = Date.now() + PATIENCE_MILLISECONDS
  while ((await issue()) !== 200) assert.ok(Date.now() < endsAt, 'no signer came back')
  const cores = [folder, '/', process.cwd(), tmpdir()].flatMap((place) =>
    readdirSync(place)
      .filter((name) => /^core(\.\d+)?$/.test(name))
      .map((name) => join(place, name)),
  )
  assert.deepEqual(cores, [])
  assert.deepEqual(findInFolder(folder, forms), [])
  assert.ok(output.length > 1000, 'everything was logged')
  assert.deepEqual(findIn(Buffer.from(output), forms), [])
})
