/**
 * Goal: everybody of the sample can sign in as their realm demands, nobody shares a secret, and a later start changes
 * only what was wished for. Method: plant seeds, again and again.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasSecret, plantSeed, planWorld, realms, sampleTenants } from './world.ts'

const addresses = {
  callback: 'http://localhost:8405/callback',
  transmitter: 'http://localhost:8402/ssf',
}

test('each secret of the sample is random and its own; enterprise people have a second factor', () => {
  const seeds = realms.map((realm) => plantSeed(realm, undefined, undefined, addresses))
  const people = seeds.flatMap((seed) => seed.people)
  const secrets = [
    ...seeds.flatMap((seed) => seed.clients.filter(hasSecret).map(({ client_secret }) => client_secret)),
    ...people.flatMap(({ password, totp_secret, sub }) => [password, totp_secret ?? password + sub, sub]),
  ]
  assert.equal(new Set(secrets).size, secrets.length)
  for (const secret of secrets) assert.ok(secret.length >= 22, secret)
  for (const { totp_secret } of seeds[1]?.people ?? []) assert.match(totp_secret ?? '', /^[A-Z2-7]{32}$/)
  for (const realm of realms)
    for (const { id } of sampleTenants[realm])
      assert.equal(people.filter(({ tenant }) => tenant === id).length, 2, id)
})

test('a later start keeps everybody as they were', () => {
  for (const realm of realms) {
    const first = plantSeed(realm, undefined, undefined, addresses)
    assert.deepEqual(plantSeed(realm, first, undefined, addresses), first)
    assert.deepEqual(plantSeed(realm, first, {}, addresses), first)
  }
})

test('who is wished for takes the place of the sample, keeps what was known and gets what was left out', () => {
  const first = plantSeed('enterprise', undefined, undefined, addresses)
  const [carla] = first.people
  const tenant = carla?.tenant ?? ''
  const wished = {
    people: [
      { username: carla?.username ?? '', tenant },
      { username: 'grace@fabrikam.example', tenant, password: 'a password of her own' },
    ],
    clients: [
      { client_id: 'enterprise-service', grant_types: ['client_credentials' as const] },
      { client_id: 'portal', grant_types: ['client_credentials' as const], client_secret: 'x'.repeat(22) },
    ],
  }
  const next = plantSeed('enterprise', first, wished, addresses)
  assert.deepEqual(next.people[0], carla)
  assert.equal(next.people[1]?.password, 'a password of her own')
  assert.match(next.people[1]?.totp_secret ?? '', /^[A-Z2-7]{32}$/)
  assert.deepEqual(
    next.clients.map(({ client_secret }) => client_secret),
    [first.clients[1]?.client_secret, 'x'.repeat(22)],
  )
  assert.deepEqual(plantSeed('enterprise', next, wished, addresses), next)
})

test('T088 the same name in another tenant is somebody else', () => {
  const first = plantSeed('enterprise', undefined, undefined, addresses)
  const [carla] = first.people
  const tenant = sampleTenants.enterprise[1]?.id ?? ''
  const { people } = plantSeed(
    'enterprise',
    first,
    { people: [{ username: carla?.username ?? '', tenant }] },
    addresses,
  )
  assert.notEqual(people[0]?.sub, carla?.sub)
  assert.notEqual(people[0]?.password, carla?.password)
})

test('terms that are not wished for are those of the sample, and a key verifies for as long as its last token', () => {
  const sample = planWorld({})
  assert.deepEqual(planWorld({ charter: { max_ttl: 900 } }), {
    ...sample,
    terms: { ...sample.terms, max_ttl: 900, overlap_seconds: 960 },
    wishedTerms: { max_ttl: 900 },
  })
})
