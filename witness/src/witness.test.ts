/**
 * Goal: the witness as others meet it: what its socket takes and refuses, what everybody can read and prove over HTTP,
 * and that killing it at any moment costs no released receipt. Method: the service in this process, and then as a
 * process that is killed under load, beside an authority that delivers a test world's manifests.
 * @module
 */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { createLog } from '@countersign/service'
import { decode, encode } from '@countersign/validator/base64url'
import { verifierOf } from '@countersign/validator/checkpoint'
import { decodeEntry, leafHash } from '@countersign/validator/entry'
import { startFakeAuthority } from '@countersign/validator/fake-authority'
import { importPublicJwk } from '@countersign/validator/jws'
import type { ManifestLog } from '@countersign/validator/manifest'
import { formatVkey, parseVkey } from '@countersign/validator/note'
import {
  decodeReceipt,
  type Receipt,
  receiptKeyId,
  VerifiedRoots,
  verifyReceipt,
} from '@countersign/validator/receipt'
import { verifyRoots } from '@countersign/validator/roots'
import { createTestKey, createTestWorld, type TestWorld } from '@countersign/validator/testing'
import { rootFromInclusion, verifyInclusion } from '@countersign/validator/tree'
import {
  anyEpochOf,
  createWitnessClient,
  epochSource,
  fetchEntry,
  followLog,
  fsck,
  type LogGrowth,
  type WitnessClient,
} from './client.ts'
import type { PublicIdentity } from './identity.ts'
import { initWitness } from './init.ts'
import { prepareWitness, worldEntry } from './testing.ts'
import { startWitness } from './witness.ts'

interface TestWitness {
  readonly world: TestWorld
  readonly authority: Awaited<ReturnType<typeof startFakeAuthority>>
  readonly client: WitnessClient
  readonly url: string
  readonly folder: string
  readonly log: ManifestLog
  readonly keys: PublicIdentity
}

async function start(t: TestContext): Promise<TestWitness> {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const authority = await startFakeAuthority(world)
  const { folder, config, keys } = await prepareWitness(world, authority.url)
  const quiet = createLog('witness')
  quiet.level = 'silent'
  const running = await startWitness(config, quiet)
  const client = createWitnessClient(config.append_socket)
  t.after(async () => {
    client.close()
    await running.stop()
    await authority.stop()
    rmSync(folder, { recursive: true })
  })
  const url = String(running.ready['url'])
  return { world, authority, client, url, folder, log: manifestLog(keys, '1'), keys }
}

function manifestLog(keys: PublicIdentity, epoch: string): ManifestLog {
  const receiptKey = importPublicJwk(keys.receipt_key).key
  const origin = `${keys.name}/${epoch}`
  return {
    origin,
    witness: keys.name,
    receiptKeyId: receiptKeyId(origin, receiptKey),
    receiptKey,
    state: 'open',
  }
}

async function codeOf(client: WitnessClient, entry: Uint8Array): Promise<string> {
  const [result] = await client.append([entry], 1)
  return result !== undefined && 'error' in result ? result.error.code : 'receipt'
}

test('a witness countersigns what the manifest allows, and everybody can prove it', async (t) => {
  const { world, client, url, log } = await start(t)
  const entries = [1, 2, 3, 4, 5].map((serial) => worldEntry(world, serial))
  const results = await client.append(entries, 1)
  const roots = new VerifiedRoots()
  for (const [at, result] of results.entries()) {
    assert.ok('receipt' in result)
    const receipt = decodeReceipt(result.receipt)
    verifyReceipt(receipt, leafHash(entries[at] as Uint8Array), log, roots)
    assert.equal(receipt.start + receipt.offset, at)
  }
  const { vkey } = await client.status()
  const known = { source: epochSource(url, log.origin), origin: log.origin, verifiers: [verifierOf(vkey)] }
  await growTo(known, 5)
  const proven = await fetchEntry(known, 3)
  assert.ok(proven !== undefined)
  assert.deepEqual(Buffer.from(proven.bytes), Buffer.from(entries[3] as Uint8Array))
  const { path, checkpoint } = proven
  assert.ok(verifyInclusion(leafHash(entries[3] as Uint8Array), 3, checkpoint.size, path, checkpoint.root))
  assert.equal(await fetchEntry(known, 5), undefined)
  const report = await fsck({ url, vkey })
  assert.deepEqual([report.origin, report.size, report.keyCount], ['witness.test/1', 5, 1])
})

