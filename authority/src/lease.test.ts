/**
 * Goal: of several authorities on one data folder one leads, another takes over when that one ends or hangs, and one that
 * wakes up again can change nothing. Method: leases over real files under a clock that the test turns; publishers that
 * are held up at each step while another takes over; and two real processes, one of which is suspended and then killed.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { verifyFreshness } from '@countersign/validator/freshness'
import { signStatement } from '@countersign/validator/statement'
import { createTestKey, createTestWorld, type TestWorld } from '@countersign/validator/testing'
import fc from 'fast-check'
import { chainOf } from './charters.ts'
import { type Command, fetchAcks, fetchRotation, sendCommand } from './client.ts'
import type { Denial } from './denial.ts'
import { createLease, LEASE_MILLISECONDS, type Lease } from './lease.ts'
import { openPublisher, type Publisher } from './publisher.ts'
import { openStore, type Store } from './store.ts'
import { startTestAuthority, TestLog } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-lease-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0

interface Contender {
  readonly store: Store
  readonly lease: Lease
}

/** Several on one file, with one clock. */
async function contend(count: number): Promise<{ contenders: Contender[]; clock: { ms: number } }> {
  const file = join(folder, `${files++}.db`)
  const clock = { ms: 0 }
  const contenders: Contender[] = []
  for (let index = 0; index < count; index++) {
    const store = await openStore(file)
    contenders.push({ store, lease: createLease(store, `process ${index}`, () => clock.ms) })
  }
  return { contenders, clock }
}

async function mayWrite({ store }: Contender): Promise<boolean> {
  try {
    await store.reserveVersion(0, () => ({ segment: '', records: {} }))
    return true
  } catch (error) {
    assert.equal((error as Denial).code, 'not_leader')
    return false
  }
}

test('T124: whoever comes first leads, and the next one only when the first has shown no life for three seconds', async () => {
  const { contenders, clock } = await contend(2)
  const [first, second] = contenders as [Contender, Contender]
  assert.equal(await first.lease.look(), true)
  assert.equal(await second.lease.look(), false)
  for (let passed = 0; passed < 10_000; passed += 250) {
    clock.ms += 250
    await first.lease.look()
    assert.equal(await second.lease.look(), false)
  }
  let waited = 0
  while (!(await second.lease.look())) {
    clock.ms += 250
    waited += 250
  }
  assert.ok(waited >= LEASE_MILLISECONDS - 1000 && waited <= LEASE_MILLISECONDS + 500, `${waited} ms`)
  assert.equal(first.lease.isHeld, false, 'it need not ask to know')
  assert.equal(await first.lease.look(), false)
  assert.deepEqual([await mayWrite(first), await mayWrite(second)], [false, true])
  await Promise.all(contenders.map(({ store }) => store.close()))
})

test('a lease that was given back is taken at once', async () => {
  const { contenders } = await contend(2)
  const [first, second] = contenders as [Contender, Contender]
  await first.lease.look()
  await second.lease.look()
  await first.lease.release()
  assert.equal(await second.lease.look(), true)
  assert.equal(await first.lease.look(), false)
  await Promise.all(contenders.map(({ store }) => store.close()))
})

test('T124: whoever hangs for however long, at most one can write at any moment, and who lives is not robbed', async () => {
  const step = fc.record({ who: fc.nat(2), milliseconds: fc.constantFrom(0, 100, 250, 1000, 3500) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const { contenders, clock } = await contend(3)
      const lookedAt = [0, 0, 0]
      let leader: number | undefined
      let token = 0
      for (const { who, milliseconds } of steps) {
        clock.ms += milliseconds
        const { lease, store } = contenders[who] as Contender
        await lease.look()
        const row = await store.readLease()
        assert.ok(row.token >= token, 'tokens only grow')
        if (row.token > token && leader !== undefined && leader !== who) {
          const silentFor = clock.ms - (lookedAt[leader] as number)
          assert.ok(silentFor >= LEASE_MILLISECONDS - 1000, `robbed after ${silentFor} ms`)
        }
        if (row.token > token) leader = who
        token = row.token
        lookedAt[who] = clock.ms
        const writers: number[] = []
        for (const [index, contender] of contenders.entries())
          if (await mayWrite(contender)) writers.push(index)
        assert.deepEqual(writers, [leader])
        for (const [index, { lease }] of contenders.entries())
          assert.ok(!lease.isHeld || index === leader || clock.ms - (lookedAt[index] as number) < 3000)
      }
      await Promise.all(contenders.map(({ store }) => store.close()))
    }),
    { seed: 7, numRuns: 25 },
  )
})

const steps = ['status', 'reserveVersion', 'append', 'publishManifest'] as const
type Step = (typeof steps)[number]

/** Stops whoever comes by at a step, once, until it is opened. */
class Gate {
  readonly #step: Step
  readonly #hasLanded: boolean
  readonly #reached = Promise.withResolvers<void>()
  readonly #opened = Promise.withResolvers<void>()

