/**
 * Goal: before a key that is not ours is denied somebody learns who would notice, and afterwards who has. Method: a whole
 * sentinel, a provider that shows a key set, and validators that follow both.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createProviderKey,
  type ProviderKey,
  signAs,
  startFakeProvider,
} from '@countersign/validator/fake-provider'
import { entra, fetchFromLoopback } from '@countersign/validator/issuers'
import { acceptWithoutReceipt, createValidator } from '@countersign/validator/validator'
import { fetchForeignUsage, fetchUsage } from './client.ts'
import type { ForeignUsage } from './foreign-usage.ts'
import { forgetOld, openStore } from './store.ts'
import { startTestSentinel } from './testing.ts'

const microsoft = 'https://login.microsoftonline.com'
const template = `${microsoft}/{tenantid}/v2.0`
const [one, two] = ['8eaef023-2b34-4da1-9baa-8bc8c9d6a490', '9eaef023-2b34-4da1-9baa-8bc8c9d6a491'] as const
const issuerOf = (tenant: string): string => `${microsoft}/${tenant}/v2.0`
const audience = 'api://orders'

test('R6 R1: a foreign key’s usage names validators, issuers and tenants, then whom the denial has met, and nothing of ours', async (t) => {
  const sentinel = await startTestSentinel()
  t.after(() => sentinel.stop())
  const { world } = sentinel
  const provider = await startFakeProvider({
    issuer: template,
    metadataPath: '/organizations/v2.0/.well-known/openid-configuration',
    keySet: `${microsoft}/common/discovery/v2.0/keys`,
  })
  t.after(() => provider.stop())
  const [key, other] = ['theirs', 'another'].map((kid) =>
    createProviderKey(kid, 'RS256', { issuer: template }),
  )
  assert.ok(key !== undefined && other !== undefined)
  provider.keys = [key.shown, other.shown]
  const orders = await sentinel.enrol('orders')
  const validator = createValidator({
    issuers: [entra({ tenants: [one, two], [fetchFromLoopback]: provider.origin })],
    audience,
    [acceptWithoutReceipt]: 'a test',
    trust: world.trust,
    now: () => world.now,
    onSighting: orders.reporter.report,
  })
  t.after(validator.stop)
  await validator.ready()
  const issue = (tenant: string, by: ProviderKey, sub: string): string => {
    const { now } = world
    const times = { iat: now, nbf: now, exp: now + 3600 }
    const names = { iss: issuerOf(tenant), aud: audience, tid: tenant, sub, azp: 'app' }
    return signAs(by, { typ: 'JWT' }, { ...names, ...times, scp: 'orders.read', ver: '2.0' })
  }
  validator.validate(issue(one, key, 'ada'))
  validator.validate(issue(one, key, 'ben'))
  validator.validate(issue(two, key, 'eve'))
  validator.validate(issue(one, other, 'ada'))
  orders.validate(world.issue())
  await orders.reporter.flush()

  const seen = ({ seen }: ForeignUsage): unknown[] =>
    seen.map(({ issuer, validator, tenant, verdict, tokens }) => [issuer, validator, tenant, verdict, tokens])
  const ofKey = { iss: template, kid: 'theirs', hours: 1 }
  assert.deepEqual(seen(await fetchForeignUsage(sentinel.url, ofKey)), [
    [issuerOf(one), 'orders', one, 'accepted', 2],
    [issuerOf(two), 'orders', two, 'accepted', 1],
  ])
  const ofTenant = await fetchForeignUsage(sentinel.url, { iss: issuerOf(one), hours: 1 })
  assert.deepEqual(seen(ofTenant), [[issuerOf(one), 'orders', one, 'accepted', 3]], 'with each of its keys')

  const blocked = [{ issuer: template, kid: 'theirs', at: world.now, reason: 'stolen', by: 'olga' }]
  world.publish(() => ({ foreign: { blocked, cutoffs: [], lifted: [] } }))
  assert.throws(() => validator.validate(issue(one, key, 'ada')), { reason: 'key_blocked' })
  const forged = issue(one, { ...other, kid: 'theirs' }, 'ada')
  assert.throws(() => validator.validate(forged), { reason: 'key_blocked' })
  await orders.reporter.flush()
  const [, refused] = (await fetchForeignUsage(sentinel.url, { ...ofKey, iss: issuerOf(two) })).seen
  assert.deepEqual(
    [refused?.verdict, refused?.tokens],
    ['key_blocked', 1],
    'what the key has not signed counts for nothing',
  )
  assert.ok((refused?.first_seen_ms ?? 0) <= (refused?.last_seen_ms ?? 0))
  const { kid } = world.keys.consumer
  assert.equal((await fetchUsage(sentinel.url, kid, 1)).validators[0]?.accepted, 1)
  assert.deepEqual((await fetchForeignUsage(sentinel.url, { iss: 'x', kid, hours: 1 })).seen, [])
  for (const query of ['', 'hours=1', 'iss=', `kid=${'k'.repeat(513)}`])
    assert.equal((await fetch(new URL(`/foreign/usage?${query}`, sentinel.url))).status, 400, query)
})

test('T271: what was really issued is forgotten after its time, accepted or not, whoever shows it how often, and evidence stays', async () => {
  const database = await openStore(':memory:')
  const row = { received_ms: 0, at_ms: 0, validator: 'orders', issuer: 'https://id.example', kid: 'theirs' }
  for (const [verdict, logged, receipt_valid] of [
    // Of somebody else's, which stands in no log.
    ['accepted', null, null],
    ['expired', null, null],
    ['key_blocked', null, null],
    ['accepted', 'found', 1],
    ['accepted', 'missing', 1],
    ['expired', null, 1],
    ['key_blocked', null, 1],
    ['audience_mismatch', null, 0],
    ['issuer_mismatch', null, 1],
  ] as const)
    await database
      .insertInto('sightings')
      .values({ ...row, verdict, logged, receipt_valid })
      .execute()
  await forgetOld(database, 1, 2 * 86_400_000)
  const left = await database.selectFrom('sightings').select(['verdict', 'receipt_valid']).execute()
  assert.deepEqual(
    left.map(({ verdict, receipt_valid }) => [verdict, receipt_valid]),
    [
      ['key_blocked', null],
      ['accepted', 1],
      ['audience_mismatch', 0],
      ['issuer_mismatch', 1],
    ],
  )
  await database.destroy()
})
