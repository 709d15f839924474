/**
 * Goal: every command ends with the exit code that scripts are promised, and what was asked wrongly is answered with one
 * sentence that helps. Method: `countersign` as a process, beside an authority and a log that are made for the test.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type FakeAuthority, startFakeAuthority } from '@countersign/validator/fake-authority'
import { createTestWorld, mailAudience } from '@countersign/validator/testing'
import { countersign } from './testing.ts'
import { usage } from './usage.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-main-'))
const anchor = join(folder, 'anchor.json')
const foreignAnchor = join(folder, 'foreign-anchor.json')
const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const token = world.issue()
const nowhere = 'http://127.0.0.1:1'

let authority: FakeAuthority
before(async () => {
  writeFileSync(anchor, JSON.stringify(world.trustAnchor))
  writeFileSync(foreignAnchor, JSON.stringify(createTestWorld().trustAnchor))
  authority = await startFakeAuthority(world)
})
after(async () => {
  await authority.stop()
  rmSync(folder, { recursive: true })
})

const verify = (...args: string[]): string[] => [
  ...['verify', '--manifest', `${authority.url}/manifest`, '--trust-anchor', anchor],
  ...['--audience', mailAudience, ...args],
]

test('verify: 0 and the claims for a good token, from the command line or standard input', async () => {
  for (const { code, stdout, stderr } of [
    await countersign(verify(token)),
    await countersign(verify('-'), { input: `${token}\n` }),
  ]) {
    const { accepted, claims, kid, receipt } = JSON.parse(stdout)
    assert.deepEqual([code, accepted, claims.sub, kid], [0, true, 'user-1', world.keys.consumer.kid])
    assert.deepEqual([typeof receipt.index, stderr], ['number', ''])
  }
})

test('verify: 1 and one reason for a token that is refused', async () => {
  const bad = {
    malformed: 'no token',
    receipt_missing: world.issue({ receipt: null }),
    expired: world.issue({ claims: { iat: world.now - 900, exp: world.now - 600 } }),
    audience_mismatch: world.issue({ claims: { aud: 'https://other.example' } }),
  }
  for (const [reason, token] of Object.entries(bad)) {
    const { code, stdout } = await countersign(verify('-'), { input: token })
    const verdict = JSON.parse(stdout)
    assert.deepEqual([code, verdict.accepted, verdict.reason], [1, false, reason])
    assert.equal(verdict.claims, undefined, 'what a refused token says is not repeated')
  }
})

test('T066 verify: 1 and to what it is bound, for a token that would be good with proof', async () => {
  const jkt = 'A'.repeat(43)
  const certificate = 'B'.repeat(43)
  for (const [cnf, message] of [
    [{ jkt }, `bound to the key ${jkt}; proof not shown`],
    [{ 'x5t#S256': certificate }, `bound to the certificate ${certificate}; proof not shown`],
    [
      { jkt, 'x5t#S256': certificate },
      `bound to the key ${jkt} and the certificate ${certificate}; proof not shown`,
    ],
  ] as const) {
    const { code, stdout } = await countersign(verify('-'), { input: world.issue({ claims: { cnf } }) })
    const { unproven, ...verdict } = JSON.parse(stdout)
    const { kid } = world.keys.consumer
    assert.deepEqual([code, verdict], [1, { accepted: false, reason: 'sender_mismatch', message, kid }])
    assert.deepEqual([unproven.bound_to, unproven.claims.sub], [cnf, 'user-1'])
    assert.equal(typeof unproven.receipt.index, 'number')
  }
  // What has another fault, or is bound to what nobody can check, is refused as ever.
  for (const [reason, claims] of [
    ['expired', { cnf: { jkt }, iat: world.now - 900, exp: world.now - 600 }],
    ['sender_mismatch', { cnf: { kid: 'a' } }],
    ['sender_mismatch', { cnf: {} }],
  ] as const) {
    const { code, stdout } = await countersign(verify('-'), { input: world.issue({ claims }) })
    const verdict = JSON.parse(stdout)
    assert.deepEqual([code, verdict.accepted, verdict.reason], [1, false, reason])
    assert.ok(!('unproven' in verdict) && !('claims' in verdict))
  }
})

test('verify: 2, at once and without a verdict, where nobody can be asked or nobody is believed', async () => {
  const at = (manifest: string, anchorFile: string): string[] => [
    'verify',
    '--manifest',
    manifest,
    '--trust-anchor',
    anchorFile,
    '--audience',
    mailAudience,
    token,
  ]
  for (const [args, complaint] of [
    [at(`${nowhere}/manifest`, anchor), /127\.0\.0\.1:1 does not answer/],
    [at(`${authority.url}/manifest`, foreignAnchor), /no manifest to decide by/],
  ] as const) {
    const { code, stdout, stderr } = await countersign(args)
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, complaint)
    assert.ok(!stderr.includes(token))
  }
})

test('verify: without an anchor of its own it warns that the authority vouches for itself', async () => {
  authority.answer('/trust-anchor', (_request, response) => response.end(JSON.stringify(world.trustAnchor)))
  const args = ['verify', '--manifest', `${authority.url}/manifest`, '--audience', mailAudience, token]
  const { code, stderr } = await countersign(args)
  assert.equal(code, 0)
  assert.match(stderr, /the trust anchor comes from the authority itself; pin it/)
})

test('help: what there is, in 100 columns; every command of it exists', async () => {
  for (const args of [[], ['help'], ['--help'], ['-h'], ['verify', '--help'], ['key', 'block', '-h']]) {
    assert.deepEqual(await countersign(args), { code: 0, stdout: usage, stderr: '' })
  }
  for (const line of usage.split('\n')) assert.ok(line.length <= 100, line)
  for (const name of ['up', 'verify', 'key', 'cutoff', 'charter', 'approve', 'acts', 'break-glass', 'log'])
    assert.match(usage, new RegExp(`^  ${name} `, 'm'))
})

test('who reads no further than the first lines stops nothing: the exit code is what it would be', async () => {
  for (const [args, expected] of [
    [['help'], 0],
    [verify('no token'), 1],
    [['toString'], 2],
  ] as const) {
    const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url)), ...args])
    child.stdout.destroy()
    const said = expected === 2 ? child.stderr.destroy() && '' : await text(child.stderr)
    assert.deepEqual([(await once(child, 'exit'))[0], said], [expected, ''])
  }
})

/** Each wrong in one way, with what must be said. All end with 2. */
const wrong: readonly (readonly [args: readonly string[], complaint: RegExp])[] = [
  [['toString'], /there is no command toString; countersign help lists them/],
  [['up', '--prot', '0'], /Unknown option '--prot'/],
  [['up', 'now'], /Unexpected argument 'now'/],
  [['up', '--data'], /argument missing/],
  [['verify', '--audience', 'x'], /one token, or - to read it from standard input/],
  [['verify', '--audience', 'x', 'a', 'b'], /one token/],
  [['verify', 'a'], /--audience AUD: a token is meant for somebody/],
  [
    ['verify', '--audience', 'x', 'a'],
    /which system\? None runs in \.countersign\/; name it by --ready FILE/,
  ],
  [['verify', '--audience', 'x', '--ready', 'r', '--manifest', 'm', 'a'], /one of them/],
  [['verify', '--audience', 'x', '--ready', 'none.json', 'a'], /there is no file none\.json/],
  [['verify', '--audience', 'x', '--ready', anchor, 'a'], /anchor\.json is no ready file/],
  [['verify', '--audience', 'x', '--manifest', 'manifest', 'a'], /--manifest takes a URL, not manifest/],
  [['key'], /key takes list, rotate, block, revoke, retire, lift, activate, prune or migrate, not nothing/],
  [['key', 'unblock'], /not unblock/],
  [['key', 'block', '--reason', 'x'], /block needs --kid KID/],
  [['key', 'block', '--kid', 'x'], /--reason TEXT: the record says why/],
  [['key', 'block', '--kid', 'x', '--reason', ''], /--reason TEXT: the record says why/],
  [['key', 'block', '--kid', 'x', '--realm', 'y', '--reason', 'x'], /block takes no --realm/],
  [['key', 'block', '--kid', 'x', '--tenant', 'y', '--dry-run'], /block takes no --tenant/],
  [
    ['key', 'block', '--kid', 'x', '--iss', 'y', '--sub', 'z', '--reason', 'x'],
    /block with --iss takes no --sub/,
  ],
  [['key', 'revoke', '--kid', 'x', '--iss', 'y', '--reason', 'x'], /revoke takes no --iss/],
  [['key', 'retire', '--kid', 'x', '--replace', '--reason', 'x'], /retire has no --replace/],
  [['key', 'rotate', '--realm', 'x', '--json'], /rotate has no --json/],
  [
    ['key', 'block', '--kid', 'x', '--dry-run', '--hours', '9999'],
    /--hours takes a number up to 4320, not 9999/,
  ],
  [['cutoff', '--realm', 'x', '--replace', '--reason', 'x'], /cutoff has no --replace/],
  [['key', 'rotate'], /rotate needs --realm REALM or --kid KID/],
  [['cutoff', '--sub', 'x', '--reason', 'x'], /cutoff needs --realm REALM or --kid KID or --tenant TENANT/],
  [['key', 'lift', '--reason', 'x'], /lift needs --kid KID/],
  [['key', 'lift', '--kid', 'x', '--kid', 'y', '--reason', 'x'], /lift takes one --kid KID/],
  [['key', 'prune', '--kid', 'x'], /--reason TEXT: the record says why/],
  [['validator'], /validator takes enrol or remove, not nothing/],
  [['validator', 'remove', '--reason', 'x'], /remove needs --name NAME/],
  [['break-glass', '--minutes', '5', '--reason', 'x'], /break-glass needs --realm REALM/],
  [['break-glass', '--realm', 'consumer', '--minutes', '61', '--reason', 'x'], /--minutes N, 1 to 60/],
  [['charter'], /charter takes show, propose, approve or proposals, not nothing/],
  [['charter', 'propose'], /propose needs --file FILE/],
  [['charter', 'propose', '--file', 'none.json'], /none\.json cannot be read \(ENOENT\)/],
  [['approve'], /one proposal, by its id/],
  [['approve', 'a', 'b'], /one proposal/],
  [['acts', '--ready', 'none.json', '--before', 'x'], /--before takes the number of a manifest, not x/],
  [['log'], /log takes fsck, not nothing/],
  [['log', 'fsck', '--url', 'localhost'], /--url takes a URL, not localhost/],
  [['log', 'fsck', '--url', 'http://a.example', '--folder', 'b'], /one of them/],
  [['log', 'fsck', '--vkey', 'key', '--folder', folder], /there is no log/],
  [['log', 'fsck', '--url', nowhere], /127\.0\.0\.1:1 does not answer/],
]

