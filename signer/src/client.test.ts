/**
 * Goal: the signer as it really runs keeps its promises: confined, silent about secrets, and never a serial twice, even
 * when it is killed in the middle. Method: real processes over real folders; what they print is kept and searched.
 */

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { decode, encode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import { createTestWorld, issuers, mailAudience, tenants } from '@countersign/validator/testing'
import { type SignerProcess, startSigner } from './client.ts'
import { allowanceOf, confine } from './confine.ts'
import { createSoftToken, missingSoftHsm } from './softhsm.ts'
import { draftKey, scopeRequest } from './testing.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'countersign-signer-process-'))
after(() => rmSync(folder, { recursive: true }))
const passphrase = 'the passphrase of this test alone'
const files = {
  realm: 'consumer',
  keystore: join(folder, 'keystore.age'),
  folder,
  passphraseFile: join(folder, 'passphrase'),
  trustAnchor: join(folder, 'anchor.json'),
}
writeFileSync(files.passphraseFile, passphrase, { mode: 0o600 })
const where = ['--keystore', files.keystore, '--realm', 'consumer', '--passphrase-file', files.passphraseFile]
const { stdout } = await promisify(execFile)(process.execPath, [main, 'init', ...where])
const world = createTestWorld({
  now: Math.floor(Date.now() / 1000),
  identities: { consumer: JSON.parse(stdout).jwk },
})
writeFileSync(files.trustAnchor, JSON.stringify(world.trustAnchor))
const first = await startSigner(files)
const made = await first.generate(scopeRequest)
const drafted = draftKey(world, made)
world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
await first.stop()

const documents = { charters: world.charterDocuments, manifest: world.manifestDocument }
const request = (): { type: 'access'; claims: string } => ({
  type: 'access',
  claims: JSON.stringify({
    iss: issuers.consumer,
    sub: 'user-1',
    aud: mailAudience,
    client_id: 'client-1',
    iat: world.now,
    exp: world.now + 300,
    tid: tenants.home,
  }),
})

async function start(): Promise<SignerProcess> {
  const signer = await startSigner(files)
  await signer.trust(documents)
  return signer
}

async function serials(signer: SignerProcess, count: number): Promise<readonly number[]> {
  const prepared = await signer.prepare(Array.from({ length: count }, request))
  return prepared.map((each) => ('entry' in each ? decodeEntry(decode(each.entry)).serial : Number.NaN))
}

test('what the signer was started with and has no use for is refused by name, and nothing is done', async () => {
  for (const [args, told] of [
    [['destroy', drafted.kid, ...where], /destroy takes options alone/],
    [['show', '--token=a-secret', ...where], /Unknown option '--token'(?!.*a-secret)/],
    [['show', ...where.slice(0, 4), '--passphrase-fd', 'three'], /--passphrase-fd takes a number/],
    [
      [...where, '--trust-anchor', files.trustAnchor, '--signatures-per-second', 'many'],
      /--signatures-per-second takes a number/,
    ],
  ] as const) {
    const run = promisify(execFile)(process.execPath, [main, ...args])
    await assert.rejects(run, (error: { readonly stderr: string }) => told.test(error.stderr))
  }
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'show', ...where])
  assert.deepEqual(JSON.parse(stdout).keys, [drafted.kid])
})

test('T144 K8: killed again and again in the middle of its work, a signer never gives a serial twice', async () => {
  const seen = new Set<number>()
  for (let life = 0; life < 3; life++) {
    const signer = await start()
    for (const serial of await serials(signer, 30)) {
      assert.equal(seen.has(serial), false, `serial ${serial} twice`)
      seen.add(serial)
    }
    const cutOff = assert.rejects(serials(signer, 1000), { code: 'disconnected', retryable: true })
    signer.kill()
    await cutOff
    await signer.exited
  }
  assert.equal(seen.size, 90)
})

test('stopped in order, a signer goes on where it was, without a gap', async () => {
  const signer = await start()
  const [before] = await serials(signer, 1)
  await signer.stop()
  const again = await start()
  assert.deepEqual(await serials(again, 2), [(before as number) + 1, (before as number) + 2])
  await again.stop()
})

test('T222 K9 T223: a running signer has no core dumps and no secret in its arguments or environment', async () => {
  const signer = await start()
  const read = (name: string): string => readFileSync(`/proc/${signer.pid}/${name}`, 'utf8')
  assert.match(read('limits'), /Max core file size +0 +0/)
  assert.doesNotMatch(`${read('cmdline')}${read('environ')}`, new RegExp(passphrase))
  for (const path of [files.keystore, join(folder, 'trust-seen', '0')])
    assert.equal(statSync(path).mode & 0o777, 0o600)
  await signer.stop()
})

test('an interrupt from the terminal is left to the broker', async () => {
  const signer = await start()
  process.kill(signer.pid, 'SIGINT')
  assert.equal((await serials(signer, 1)).length, 1)
  await signer.stop()
})

test('a signer whose broker goes away ends in order', async () => {
  const signer = await start()
  const [before] = await serials(signer, 1)
  await signer.stop()
  await signer.exited
  const again = await start()
  assert.deepEqual(await serials(again, 1), [(before as number) + 1])
  process.kill(again.pid, 'SIGTERM')
  await again.exited
  const last = await start()
  assert.deepEqual(await serials(last, 1), [(before as number) + 2])
  await last.stop()
})

