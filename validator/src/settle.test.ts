/**
 * Goal: what waits for its signatures comes out as it would have at once, and leaves no trace while it waits. Method: the same
 * work settled and not, with signatures that are answered late, wrongly, not at all, or after the world has changed.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { verifyLater } from '#platform'
import { DocumentRefusal, refuseAs } from './document.ts'
import { type Algorithm, importPublicJwk, signInput, verifySignature } from './jws.ts'
import { Refusal } from './refusal.ts'
import { Asked, settle } from './settle.ts'
import type { Sighting } from './sighting.ts'
import { each, Suspension } from './suspension.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld } from './testing.ts'
import { Trust } from './trust.ts'
import { createValidator } from './validator.ts'

const key = createTestKey('ES256')
const { key: publicKey } = importPublicJwk(key.jwk)
const signature = signInput('ES256', key.privateKey, 'one')
const isSigned = (input: string | Uint8Array): boolean =>
  verifySignature('ES256', publicKey, input, signature)

/** Verifies, and counts. `before` runs ahead of each answer. */
function counting(before: () => void = () => {}) {
  const asked: Parameters<typeof verifyLater>[] = []
  const verify: typeof verifyLater = async (...question) => {
    asked.push(question)
    before()
    return verifyLater(...question)
  }
  return { asked, verify }
}

test('work runs again with each answer, gives what it gives, and throws what it throws', async () => {
  const { asked, verify } = counting()
  let runs = 0
  const work = (): readonly boolean[] => {
    runs++
    return [isSigned('one'), isSigned('two'), isSigned('one')]
  }
  assert.deepEqual(await settle(work, verify), [true, false, true])
  assert.deepEqual([runs, asked.length], [3, 2])
  const refusing = (): never => {
    if (isSigned('one')) throw new Refusal('expired')
    throw new Error('never')
  }
  await assert.rejects(settle(refusing, verify), { name: 'Refusal', reason: 'expired' })
})

test('an answer is for the very bytes that were asked about, and for the key in whatever object', async () => {
  const pair = [importPublicJwk({ ...key.jwk }).key, importPublicJwk(createTestKey('ES256').jwk).key] as const
  const other = Uint8Array.from(signature).reverse()
  const rsa = createTestKey('RS256')
  const rsaKey = importPublicJwk(rsa.jwk).key
  const rsaSignature = signInput('RS256', rsa.privateKey, 'one')
  const questions: readonly (readonly [isNew: boolean, ...Parameters<typeof verifySignature>])[] = [
    [true, 'ES256', publicKey, 'one', signature],
    [false, 'ES256', publicKey, 'one', Uint8Array.from(signature)],
    [false, 'ES256', pair[0], 'one', signature],
    [true, 'ES256', pair[1], 'one', signature],
    [true, 'ES256', publicKey, 'one ', signature],
    [true, 'ES256', publicKey, 'one', other],
    [true, 'ES256', publicKey, Uint8Array.from(Buffer.from('one')), signature],
    [true, 'RS256', rsaKey, 'one', rsaSignature],
    [true, 'PS256', rsaKey, 'one', rsaSignature],
  ]
  const answers = new Asked<boolean>()
  const results: boolean[] = []
  for (const [isNew, ...question] of questions) {
    const { asked, verify } = counting()
    results.push(await settle(() => verifySignature(...question), verify, answers))
    assert.equal(asked.length, isNew ? 1 : 0, String(question[2]))
  }
  assert.deepEqual(
    results,
    questions.map(([, ...question]) => verifySignature(...question)),
  )
})

test('a list waits once, and what is wrong with a later item shows when the earlier ones are known', async () => {
  const inputs = ['one', 'two', 'three', 'four']
  const { asked, verify } = counting()
  let runs = 0
  const work = (): readonly boolean[] => {
    runs++
    return each(inputs, isSigned)
  }
  assert.deepEqual(await settle(work, verify), [true, false, false, false])
  assert.deepEqual([runs, asked.length], [2, 4])
  const strict = (input: string): void => {
    if (input === 'three') throw new Error('it is three')
    if (!isSigned(input)) throw new Error(`it is ${input}`)
  }
  await assert.rejects(
    settle(() => each(inputs, strict)),
    { message: 'it is two' },
  )
  assert.throws(() => each(inputs, strict), { message: 'it is two' })
})

test('a signature that is waited for is nobody else’s error', async () => {
  const suspended = new Suspension([])
  assert.ok(!((suspended as unknown) instanceof Error))
  const suspending = (): never => {
    throw suspended
  }
  assert.throws(
    () => refuseAs('a document', suspending),
    (thrown) => thrown === suspended,
  )
  assert.equal(await settle(() => refuseAs('a document', () => isSigned('one'))), true)
})

test('outside of it, signatures are verified at once, also while it waits and after it has failed', async () => {
  const { verify } = counting(() => assert.ok(isSigned('one')))
  await Promise.all([settle(() => isSigned('one'), verify), settle(() => isSigned('two'), verify)])
  const failing: typeof verifyLater = () => Promise.reject(new Error('the runtime is broken'))
  await assert.rejects(
    settle(() => isSigned('one'), failing),
    { message: 'the runtime is broken' },
  )
  assert.equal(isSigned('one'), true)
})

test('work that asks for ever new signatures ends', async () => {
  let count = 0
  await assert.rejects(
    settle(
      () => isSigned(`${count++}`),
      async () => true,
    ),
    /no end to the signatures/,
  )
})