  constructor(step: Step, hasLanded: boolean) {
    this.#step = step
    this.#hasLanded = hasLanded
  }

  get reached(): Promise<void> {
    return this.#reached.promise
  }

  readonly open = (): void => this.#opened.resolve()

  async pass<Result>(step: Step, act: () => Promise<Result>): Promise<Result> {
    if (step !== this.#step) return act()
    const result = this.#hasLanded ? await act() : undefined
    this.#reached.resolve()
    await this.#opened.promise
    return this.#hasLanded ? (result as Result) : act()
  }
}

function openAt(
  world: TestWorld,
  { store, lease }: Contender,
  log: TestLog,
  gate?: Gate,
): Promise<Publisher> {
  const pass: Gate['pass'] = (step, act) => (gate === undefined ? act() : gate.pass(step, act))
  return openPublisher({
    store: {
      ...store,
      reserveVersion: (...all) => pass('reserveVersion', () => store.reserveVersion(...all)),
      publishManifest: (...all) => pass('publishManifest', () => store.publishManifest(...all)),
    },
    charters: chainOf(world.charterDocuments, world.trustAnchor),
    manifestKeys: { under: () => world.manifestKey.privateKey },
    witness: {
      status: () => pass('status', async () => log.status),
      showCharters: async () => {},
      append: (bytes) => pass('append', async () => log.append(bytes)),
    },
    lifetimeSeconds: 3600,
    now: () => world.now,
    leads: () => lease.isHeld,
    onPublished: () => {},
  })
}

const cutoff = (before: number) => ({ realm: 'consumer', before })

for (const step of steps) {
  for (const hasLanded of [false, true]) {
    test(`R4 T114: a leader that is suspended at ${step} (${hasLanded ? 'done' : 'not yet done'}) and wakes up publishes nothing`, async () => {
      const world = createTestWorld()
      const log = new TestLog(world)
      const { contenders, clock } = await contend(2)
      const [first, second] = contenders as [Contender, Contender]
      await first.lease.look()
      await second.lease.look()
      const begun = await openAt(world, first, log)
      await begun.change((trust) => ({ ...trust, cutoffs: [cutoff(1)] }))

      const gate = new Gate(step, hasLanded)
      const sleeper = await openAt(world, first, log, gate)
      const slept = sleeper.change((trust) => ({ ...trust, cutoffs: [...trust.cutoffs, cutoff(2)] }))
      // Settled later than it may reject.
      const outcome = slept.then(
        () => 'published',
        () => 'refused',
      )
      await gate.reached
      clock.ms += LEASE_MILLISECONDS
      assert.equal(await second.lease.look(), true)
      const other = await openAt(world, second, log)
      const { version } = await other.change((trust) => ({
        ...trust,
        cutoffs: [...trust.cutoffs, cutoff(3)],
      }))
      gate.open()

      const wasIn = step === 'publishManifest' && hasLanded
      assert.equal(await outcome, wasIn ? 'published' : 'refused')
      const newest = await second.store.newestManifest()
      assert.equal(newest?.version, version)
      // What was logged is decided, whoever publishes it.
      const wasLogged = wasIn || step === 'publishManifest' || (step === 'append' && hasLanded)
      const expected = wasLogged ? [cutoff(1), cutoff(2), cutoff(3)] : [cutoff(1), cutoff(3)]
      assert.deepEqual(other.newest?.manifest.cutoffs, expected, 'what was stored before the pause is kept')
      await assert.rejects(
        sleeper.change((trust) => ({ ...trust })),
        { code: 'not_leader' },
      )
      await sleeper.follow()
      assert.equal(sleeper.newest?.manifest.version, version)
      assert.deepEqual(
        log.versions,
        [...new Set(log.versions)].sort((a, b) => a - b),
      )
      await Promise.all(contenders.map(({ store }) => store.close()))
    })
  }
}

test('R4: a lease that was lost and won back does not carry through what was composed before', async () => {
  const world = createTestWorld()
  const log = new TestLog(world)
  const { contenders, clock } = await contend(2)
  const [first, second] = contenders as [Contender, Contender]
  await first.lease.look()
  await second.lease.look()
  const gate = new Gate('publishManifest', false)
  const sleeper = await openAt(world, first, log, gate)
  const slept = sleeper.change((trust) => ({ ...trust, cutoffs: [cutoff(1)] }))
  await gate.reached
  clock.ms += LEASE_MILLISECONDS
  await second.lease.look()
  const other = await openAt(world, second, log)
  await other.change((trust) => ({ ...trust, cutoffs: [cutoff(2)] }))
  await second.lease.release()
  await first.lease.look()
  assert.equal(await first.lease.look(), true)
  gate.open()
  await assert.rejects(slept, { code: 'not_leader' })
  await sleeper.change((trust) => ({ ...trust, cutoffs: [...trust.cutoffs, cutoff(3)] }))
  assert.deepEqual(sleeper.newest?.manifest.cutoffs, [cutoff(2), cutoff(3)])
  await Promise.all(contenders.map(({ store }) => store.close()))
})

/** Asks until the answer fits. */
async function until<Answer>(ask: () => Promise<Answer>, fits: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (fits(answer)) return answer
    await delay(20)
  }
}

