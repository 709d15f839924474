/**
 * Goal: a first start makes a folder whole or not at all, a later one changes nothing in it, and neither overwrites what
 * belongs to another system. Method: the real `init` of each service, in folders that were left as a crash leaves them.
 */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { verifyCharter } from '@countersign/validator/charter'
import { firstCharter, holdCeremony, operatorKeyFiles, prepareSigner } from './ceremony.ts'
import { readJson } from './files.ts'
import { keystoresOf } from './keystores.ts'
import { type Layout, layOut } from './layout.ts'
import { planWorld, realms } from './world.ts'

const ports = {
  consumer: 8400,
  enterprise: 8401,
  authority: 8402,
  witness: 8403,
  gateway: 8404,
  webmail: 8405,
  sentinel: 8406,
}
const folder = mkdtempSync(join(tmpdir(), 'countersign-ceremony-'))
after(() => rmSync(folder, { recursive: true }))

let layout: Layout
before(async () => {
  layout = layOut(join(folder, 'whole'), ports)
  // What a start that was cut short leaves: half of everything, never in use.
  mkdirSync(join(layout.data, 'first-start', 'witness'), { recursive: true })
  writeFileSync(join(layout.data, 'first-start', 'witness', 'identity.json'), '{"rece')
  await holdCeremony(layout, planWorld({}))
})

test('the charter is approved by enough operators, and names each realm with its own signer', () => {
  const anchor = readJson<Parameters<typeof verifyCharter>[1]>(layout.trustAnchor)
  const charter = verifyCharter(readJson(join(layout.data, 'charters', '1.json')), anchor)
  const [consumer, enterprise] = [charter.realms.get('consumer'), charter.realms.get('enterprise')]
  assert.deepEqual(consumer?.issuers, ['http://localhost:8400'])
  assert.deepEqual(enterprise?.issuers, ['http://localhost:8401/{tenantid}/v2.0'])
  assert.notEqual(consumer?.signers[0]?.x, enterprise?.signers[0]?.x)
  assert.equal(charter.operators.length, 3)
  assert.equal(charter.threshold, 2)
  assert.ok(!existsSync(join(layout.data, 'first-start')), 'the draft')
})

test('K9 private keys are closed to others, and each is in one place', () => {
  const files = [
    ...operatorKeyFiles(layout.data).map(({ key_file }) => key_file),
    ...realms.flatMap((realm) => keystoresOf(layout.data, realm).map(({ keystore }) => keystore)),
    join(layout.data, 'authority', 'manifest-key.json'),
    join(layout.data, 'sentinel', 'block-key.json'),
    join(layout.data, 'witness', 'identity.json'),
    layout.enrolmentToken,
  ]
  for (const file of files) assert.equal(statSync(file).mode & 0o777, 0o600, file)
})

test('a second start finds everything as it is', async () => {
  const before = readFileSync(layout.trustAnchor, 'utf8')
  await holdCeremony(layout, planWorld({}))
  assert.equal(readFileSync(layout.trustAnchor, 'utf8'), before)
})

test('a realm that comes in later gets a signer of its own, and the same one however often it is asked for', async () => {
  const jwk = await prepareSigner(layout.data, join(layout.data, 'cache'), 'partner')
  assert.deepEqual(await prepareSigner(layout.data, join(layout.data, 'cache'), 'partner'), jwk)
  const [kept] = keystoresOf(layout.data, 'partner')
  for (const file of [kept?.keystore, kept?.passphrase_file])
    assert.equal(statSync(file ?? '').mode & 0o777, 0o600)
  assert.deepEqual(Object.keys(firstCharter(layout.data)['realms'] as object), ['consumer', 'enterprise'])
})

test('keys of another system are not overwritten', async () => {
  const other = layOut(join(folder, 'other'), ports)
  mkdirSync(join(other.data, 'witness'), { recursive: true })
  writeFileSync(join(other.data, 'witness', 'identity.json'), 'precious')
  await assert.rejects(holdCeremony(other, planWorld({})), {
    message: `${other.data} holds witness but no trust-anchor.json: a part of another system, which is not overwritten`,
  })
  assert.equal(readFileSync(join(other.data, 'witness', 'identity.json'), 'utf8'), 'precious')
  assert.ok(!existsSync(other.trustAnchor))
})
