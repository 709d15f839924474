/**
 * Goal: whatever fails between a decision and its publication, versions only grow and no version has two contents.
 * Method: fail each step in turn, once before it takes effect and once after; then go on with what was stored, and
 * compare everything that was ever signed.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeEntry } from '@countersign/validator/entry'
import { createTestWorld, type TestWorld } from '@countersign/validator/testing'
import { chainOf } from './charters.ts'
import { openPublisher, type Published, type Publisher, type Witness } from './publisher.ts'
import { openStore, type Store } from './store.ts'

const steps = ['status', 'reserveVersion', 'append', 'publishManifest'] as const
type Step = (typeof steps)[number]

class Failure extends Error {}

/** Store and witness of which one step fails, before or after it took effect. */
class Faulty {
  fails: { readonly step: Step; readonly hasLanded: boolean } | undefined
  readonly logged: number[] = []
  readonly #world: TestWorld
  readonly #store: Store

  constructor(world: TestWorld, store: Store) {
    this.#world = world
    this.#store = store
  }

  readonly store = (): Store => ({
    ...this.#store,
    reserveVersion: (now) => this.#run('reserveVersion', () => this.#store.reserveVersion(now)),
    publishManifest: (...all) => this.#run('publishManifest', () => this.#store.publishManifest(...all)),
  })

  readonly witness: Witness = {
    status: () =>
      this.#run('status', async () => ({
        logs: [{ origin: this.#world.witness.origin, witness: this.#world.witness.name, state: 'open' }],
        manifestVersion: this.logged.at(-1) ?? 0,
        charterVersion: this.#world.charter.version,
      })),
    showCharters: async () => {},
    append: (bytes) =>
      this.#run('append', async () => {
        const { serial } = decodeEntry(bytes)
        assert.ok(serial > (this.logged.at(-1) ?? 0), 'the witness refuses a serial that does not rise')
        this.logged.push(serial)
        return this.#world.witness.append([bytes], serial)[0] as Uint8Array
      }),
  }

  async #run<Result>(step: Step, act: () => Promise<Result>): Promise<Result> {
    if (this.fails?.step !== step) return act()
    if (this.fails.hasLanded) await act()
    throw new Failure(step)
  }
}

function open(
  faulty: Faulty,
  world: TestWorld,
  onPublished: (published: Published) => void,
): Promise<Publisher> {
  return openPublisher({
    store: faulty.store(),
    charters: chainOf(world.charterDocuments, world.trustAnchor),
    manifestKeys: { under: () => world.manifestKey.privateKey },
    witness: faulty.witness,
    lifetimeSeconds: 3600,
    now: () => world.now,
    leads: () => true,
    onPublished,
  })
}

for (const step of steps) {
  for (const hasLanded of [false, true]) {
    test(`R4 T114: ${step} fails (${hasLanded ? 'it took effect' : 'before it took effect'})`, async () => {
      const world = createTestWorld()
      const store = await openStore(':memory:')
      const faulty = new Faulty(world, store)
      const seen = new Map<number, string>()
      const see = ({ manifest: { version }, document }: Published): void => {
        assert.ok(version > Math.max(0, ...seen.keys()), 'a version that does not grow')
        assert.equal(seen.get(version) ?? document.payload, document.payload, 'two contents of one version')
        seen.set(version, document.payload)
      }
      const cutoff = (before: number) => ({ cutoffs: [{ realm: 'consumer', before }] })
      const before = await open(faulty, world, see)
      await before.change((trust) => ({ ...trust, ...cutoff(1) }))
      faulty.fails = { step, hasLanded }
      await assert.rejects(
        before.change((trust) => ({ ...trust, ...cutoff(2) })),
        Failure,
      )
      faulty.fails = undefined

      const after = await open(faulty, world, see)
      if (after.newest !== undefined && !seen.has(after.newest.manifest.version)) see(after.newest)
      await after.change((trust) => ({ ...trust, ...cutoff(3) }))
      assert.deepEqual(after.newest?.manifest.cutoffs, cutoff(3).cutoffs)
      assert.equal(faulty.logged.length, new Set(faulty.logged).size)
      await store.close()
    })
  }
}

test('a change that fails is not in the next one, nor does it hold the next one up', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const publisher = await open(new Faulty(world, store), world, () => {})
  const outcomes = await Promise.allSettled([
    publisher.change((trust) => ({ ...trust, cutoffs: [{ realm: 'consumer', before: 1 }] })),
    publisher.change(() => Promise.reject(new Failure('no'))),
    // Beyond the charter: composing refuses it before anything is reserved, logged or signed.
    publisher.change((trust) => ({ ...trust, cutoffs: [...trust.cutoffs, { before: 2 }] })),
    publisher.change((trust) => ({
      ...trust,
      cutoffs: [...trust.cutoffs, { realm: 'enterprise', before: 3 }],
    })),
  ])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  )
  assert.equal(publisher.newest?.manifest.cutoffs.length, 2)
  await store.close()
})

test('T113 F1: a key that no signer of its realm attested is not published', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const publisher = await open(new Faulty(world, store), world, () => {})
  const [consumer] = world.state.manifest.keys.values()
  assert.ok(consumer)
  for (const change of [
    { realm: 'enterprise' },
    { issuer: 'https://elsewhere.example' },
    { lifetimeSecondsMax: 86_400 },
  ]) {
    const key = { ...consumer, ...change }
    await assert.rejects(publisher.change((trust) => ({ ...trust, keys: new Map([[key.kid, key]]) })))
  }
  const { newest } = publisher
  assert.equal(newest, undefined)
  await publisher.change((trust) => ({ ...trust, keys: new Map([[consumer.kid, consumer]]) }))
  assert.equal(publisher.newest?.manifest.keys.size, 1)
  await store.close()
})

test('T115: a clock set back does not make a manifest that validators would take for an older one', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const publisher = await open(new Faulty(world, store), world, () => {})
  await publisher.change((trust) => ({ ...trust }))
  const { now } = world
  world.now -= 3600
  await publisher.change((trust) => ({ ...trust }))
  assert.deepEqual([publisher.newest?.manifest.version, publisher.newest?.manifest.issuedAt], [2, now])
  await store.close()
})