test('what somebody wrote is not lost to a word mistyped', async () => {
  const config = join(folder, 'countersign.json')
  writeFileSync(config, '{"gateway":{}}')
  const up = await countersign(['up', '--data', join(folder, 'data'), '--ready-file', config])
  assert.deepEqual([up.code, readFileSync(config, 'utf8')], [2, '{"gateway":{}}'])
  assert.match(up.stderr, /holds something else/)

  const ready = join(folder, 'ready.json')
  writeFileSync(ready, JSON.stringify({ authority: { url: nowhere, trust_anchor: anchor }, sentinel: {} }))
  const theirs = join(folder, 'trust-anchor.json')
  copyFileSync(foreignAnchor, theirs)
  const args = ['validator', 'enrol', '--name', 'shop', '--folder', folder, '--ready', ready]
  const { code, stderr } = await countersign(args)
  assert.equal(code, 2)
  assert.match(stderr, /is that of another system/)
  assert.equal(readFileSync(theirs, 'utf8'), readFileSync(foreignAnchor, 'utf8'))
})

test('T118: a key whose name begins with a dash is killed like any other', async () => {
  const kid = `-${'a'.repeat(42)}`
  const { code, stderr } = await countersign([
    'key',
    'block',
    '--kid',
    kid,
    '--reason',
    'stolen',
    '--ready',
    '/none',
  ])
  assert.equal(code, 2)
  assert.match(stderr, /none/)
  assert.doesNotMatch(stderr, /ambiguous/)
})

test('what is asked wrongly is answered with 2 and one sentence', async () => {
  for (const [args, complaint] of wrong) {
    const { code, stdout, stderr } = await countersign(args, { cwd: folder })
    assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    assert.match(stderr, complaint)
    assert.doesNotMatch(stderr, /^\s+at /m, 'a stack')
  }
})
