/**
 * Goal: whatever fails between a decision and its publication, versions only grow and no version has two contents; what
 * was logged is published, whoever lost the answer; and a folder that is an old copy, made at whichever moment, forgets
 * nothing that was published since. Method: fail each step in turn, once before it takes effect and once after, and copy
 * the folder at each; then go on with what was stored, and compare everything that was ever signed.
 */

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { DocumentRefusal } from '@countersign/validator/document'
import type { ManifestKey } from '@countersign/validator/manifest'
import { createTestWorld, type TestWorld } from '@countersign/validator/testing'
import { chainOf } from './charters.ts'
import type { Trust } from './command.ts'
import type { Denial } from './denial.ts'
import { openPublisher, type Published, type Publisher, type Witness } from './publisher.ts'
import { openStore, type Store } from './store.ts'
import { TestLog } from './testing.ts'

const steps = ['status', 'reserveVersion', 'append', 'publishManifest'] as const
type Step = (typeof steps)[number]

class Failure extends Error {}

/** Store and witness of which one step fails, before or after it took effect. */
class Faulty {
  fails: { readonly step: Step; readonly hasLanded: boolean } | undefined
  /** Is called at each step: before it takes effect and after. */
  look: (step: Step, hasLanded: boolean) => void = () => {}
  readonly log: TestLog
  readonly #store: Store

  constructor(log: TestLog, store: Store) {
    this.log = log
    this.#store = store
  }

  readonly store = (): Store => ({
    ...this.#store,
    reserveVersion: (...all) => this.#run('reserveVersion', () => this.#store.reserveVersion(...all)),
    publishManifest: (...all) => this.#run('publishManifest', () => this.#store.publishManifest(...all)),
  })

  readonly witness: Witness = {
    status: () => this.#run('status', async () => this.log.status),
    showCharters: async () => {},
    append: (bytes) => this.#run('append', async () => this.log.append(bytes)),
  }

  async #run<Result>(step: Step, act: () => Promise<Result>): Promise<Result> {
    const fails = this.fails?.step === step ? this.fails : undefined
    this.look(step, false)
    if (fails?.hasLanded === false) throw new Failure(step)
    const result = await act()
    this.look(step, true)
    if (fails !== undefined) throw new Failure(step)
    return result
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

const cutoff = (before: number) => ({ realm: 'consumer', before })
const cutOff =
  (before: number) =>
  (trust: Trust): Trust => ({ ...trust, cutoffs: [...trust.cutoffs, cutoff(before)] })

/** Remembers what was ever published: of each version the content. */
function watch() {
  const seen = new Map<number, string>()
  const see = ({ manifest: { version }, document }: Published): void => {
    assert.equal(seen.get(version) ?? document.payload, document.payload, 'two contents of one version')
    seen.set(version, document.payload)
  }
  return { seen, see }
}

for (const step of steps) {
  for (const hasLanded of [false, true]) {
    const isLogged = step === 'publishManifest' || (step === 'append' && hasLanded)
    test(`R4 T114: ${step} fails (${hasLanded ? 'it took effect' : 'before it took effect'}), and what was logged is published`, async () => {
      const world = createTestWorld()
      const store = await openStore(':memory:')
      const faulty = new Faulty(new TestLog(world), store)
      const { seen, see } = watch()
      const before = await open(faulty, world, see)
      await before.change(cutOff(1))
      faulty.fails = { step, hasLanded }
      await assert.rejects(before.change(cutOff(2)), Failure)
      faulty.fails = undefined

      // The process that it failed for goes on as well as one that comes after it.
      for (const goesOn of [before, await open(faulty, world, see)]) {
        await goesOn.follow()
        await goesOn.change((trust) => trust)
        const expected = isLogged ? [cutoff(1), cutoff(2)] : [cutoff(1)]
        assert.deepEqual(goesOn.newest?.manifest.cutoffs, expected)
      }
      const after = await open(faulty, world, see)
      await after.change(cutOff(3))
      assert.deepEqual(
        after.newest?.manifest.cutoffs.map(({ before }) => before),
        isLogged ? [1, 2, 3] : [1, 3],
      )
      assert.ok([...seen.keys()].every((version) => faulty.log.versions.includes(version)))
      await store.close()
    })
  }
}

test('R5 T236: a copy of the folder, made at any moment, forgets nothing that was published since', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-publisher-'))
  const file = join(folder, 'authority.db')
  const world = createTestWorld()
  const store = await openStore(file)
  const faulty = new Faulty(new TestLog(world), store)
  const { see } = watch()
  const copies: { readonly name: string; readonly folder: string }[] = []
  const copy = (name: string): void => {
    const to = join(folder, String(copies.length))
    mkdirSync(to)
    for (const part of ['', '-wal', '-shm']) {
      if (existsSync(file + part)) copyFileSync(file + part, join(to, `authority.db${part}`))
    }
    copies.push({ name, folder: to })
  }
  const original = await open(faulty, world, see)
  await original.change(cutOff(1))
  faulty.look = (step, hasLanded) => copy(`${step} of the second${hasLanded ? ', done' : ''}`)
  await original.change(cutOff(2))
  faulty.look = () => {}
  const outcomes = new Set<string>()
  const tryAll = async (published: number[]): Promise<void> => {
    for (const { name, folder: place } of copies) {
      const copied = await openStore(join(place, 'authority.db'))
      // What it logs would be in the way of the next.
      const log = faulty.log.copy()
      const restored = await open(new Faulty(log, copied), world, see)
      const before = log.versions.length
      const outcome = await restored.change(cutOff(9)).then(
        () => restored.newest?.manifest.cutoffs.map(({ before }) => before),
        (error: Denial) => error.code,
      )
      outcomes.add(outcome === 'behind_log' ? 'refused' : 'went on')
      if (outcome === 'behind_log') assert.equal(log.versions.length, before, name)
      else assert.deepEqual(outcome, [...published, 9], name)
      await copied.close()
    }
  }
  await tryAll([1, 2])
  assert.deepEqual([...outcomes].sort(), ['refused', 'went on'])

  // While the witness is away, versions are given out that come to nothing: here, and after a restore there too.
  faulty.fails = { step: 'append', hasLanded: false }
  await assert.rejects(original.change(cutOff(7)), Failure)
  copy('a failed third')
  await assert.rejects(original.change(cutOff(7)), Failure)
  copy('a failed fourth')
  faulty.fails = undefined
  await original.change(cutOff(3))
  await tryAll([1, 2, 3])

  // A copy that was gone on from while nobody asked the witness has the versions, but not the content.
  const { folder: last } = copies.at(-1) as { readonly folder: string }
  const forked = await openStore(join(last, 'authority.db'))
  for (let version = 0; version < 5; version++) {
    await forked.reserveVersion(world.now, () => ({ segment: 'another', records: {} }))
  }
  const restored = await open(new Faulty(faulty.log.copy(), forked), world, see)
  await assert.rejects(restored.compareWithLog(), { code: 'behind_log' })
  await assert.rejects(restored.change(cutOff(9)), { code: 'behind_log' })
  await Promise.all([store.close(), forked.close()])
  rmSync(folder, { recursive: true })
})