/** An authority as a process of its own; its URL. */
async function startProcess(context: TestContext, name: string, config: object, data: string) {
  const file = join(data, `${name}.json`)
  writeFileSync(file, JSON.stringify(config))
  const main = join(import.meta.dirname, 'main.ts')
  const child: ChildProcess = fork(main, ['--config', file], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  context.after(() => child.kill('SIGKILL'))
  const [{ ready }] = (await once(child, 'message')) as [{ ready: { url: string } }]
  return { child, url: ready.url }
}

test('T124 T115: of two processes one leads and both deliver; a suspended leader and a killed one are replaced within seconds', async (t) => {
  const authority = await startTestAuthority(t)
  const { world, config, witness } = authority
  await authority.stop()
  const a = await startProcess(t, 'a', config, authority.folder)
  const b = await startProcess(t, 'b', config, authority.folder)
  const leads = async ({ url }: { url: string }): Promise<boolean> => (await fetchRotation(url)).leader
  assert.deepEqual([await leads(a), await leads(b)], [true, false])

  const operator = world.operators[0] as (typeof world.operators)[number]
  const cut = (before: number): Command => ({ op: 'cutoff', realm: 'consumer', before, reason: 'test' })
  await assert.rejects(sendCommand(b.url, cut(1), operator), { code: 'not_leader', retryable: true })
  assert.equal((await sendCommand(a.url, cut(1), operator)).version, 2)

  // What the leader publishes reaches who listens to the other one, and what that one is told reaches the leader.
  const readManifest = async ({ url }: { url: string }) => {
    const document = (await (await fetch(`${url}/manifest`)).json()) as { freshness: string }
    return verifyFreshness(document.freshness, world.charter)
  }
  const version2 = await until(
    () => readManifest(b),
    ({ version }) => version === 2,
  )
  const gateway = createTestKey('EdDSA')
  const enrolment = { name: 'gateway', jwk: gateway.jwk }
  const enrolled = await fetch(`${b.url}/validators`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${authority.enrolmentToken}` },
    body: JSON.stringify(enrolment),
  })
  assert.equal(enrolled.status, 200)
  const { manifestSha256 } = version2
  const acknowledgement = signStatement(
    'manifest-ack+jwt',
    { validator: 'gateway', version: 2, manifest_sha256: manifestSha256, iat: Math.floor(Date.now() / 1000) },
    gateway.privateKey,
  )
  const headers = { 'content-type': 'application/jwt' }
  const taken = await fetch(`${b.url}/acks`, { method: 'POST', headers, body: acknowledgement })
  assert.equal(taken.status, 200)
  await until(
    () => fetchAcks(a.url),
    ({ validators }) => validators[0]?.version === 2,
  )

  a.child.kill('SIGSTOP')
  const stoppedAt = Date.now()
  await until(() => leads(b), Boolean)
  const takeoverMilliseconds = Date.now() - stoppedAt
  assert.ok(takeoverMilliseconds < 8000, `${takeoverMilliseconds} ms`)
  t.diagnostic(`a suspended leader was replaced after ${takeoverMilliseconds} ms`)
  const { kid } = [...(authority.manifest.keys.values() as Iterable<{ kid: string; state: string }>)].find(
    ({ state }) => state === 'active',
  ) as { kid: string }
  const { version } = await sendCommand(b.url, { op: 'revoke', kid, reason: 'stolen' }, operator)
  const revokedAt = Math.floor(Date.now() / 1000)
  await delay(1100)

  a.child.kill('SIGCONT')
  await assert.rejects(sendCommand(a.url, cut(2), operator), { code: 'not_leader' })
  await until(
    () => readManifest(a),
    (freshness) => {
      if (freshness.version === version) return true
      assert.ok(freshness.issuedAt <= revokedAt, 'it vouched for a manifest that was not the newest any more')
      return false
    },
  )
  assert.equal(await leads(a), false)

  b.child.kill('SIGKILL')
  const killedAt = Date.now()
  await until(() => leads(a), Boolean)
  t.diagnostic(`a killed leader was replaced after ${Date.now() - killedAt} ms`)
  assert.equal((await sendCommand(a.url, cut(3), operator)).version, version + 1)
  const { versions } = witness
  assert.deepEqual(
    versions,
    [...new Set(versions)].sort((x, y) => x - y),
  )
  a.child.kill('SIGTERM')
  await once(a.child, 'exit')
})