test('whoever asks is told which roots were countersigned, and nobody else is', async (t) => {
  const { world, client, keys } = await start(t)
  await client.append([worldEntry(world, 1)], 1)
  const asked = client.roots(0)
  // Calls of one connection are answered in any order, but taken in theirs.
  const appended = await client.append(
    [2, 3, 4].map((serial) => worldEntry(world, serial)),
    1,
  )
  const { statements, next } = await asked
  assert.deepEqual([statements.length, next], [1, 1])
  const { origin, subtrees } = verifyRoots(statements[0] as string, keys.receipt_key)
  assert.equal(origin, 'witness.test/1')
  const receipts = appended.map((each) => decodeReceipt('receipt' in each ? each.receipt : new Uint8Array()))
  assert.deepEqual(
    subtrees.map(({ start, size }) => [start, size]),
    receipts.slice(0, 1).map(({ start, size }) => [start, size]),
  )
  const { offset, size, path } = receipts[0] as Receipt
  const root = rootFromInclusion(leafHash(worldEntry(world, 2)), offset, size, path)
  assert.deepEqual(Buffer.from(subtrees[0]?.root ?? []), Buffer.from(root ?? []))
  assert.equal((await client.roots(0)).statements.length, 1)
  assert.deepEqual(await client.roots(7), await client.roots(0))
})

/** Follows until the log holds so many entries. */
async function growTo(known: Parameters<typeof followLog>[0], size: number): Promise<LogGrowth> {
  for await (const growth of followLog({ ...known, pollMilliseconds: 10 })) {
    if (growth.position.size >= size) return growth
  }
  throw new Error('the log ended')
}

test('a stolen or mistaken key gets no receipt: each refusal has its code', async (t) => {
  const { world, authority, client } = await start(t)
  const { now } = world
  const by = (kid: string, serial: number): Uint8Array =>
    worldEntry(world, serial, { keyThumbprint: decode(kid) })
  const standing = [...world.state.manifest.keys.values()].find(({ state }) => state === 'published')
  assert.equal(await codeOf(client, by(createTestKey('ES256').kid, 1)), 'unknown_key')
  assert.equal(await codeOf(client, by(standing?.kid ?? '', 1)), 'key_not_active')
  assert.equal(
    await codeOf(client, worldEntry(world, 1, { issuedAt: now - 90, expiresAt: now })),
    'clock_off',
  )
  assert.equal(
    await codeOf(client, worldEntry(world, 1, { issuedAt: now + 90, expiresAt: now + 95 })),
    'clock_off',
  )
  assert.equal(await codeOf(client, worldEntry(world, 1, { expiresAt: now + 3601 })), 'lifetime_too_long')
  assert.equal(await codeOf(client, worldEntry(world, 1, { expiresAt: now - 1 })), 'malformed')
  assert.equal(await codeOf(client, worldEntry(world, 1).subarray(1)), 'malformed')
  assert.equal(await codeOf(client, worldEntry(world, 1, { tokenType: 'manifest' })), 'unknown_key')
  assert.equal(await codeOf(client, by(world.manifestKey.kid, 1)), 'unknown_key')
  assert.equal(await codeOf(client, worldEntry(world, 1)), 'receipt')
  assert.equal(await codeOf(client, worldEntry(world, 1)), 'serial_repeated')
  for (const [state, code] of [
    ['retiring', 'receipt'],
    ['blocked', 'key_blocked'],
    ['revoked', 'key_revoked'],
  ] as const) {
    const { manifest } = world.setState(world.keys.consumer.kid, state)
    authority.push()
    // The witness waits for the manifest that its caller knows.
    const [result] = await client.append([worldEntry(world, manifest.version * 10)], manifest.version)
    assert.equal(result !== undefined && 'error' in result ? result.error.code : 'receipt', code)
  }
})