/** What a signer says when it cannot start, and with what exit code. */
async function failure(change: Partial<typeof files>): Promise<{ code: number; said: string }> {
  const { keystore, passphraseFile, trustAnchor } = { ...files, ...change }
  const { file, args, env } = confine(
    main,
    [
      '--realm',
      'consumer',
      '--keystore',
      keystore,
      '--passphrase-file',
      passphraseFile,
      '--trust-anchor',
      trustAnchor,
    ],
    allowanceOf({ keystore, folder, passphraseFile, trustAnchor }),
  )
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk
    })
  const [code] = (await once(child, 'close')) as [number]
  return { code, said }
}

test('K12 T237: a signer that cannot start says why in one line, without a secret, and ends', async () => {
  const wrong = join(folder, 'wrong')
  writeFileSync(wrong, 'another passphrase of this test', { mode: 0o600 })
  const open = join(folder, 'open')
  writeFileSync(open, passphrase, { mode: 0o600 })
  chmodSync(open, 0o644)
  const notAnchor = join(folder, 'not-an-anchor.json')
  writeFileSync(notAnchor, '{"secret":"value"}')
  for (const [change, message] of [
    [{ keystore: join(folder, 'none.age') }, /none\.age cannot be read/],
    [{ passphraseFile: wrong }, /the passphrase does not open/],
    [{ passphraseFile: open }, /its mode must be 0600/],
    [{ passphraseFile: join(folder, 'no-such') }, /cannot be opened/],
    [{ trustAnchor: notAnchor }, /could not start/],
  ] as const) {
    const { code, said } = await failure(change)
    assert.equal(code, 1)
    assert.match(said, message)
    assert.equal(said.trimEnd().split('\n').length, 1)
    assert.doesNotMatch(said, /of this test|secret|"d":/)
  }
})

test('K1 K9 T223: a signer on a token runs confined, with nothing but the place of the module’s configuration added', {
  skip: missingSoftHsm() ?? false,
}, async () => {
  const own = join(folder, 'on-token')
  mkdirSync(own)
  const token = await createSoftToken(own)
  const where = { keystore: token.uri, folder: join(own, 'signer'), passphraseFile: token.pinFile }
  const args = [
    '--keystore',
    where.keystore,
    '--folder',
    where.folder,
    '--passphrase-file',
    where.passphraseFile,
  ]
  const run = async (
    name: string,
  ): Promise<{ jwk: PublicJwk; protection: string; keys: string[]; left: number }> => {
    const command = [main, name, '--realm', 'consumer', ...args]
    const { stdout } = await promisify(execFile)(process.execPath, command, { env: { ...token.environment } })
    return JSON.parse(stdout)
  }
  const { jwk } = await run('init')
  const others = createTestWorld({ now: world.now, identities: { consumer: jwk } })
  const trustAnchor = join(own, 'anchor.json')
  writeFileSync(trustAnchor, JSON.stringify(others.trustAnchor))
  const signer = await startSigner({
    realm: 'consumer',
    ...where,
    trustAnchor,
    environment: token.environment,
  })
  const { kid } = importPublicJwk(jwk)
  assert.deepEqual(signer.description, { identity: kid, protection: 'hardware', keys: [] })
  const key = await signer.generate(scopeRequest)
  others.publish(({ keys }) => ({ keys: [...keys, draftKey(others, key)] }))
  await signer.trust({ charters: others.charterDocuments, manifest: others.manifestDocument })
  const [prepared] = await signer.prepare([request()])
  const { id, entry } = prepared as { id: number; entry: string }
  const bytes = decode(entry)
  const [receipt] = others.witness.append([bytes], decodeEntry(bytes).serial)
  const [signed] = await signer.sign([{ id, receipt: encode(receipt as Uint8Array) }])
  assert.ok(signed && 'token' in signed)
  const environment = readFileSync(`/proc/${signer.pid}/environ`, 'utf8')
  assert.doesNotMatch(environment, new RegExp(readFileSync(token.pinFile, 'utf8')))
  const names = environment.split('\0').map((text) => text.split('=')[0])
  assert.deepEqual(names.filter((name) => name !== '' && name !== 'PWD').sort(), [
    'SOFTHSM2_CONF',
    'UV_THREADPOOL_SIZE',
  ])
  await signer.stop()
  const { keys, protection } = await run('show')
  assert.deepEqual([keys, protection], [[importPublicJwk(key.jwk).kid], 'hardware'])
  assert.deepEqual(await run('destroy'), { left: 0 })
  await assert.rejects(run('show'), /cannot be read/)
})

test('a signer that does not come up is an error to whoever starts it, as soon as its process has ended', async () => {
  await assert.rejects(startSigner({ ...files, realm: 'enterprise' }), ({ message, cause }: Error) => {
    assert.equal(message, 'the signer of enterprise did not start')
    // By the end of its socket; a busy machine's signer is waited for much longer.
    assert.equal((cause as { readonly code?: string }).code, 'disconnected')
    return true
  })
})

test('T223: the passphrase can come by a descriptor', async () => {
  const child = spawn(
    '/bin/sh',
    [
      '-c',
      'exec "$0" "$@" 5<"$PASS"',
      process.execPath,
      main,
      'init',
      '--keystore',
      join(folder, 'sub', 'k.age'),
      '--realm',
      'consumer',
      '--passphrase-fd',
      '5',
    ],
    {
      env: { PASS: files.passphraseFile },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const [text] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  assert.equal(JSON.parse(text).jwk.kty, 'OKP')
})
