/**
 * Goal: two people change what a running system may do, and who runs it, down to the keys that everything rests on,
 * while tokens go on being issued and accepted. Method: `countersign up` and the commands that operators type, step by
 * step on one data folder, with a client beside them that asks for tokens all the time; at last the services by hand,
 * beside a second witness.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { type Load, type RunningSystem, startLoad, startSystem } from '@countersign/cli/client'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { importPublicJwk } from '@countersign/validator/jws'
import { createWitnessClient } from '@countersign/witness/client'
import { initService, Services } from '../cli/src/process.ts'
import { type Finished, countersign as run } from '../cli/src/testing.ts'

type Charter = Record<string, unknown> & {
  operators: { id: string; jwk: object }[]
  witnesses: object[]
  realms: Record<string, Record<string, unknown>>
}

const folder = mkdtempSync(join(tmpdir(), 'countersign-charter-'))
const data = join(folder, 'data')
const readyFile = join(folder, 'ready.json')
let system: RunningSystem
let follower: Follower

before(start)
after(async () => {
  await stop()
  rmSync(folder, { recursive: true, force: true })
})

async function start(): Promise<void> {
  system = await startSystem(data, { logLevel: 'error' })
  writeFileSync(readyFile, JSON.stringify(system.ready))
  follow()
  await follower.ready()
}

function follow(): void {
  const { url, trust_anchor } = system.ready.authority
  follower = followManifest({ authority: url, trustAnchor: JSON.parse(readFileSync(trust_anchor, 'utf8')) })
}

async function stop(): Promise<void> {
  await follower?.stop()
  await system?.stop()
}

/** A command of the operator's tool, which has to come to a good end. */
async function countersign(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr }: Finished = await run([...args, '--ready', readyFile])
  assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`)
  return stdout
}

/** Proposes the charter in force, changed, and has somebody else approve it. Gives what both were shown. */
async function amend(
  change: (charter: Charter) => object,
  [proposer, approver]: readonly [string, string] = ['olga', 'omar'],
): Promise<string> {
  const charter = JSON.parse(await countersign('charter', 'show', '--payload')) as Charter
  const file = join(folder, 'next-charter.json')
  writeFileSync(file, JSON.stringify({ ...charter, ...change(charter) }))
  const proposed = await countersign('charter', 'propose', '--file', file, '--operator', proposer, '--yes')
  const [, id = ''] = /proposal ([0-9a-f]{32}),/.exec(proposed) ?? []
  assert.match(proposed, /1 more of .* must approve by [\d:]{8}Z:\n/)
  assert.match(proposed, new RegExp(`countersign approve ${id} --operator ${approver}`))
  assert.match(await countersign('charter', 'proposals'), new RegExp(`${id}  charter \\d+ `))
  const approved = await countersign('approve', id, '--operator', approver, '--yes')
  assert.match(approved, new RegExp(`carried out: approved by ${proposer}, ${approver}`))
  return approved
}

/** Clients that never pause. `end` finds that nothing failed, and gives how many tokens there were. */
function keepUsing(t: TestContext): { end(): Promise<number> } {
  const load = startLoad(system.ready)
  // A test that fails does not leave them running.
  t.after(load.stop)
  return { end: () => endWell(load) }
}

async function useOnce(): Promise<void> {
  const load = startLoad(system.ready, ['consumer'])
  await load.until(({ shown, failures }) => shown + failures.length > 0)
  await endWell(load)
}

async function endWell(load: Load): Promise<number> {
  await load.stop()
  assert.deepEqual(load.failures, [])
  return load.grants
}

test('1. K11: max_ttl is lowered while tokens flow: every validator acknowledges, and no token fails', async (t) => {
  const use = keepUsing(t)
  const shown = await amend(({ realms }) => ({
    realms: Object.fromEntries(
      Object.entries(realms).map(([name, realm]) => [name, { ...realm, max_ttl: 1200 }]),
    ),
  }))
  assert.match(
    shown,
    /realms\.consumer\.max_ttl \(the longest life of a token\): 3600 s \(1 h\) -> 1200 s \(20 min\), shorter/,
  )
  assert.match(shown, /acknowledged by all that are connected/)
  const before = await use.end()
  assert.ok(before > 10, `${before} tokens`)
  const { silent, version } = (await (await fetch(`${system.ready.authority.url}/acks`)).json()) as {
    silent: string[]
    version: number
  }
  assert.deepEqual(silent, [])
  await follower.waitForVersion(version, 5000)
  assert.equal(follower.state?.charter.version, 2)
  for (const key of follower.state?.manifest.keys.values() ?? []) assert.equal(key.lifetimeSecondsMax, 1200)
})

test('2. what one person proposes alone changes nothing, and a bystander is asked before anything is signed', async () => {
  const charter = JSON.parse(await countersign('charter', 'show', '--payload')) as Charter
  const file = join(folder, 'weaker.json')
  writeFileSync(file, JSON.stringify({ ...charter, threshold: 1 }))
  const declined = await run(['charter', 'propose', '--file', file, '--ready', readyFile], { input: 'n\n' })
  assert.deepEqual([declined.code, /not proposed/.test(declined.stderr)], [2, true])
  const proposed = await countersign('charter', 'propose', '--file', file, '--yes')
  assert.match(proposed, /threshold \(how many operators must approve\): 2 -> 1, fewer/)
  const [, id = ''] = /proposal ([0-9a-f]{32}),/.exec(proposed) ?? []
  const again = await run(['approve', id, '--operator', 'olga', '--yes', '--ready', readyFile])
  assert.deepEqual([again.code, /somebody else has to/.test(again.stderr)], [2, true])
  const ended = await run(['approve', id, '--operator', 'omar', '--ready', readyFile])
  assert.deepEqual([ended.code, /not approved/.test(ended.stderr)], [2, true])
  assert.match(await countersign('charter', 'show'), /^charter 2, approved by olga, omar\n/)
})

test('3. the manifest key, an operator and the threshold are replaced under load, and a restart goes on with them', async (t) => {
  const next = (await initService('authority', join(data, 'cache'), [
    ...['--data', join(data, 'authority')],
    '--next',
  ])) as { jwk: object }
  const use = keepUsing(t)
  const otto = generateKeyPairSync('ed25519')
  const file = join(folder, 'otto.json')
  writeFileSync(file, JSON.stringify(otto.privateKey.export({ format: 'jwk' })), { mode: 0o600 })
  const shown = await amend(({ operators }) => ({
    manifest_keys: [next.jwk],
    operators: [
      ...operators.filter(({ id }) => id !== 'olga'),
      { id: 'otto', jwk: otto.publicKey.export({ format: 'jwk' }) },
    ],
    threshold: 3,
  }))
  const { kid } = importPublicJwk(next.jwk)
  assert.match(shown, new RegExp(`manifest_keys \\(may sign manifests\\): with ${kid} \\(ES256\\)\n`))
  assert.match(shown, /operators\.olga\.jwk: removed; it was key /)
  assert.match(shown, /threshold \(how many operators must approve\): 2 -> 3, more/)
  await use.end()
  const gone = await run([
    'cutoff',
    '--realm',
    'consumer',
    '--reason',
    'x',
    '--operator',
    'olga',
    '--ready',
    readyFile,
  ])
  assert.deepEqual([gone.code, /no operator or block key/.test(gone.stderr)], [2, true])

  await stop()
  await start()
  await useOnce()
  assert.equal(follower.state?.charter.threshold, 3)
  const { operators } = system.ready.authority
  system.ready.authority.operators = [
    ...operators.filter(({ id }) => id !== 'olga'),
    { id: 'otto', key_file: file },
  ]
  writeFileSync(readyFile, JSON.stringify(system.ready))
})

test('4. A3: three approve a broken glass now; what was done stands there with who did it', async () => {
  const order = ['--realm', 'consumer', '--minutes', '5', '--reason', 'drill', '--operator', 'omar']
  const proposed = await countersign('break-glass', ...order)
  assert.match(proposed, /2 more of opal, otto must approve/)
  const [, id = ''] = /proposal ([0-9a-f]{32}),/.exec(proposed) ?? []
  assert.match(await countersign('approve', id, '--yes'), /1 more of otto must approve/)
  assert.match(await countersign('approve', id, '--yes'), /carried out: approved by omar, opal, otto/)
  const lines = (await countersign('acts')).split('\n')
  assert.match(lines[1] ?? '', /break-glass +omar, opal, otto +consumer +drill/)
  assert.match(lines[2] ?? '', /charter +olga, omar +charter 3/)
  assert.match(lines[3] ?? '', /charter +olga, omar +charter 2/)
})

test('5. F7: epochs of the log are sealed while tokens flow, and no token fails', async (t) => {
  const { append_socket: socket } = JSON.parse(
    readFileSync(join(data, 'config', 'witness.json'), 'utf8'),
  ) as { append_socket: string }
  const witness = createWitnessClient(socket)
  const { name } = await witness.status()
  const use = keepUsing(t)
  try {
    for (let round = 0; round < 2; round++) {
      const { epoch } = await witness.status()
      const { logs } = await witness.seal(epoch)
      const origins = logs.map(({ origin }) => origin)
      const namesAll = (): boolean => {
        const { state } = follower
        const named = [...(state?.manifest.logs.values() ?? [])].map(({ origin }) => origin)
        return origins.every((origin) => named.includes(origin))
      }
      while (!namesAll()) {
        await follower.waitForVersion((follower.state?.manifest.version ?? 0) + 1, 5000)
      }
      // The witness is a follower as well.
      await witness.append([], follower.state?.manifest.version)
    }
    assert.ok((await use.end()) > 10)
    const report = JSON.parse(await countersign('log', 'fsck'))
    assert.deepEqual([report.holds, report.origin], [true, `${name}/3`])
  } finally {
    witness.close()
    await use.end()
  }
})

test('6. the receipt key is replaced: a second witness is named beside the first, takes over, and the first is dropped', async () => {
  const second = (await initService('witness', join(data, 'cache'), [
    ...['--data', join(data, 'witness-2')],
    ...['--name', 'second.example'],
  ])) as Record<string, object>
  const { name, receipt_key, checkpoint_keys } = second
  const three = async (change: (charter: Charter) => object): Promise<void> => {
    const charter = JSON.parse(await countersign('charter', 'show', '--payload')) as Charter
    const file = join(folder, 'witnesses.json')
    writeFileSync(file, JSON.stringify({ ...charter, ...change(charter) }))
    const proposed = await countersign('charter', 'propose', '--file', file, '--yes')
    const [, id = ''] = /proposal ([0-9a-f]{32}),/.exec(proposed) ?? []
    for (let person = 0; person < 2; person++) await countersign('approve', id, '--yes')
  }
  await three(({ witnesses }) => ({ witnesses: [...witnesses, { name, receipt_key, checkpoint_keys }] }))
  await stop()

  const configFile = (label: string): string => join(data, 'config', `${label}.json`)
  const config = JSON.parse(readFileSync(configFile('witness'), 'utf8')) as object
  writeFileSync(configFile('witness-2'), JSON.stringify({ ...config, data: join(data, 'witness-2') }), {
    mode: 0o600,
  })
  const complaints: string[] = []
  const services = new Services({
    cache: join(data, 'cache'),
    onLine: (label, line) => void complaints.push(`${label}: ${line}`),
    onEnd: (label, how) => void complaints.push(`${label} ended: ${how}`),
  })
  try {
    await Promise.all([
      services.start('witness', 'witness', configFile('witness-2')),
      services.start('broker', 'broker', configFile('broker')),
      services.start('authority', 'authority', configFile('authority')),
    ])
    await Promise.all([
      services.start('issuer', 'consumer', configFile('consumer')),
      services.start('gateway', 'gateway', configFile('gateway')),
    ])
    follow()
    await follower.ready()
    await countersign(
      'cutoff',
      '--realm',
      'enterprise',
      '--reason',
      'a manifest in the second log',
      '--operator',
      'omar',
    )
    await useOnce()
    await three(({ witnesses }) => ({ witnesses: witnesses.slice(1) }))
    await follower.waitForVersion(await newestVersion(), 5000)
    const logs = [...(follower.state?.manifest.logs.values() ?? [])]
    assert.deepEqual(
      logs.map(({ origin }) => origin),
      ['second.example/1', 'second.example/2'],
    )
    await useOnce()
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${complaints.slice(-20).join('\n')}`)
  } finally {
    await services.stop(4000)
  }
})

async function newestVersion(): Promise<number> {
  const answer = await fetch(`${system.ready.authority.url}/acks`)
  return ((await answer.json()) as { version: number }).version
}