test('T144: a serial that does not rise is refused, within a call, across calls and across keys alike', async (t) => {
  const { world, client } = await start(t)
  const results = await client.append(
    [7, 8, 8, 5, 9].map((serial) => worldEntry(world, serial)),
    1,
  )
  const codes = results.map((result) => ('error' in result ? result.error.code : 'receipt'))
  assert.deepEqual(codes, ['receipt', 'receipt', 'serial_repeated', 'serial_repeated', 'receipt'])
  assert.equal(await codeOf(client, worldEntry(world, 9)), 'serial_repeated')
  const other = { keyThumbprint: decode(world.keys.enterprise.kid) }
  assert.equal(await codeOf(client, worldEntry(world, 1, other)), 'receipt')
})

test('manifests are logged by the key of the charter alone, each version once', async (t) => {
  const { world, client } = await start(t)
  const entry = (version: number): Uint8Array =>
    worldEntry(world, version, { tokenType: 'manifest', keyThumbprint: decode(world.manifestKey.kid) })
  assert.equal((await client.status()).manifest_version, 0)
  assert.equal(await codeOf(client, entry(3)), 'receipt')
  const other = worldEntry(world, 3, {
    tokenType: 'manifest',
    keyThumbprint: decode(world.manifestKey.kid),
    payloadSha256: Buffer.alloc(32),
  })
  assert.equal(await codeOf(client, other), 'serial_repeated')
  assert.equal(await codeOf(client, entry(2)), 'serial_repeated')
  assert.equal((await client.status()).manifest_version, 3)
})

test('R4 T114: a manifest whose receipt was lost gets it again, without a second entry, and status names what was logged', async (t) => {
  const { world, client, log } = await start(t)
  const { manifest_sha256: none } = await client.status()
  assert.equal(none, null)
  const bytes = worldEntry(world, 3, {
    tokenType: 'manifest',
    keyThumbprint: decode(world.manifestKey.kid),
  })
  // It stands behind others in its window, and others behind it.
  await client.append([...[1, 2, 3].map((serial) => worldEntry(world, serial)), bytes], 1)
  await client.append([worldEntry(world, 4)], 1)
  const { size, manifest_sha256: logged } = await client.status()
  assert.equal(logged, encode(decodeEntry(bytes).payloadSha256))
  const [again] = await client.append([bytes])
  assert.ok(again !== undefined && 'receipt' in again)
  const receipt = decodeReceipt(again.receipt)
  verifyReceipt(receipt, leafHash(bytes), log)
  assert.deepEqual([receipt.start + receipt.offset, receipt.serial], [3, 3])
  assert.equal((await client.status()).size, size)
})

test('the log is served as C2SP tlog-tiles asks, and nothing beside it', async (t) => {
  const { world, client, url, log } = await start(t)
  await client.append(
    Array.from({ length: 300 }, (_, at) => worldEntry(world, at + 1)),
    1,
  )
  const { vkey } = await client.status()
  await growTo(
    { source: epochSource(url, log.origin), origin: log.origin, verifiers: [verifierOf(vkey)] },
    300,
  )
  const get = (path: string): Promise<Response> => fetch(`${url}${path}`)
  const checkpoint = await get('/checkpoint')
  assert.equal(checkpoint.headers.get('content-type'), 'text/plain; charset=utf-8')
  assert.equal(checkpoint.headers.get('cache-control'), 'no-cache')
  assert.match(
    await checkpoint.text(),
    /^witness\.test\/1\n300\n[A-Za-z0-9+/]{43}=\n\n(— witness\.test\S* \S+\n){3}$/,
  )
  const lengths: readonly (readonly [path: string, bytes: number])[] = [
    ['/tile/0/000', 8192],
    ['/tile/0/001.p/44', 44 * 32],
    ['/tile/0/001.p/7', 7 * 32],
    ['/tile/1/000.p/1', 32],
    ['/tile/entries/000', 256 * 92],
    ['/tile/entries/001.p/44', 44 * 92],
    ['/epochs/1/tile/0/000', 8192],
  ]
  for (const [path, bytes] of lengths) {
    const response = await get(path)
    assert.equal(response.status, 200, path)
    assert.equal(response.headers.get('content-type'), 'application/octet-stream')
    assert.match(response.headers.get('cache-control') ?? '', /immutable/)
    assert.equal((await response.arrayBuffer()).byteLength, bytes, path)
  }
  for (const path of [
    '/tile/0/001',
    '/tile/0/001.p/45',
    '/tile/0/000.p/0',
    '/tile/0/000.p/256',
    '/tile/0/0',
    '/tile/00/000',
    '/tile/0/x000/000',
    '/tile/0/..%2f..%2fstate.json',
    '/tile/64/000',
    '/tile/2/000.p/1',
    '/epochs/3/checkpoint',
    '/epochs/2/tile/entries/000.p/1',
    '/epochs/../identity.json',
    '/identity.json',
  ]) {
    const response = await get(path)
    assert.equal(response.status, 404, path)
    await response.body?.cancel()
  }
})

