/**
 * Goal: a configuration means what somebody wrote in it: it changes a charter by that and nothing else, and is met by a charter
 * that people have changed otherwise since. Method: the pure parts, on a charter as the ceremony makes it.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '@countersign/validator/json'
import { createTestKey } from '@countersign/validator/testing'
import { type Wishes, wishesSchema } from './config.ts'
import { amend, demandsOf, firstUnmet, newRealms, type Rules, rulesOf } from './rules.ts'
import { planWorld } from './world.ts'

const issuers = { consumer: 'http://localhost:8400', enterprise: 'http://localhost:8401/{tenantid}/v2.0' }
const contoso = { id: '44444444-4444-4444-8444-444444444444', name: 'Contoso' }
const partner = { issuer: 'https://login.partner.example', tenants: [contoso.id] }
const { jwk } = createTestKey('EdDSA')
const signers = { partner: jwk }

function wish(wishes: object): Wishes {
  return wishesSchema.parse(wishes)
}

const first = charterOf({})

function charterOf(wishes: object): JsonObject {
  return { version: 1, threshold: 2, realms: rulesOf(issuers, planWorld(wish(wishes))) }
}

function realmsOf({ realms }: JsonObject): Rules {
  return realms as unknown as Rules
}

function unmet(wishes: object, ...charters: readonly JsonObject[]): unknown {
  return firstUnmet(demandsOf(issuers, planWorld(wish(wishes))), charters)
}

function drafted(wishes: object, charter = first) {
  return amend(charter, issuers, planWorld(wish(wishes)), signers)
}

test('K11: what operators approved is not changed by a configuration', () => {
  assert.equal(unmet({}, first), undefined)
  assert.deepEqual(unmet({ charter: { max_ttl: 900 } }, first), {
    realm: 'consumer',
    member: 'max_ttl',
    wanted: 900,
    found: 3600,
  })
  const tenants = { realms: { enterprise: { tenants: [contoso], people: [] } } }
  assert.equal((unmet(tenants, first) as { member: string }).member, 'tenants')
  assert.deepEqual(unmet({ elsewhere: { partner } }, first), { realm: 'partner' })
  assert.equal(unmet({ elsewhere: { partner } }, first, charterOf({ elsewhere: { partner } })), undefined)
})

test('a charter that people have changed since meets a configuration that says nothing of it, or the old, or the new', () => {
  const shorter = charterOf({ charter: { max_ttl: 1200 } })
  for (const wishes of [{}, { charter: { max_ttl: 3600 } }, { charter: { max_ttl: 1200 } }])
    assert.equal(unmet(wishes, first, shorter), undefined)
  assert.notEqual(unmet({ charter: { max_ttl: 1500 } }, first, shorter), undefined)
})

test('a new realm comes into the charter as the first start would have made it, with its signer, and nothing else changes', () => {
  const wishes = { elsewhere: { partner } }
  assert.deepEqual(newRealms(first, planWorld(wish(wishes))), ['partner'])
  const { charter, added, moved, unnamed, isChanged } = drafted(wishes)
  assert.deepEqual([added, moved, unnamed, isChanged], [['partner'], [], [], true])
  const { partner: own, ...others } = realmsOf(charter)
  assert.deepEqual(others, realmsOf(first))
  assert.deepEqual(own, { ...realmsOf(charterOf(wishes))['partner'], signers: [jwk] })
  assert.deepEqual({ ...charter, realms: {} }, { ...first, realms: {} })
  const again = drafted(wishes, charter)
  assert.deepEqual([again.isChanged, again.added], [false, []])
  assert.deepEqual(realmsOf(again.charter)['partner'], own, 'whoever its signer is by now')
  const without = drafted({}, charter)
  assert.deepEqual(
    [without.isChanged, without.unnamed],
    [false, ['partner']],
    'it is not taken out by the way',
  )
})

test('times change where somebody wrote them, and an overlap only grows along', () => {
  const longer = realmsOf(drafted({ charter: { max_ttl: 7200 } }).charter)
  assert.deepEqual(
    ['consumer', 'enterprise'].map((realm) => [
      longer[realm]?.['max_ttl'],
      longer[realm]?.['overlap_seconds'],
    ]),
    [
      [7200, 7260],
      [7200, 7260],
    ],
  )
  const changed = charterOf({ charter: { overlap_seconds: 9000, cache_seconds: 60 } })
  const shorter = realmsOf(drafted({ charter: { max_ttl: 900 } }, changed).charter)['consumer']
  assert.deepEqual(
    [shorter?.['max_ttl'], shorter?.['overlap_seconds'], shorter?.['cache_seconds']],
    [900, 9000, 60],
  )
})

test('tenants of a realm of ours are those of the configuration', () => {
  const { charter, moved } = drafted({ realms: { enterprise: { tenants: [contoso], people: [] } } })
  assert.deepEqual(moved, ['enterprise'])
  assert.deepEqual(realmsOf(charter)['enterprise']?.['tenants'], [contoso.id])
})
