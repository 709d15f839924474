/**
 * Goal: what the authority publishes grows in one line only, whatever fails and whoever asks, and what it takes in is
 * signed by who may. Method: a whole authority over HTTP, beside a witness and a broker that can fail, under a clock
 * that the test turns; validators' own code judges what comes out.
 */

import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { verifyManifest } from '@countersign/validator/manifest'
import { startTestAuthority, type TestAuthority } from './testing.ts'

const started: TestAuthority[] = []
afterEach(async () => {
  for (const authority of started.splice(0)) await authority.stop()
})

async function start(options?: Parameters<typeof startTestAuthority>[0]): Promise<TestAuthority> {
  const authority = await startTestAuthority(options)
  started.push(authority)
  return authority
}

/** The manifest as anybody reads it, verified. */
async function readManifest(authority: TestAuthority) {
  const { status, body } = await authority.get('manifest')
  assert.equal(status, 200)
  const { freshness, ...document } = body
  assert.equal(typeof freshness, 'string')
  return verifyManifest(document, authority.world.charter)
}

test('the first manifest names an active and a standing next key per realm, logged by the witness', async () => {
  const authority = await start()
  const manifest = await readManifest(authority)
  assert.equal(manifest.version, 1)
  const keys = [...manifest.keys.values()].map(({ realm, state }) => `${realm} ${state}`)
  assert.deepEqual(keys.sort(), [
    'consumer active',
    'consumer published',
    'enterprise active',
    'enterprise published',
  ])
  assert.deepEqual(authority.witness.versions, [1])
})
