/**
 * Goal: an authority that was taken can deny what it likes of others and let nothing go. Method: a validator's trust, which
 * is shown one manifest after another, with blocks and cutoffs that vanish, and approvals that are missing, old or for
 * something else.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ApprovalDocument } from './approval.ts'
import type { CharterDocument } from './charter.ts'
import { DocumentRefusal } from './document.ts'
import { type ForeignDenials, noForeignDenials } from './foreign-denials.ts'
import { createTestWorld, type TestWorld } from './testing.ts'
import { Trust } from './trust.ts'

const issuer = 'https://login.example/{tenantid}/v2.0'
const kid = 'jS1Xo1OWDj_52vbwGNgvQO2VzMc'

interface Scene {
  readonly world: TestWorld
  /** Publishes the next manifest with these denials and shows it. */
  show(foreign: Partial<ForeignDenials>): void
  lift(blockedAt: number, change?: { readonly kid?: string; readonly issuer?: string }): ApprovalDocument
}

function begin(): Scene {
  const world = createTestWorld()
  const trust = new Trust(world.trustAnchor, { now: () => world.now, monotonic: () => world.now * 1000 })
  const take = (charters: readonly CharterDocument[]): void => {
    trust.accept(world.manifestDocument, charters)
  }
  take(world.charterDocuments)
  return {
    world,
    show: (foreign) => {
      world.now += 10
      world.publish(() => ({ foreign: { ...noForeignDenials, ...foreign } }))
      take([])
    },
    lift: (blockedAt, change = {}) =>
      world.approve({ op: 'lift-foreign', issuer, kid, blockedAt, ...change }),
  }
}

function block(at: number, change: object = {}): ForeignDenials['blocked'][number] {
  return { issuer, kid, at, reason: 'stolen', by: 'olga', ...change }
}

function isRefused(show: () => void, flaw: DocumentRefusal['flaw'], why: string): void {
  assert.throws(show, (error) => error instanceof DocumentRefusal && error.flaw === flaw, why)
}

test('a block of a foreign key goes only by an approval for that very block, and once', () => {
  const { show, lift, world } = begin()
  const at = world.now
  show({ blocked: [block(at)] })
  isRefused(() => show({}), 'not_approved', 'vanished')
  isRefused(() => show({ blocked: [block(at - 1)] }), 'not_approved', 'made older')
  isRefused(() => show({ blocked: [block(at, { kid: 'other' })] }), 'not_approved', 'another key')
  isRefused(() => show({ lifted: [lift(at - 1)] }), 'not_approved', 'an older block')
  isRefused(
    () => show({ lifted: [lift(at, { kid: 'other' })] }),
    'not_approved',
    'an approval for another key',
  )
  isRefused(
    () => show({ lifted: [lift(at, { issuer: 'https://b.example' })] }),
    'not_approved',
    'for another issuer',
  )
  const alone = lift(at)
  const [line] = alone.signatures
  assert.ok(line !== undefined)
  isRefused(() => show({ lifted: [{ ...alone, signatures: [line] }] }), 'not_approved', 'one person')

  const approval = lift(at)
  show({ lifted: [approval] })
  const later = world.now
  show({ blocked: [block(later)], lifted: [approval] })
  isRefused(() => show({ lifted: [approval] }), 'not_approved', 'T228: the same approval again')
  show({ lifted: [lift(later)] })
})

test('T236: an approval that has expired lifts no foreign block', () => {
  const { show, lift, world } = begin()
  const at = world.now
  show({ blocked: [block(at)] })
  const approval = lift(at)
  world.now += 1000
  isRefused(() => show({ lifted: [approval] }), 'not_approved', 'expired')
})

test('an approval for a foreign key lifts no key of ours that has the same name', () => {
  const { world } = begin()
  const own = world.keys.enterprise.kid
  world.setState(own, 'blocked')
  const foreign = world.approve({ op: 'lift-foreign', issuer, kid: own, blockedAt: world.now })
  isRefused(
    () =>
      world.publish(({ keys }) => ({
        keys: keys.map((key) =>
          key.kid === own ? { ...key, state: 'active', blocked: undefined, lifted: foreign } : key,
        ),
      })),
    'malformed',
    'another operation',
  )
})

test('what was cut off of a foreign issuer stays cut off, or more is', () => {
  const { show, world } = begin()
  const before = world.now
  const narrow = { issuer, tenant: 'tenant-1', subject: 'person', before }
  show({ cutoffs: [narrow] })
  isRefused(() => show({}), 'rolled_back', 'vanished')
  isRefused(() => show({ cutoffs: [{ ...narrow, before: before - 1 }] }), 'rolled_back', 'earlier')
  isRefused(() => show({ cutoffs: [{ ...narrow, tenant: 'tenant-2' }] }), 'rolled_back', 'another tenant')
  show({ cutoffs: [{ issuer, tenant: 'tenant-1', before }] })
  show({ cutoffs: [{ issuer, before: before + 5 }] })
})

test('T239: a manifest that denies in words that are not known is refused whole', () => {
  const { world } = begin()
  const bad = [
    { blocked: [block(1), block(2)] },
    { blocked: [{ ...block(1), scope: 'half' }] },
    { blocked: [block(1, { kid: '' })] },
    { lifted: [world.approve({ op: 'prune', kids: [world.keys.consumer.kid] })] },
  ]
  for (const change of bad) {
    isRefused(
      () => world.publish(() => ({ foreign: { ...noForeignDenials, ...change } })),
      'malformed',
      'form',
    )
  }
})