/** The next manifest names the logs of these epochs, and the witness has it. */
async function nameLogs({ world, authority, client, keys }: TestWitness, epochs: string[]): Promise<void> {
  const { name, receipt_key, checkpoint_keys } = keys
  const { witnesses } = world.charter
  if (!witnesses.some((witness) => witness.name === name)) {
    world.amend(({ witnesses: before }) => ({
      witnesses: [...(before as object[]), { name, receipt_key, checkpoint_keys }],
    }))
  }
  const { manifest } = world.publish(({ logs }) => ({
    logs: [
      ...logs.filter(({ witness }) => witness !== name),
      ...epochs.map((epoch) => ({ origin: `${name}/${epoch}`, witness: name, state: 'open' as const })),
    ],
  }))
  authority.push()
  await client.append([], manifest.version)
}

test('F7: an epoch ends only when a manifest names the next one, which can be read before it begins', async (t) => {
  const witness = await start(t)
  const { client, url } = witness
  const { logs, vkey } = await client.status()
  assert.deepEqual(logs, [
    { origin: 'witness.test/1', state: 'open' },
    { origin: 'witness.test/2', state: 'open' },
  ])
  await assert.rejects(client.seal('1'), { code: 'epoch_not_named', retryable: true })
  await nameLogs(witness, ['1'])
  await assert.rejects(client.seal('1'), { code: 'epoch_not_named' })
  const nextVkey = formatVkey({ ...parseVkey(vkey), name: 'witness.test/2' })
  const next = await fsck({ url: `${url}/epochs/2`, vkey: nextVkey })
  assert.deepEqual([next.origin, next.size], ['witness.test/2', 0])
  await nameLogs(witness, ['1', '2'])
  assert.equal((await client.seal('1')).epoch, '2')
  await assert.rejects(client.seal('2'), { code: 'epoch_not_named' })
})

test('F7: a sealed epoch stays readable, the next begins, and serials go on', async (t) => {
  const witness = await start(t)
  const { world, client, url } = witness
  await nameLogs(witness, ['1', '2'])
  assert.equal(await codeOf(client, worldEntry(world, 5)), 'receipt')
  const first = await client.status()
  const second = await client.seal('1')
  assert.deepEqual(second.logs, [
    { origin: 'witness.test/1', state: 'sealed' },
    { origin: 'witness.test/2', state: 'open' },
    { origin: 'witness.test/3', state: 'open' },
  ])
  assert.equal(second.size, 0)
  assert.equal(await codeOf(client, worldEntry(world, 5)), 'serial_repeated')
  assert.equal(await codeOf(client, worldEntry(world, 6)), 'receipt')
  await assert.rejects(client.seal('1'), { code: 'epoch_mismatch' })
  const sealed = await fsck({ url: `${url}/epochs/1`, vkey: first.vkey })
  assert.deepEqual([sealed.origin, sealed.size], ['witness.test/1', 1])
  await growTo(
    {
      source: epochSource(url, 'witness.test/2'),
      origin: 'witness.test/2',
      verifiers: [verifierOf(second.vkey)],
    },
    1,
  )
  assert.equal((await fsck({ url, vkey: second.vkey })).origin, 'witness.test/2')
  await assert.rejects(fsck({ url, vkey: first.vkey }), { code: 'checkpoint_invalid' })
  assert.equal((await fsck({ url, vkey: anyEpochOf(first.vkey) })).origin, 'witness.test/2')
  const stranger = formatVkey({ ...parseVkey(first.vkey), name: 'witness.example/1' })
  await assert.rejects(fsck({ url, vkey: anyEpochOf(stranger) }), { code: 'checkpoint_invalid' })
})

