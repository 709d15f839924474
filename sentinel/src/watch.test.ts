/**
 * Goal: what fails by not happening is noticed in time, and not before. Method: states and times on both sides of each
 * limit.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Acks, Rotation, RotationStep } from '@countersign/authority/client'
import { createTestWorld } from '@countersign/validator/testing'
import type { Finding } from './alert.ts'
import {
  createPacer,
  createRotationWatch,
  createSilenceWatch,
  findBrokenGlass,
  findFullManifest,
  findOldKeys,
  findStaleLogs,
  findUnenforced,
  findUnheard,
} from './watch.ts'

const DAY = 24 * 3600

test('K5 F5: a key past 80 % of its age is a warning, past all of it critical', () => {
  const world = createTestWorld()
  const agedBy = (days: number): Finding[] =>
    findOldKeys(world.state, world.now + days * DAY).filter(({ realm }) => realm === 'consumer')
  const severitiesAt = (days: number): Set<string> => {
    const found = agedBy(days)
    for (const { rule } of found) assert.equal(rule, 'key_over_age')
    return new Set(found.map(({ severity }) => severity))
  }
  assert.deepEqual(severitiesAt(11.1), new Set())
  assert.deepEqual(severitiesAt(11.3), new Set(['warning']))
  assert.deepEqual(severitiesAt(14), new Set(['critical']))
})

test('F5: a key that signs no more grows no older', () => {
  const world = createTestWorld()
  const { kid } = world.keys.consumer
  assert.ok(findOldKeys(world.state, world.now + 20 * DAY).some((finding) => finding.kid === kid))
  const state = world.setState(kid, 'retired')
  assert.ok(!findOldKeys(state, world.now + 20 * DAY).some((finding) => finding.kid === kid))
})

test('T121 R1: a validator that stays behind is silent, one that catches up in time is not', () => {
  const find = createSilenceWatch(60)
  assert.deepEqual(find(acks('slow', 'quick'), 1000), [])
  assert.deepEqual(find(acks('slow'), 1030), [])
  // Behind again, by another version: its time begins anew.
  assert.deepEqual(find(acks('slow', 'quick'), 1059), [])
  const [finding, ...others] = find(acks('slow', 'quick'), 1061)
  assert.deepEqual(others, [])
  assert.equal(finding?.rule, 'validator_silent')
  assert.equal(finding?.actor, 'slow')
  assert.equal(finding?.seenAt, 1_000_000)
})

test('L6: an open log that has signed nothing for ten seconds is stale, a sealed one never', () => {
  const log = (signedAt: number, isOpen = true) => ({
    origin: 'witness.example/2026',
    isOpen,
    size: 1,
    signedAt,
  })
  assert.deepEqual(findStaleLogs([log(1000)], 0, 1010), [])
  const [finding] = findStaleLogs([log(1000)], 0, 1010.5)
  assert.equal(finding?.rule, 'checkpoint_stale')
  assert.equal(finding?.severity, 'critical')
  assert.deepEqual(findStaleLogs([log(1000, false)], 0, 5000), [])
  // The sentinel has only just begun to read.
  assert.deepEqual(findStaleLogs([log(0)], 5000, 5005), [])
  assert.equal(findStaleLogs([log(0)], 5000, 5011).length, 1)
})

test('T267: a condition that lasts is told when it begins, every ten minutes, and when it begins again', async () => {
  const passed: number[] = []
  let second = 0
  const pace = createPacer(async () => void passed.push(second))
  const stale = findStaleLogs([{ origin: 'a', isOpen: true, size: 1, signedAt: 0 }], 0, 1000)
  for (; second <= 600; second++) await pace(stale, second)
  await pace([], second)
  await pace(stale, ++second)
  assert.deepEqual(passed, [0, 600, 602])
})

test('R2: a canary that was accepted is told as soon as it can be written down, since it is told of for minutes only', async () => {
  const results = [
    { name: 'gateway', outcome: 'accepted', reason: null, is_real: true, milliseconds: 1 },
  ] as const
  const proofs = [{ kid: 'A', version: 2, at: 0, state: 'done', results }] as const
  let isFull = true
  const told: Finding[] = []
  const pace = createPacer(async (due) => {
    if (isFull) throw new Error('the disk is full')
    told.push(...due)
  })
  await assert.rejects(pace(findUnenforced(proofs, new Map(), 1), 1), /full/)
  isFull = false
  await pace(findUnenforced(proofs, new Map(), 2), 2)
  assert.deepEqual(
    told.map(({ reason }) => reason),
    ['canary_accepted'],
  )
})

const slot = {
  realm: 'consumer',
  issuer: 'https://login.example',
  purpose: 'token',
  active: 'A',
  next: 'B',
  due_at: 10_000,
  waits_for: [],
  overdue: [],
  age_ratio: 0.1,
} as const satisfies RotationStep

function rotationOf(...slots: RotationStep[]): Rotation {
  return { leader: true, slots }
}

test('F13 K3: a validator that a key was not waited for is named, one that it waits for is not', () => {
  assert.deepEqual(findUnheard(rotationOf({ ...slot, waits_for: ['gateway'] }), 1000), [])
  const [finding, ...others] = findUnheard(rotationOf(slot, { ...slot, overdue: ['gateway'] }), 1000)
  assert.deepEqual(others, [])
  assert.deepEqual(
    [finding?.rule, finding?.severity, finding?.actor, finding?.kid, finding?.realm],
    ['rotation_unheard', 'warning', 'gateway', 'B', 'consumer'],
  )
})

test('F5 K5: a rotation that is overdue is a warning, a slot in which nothing signs for a minute critical', () => {
  const find = createRotationWatch()
  assert.deepEqual(find(rotationOf(slot), 10_899), [])
  const [late] = find(rotationOf(slot), 10_900)
  assert.deepEqual(
    [late?.rule, late?.severity, late?.reason, late?.kid],
    ['rotation_late', 'warning', 'overdue', 'A'],
  )
  const idle = { ...slot, active: null, due_at: null }
  assert.deepEqual(find(rotationOf(idle), 20_000), [])
  assert.deepEqual(find(rotationOf(idle), 20_059), [])
  const [none] = find(rotationOf(idle), 20_060)
  assert.deepEqual([none?.severity, none?.reason, none?.seenAt], ['critical', 'no_active_key', 20_000_000])
  assert.deepEqual(find(rotationOf({ ...slot, due_at: 30_000 }), 20_061), [])
  assert.deepEqual(find(rotationOf(idle), 20_062), [], 'again, from the beginning')
})

test('F5: a manifest that fills up is a warning long before it takes no new key', () => {
  const { state } = createTestWorld()
  const [key] = state.manifest.keys.values()
  assert.ok(key)
  const severityOf = (count: number) => {
    const keys = new Map(Array.from({ length: count }, (_, index) => [`k${index}`, key]))
    const [finding] = findFullManifest({ ...state, manifest: { ...state.manifest, keys } }, 1000)
    return finding && [finding.rule, finding.severity]
  }
  assert.equal(severityOf(2047), undefined)
  assert.deepEqual(severityOf(2048), ['manifest_full', 'warning'])
  assert.deepEqual(severityOf(3687), ['manifest_full', 'critical'])
})

test('A3 T230: while the glass is broken it is critical, used or not, told every minute, and no longer than it lasts', async () => {
  const world = createTestWorld()
  const until = world.now + 3000
  const state = world.publish(() => ({
    breakGlass: [world.approve({ op: 'break-glass', realm: 'consumer', until })],
  }))
  const [finding, ...others] = findBrokenGlass(state, world.now)
  assert.deepEqual(others, [])
  assert.deepEqual(
    [finding?.rule, finding?.severity, finding?.realm, finding?.actor],
    ['break_glass', 'critical', 'consumer', 'olga'],
  )
  assert.deepEqual(findBrokenGlass(state, until), [])

  const passed: number[] = []
  let second = 0
  const pace = createPacer(async () => void passed.push(second))
  for (; second < 300; second++) await pace(findBrokenGlass(state, world.now + second), second)
  assert.deepEqual(passed, [0, 60, 120, 180, 240])
})

function acks(...silent: string[]): Acks {
  return { version: 2, validators: [], silent }
}
