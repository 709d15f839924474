/**
 * Goal: a signer believes nobody, forgets nothing over a crash, and keeps no key longer than it may be used. Method: a
 * whole signer on a real folder, in a world of trust whose operators, authority and witness the test plays.
 */

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { decode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { createTestWorld, issuers, tenants } from '@countersign/validator/testing'
import { openKeystore } from './keystores.ts'
import { openSigner } from './signer.ts'
import { draftKey, openTestSigner, scopeRequest, type TestSigner } from './testing.ts'

const opened: TestSigner[] = []
after(() => Promise.all(opened.map((signer) => signer.remove())))

async function newSigner(options = {}): Promise<TestSigner> {
  const signer = await openTestSigner(options)
  opened.push(signer)
  return signer
}

async function lastSerial(signer: TestSigner): Promise<number> {
  return decodeEntry(decode((await signer.prepare()).entry)).serial
}

test('T144 K8: after a crash, serials and counts go on above what was before', async () => {
  const signer = await newSigner()
  await signer.issue()
  const before = await lastSerial(signer)
  await signer.crash()
  await signer.bringTrust()
  const after = await lastSerial(signer)
  assert.ok(after > before)
  assert.deepEqual(signer.signer.counters().keys, [
    { kid: signer.kid, prepared: after, signed: 1, last_serial: after },
  ])
})

test('after an orderly stop serials go on without a gap', async () => {
  const signer = await newSigner()
  const before = await lastSerial(signer)
  await signer.signer.stop()
  const again = await openSigner(signer.options)
  await again.trust({ charters: signer.world.charterDocuments, manifest: signer.world.manifestDocument })
  const { prepared } = await again.prepare({ requests: [{ type: 'access', claims: signer.claims() }] })
  const [first] = prepared
  assert.equal(first && 'entry' in first && decodeEntry(decode(first.entry)).serial, before + 1)
  await again.stop()
  opened.splice(opened.indexOf(signer), 1)
  rmSync(signer.options.folder, { recursive: true })
})

test('calls at the same time are answered in the order of their serials, whichever keys they use', async () => {
  const signer = await newSigner()
  await signer.addKey('EdDSA')
  const answers: { kid: string; serial: number }[] = []
  await Promise.all(
    Array.from({ length: 20 }, async (_, call) => {
      const algorithms = call % 2 === 0 ? ['ES256', 'EdDSA'] : ['EdDSA', 'ES256']
      const requests = algorithms.map((alg) => ({ type: 'access', claims: signer.claims(), alg }))
      const { prepared } = await signer.signer.prepare({ requests })
      for (const each of prepared)
        if ('entry' in each) answers.push({ kid: each.kid, serial: decodeEntry(decode(each.entry)).serial })
    }),
  )
  for (const ofKey of Map.groupBy(answers, ({ kid }) => kid).values())
    assert.deepEqual(
      ofKey.map(({ serial }) => serial),
      Array.from({ length: 20 }, (_, at) => at + 1),
    )
})

test('K12: a signer whose counters or memory of manifests are gone does not start', async () => {
  const signer = await newSigner()
  const folder = signer.options.folder
  for (const name of ['trust-seen', join('counters', signer.kid)]) {
    renameSync(join(folder, name), join(folder, 'kept'))
    await assert.rejects(openSigner(signer.options), { name: 'SignerFault', message: /ENOENT|is missing/ })
    renameSync(join(folder, 'kept'), join(folder, name))
  }
})

test('before anybody has brought a manifest, nothing is prepared, and the caller may try again', async () => {
  const signer = await newSigner()
  await signer.crash()
  await assert.rejects(signer.prepare(), { code: 'signer_unavailable', retryable: true })
})

test('T112: an older manifest is refused, also after a crash', async () => {
  const signer = await newSigner()
  const { world } = signer
  const old = { charters: world.charterDocuments, manifest: world.manifestDocument }
  world.setState(signer.kid, 'blocked')
  await signer.bringTrust()
  await assert.rejects(signer.signer.trust(old), {
    code: 'trust_refused',
    message: /no newer than the one held/,
  })
  await signer.crash()
  await assert.rejects(signer.signer.trust(old), {
    code: 'trust_refused',
    message: /no newer than the one held/,
  })
  await assert.rejects(signer.prepare(), { code: 'signer_unavailable' })
  await signer.bringTrust()
  assert.equal(await signer.refusal({}), 'no_active_key')
})

test('T112: a manifest that was taken and could not be written down is, when it comes again', async () => {
  const signer = await newSigner()
  const { world } = signer
  const old = { charters: world.charterDocuments, manifest: world.manifestDocument }
  const seen = join(signer.options.folder, 'trust-seen')
  world.setState(signer.kid, 'blocked')
  renameSync(seen, `${seen}-away`)
  await assert.rejects(signer.bringTrust(), { code: 'ENOENT' })
  renameSync(`${seen}-away`, seen)
  await signer.bringTrust()
  await signer.crash()
  await assert.rejects(signer.signer.trust(old), { code: 'trust_refused' })
})

test('T114: another manifest under a version that was seen is refused, also after a crash', async () => {
  const signer = await newSigner()
  const { world } = signer
  await signer.crash()
  const { manifestDocument: seen, draft } = world
  world.publish(() => ({ version: draft.version, expiresAt: world.now + 60 }))
  assert.notEqual(world.manifestDocument.payload, seen.payload)
  await assert.rejects(signer.bringTrust(), { code: 'trust_refused' })
  await signer.signer.trust({ charters: world.charterDocuments, manifest: seen })
  await assert.rejects(signer.bringTrust(), { code: 'trust_refused' })
})

test('trust that others approved is refused, whoever brings it', async () => {
  const signer = await newSigner()
  const { identity } = await openKeystore(signer.options)
  const others = createTestWorld({ identities: { consumer: identity.jwk } })
  const brought = { charters: others.charterDocuments, manifest: others.manifestDocument }
  await assert.rejects(signer.signer.trust(brought), { code: 'trust_refused' })
  for (const nonsense of [{}, { charters: {}, manifest: {} }, { charters: [], manifest: null }])
    await assert.rejects(signer.signer.trust(nonsense as never))
  assert.equal(await signer.refusal({}), 'prepared')
})

test('a key is used only while the manifest lets it sign', async () => {
  const signer = await newSigner()
  const { world } = signer
  world.setState(signer.kid, 'published')
  await signer.bringTrust()
  assert.equal(await signer.refusal({}), 'no_active_key')
  world.publish(({ keys }) => ({
    keys: keys.map((key) => ({ ...key, state: 'active', notBefore: world.now + 1 })),
  }))
  await signer.bringTrust()
  assert.equal(await signer.refusal({}), 'no_active_key')
  world.now += 1
  assert.equal(await signer.refusal({}), 'prepared')
  assert.equal(
    await signer.refusal({ claims: signer.claims({ iat: world.now - 1 }) }),
    'issued_outside_key_window',
  )
})

test('K5 F5: a key older than the policy signs no more, whatever the manifest says', async () => {
  const signer = await newSigner()
  const { world } = signer
  const daySeconds = 24 * 3600
  const renew = (signUntil: number): void => {
    world.publish(({ keys }) => ({
      expiresAt: world.now + 3600,
      keys: keys.map((key) => ({
        ...key,
        notBefore: world.now - 3600,
        signUntil,
        verifyUntil: signUntil + 3600,
      })),
    }))
  }
  world.now += daySeconds
  renew(world.now)
  await signer.bringTrust()
  assert.equal(await signer.refusal({}), 'prepared')
  world.now += 1
  assert.equal(await signer.refusal({}), 'no_active_key')
  // Neither signer nor validator would take a manifest that lets it sign beyond its age.
  world.now += 13 * daySeconds
  assert.throws(() => renew(world.now + 600), { flaw: 'out_of_charter' })
})

test('T112: a key that has ended stays ended, in a newer manifest too, also after a crash', async () => {
  const signer = await newSigner()
  const { world } = signer
  const kid = await signer.addKey('EdDSA')
  const alive = world.draft.keys
  world.setState(kid, 'revoked')
  await signer.bringTrust()
  world.publish(() => ({ keys: alive }))
  await assert.rejects(signer.bringTrust(), { code: 'trust_refused' })
  await signer.crash()
  await assert.rejects(signer.bringTrust(), { code: 'trust_refused' })
  world.publish(() => ({ keys: alive.filter((key) => key.kid !== kid) }))
  await assert.rejects(signer.bringTrust(), { code: 'trust_refused' })
})

test('an expired manifest lets nothing be prepared', async () => {
  const signer = await newSigner()
  signer.world.now += 24 * 3600
  await assert.rejects(signer.prepare(), { code: 'manifest_stale' })
})

test('F4 F6: a key that was retired or revoked leaves the keystore, so that nobody can steal it later', async () => {
  const signer = await newSigner()
  const { world } = signer
  const kept = signer.kid
  for (const state of ['retired', 'revoked'] as const) {
    const kid = await signer.addKey('EdDSA')
    const waiting = await signer.prepare({ alg: 'EdDSA' })
    world.setState(kid, state)
    await signer.bringTrust()
    const { keys } = await openKeystore(signer.options)
    assert.deepEqual(
      keys.map((key) => key.kid),
      [kept],
    )
    const answer = await signer.sign(waiting, signer.receipt(waiting))
    assert.equal('error' in answer && answer.error.code, `key_${state}`)
  }
  assert.equal(await signer.refusal({}), 'prepared')
})

test('F4: an ended key that could not be destroyed is destroyed with the next trust that comes', async () => {
  const signer = await newSigner()
  const kid = await signer.addKey('EdDSA')
  signer.world.setState(kid, 'revoked')
  const unblock = blockKeystore(signer)
  await assert.rejects(signer.bringTrust(), { code: 'EISDIR' })
  unblock()
  await signer.bringTrust()
  const { keys } = await openKeystore(signer.options)
  assert.deepEqual(
    keys.map((key) => key.kid),
    [signer.kid],
  )
})

test('a key that cannot be kept leaves nothing to count', async () => {
  const signer = await newSigner()
  const unblock = blockKeystore(signer)
  await assert.rejects(signer.signer.generate(scopeRequest), { code: 'EISDIR' })
  unblock()
  assert.deepEqual(
    signer.signer.counters().keys.map(({ kid }) => kid),
    [signer.kid],
  )
})

/** Lets no changed keystore be written, until what this gives is called. */
function blockKeystore({ options }: TestSigner): () => void {
  const next = `${options.keystore}.next`
  mkdirSync(next)
  return () => rmdirSync(next)
}

test('K8: a key signs no faster than its cap, and each key has its own', async () => {
  const signer = await newSigner({ signaturesPerSecondMax: 3 })
  const ask = async (): Promise<string> => signer.refusal({})
  assert.deepEqual(
    [await ask(), await ask(), await ask(), await ask()],
    [...Array(3).fill('prepared'), 'rate_limited'],
  )
  signer.milliseconds += 334
  assert.deepEqual([await ask(), await ask()], ['prepared', 'rate_limited'])
  await signer.addKey('EdDSA')
  assert.equal(await signer.refusal({ alg: 'EdDSA' }), 'prepared')
  signer.milliseconds += 3_600_000
  assert.deepEqual(
    [await ask(), await ask(), await ask(), await ask()],
    [...Array(3).fill('prepared'), 'rate_limited'],
  )
})

test('T265: what is prepared and never signed is bounded', async () => {
  const signer = await newSigner()
  const requests = Array.from({ length: 1024 }, () => ({ type: 'access', claims: signer.claims() }))
  for (let call = 0; call < 16; call++) await signer.signer.prepare({ requests })
  assert.equal(await signer.refusal({}), 'signer_unavailable')
  signer.milliseconds += 30_001
  assert.equal(await signer.refusal({}), 'prepared')
  assert.throws(() => signer.signer.prepare({ requests: [...requests, {}] }), { code: 'malformed' })
})

test('T222: a key is made for this realm, inside its charter, or not at all', async () => {
  const signer = await newSigner()
  const folder = signer.options.folder
  const before = [readFileSync(signer.options.keystore), readdirSync(join(folder, 'counters')).length]
  const enterprise = { iss: issuers.enterprise, tenants: [tenants.fabrikam] }
  for (const [change, code] of [
    [{ realm: 'enterprise' }, 'wrong_realm'],
    [{ realm: 'enterprise', ...enterprise }, 'wrong_realm'],
    [enterprise, 'out_of_charter'],
    [{ iss: 'https://attacker.example' }, 'out_of_charter'],
    [{ tenants: [tenants.home, tenants.fabrikam] }, 'out_of_charter'],
    [{ max_ttl: 3601 }, 'out_of_charter'],
    [{ token_types: ['manifest'] }, 'malformed'],
    [{ alg: 'HS256' }, 'malformed'],
    [{ kty: 'oct', k: 'AAAA' }, 'malformed'],
    [{ tenants: undefined }, 'malformed'],
  ] as const)
    await assert.rejects(
      signer.signer.generate({ ...scopeRequest, ...change }),
      { code },
      JSON.stringify(change),
    )
  await assert.rejects(signer.signer.generate(null), { code: 'malformed' })
  assert.deepEqual(
    [readFileSync(signer.options.keystore), readdirSync(join(folder, 'counters')).length],
    before,
  )
})

test('a made key is durable, attested, and signs only once a manifest names it', async () => {
  const signer = await newSigner()
  const { world } = signer
  const made = await signer.signer.generate({ ...scopeRequest, alg: 'EdDSA', realm: 'consumer' })
  assert.deepEqual(Object.keys(made).sort(), ['attestation', 'jwk'])
  assert.equal('d' in made.jwk, false)
  assert.equal(await signer.refusal({ alg: 'EdDSA' }), 'no_active_key')
  await signer.crash()
  const drafted = draftKey(world, made)
  world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
  await signer.bringTrust()
  assert.match(await signer.issue({ alg: 'EdDSA' }), /^\S+\.\S+\.\S+$/)
})