test('only its own user may open the socket or read the keys', async (t) => {
  const { folder } = await start(t)
  for (const file of ['append.sock', 'data/identity.json', 'data/state.json', 'data/epochs/1/entries']) {
    assert.equal(statSync(join(folder, file)).mode & 0o077, 0, file)
  }
})

test('a witness is made once: its keys and its log are not replaced', async (t) => {
  const { folder } = await start(t)
  const data = join(folder, 'data')
  await assert.rejects(initWitness(data, 'witness.test', '1'), /not empty/)
  rmSync(join(data, 'identity.json'))
  await assert.rejects(initWitness(data, 'witness.test', '1'), /not empty/)
  assert.equal(existsSync(join(data, 'identity.json')), false)
})

test('keys that others may read are not used', async (t) => {
  const { world, authority } = await start(t)
  const { folder, config } = await prepareWitness(world, authority.url)
  chmodSync(join(config.data, 'identity.json'), 0o644)
  await assert.rejects(startWitness(config, createLog('witness')), /can be read by others/)
  rmSync(folder, { recursive: true })
})

test('T137: one witness per folder', async (t) => {
  const { world, authority, folder } = await start(t)
  const other = await prepareWitness(world, authority.url)
  const config = { ...other.config, data: join(folder, 'data') }
  await assert.rejects(startWitness(config, createLog('witness')), /another witness/)
  rmSync(other.folder, { recursive: true })
})

test('T138 T139: killed under load at any moment, it comes back with every receipt that left', async (t) => {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const authority = await startFakeAuthority(world)
  const { folder, config, keys } = await prepareWitness(world, authority.url)
  const configFile = join(folder, 'config.json')
  writeFileSync(configFile, JSON.stringify(config))
  let child: ChildProcess | undefined
  t.after(async () => {
    child?.kill('SIGKILL')
    await authority.stop()
    rmSync(folder, { recursive: true })
  })
  const released = new Map<number, string>()
  let serial = 0
  for (let round = 0; round < 3; round++) {
    child = run(configFile)
    await started(child)
    const client = createWitnessClient(config.append_socket)
    const gone = once(child, 'exit')
    const kill = 3 + 7 * round
    for (let call = 0; call <= kill; call++) {
      // Several calls are under way, so that the kill falls between a commit and the next.
      if (call === kill) child.kill('SIGKILL')
      const entries = Array.from({ length: 40 }, () => worldEntry(world, ++serial))
      const appending = client.append(entries, 1).then(
        (results) => {
          for (const [at, result] of results.entries()) {
            assert.ok('receipt' in result, JSON.stringify(result))
            const receipt = decodeReceipt(result.receipt)
            const entry = entries[at] as Uint8Array
            verifyReceipt(receipt, leafHash(entry), manifestLog(keys, '1'))
            released.set(receipt.start + receipt.offset, Buffer.from(entry).toString('hex'))
          }
        },
        () => {},
      )
      if (call % 4 === 3) await appending
    }
    await gone
    client.close()
  }
  child = run(configFile)
  const ready = await started(child)
  await fsck({ url: ready.url, vkey: ready.vkey })
  const known = {
    source: epochSource(ready.url, 'witness.test/1'),
    origin: 'witness.test/1',
    verifiers: [verifierOf(ready.vkey)],
  }
  assert.ok(released.size > 100)
  for await (const { entries, position, checkpoint } of followLog(known)) {
    for (const { index, bytes } of entries) {
      const expected = released.get(index)
      if (expected !== undefined) assert.equal(Buffer.from(bytes).toString('hex'), expected)
      released.delete(index)
    }
    if (position.size === checkpoint.size) break
  }
  assert.equal(released.size, 0)
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  assert.deepEqual((await gone)[0], 0)
})

function run(configFile: string): ChildProcess {
  return fork(new URL('main.ts', import.meta.url), ['--config', configFile], { stdio: 'ignore' })
}

/** What the process says once it answers. */
async function started(child: ChildProcess): Promise<{ readonly url: string; readonly vkey: string }> {
  const ended = once(child, 'exit').then(() => assert.fail('the witness ended at its start'))
  const [{ ready }] = await Promise.race([once(child, 'message'), ended])
  ended.catch(() => {})
  return ready
}
