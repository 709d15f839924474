/**
 * Goal: before a key is killed somebody learns who would notice, from people who may say so, and no person is named.
 * Method: a whole sentinel with real validators and an issuer's reports, over a log that the world's witness filled.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type ClientUsage, signUsage } from '@countersign/validator/key-usage'
import { createTestKey, type TestKey, tenants } from '@countersign/validator/testing'
import { fetchUsage, type KeyUsage } from './client.ts'
import { startTestSentinel, type TestSentinel, type TestValidator } from './testing.ts'

let sentinel: TestSentinel
/** All before the first report: the authority is asked who is enrolled once a second at most. */
let enrolled: Record<'gateway' | 'webmail' | 'consumer' | 'enterprise', TestValidator>
before(async () => {
  sentinel = await startTestSentinel({
    policy: { auto_block: [], silent_seconds: 60, merge_delay_seconds: 0.01, retention_days: 1 },
  })
  const [gateway, webmail, consumer, enterprise] = [
    await sentinel.enrol('gateway'),
    await sentinel.enrol('webmail'),
    await sentinel.enrol('consumer'),
    await sentinel.enrol('enterprise'),
  ]
  enrolled = { gateway, webmail, consumer, enterprise }
})
after(() => sentinel.stop())

test('R6 F13: the dry run knows validators, tenants, clients and live tokens of a key, and nothing of another', async () => {
  const { world } = sentinel
  const { kid } = world.keys.enterprise
  const { gateway, webmail, enterprise: issuer } = enrolled
  const ofEnterprise = (tid: string) => world.issue({ realm: 'enterprise', claims: { tid } })
  for (const token of [
    ofEnterprise(tenants.fabrikam),
    ofEnterprise(tenants.fabrikam),
    ofEnterprise(tenants.northwind),
  ])
    gateway.validate(token)
  webmail.validate(ofEnterprise(tenants.fabrikam))
  gateway.validate(world.issue())
  // Expired: refused with a valid signature, and no longer alive.
  const expired = { iat: world.now - 600, exp: world.now - 300 }
  assert.equal(gateway.decide(world.issue({ realm: 'enterprise', claims: expired })).accepted, false)
  // Noise under the name of the key, and claims that nobody signed.
  const stranger = createTestKey('ES256')
  const noise = { realm: 'enterprise', key: stranger, header: { kid }, receipt: null } as const
  assert.equal(webmail.decide(world.issue({ ...noise, claims: { tid: 'planted' } })).accepted, false)
  await gateway.reporter.flush()
  await webmail.reporter.flush()

  const row = { kid, tenant: tenants.fabrikam, lastIssuedAt: world.now }
  const report = [
    { ...row, client: 'web', tokens: 2 },
    { ...row, client: 'service', tokens: 1 },
  ]
  const id = 'a'.repeat(22)
  assert.equal((await post(id, report, issuer.key)).status, 204)
  assert.equal((await post(id, report, issuer.key)).status, 204, 'again, and counted once')
  assert.equal((await post('b'.repeat(22), [{ ...row, client: 'web', tokens: 3 }], issuer.key)).status, 204)

  const usage = await until(({ live_tokens }) => live_tokens === 4)
  const seen = ({ name, accepted, refused }: KeyUsage['validators'][number]) => [name, accepted, refused]
  assert.deepEqual(usage.validators.map(seen), [
    ['gateway', 3, 1],
    ['webmail', 1, 0],
  ])
  assert.deepEqual(
    usage.tenants.map(({ tenant, accepted }) => [tenant, accepted]),
    [
      [tenants.fabrikam, 3],
      [tenants.northwind, 1],
    ],
  )
  assert.deepEqual(
    usage.clients.map(({ client, tokens }) => [client, tokens]),
    [
      ['service', 1],
      ['web', 5],
    ],
  )
  assert.equal(usage.live_until, world.now + 300)

  async function until(fits: (usage: KeyUsage) => boolean): Promise<KeyUsage> {
    for (;;) {
      const usage = await fetchUsage(sentinel.url, kid, 24)
      if (fits(usage)) return usage
    }
  }
})

test('T267: who is not enrolled, another key, an old or a malformed report counts for nothing', async () => {
  const { world } = sentinel
  const { consumer: issuer } = enrolled
  const client = {
    kid: world.keys.consumer.kid,
    client: 'web',
    tenant: tenants.home,
    tokens: 1,
    lastIssuedAt: world.now,
  }
  const id = 'c'.repeat(22)
  assert.equal((await post(id, [client], createTestKey('EdDSA'), 'consumer')).status, 401)
  assert.equal((await post(id, [client], issuer.key, 'nobody')).status, 401)
  assert.equal((await post(id, [client], issuer.key, 'consumer', world.now - 301)).status, 401)
  assert.equal((await post(id, [{ ...client, tokens: 0 }], issuer.key, 'consumer')).status, 400)
  assert.equal((await post(id, [{ ...client, kid: 'short' }], issuer.key, 'consumer')).status, 400)
  assert.deepEqual((await fetchUsage(sentinel.url, client.kid, 24)).clients, [])
})

test('a key that nobody used is used by nobody, and a name that is none is refused', async () => {
  const { kid } = createTestKey('ES256')
  const usage = await fetchUsage(sentinel.url, kid, 24)
  assert.deepEqual(usage, {
    kid,
    hours: 24,
    validators: [],
    tenants: [],
    clients: [],
    live_tokens: 0,
    live_until: null,
  })
  for (const path of ['/keys/short/usage', `/keys/${kid}/usage?hours=-1`, `/keys/${kid}/usage?hours=1000000`])
    assert.equal((await fetch(new URL(path, sentinel.url))).status, 400, path)
})

function post(
  id: string,
  clients: readonly ClientUsage[],
  { privateKey }: TestKey,
  name = 'enterprise',
  issuedAt = sentinel.world.now,
): Promise<Response> {
  return fetch(new URL('/usage', sentinel.url), {
    method: 'POST',
    headers: { 'content-type': 'application/jwt' },
    body: signUsage({ id, issuedAt, clients }, { name, privateKey }),
  })
}