test('F13: a key counts as named from when its manifest is published, however long that was held up', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const faulty = new Faulty(new TestLog(world), store)
  const publisher = await open(faulty, world, () => {})
  faulty.fails = { step: 'append', hasLanded: true }
  await assert.rejects(
    publisher.change((trust) => ({ ...trust, keys: world.state.manifest.keys })),
    Failure,
  )
  faulty.fails = undefined
  world.now += 100
  await publisher.change((trust) => trust)
  const named = await store.firstNamed()
  assert.deepEqual(
    named,
    [...world.state.manifest.keys.keys()].map((kid) => [kid, { version: 1, at: world.now }]),
  )
  await store.close()
})

test('what validators would refuse is not logged, and holds nothing up', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const faulty = new Faulty(new TestLog(world), store)
  const publisher = await open(faulty, world, () => {})
  const [key] = world.state.manifest.keys.values()
  assert.ok(key)
  const blocked = { at: world.now, reason: 'stolen', by: 'olga' }
  const withKey = (changed: Partial<ManifestKey>) => (trust: Trust) => ({
    ...trust,
    keys: new Map([[key.kid, { ...key, ...changed }]]),
  })
  await publisher.change(withKey({ state: 'blocked', blocked }))
  await assert.rejects(publisher.change(withKey({ state: 'active' })), DocumentRefusal)
  assert.deepEqual(faulty.log.versions, [1])
  await publisher.change(cutOff(1))
  assert.deepEqual(faulty.log.versions, [1, 2])
  await store.close()
})

test('a change that fails is not in the next one, nor does it hold the next one up', async () => {
  const world = createTestWorld()
  const store = await openStore(':memory:')
  const publisher = await open(new Faulty(new TestLog(world), store), world, () => {})
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
  const publisher = await open(new Faulty(new TestLog(world), store), world, () => {})
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
  const publisher = await open(new Faulty(new TestLog(world), store), world, () => {})
  await publisher.change((trust) => ({ ...trust }))
  const { now } = world
  world.now -= 3600
  await publisher.change((trust) => ({ ...trust }))
  assert.deepEqual([publisher.newest?.manifest.version, publisher.newest?.manifest.issuedAt], [2, now])
  await store.close()
})
