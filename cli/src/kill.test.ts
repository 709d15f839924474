/**
 * Goal: whoever kills a key is never left in the belief that it is done when it is not. Method: `countersign` as a process
 * beside an authority that the test plays: without its witness, with a gateway that does not enforce, without a next key.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { readCompact } from '@countersign/validator/jws'
import { countersign, type Finished } from './testing.ts'

const kid = 'k'.repeat(43)

interface Script {
  /** What commands are answered in turn; the last again and again. */
  readonly commands: readonly (readonly [status: number, body: object])[]
  readonly outcome?: string
  /** What the sentinel has seen of a foreign key; left out, it does not answer. */
  readonly seen?: () => readonly object[]
}

const done = [200, { version: 7, changed: true }] as const
const away = [
  503,
  { error: 'witness_unavailable', error_description: 'the witness did not log the manifest' },
] as const

async function kill(
  t: TestContext,
  script: Script,
  args: readonly string[] = [],
  op: readonly string[] = ['key', 'block', '--kid', kid],
) {
  const given: { op: unknown; iss: unknown; kid: unknown; jti: unknown }[] = []
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '', 'http://authority').pathname
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (path === '/commands') {
      const { op, iss, kid: named, jti } = readCompact(await text(request)).claims
      const [status, body] = script.commands[given.length] ?? script.commands.at(-1) ?? done
      given.push({ op, iss, kid: named, jti })
      return answer(status, body)
    }
    if (path === '/foreign/usage')
      return script.seen === undefined ? answer(500, {}) : answer(200, { seen: script.seen() })
    if (path === '/acks') return answer(200, { version: 7, validators: [], silent: [] })
    const result = {
      name: 'gateway',
      outcome: script.outcome ?? 'refused',
      reason: 'key_blocked',
      milliseconds: 9,
    }
    return answer(200, {
      proofs: [{ version: 7, kid, at: 1, state: 'done', results: [{ ...result, is_real: true }] }],
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const folder = mkdtempSync(join(tmpdir(), 'countersign-kill-'))
  t.after(() => {
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true })
  })
  const keyFile = join(folder, 'operator.json')
  writeFileSync(
    keyFile,
    JSON.stringify(generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })),
    { mode: 0o600 },
  )
  const ready = join(folder, 'ready.json')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const authority = { url, operators: [{ id: 'olga', key_file: keyFile }] }
  writeFileSync(ready, JSON.stringify({ authority, sentinel: { url } }))
  const command = [...op, '--ready', ready, '--reason', 'stolen', ...args]
  const finished: Finished = await countersign(command)
  return { ...finished, given }
}

test('T118 R1: with the witness away the operator reads that nothing is killed yet, and the kill is given until it is', async (t) => {
  const { code, stdout, stderr, given } = await kill(t, { commands: [away, away, done] })
  assert.equal(code, 0)
  assert.match(stderr, /^NOT KILLED YET: .*witness.*witness_unavailable.*trying again/)
  assert.equal(stderr.match(/NOT KILLED YET/g)?.length, 1)
  assert.match(stdout, /manifest 7, acknowledged by all/)
  assert.equal(given.length, 3)
  assert.equal(new Set(given.map(({ jti }) => jti)).size, 3, 'each signed anew, so that none is too old')
})

test('what will not become true by being asked again is not asked again', async (t) => {
  const unknown = [404, { error: 'unknown_key', error_description: 'no manifest names this key' }] as const
  const { code, stderr, given } = await kill(t, { commands: [unknown] })
  assert.deepEqual([code, given.length], [2, 1])
  assert.match(stderr, /no manifest names this key/)
})

test('T120 R2: a gateway that takes a canary, or proves nothing, is shown in capitals and ends with 1', async (t) => {
  for (const outcome of ['accepted', 'unproven']) {
    const { code, stdout } = await kill(t, { commands: [done], outcome })
    assert.equal(code, 1)
    assert.match(stdout, new RegExp(`gateway +${outcome.toUpperCase()}`))
  }
  for (const outcome of ['refused', 'unreachable'])
    assert.equal((await kill(t, { commands: [done], outcome })).code, 0, outcome)
})