/** A world in which a second charter, an approval and a dozen keys have come about. */
function grownWorld(): TestWorld {
  const world = createTestWorld()
  const algorithms: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44']
  world.publish(({ keys }) => ({
    keys: [...keys, ...algorithms.map((each) => world.draftKey(createTestKey(each), 'enterprise'))],
  }))
  world.amend()
  return world
}

test('trust is taken whole or not at all: while signatures are looked at, everything is as it was', async () => {
  const world = grownWorld()
  const clocks = { now: () => world.now, monotonic: () => world.now * 1000 }
  const trust = new Trust(world.trustAnchor, clocks)
  const { asked, verify } = counting(() => assert.equal(trust.state, held))
  let held = trust.state
  const accept = (): Promise<string> =>
    settle(
      () =>
        trust.accept(world.manifestDocument, world.charterDocuments.slice(trust.state?.charter.version ?? 0)),
      verify,
    )
  assert.equal(await accept(), 'newer')
  const direct = new Trust(world.trustAnchor, clocks)
  direct.accept(world.manifestDocument, world.charterDocuments)
  assert.deepEqual(trust.record, direct.record)
  // Two of two charters, manifest, receipt, and an attestation for each key; the last in one go.
  assert.equal(asked.length, 2 * 2 + 2 + world.state.manifest.keys.size)
  world.now += 60
  const blocked = world.keys.consumer.kid
  world.setState(blocked, 'blocked')
  world.now += 60
  world.setState(blocked, 'active')
  held = trust.state
  assert.equal(await accept(), 'newer')
  held = trust.state
  const freshness = world.freshness()
  assert.equal(await settle(() => trust.refresh(freshness), verify), 'known')
})

test('a document that is refused at once is refused for the same flaw when it waits, and changes nothing', async () => {
  const world = grownWorld()
  const forged = (payload: string): object => ({ ...world.manifestDocument, payload })
  const before = world.manifestDocument
  world.setState(world.keys.consumer.kid, 'blocked')
  const { signatures } = world.manifestDocument
  const shown: readonly unknown[] = [
    forged(`${world.manifestDocument.payload.slice(0, -2)}fQ`),
    { ...world.manifestDocument, signatures: before.signatures },
    { ...world.manifestDocument, signatures: [] },
    { ...world.manifestDocument, signatures: [...signatures, ...signatures] },
    { ...world.manifestDocument, extra: 1 },
    before,
    world.charterDocuments[0],
  ]
  for (const document of shown) {
    const [direct, settled] = [new Trust(world.trustAnchor), new Trust(world.trustAnchor)]
    for (const trust of [direct, settled]) {
      trust.accept(before, world.charterDocuments)
      trust.accept(world.manifestDocument)
    }
    const held = settled.record
    const [one, other] = [
      await outcome(() => direct.accept(document)),
      await outcome(() => settle(() => settled.accept(document))),
    ]
    assert.deepEqual(other, one)
    assert.deepEqual(settled.record, held)
  }
})

async function outcome(work: () => unknown): Promise<unknown> {
  try {
    return await work()
  } catch (error) {
    assert.ok(error instanceof DocumentRefusal, String(error))
    return [error.flaw, error.message]
  }
}

test('T118 a kill that comes while the signature is verified counts, and nothing of the token stays behind', async () => {
  const world = createTestWorld()
  const sightings: Sighting[] = []
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
    onSighting: (sighting) => sightings.push(sighting),
  })
  const token = world.issue()
  const { asked, verify } = counting(() => {
    assert.deepEqual(sightings, [])
    if (asked.length === 1) world.setState(world.keys.consumer.kid, 'revoked')
  })
  await assert.rejects(
    settle(() => validator.validate(token), verify),
    { reason: 'key_revoked' },
  )
  assert.deepEqual(
    sightings.map(({ verdict, signatureValid }) => [verdict, signatureValid]),
    [['key_revoked', true]],
  )
  assert.throws(() => validator.validate(token), { reason: 'key_revoked' })
})

test('what the runtime fails at is no verdict: no sighting, nothing kept, and the next attempt decides', async () => {
  const world = createTestWorld()
  const sightings: Sighting[] = []
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
    onSighting: (sighting) => sightings.push(sighting),
  })
  const token = world.issue()
  const failing: typeof verifyLater = () => Promise.reject(new Error('the runtime is broken'))
  await assert.rejects(
    settle(() => validator.validate(token), failing),
    { message: 'the runtime is broken' },
  )
  assert.deepEqual(sightings, [])
  const { asked, verify } = counting()
  const validated = await settle(() => validator.validate(token), verify)
  assert.deepEqual([asked.length, sightings.length], [2, 1], 'token and receipt')
  assert.equal(validator.validate(token), validated, 'kept for the next')
})

test('refused tokens are investigated as often as without waiting, however often they begin again', async () => {
  const world = createTestWorld()
  const token = world.issue()
  world.setState(world.keys.consumer.kid, 'revoked')
  let investigated = 0
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
    onSighting: ({ signatureValid }) => {
      if (signatureValid !== undefined) investigated++
    },
  })
  const always: typeof verifyLater = async () => true
  for (let count = 0; count < 1010; count++) await settle(() => validator.decide(token), always)
  assert.equal(investigated, 1000)
})
