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
import { holdCeremony, operatorKeyFiles } from './ceremony.ts'
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

test('what operators approved is not changed by a configuration', async () => {
  const contoso = { id: '44444444-4444-4444-8444-444444444444', name: 'Contoso' }
  await assert.rejects(holdCeremony(layout, planWorld({ charter: { max_ttl: 900 } })), {
    message: /was made with max_ttl 3600 for consumer, not 900: its charter changes by approval/,
  })
  await assert.rejects(
    holdCeremony(layout, planWorld({ realms: { enterprise: { tenants: [contoso], people: [] } } })),
    { message: /was made with tenants .* for enterprise, not \["44444444-/ },
  )
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