test('T118: --replace rotates in the same breath, and a kill without a successor is a kill all the same', async (t) => {
  const replaced = await kill(t, { commands: [done] }, ['--replace'])
  assert.deepEqual([replaced.code, replaced.given.map(({ op }) => op)], [0, ['block', 'rotate']])
  assert.match(replaced.stdout, /replaced, manifest 7/)
  const none = [
    409,
    { error: 'no_next_key', error_description: 'no published key stands ready to take over' },
  ] as const
  const alone = await kill(t, { commands: [done, none] }, ['--replace'])
  assert.equal(alone.code, 1)
  assert.match(alone.stderr, /killed, and not replaced: no published key/)
})

test('--json holds the same for scripts', async (t) => {
  const { code, stdout } = await kill(t, { commands: [done] }, ['--json'])
  const { op, version, silent, canaries } = JSON.parse(stdout)
  assert.deepEqual([code, op, version, silent, canaries[0].outcome], [0, 'block', 7, [], 'refused'])
})

test('R1: a key that is not ours is killed by its issuer and its name, and nothing is said of what takes its place', async (t) => {
  const iss = 'https://login.microsoftonline.com/{tenantid}/v2.0'
  const { code, stdout, given } = await kill(t, { commands: [done] }, ['--iss', iss])
  assert.equal(code, 0)
  assert.deepEqual(
    given.map((command) => [command.op, command.iss, command.kid]),
    [['block', iss, kid]],
  )
  assert.match(stdout, /manifest 7, acknowledged by all/)
  assert.doesNotMatch(stdout, /rotate/)
  assert.match(stdout, /no canary: nobody here can sign as https:.*\n.*the sentinel does not answer/)
  for (const flag of ['--replace', '--dry-run']) {
    const refused = await kill(t, { commands: [done] }, ['--iss', iss, flag])
    assert.equal(refused.code, 2, flag)
    assert.deepEqual(refused.given, [])
  }
})

test('R2: of a key that is not ours the first real token that is refused stands for the canary', async (t) => {
  const iss = 'https://id.example'
  const row = { issuer: iss, validator: 'orders', tenant: null, tokens: 2 }
  const seen = (verdict: string, at: number) => ({ ...row, verdict, first_seen_ms: at, last_seen_ms: at })
  const late = [seen('accepted', Date.now() + 60_000), seen('key_blocked', Date.now() - 60_000)]
  const none = await kill(t, { commands: [done], seen: () => late }, ['--iss', iss])
  assert.equal(none.code, 0)
  assert.match(none.stdout, /no canary: .*\nnone has been seen yet/)
  assert.equal(none.stderr, '')
  let asked = 0
  const script = {
    commands: [done],
    seen: () => (++asked < 2 ? [] : [seen('key_blocked', Date.now())]),
  }
  const shown = await kill(t, script, ['--iss', iss])
  assert.match(shown.stdout, /a real token has been refused for it\n.*\norders +key_blocked +2 +\d+ ms/)
  const { stdout } = await kill(t, script, ['--iss', iss, '--json'])
  const { canary, refused } = JSON.parse(stdout)
  assert.deepEqual([canary, refused[0].validator, refused[0].reason], [null, 'orders', 'key_blocked'])
})

test('R2: whoever slips in the name of an issuer that is not ours reads that nobody knows it, although all have acknowledged', async (t) => {
  const right = { issuer: 'https://acme.auth0.com/', validator: 'orders', tenant: null, tokens: 2 }
  const seen = () => [{ ...right, verdict: 'accepted', first_seen_ms: 1, last_seen_ms: 1 }]
  const iss = 'https://acme.auth0.com'
  const slipped = await kill(t, { commands: [done], seen }, ['--iss', iss])
  assert.equal(
    slipped.stderr,
    `NOBODY SAW a token of ${iss} by this key in the last 24 h, but of https://acme.auth0.com/: a name that no validator knows kills nothing; read it off a token\n`,
  )
  const none = await kill(t, { commands: [done], seen: () => [] }, ['--iss', iss, '--json'])
  assert.match(JSON.parse(none.stdout).doubt, /^NOBODY SAW a token of .* in the last 24 h: a name/)

  const ofEntra = () => [{ ...seen()[0], issuer: iss, tenant: 'lower-case' }]
  const cut = (tenant: string) =>
    kill(t, { commands: [done], seen: ofEntra }, ['--iss', iss, '--tenant', tenant], ['cutoff'])
  assert.match(
    (await cut('LOWER-CASE')).stderr,
    /^NOBODY SAW a token of .* of tenant LOWER-CASE in the last 24 h: a/,
  )
  assert.equal((await cut('lower-case')).stderr, '')
})
