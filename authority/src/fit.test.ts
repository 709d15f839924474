/**
 * Goal: the first manifest under a charter lies inside it, and what it ends is what the charter no longer allows and
 * nothing more. Method: a test world's keys in every state under charters narrowed in each way, composed as a manifest
 * and held against the one before by a validator's own rules.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import { composeManifest, type ManifestKey } from '@countersign/validator/manifest'
import { createTestKey, createTestWorld, type TestWorld, tenants } from '@countersign/validator/testing'
import { fitToCharter } from './fit.ts'

const states = ['published', 'active', 'retiring', 'retired', 'blocked', 'revoked'] as const

/** The world's next charter, in which a realm is narrower; undefined takes the realm away. */
function narrowed(
  world: TestWorld,
  realm: 'consumer' | 'enterprise',
  change: Partial<CharterRealm> | undefined,
): Charter {
  const { charter } = world
  const realms = new Map(charter.realms)
  if (change === undefined) realms.delete(realm)
  else realms.set(realm, { ...(realms.get(realm) as CharterRealm), ...change })
  return { ...charter, version: charter.version + 1, realms }
}

/** The keys under the charter, having made sure that a manifest of them could be. */
function fit(world: TestWorld, charter: Charter): ReadonlyMap<string, ManifestKey> {
  const { manifest } = world.state
  const { keys } = fitToCharter(manifest, charter, world.now)
  const logs = [...manifest.logs.values()]
  const draft = {
    ...manifest,
    version: 99,
    charterVersion: charter.version,
    issuedAt: world.now,
    expiresAt: world.now + 3600,
    keys: [...keys.values()],
    logs,
  }
  composeManifest(draft, charter)
  return keys
}

test('a charter that allows what there is leaves every key as it is, the very object', () => {
  const world = createTestWorld()
  const { manifest } = world.state
  assert.equal(fitToCharter(manifest, { ...world.charter, version: 2 }, world.now), manifest)
})

/** How a realm gets narrower, and what each state becomes; what is left out stays. */
const endings: readonly (readonly [
  what: string,
  change: Partial<CharterRealm> | undefined,
  to: 'retired' | 'revoked',
])[] = [
  ['without the realm', undefined, 'retired'],
  ['without its issuer', { issuers: ['https://other.example'] }, 'retired'],
  ['without its algorithm', { algorithms: ['EdDSA'] }, 'retired'],
  ['without its tenants', { tenants: ['99999999-9999-4999-8999-999999999999'] }, 'retired'],
  ['without the signer that attested it', { signers: [createTestKey('EdDSA').jwk] }, 'revoked'],
]

for (const [what, change, to] of endings) {
  test(`F6 F12: ${what}, a key that lives is ${to}, a blocked one revoked, and an ended one stays`, () => {
    for (const state of states) {
      const world = createTestWorld()
      const { kid } = world.keys.consumer
      world.setState(kid, state)
      const before = world.state.manifest.keys.get(kid)
      const key = fit(world, narrowed(world, 'consumer', change)).get(kid)
      if (state === 'retired' || state === 'revoked') assert.equal(key, before)
      else assert.equal(key?.state, state === 'blocked' ? 'revoked' : to, state)
      const { kid: other } = world.keys.enterprise
      assert.equal(fit(world, narrowed(world, 'consumer', change)).get(other)?.state, 'active')
    }
  })
}

test('a key is cut down to the tenants, kinds of token, life and overlap that are left', () => {
  const world = createTestWorld()
  const { kid } = world.keys.enterprise
  const charter = narrowed(world, 'enterprise', {
    tenants: [tenants.northwind],
    tokenTypes: ['access', 'id'],
    lifetimeSecondsMax: 600,
    overlapSeconds: 700,
  })
  const key = fit(world, charter).get(kid)
  assert.deepEqual(
    [key?.state, key?.tenants, key?.tokenTypes, key?.lifetimeSecondsMax],
    ['active', [tenants.northwind], ['access', 'id'], 600],
  )
  assert.ok((key?.verifyUntil ?? 0) - (key?.signUntil ?? 0) <= 700)
})

test('F4: a key older than the new age stops signing as in a rotation, and what it signed last verifies', () => {
  const world = createTestWorld()
  const { kid } = world.keys.consumer
  world.now += 7200
  const charter = narrowed(world, 'consumer', {
    keyAgeSecondsMax: 3600,
    rotationSeconds: 1800,
    cacheSeconds: 600,
  })
  const key = fit(world, charter).get(kid)
  assert.equal(key?.state, 'retiring')
  assert.ok((key?.signUntil ?? 0) <= world.now + 60)
  assert.ok((key?.notBefore ?? 0) < world.now && (key?.notBefore ?? 0) >= world.now - 3600)
  assert.ok((key?.verifyUntil ?? 0) > world.now)

  const young = fit(world, narrowed(world, 'consumer', { keyAgeSecondsMax: 14_400 })).get(kid)
  assert.equal(young?.state, 'active')
  assert.ok((young?.signUntil ?? 0) <= world.now - 7200 + 14_400)
})
