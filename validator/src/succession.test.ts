/**
 * Goal: whoever has taken the authority, with its manifest key and the witness at its service, can narrow trust and
 * widen it nowhere. Method: validators hold an honest manifest; then the world publishes what a rogue would, each lie
 * properly logged and signed, and each honest version of it beside. Validators that missed versions take what really
 * happened in between, whatever that was.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { type ApprovalDocument, readApproval } from './approval.ts'
import { attestKey } from './attestation.ts'
import { type DocumentFlaw, DocumentRefusal, readPayload } from './document.ts'
import type { Cutoff, ManifestDraft } from './manifest.ts'
import {
  createTestKey,
  createTestWorld,
  type TestKey,
  type TestRealm,
  type TestWorld,
  tenants,
} from './testing.ts'
import { Trust } from './trust.ts'

type DraftKey = ManifestDraft['keys'][number]

const MINUTE = 60

interface Scene {
  readonly world: TestWorld
  /** The active key of the consumer realm. */
  readonly kid: string
  /** A validator that has everything so far. */
  join(): Trust
}

function begin(): Scene {
  const world = createTestWorld()
  const join = (): Trust => {
    const trust = new Trust(world.trustAnchor, { now: () => world.now, monotonic: () => world.now * 1000 })
    trust.accept(world.manifestDocument, world.charterDocuments)
    return trust
  }
  return { world, kid: world.keys.consumer.kid, join }
}

function takes(trust: Trust, world: TestWorld): void {
  const missing = world.charterDocuments.slice(trust.documents?.charters.length ?? 0)
  assert.equal(trust.accept(world.manifestDocument, missing), 'newer')
}

function refuses(trust: Trust, world: TestWorld, flaw: DocumentFlaw): void {
  const before = trust.state
  const missing = world.charterDocuments.slice(trust.documents?.charters.length ?? 0)
  assert.throws(
    () => trust.accept(world.manifestDocument, missing),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
  )
  assert.equal(trust.state, before)
}

/** Publishes the next manifest with one key changed: honestly or not is for the caller. */
function change(world: TestWorld, kid: string, changed: Partial<DraftKey>): void {
  world.publish(({ keys }) => ({ keys: keys.map((key) => (key.kid === kid ? { ...key, ...changed } : key)) }))
}

function keyOf(world: TestWorld, kid: string): DraftKey {
  return world.draft.keys.find((key) => key.kid === kid) as DraftKey
}

function blockedAt(world: TestWorld, kid: string): number {
  return keyOf(world, kid).blocked?.at ?? Number.NaN
}

/** Publishes a key that nobody knows yet, as a rotation does: it may sign when every cache has asked twice. */
function announce(world: TestWorld, realm: TestRealm = 'consumer'): TestKey {
  const added = createTestKey('ES256')
  world.publish(({ keys }) => ({ keys: [...keys, young(world, added, { state: 'published' }, realm)] }))
  return added
}

/** A key as its signer made it just now. */
function young(
  world: TestWorld,
  key: TestKey,
  changed: Partial<DraftKey>,
  realm: TestRealm = 'consumer',
): DraftKey {
  const scope = world.draftKey(key, realm)
  const attestation = attestKey({ ...scope, issuedAt: world.now }, world.signers[realm].privateKey)
  return { ...scope, notBefore: world.now + 1200, attestation, ...changed }
}

// Lifting a block.

test('a blocked key that enough people let go is live again', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  world.now += MINUTE
  world.setState(kid, 'active')
  takes(trust, world)
  assert.equal(trust.state?.manifest.keys.get(kid)?.state, 'active')
})

test('T228 R5: a rogue authority lets no blocked key go: not without an approval, not with one that does not count', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'blocked')
  const target = { op: 'lift', kid, blockedAt: blockedAt(world, kid) } as const
  const other = { ...target, kid: world.keys.enterprise.kid }
  const good = world.approve(target)
  const [first] = good.signatures
  const forged = createTestWorld({ now: world.now }).approve(target)
  const release = (lifted: ApprovalDocument | undefined, state: DraftKey['state']): void =>
    change(world, kid, { state, blocked: undefined, lifted })
  for (const state of ['published', 'active', 'retiring'] as const) {
    for (const [lifted, flaw] of [
      [undefined, 'not_approved'],
      [{ ...good, signatures: [first] }, 'not_approved'],
      [{ ...good, signatures: [first, first] }, 'not_approved'],
      [{ ...good, signatures: [] }, 'not_approved'],
      [forged, 'signature_invalid'],
    ] as [ApprovalDocument | undefined, DocumentFlaw][]) {
      const trust = join()
      release(lifted, state)
      refuses(trust, world, flaw)
      change(world, kid, {
        state: 'blocked',
        blocked: { at: target.blockedAt, reason: 'x', by: 'olga' },
        lifted: undefined,
      })
    }
  }
  // An approval for another key, or of another kind, does not even read as a lift of this one.
  for (const lifted of [world.approve(other), world.approve({ op: 'activate', kid })]) {
    assert.throws(() => release(lifted, 'active'), DocumentRefusal)
  }
  const trust = join()
  release(good, 'active')
  takes(trust, world)
})

test('T228: an approval that lifted one block lifts no other block of the key', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  world.setState(kid, 'active')
  const used = keyOf(world, kid).lifted
  takes(trust, world)
  world.now += MINUTE
  world.setState(kid, 'blocked')
  takes(trust, world)
  assert.equal(keyOf(world, kid).lifted, used, 'it stays where it is')
  change(world, kid, { state: 'active', blocked: undefined })
  refuses(trust, world, 'not_approved')
})

test('T228: nor after the clock of the authority went back, when the new block looks older than the one that was lifted', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  world.setState(kid, 'active')
  takes(trust, world)
  change(world, kid, { state: 'blocked', blocked: { at: world.now - 300, reason: 'again', by: 'omar' } })
  takes(trust, world)
  change(world, kid, { state: 'active', blocked: undefined })
  refuses(trust, world, 'not_approved')
  // Nor once the record of the first lift was taken away.
  change(world, kid, {
    state: 'blocked',
    blocked: { at: world.now - 300, reason: 'again', by: 'omar' },
    lifted: undefined,
  })
  refuses(trust, world, 'rolled_back')
})

test('a blocked key that was let go, took over and was blocked again while a validator was away is no reason to refuse', () => {
  for (const last of ['active', 'retiring', 'blocked'] as const) {
    const { world, join } = begin()
    const { kid } = announce(world)
    world.setState(kid, 'blocked')
    const { notBefore } = keyOf(world, kid)
    const trust = join()
    world.now += MINUTE
    world.setState(kid, 'published')
    world.now = notBefore
    change(world, kid, { state: 'active', notBefore: notBefore - MINUTE })
    if (last !== 'active') world.setState(kid, last)
    takes(trust, world)
    assert.equal(trust.state?.manifest.keys.get(kid)?.state, last)
  }
})

test('T228: the window of a blocked key stays closed without a lift, and opens no wider by one', () => {
  for (const [isLifted, seconds] of [
    [false, 1],
    [true, MINUTE + 1],
  ] as const) {
    const { world, join } = begin()
    const { kid } = announce(world)
    world.setState(kid, 'blocked')
    const { notBefore } = keyOf(world, kid)
    const trust = join()
    if (isLifted) world.setState(kid, 'published')
    world.now = notBefore
    change(world, kid, { notBefore: notBefore - seconds })
    refuses(trust, world, 'not_approved')
  }
})

test('T228: a block is not said to be an older one, for which there is an approval left', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  const first = blockedAt(world, kid)
  const unused = world.approve({ op: 'lift', kid, blockedAt: first })
  world.setState(kid, 'active')
  takes(trust, world)
  world.now += MINUTE
  world.setState(kid, 'blocked')
  takes(trust, world)
  change(world, kid, { blocked: { at: first, reason: 'suspected', by: 'olga' } })
  refuses(trust, world, 'not_approved')
  change(world, kid, { state: 'active', blocked: undefined, lifted: unused })
  refuses(trust, world, 'not_approved')
})

test('K11: an approval that has expired lets nothing go', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  const lifted = world.approve({ op: 'lift', kid, blockedAt: blockedAt(world, kid) })
  world.now += 15 * MINUTE + 61
  change(world, kid, { state: 'active', blocked: undefined, lifted })
  refuses(trust, world, 'not_approved')
})

test('K11: an expired approval is not saved by a version that was left out', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  const lifted = world.approve({ op: 'lift', kid, blockedAt: blockedAt(world, kid) })
  world.now += 15 * MINUTE + 61
  // The authority has said that nothing was done yet.
  trust.refresh(world.freshness())
  world.publish()
  change(world, kid, { state: 'active', blocked: undefined, lifted })
  refuses(trust, world, 'not_approved')
})

test('an approval of the future lets nothing go', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'blocked')
  const trust = join()
  const issuedAt = world.now + 61
  const lifted = world.approve(
    { op: 'lift', kid, blockedAt: blockedAt(world, kid) },
    { issuedAt, expiresAt: issuedAt + 60 },
  )
  change(world, kid, { state: 'active', blocked: undefined, lifted })
  refuses(trust, world, 'not_approved')
})

test('T228: people who are no operators any more approve nothing, under no charter', () => {
  const { world, kid, join } = begin()
  const trust = join()
  const [, , opal] = world.operators.map(({ id, jwk }) => ({ id, jwk }))
  const newcomer = createTestKey('EdDSA')
  const target = { op: 'lift', kid, blockedAt: world.now } as const
  const before = world.approve(target)
  world.setState(kid, 'blocked')
  takes(trust, world)
  world.amend(() => ({ operators: [opal, { id: 'pat', jwk: newcomer.jwk }] }))
  takes(trust, world)
  // Their keys were taken, so they sign whatever charter, and whatever time, is wanted.
  for (const [lifted, flaw] of [
    [before, 'not_approved'],
    [world.approve(target, { charterVersion: 1 }), 'not_approved'],
    [world.approve(target, { charterVersion: 2 }), 'signature_invalid'],
    [world.approve(target, { charterVersion: 3 }), 'not_approved'],
  ] as const) {
    change(world, kid, { state: 'active', blocked: undefined, lifted })
    refuses(trust, world, flaw)
  }
})

test('a validator that missed the block, the lift and a charter takes what came of them', () => {
  const { world, kid, join } = begin()
  const [missedAll, sawBlock] = [join(), join()]
  world.setState(kid, 'blocked')
  takes(sawBlock, world)
  world.now += MINUTE
  world.setState(kid, 'active')
  const [, , opal] = world.operators.map(({ id, jwk }) => ({ id, jwk }))
  world.amend(() => ({ operators: [opal, { id: 'pat', jwk: createTestKey('EdDSA').jwk }] }))
  world.now += 3600
  world.publish()
  for (const trust of [missedAll, sawBlock]) takes(trust, world)
})

test('a validator that missed a lift and the next block and its lift takes the last', () => {
  const { world, kid, join } = begin()
  const trust = join()
  world.setState(kid, 'blocked')
  takes(trust, world)
  world.setState(kid, 'active')
  world.now += MINUTE
  world.setState(kid, 'blocked')
  const between = join()
  world.now += MINUTE
  world.setState(kid, 'active')
  for (const each of [trust, between]) takes(each, world)
})

test('R4 R5: a validator that starts again from its file is no easier to deceive', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'blocked')
  const { record } = join()
  assert.ok(record)
  const restore = (): Trust => Trust.restore(record, world.trustAnchor)
  change(world, kid, { state: 'active', blocked: undefined })
  refuses(restore(), world, 'not_approved')
  const lifted = world.approve({ op: 'lift', kid, blockedAt: readBlockedAt(record.manifest) })
  change(world, kid, { lifted })
  takes(restore(), world)

  function readBlockedAt({ payload }: { payload: string }): number {
    const keys = readPayload(payload)['keys'] as unknown as { kid: string; blocked?: { at: number } }[]
    return keys.find((key) => key.kid === kid)?.blocked?.at ?? Number.NaN
  }
})

test('a blocked key may be ended by one person', () => {
  for (const state of ['retired', 'revoked'] as const) {
    const { world, kid, join } = begin()
    world.setState(kid, 'blocked')
    const trust = join()
    world.setState(kid, state)
    takes(trust, world)
  }
})

// Signing before its time.

test('K3: a key signs once its time has come, and needs nobody for it', () => {
  const { world, join } = begin()
  const trust = join()
  const { kid } = announce(world)
  takes(trust, world)
  world.now += 1200
  change(world, kid, { state: 'active', notBefore: world.now - 60 })
  takes(trust, world)
})

test('K3 K11: a rogue authority lets no key sign before its time', () => {
  const { world, join } = begin()
  const trust = join()
  const added = announce(world)
  const { kid } = added
  takes(trust, world)
  world.now += 1199
  for (const state of ['active', 'retiring'] as const) {
    const before = keyOf(world, kid)
    for (const lie of [{ state }, { state, notBefore: world.now - 60 }]) {
      change(world, kid, lie)
      refuses(trust, world, 'not_approved')
      change(world, kid, before)
    }
  }
  // Nor by moving its time first.
  change(world, kid, { state: 'published', notBefore: world.now })
  refuses(trust, world, 'not_approved')
  change(world, kid, {
    state: 'blocked',
    blocked: { at: world.now, reason: 'x', by: 'olga' },
    notBefore: world.now - 3600,
  })
  refuses(trust, world, 'not_approved')
  // Nor by waiting, and saying then that it has signed for long.
  world.now += 2
  change(world, kid, { state: 'active', blocked: undefined, notBefore: world.now - 62 })
  refuses(trust, world, 'not_approved')
})

test('K11: two people let a key sign before its time, and only that one', () => {
  const { world, join } = begin()
  const trust = join()
  const [first, second] = [announce(world), announce(world)]
  takes(trust, world)
  world.now += MINUTE
  const early = world.approve({ op: 'activate', kid: first.kid })
  assert.throws(
    () => change(world, second.kid, { state: 'active', notBefore: world.now - 60, early }),
    DocumentRefusal,
  )
  change(world, first.kid, {
    state: 'active',
    notBefore: world.now - 60,
    early: { ...early, signatures: early.signatures.slice(1) },
  })
  refuses(trust, world, 'not_approved')
  change(world, first.kid, { state: 'active', notBefore: world.now - 3600, early })
  refuses(trust, world, 'not_approved')
  change(world, first.kid, { state: 'active', notBefore: world.now - 60, early })
  takes(trust, world)
})

test('K11: a validator that missed the moment takes a key that two people let sign early', () => {
  const { world, join } = begin()
  const added = announce(world)
  const trust = join()
  world.now += MINUTE
  const early = world.approve({ op: 'activate', kid: added.kid })
  change(world, added.kid, { state: 'active', notBefore: world.now - 60, early })
  for (const _ of [1, 2, 3]) {
    world.now += 3600
    world.publish()
  }
  takes(trust, world)
})

test('A3: break-glass lets the keys of its realm sign early while it lasts', () => {
  const { world, join } = begin()
  const trust = join()
  const [consumer, enterprise] = [announce(world), announce(world, 'enterprise')]
  takes(trust, world)
  world.now += MINUTE
  const until = world.now + 5 * MINUTE
  const glass = world.approve({ op: 'break-glass', realm: 'consumer', until })
  const breakGlass = [glass]
  const activate = (kid: string, changed: Partial<DraftKey> = {}, glasses = breakGlass): void => {
    world.publish(({ keys }) => ({
      breakGlass: glasses,
      keys: keys.map((key) =>
        key.kid === kid ? { ...key, state: 'active', notBefore: world.now - 60, ...changed } : key,
      ),
    }))
  }
  const quiet = world.draft
  activate(enterprise.kid)
  refuses(trust, world, 'not_approved')
  // The rogue's lie is no part of what follows.
  world.publish(() => ({ keys: quiet.keys, breakGlass: [] }))
  activate(consumer.kid, {}, [{ ...glass, signatures: glass.signatures.slice(1) }])
  refuses(trust, world, 'not_approved')
  activate(consumer.kid)
  takes(trust, world)
})

test('A3: break-glass that is over, or of another realm, lets nothing sign early', () => {
  const { world, join } = begin()
  const added = announce(world)
  const trust = join()
  const glass = world.approve({ op: 'break-glass', realm: 'consumer', until: world.now + MINUTE })
  const other = world.approve({ op: 'break-glass', realm: 'enterprise', until: world.now + 3600 })
  world.now += 2 * MINUTE + 1
  // The authority has said that nothing was done yet, so a version left out changes nothing.
  trust.refresh(world.freshness())
  const active = { ...keyOf(world, added.kid), state: 'active', notBefore: world.now - 60 } as const
  for (const [breakGlass, early] of [
    [[glass], undefined],
    [[other], undefined],
    [[glass, other], glass],
  ] as const) {
    world.publish(({ keys }) => ({
      breakGlass,
      keys: keys.map((key) => (key.kid === added.kid ? { ...active, early } : key)),
    }))
    refuses(trust, world, 'not_approved')
  }
})

test('A3: who missed a break-glass takes the key that shows it', () => {
  const { world, join } = begin()
  const added = announce(world)
  const trust = join()
  const early = world.approve({ op: 'break-glass', realm: 'consumer', until: world.now + 5 * MINUTE })
  world.now += MINUTE
  world.publish(({ keys }) => ({
    breakGlass: [early],
    keys: keys.map((key) =>
      key.kid === added.kid ? { ...key, state: 'active', notBefore: world.now - 60, early } : key,
    ),
  }))
  world.now += 10 * MINUTE
  world.publish(() => ({ breakGlass: [] }))
  takes(trust, world)
})

test('K3: a key that was never published signs for nobody before its signer made it long enough ago', () => {
  const { world, join } = begin()
  const trust = join()
  const added = createTestKey('ES256')
  const appear = (changed: Partial<DraftKey> = {}): void => {
    const { issuedAt: _, keys } = world.draft
    const rest = keys.filter(({ kid }) => kid !== added.kid)
    world.publish(() => ({ keys: [...rest, young(world, added, { notBefore: world.now - 60, ...changed })] }))
  }
  appear()
  refuses(trust, world, 'not_approved')
  appear({ state: 'retiring' })
  refuses(trust, world, 'not_approved')
  appear({ early: world.approve({ op: 'activate', kid: added.kid }) })
  takes(trust, world)
})

test('the first key of a realm and issuer signs at once, since there is nobody it would surprise', () => {
  const world = createTestWorld({ identities: { enterprise: createTestKey('EdDSA').jwk } })
  const trust = new Trust(world.trustAnchor)
  trust.accept(world.manifestDocument, world.charterDocuments)
  const signer = createTestKey('EdDSA')
  const realms = readPayload(world.charterDocuments[0]?.payload ?? '')['realms'] as unknown as Record<
    string,
    object
  >
  world.amend(() => ({
    realms: { ...realms, enterprise: { ...realms['enterprise'], signers: [signer.jwk] } },
  }))
  const first = createTestKey('ES256')
  const scope = world.draftKey(first, 'enterprise')
  const attestation = attestKey({ ...scope, issuedAt: world.now }, signer.privateKey)
  world.publish(({ keys }) => ({ keys: [...keys, { ...scope, attestation, notBefore: world.now }] }))
  takes(trust, world)
})

test('who missed all of a rotation takes the key that signs now', () => {
  const { world, join } = begin()
  const trust = join()
  const added = announce(world)
  world.now += 1200
  change(world, added.kid, { state: 'active', notBefore: world.now - 60 })
  takes(trust, world)
})

// Living longer.

test('F4 F5: no key is shown to sign or to verify longer than it was before', () => {
  const { world, kid, join } = begin()
  const trust = join()
  const { signUntil, verifyUntil } = keyOf(world, kid)
  change(world, kid, { state: 'retiring', signUntil: world.now + 60, verifyUntil: world.now + 3720 })
  takes(trust, world)
  for (const longer of [
    { signUntil, verifyUntil },
    { signUntil: world.now + 61 },
    { verifyUntil: world.now + 3721 },
    { state: 'blocked', blocked: { at: world.now, reason: 'x', by: 'olga' }, verifyUntil: world.now + 3721 },
  ] as const) {
    const before = keyOf(world, kid)
    change(world, kid, longer)
    refuses(trust, world, 'key_revived')
    change(world, kid, before)
  }
})

test('F5: a key that is on its way out does not turn back', () => {
  const { world, kid, join } = begin()
  const trust = join()
  change(world, kid, { state: 'retiring' })
  takes(trust, world)
  for (const state of ['active', 'published'] as const) {
    change(world, kid, { state })
    refuses(trust, world, 'not_approved')
  }
})

test('F5 K5: age counts from when the signer made a key, so that no window makes it young again', () => {
  const { world, kid } = begin()
  const days = 24 * 3600
  const window = {
    notBefore: world.now + days,
    signUntil: world.now + 14 * days + 1,
    verifyUntil: world.now + 14 * days + 1,
  }
  assert.throws(
    () => change(world, kid, window),
    (error) => error instanceof DocumentRefusal && error.flaw === 'out_of_charter',
  )
})

// History.

test('F12: a key does not vanish, whatever its state, unless people approved it', () => {
  for (const state of ['published', 'active', 'retiring', 'blocked', 'retired', 'revoked'] as const) {
    const { world, kid, join } = begin()
    world.setState(kid, state)
    const trust = join()
    const keys = world.draft.keys.filter((key) => key.kid !== kid)
    world.publish(() => ({ keys }))
    refuses(trust, world, 'not_approved')
    const others = world.approve({ op: 'prune', kids: [world.keys.enterprise.kid] })
    const document = world.approve({ op: 'prune', kids: [kid] })
    world.publish(() => ({ pruned: [{ ...document, signatures: document.signatures.slice(1) }] }))
    refuses(trust, world, 'not_approved')
    assert.throws(
      () => world.publish(() => ({ pruned: [others] })),
      DocumentRefusal,
      'it names a key that is there',
    )
    world.publish(() => ({ pruned: [document] }))
    takes(trust, world)
  }
})

test('F12: what was pruned stays named, so that those who missed it can tell', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'revoked')
  const missed = join()
  const pruned = [world.approve({ op: 'prune', kids: [kid] })]
  world.publish(({ keys }) => ({ pruned, keys: keys.filter((key) => key.kid !== kid) }))
  const trust = join()
  world.now += 3600
  world.publish()
  for (const each of [missed, trust]) takes(each, world)
  world.publish(() => ({ pruned: [] }))
  for (const each of [missed, trust]) refuses(each, world, 'rolled_back')
})

test('what was pruned once does not hinder, or help, what is pruned later', () => {
  const { world, kid, join } = begin()
  const other = world.keys.enterprise.kid
  world.setState(kid, 'revoked')
  world.setState(other, 'revoked')
  const trust = join()
  const leaveOut = (gone: string, ...documents: ApprovalDocument[]): void => {
    world.publish(({ keys, pruned }) => ({
      pruned: [...pruned, ...documents],
      keys: keys.filter((key) => key.kid !== gone),
    }))
  }
  leaveOut(kid, world.approve({ op: 'prune', kids: [kid] }))
  takes(trust, world)
  world.now += 3600
  world.publish()
  takes(trust, world)
  leaveOut(other)
  refuses(trust, world, 'not_approved')
  leaveOut(other, world.approve({ op: 'prune', kids: [other] }))
  takes(trust, world)
})

test('a charter that no longer allows a key leaves its end in sight', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'revoked')
  const trust = join()
  const realms = readPayload(world.charterDocuments[0]?.payload ?? '')['realms'] as unknown as Record<
    string,
    object
  >
  const signers = [createTestKey('EdDSA').jwk]
  world.publish(({ keys }) => ({
    keys: keys.map((key) =>
      key.realm === 'consumer' && key.kid !== kid ? { ...key, state: 'retired' } : key,
    ),
  }))
  takes(trust, world)
  world.amend(() => ({ realms: { ...realms, consumer: { ...realms['consumer'], signers } } }))
  takes(trust, world)
  assert.equal(trust.state?.manifest.keys.get(kid)?.state, 'revoked')
})

// Cutoffs.

const cutoffs: readonly Cutoff[] = [
  { realm: 'consumer', before: 100 },
  { realm: 'enterprise', subject: 'user-1', before: 200 },
  { tenant: tenants.fabrikam, subject: 'user-2', before: 300 },
]

test('F12: what was cut off does not come back: no cutoff vanishes or moves back', () => {
  const { world, kid, join } = begin()
  const all = [...cutoffs, { kid, before: 400 }]
  world.publish(() => ({ cutoffs: all }))
  const trust = join()
  for (const [index, cutoff] of all.entries()) {
    const others = all.filter((_, at) => at !== index)
    for (const instead of [
      [],
      [{ ...cutoff, before: cutoff.before - 1 }],
      [{ realm: 'enterprise', subject: 'user-9', before: 900 }],
      [{ ...cutoff, subject: 'user-3', before: 900 }],
    ]) {
      world.publish(() => ({ cutoffs: [...others, ...instead] }))
      refuses(trust, world, 'rolled_back')
    }
  }
  world.publish(() => ({ cutoffs: all.map((cutoff) => ({ ...cutoff, before: cutoff.before + 1 })) }))
  takes(trust, world)
})

test('a wider cutoff may stand for those that it covers', () => {
  const { world, join } = begin()
  world.publish(() => ({ cutoffs }))
  const trust = join()
  const [first] = cutoffs as [Cutoff]
  world.publish(() => ({
    cutoffs: [first, { realm: 'enterprise', before: 199 }, { tenant: tenants.fabrikam, before: 300 }],
  }))
  refuses(trust, world, 'rolled_back')
  world.publish(() => ({
    cutoffs: [first, { realm: 'enterprise', before: 200 }, { tenant: tenants.fabrikam, before: 300 }],
  }))
  takes(trust, world)
})

test('a cutoff goes with the key that was pruned, and with the realm that a charter dropped', () => {
  const { world, kid, join } = begin()
  world.setState(kid, 'revoked')
  world.publish(() => ({ cutoffs: [{ kid, before: 5 }, ...cutoffs] }))
  const trust = join()
  const pruned = [world.approve({ op: 'prune', kids: [kid] })]
  world.publish(({ keys }) => ({ cutoffs, pruned, keys: keys.filter((key) => key.kid !== kid) }))
  takes(trust, world)
  const realms = readPayload(world.charterDocuments[0]?.payload ?? '')['realms'] as unknown as Record<
    string,
    object
  >
  world.publish(({ keys }) => ({
    keys: keys.map((key) => (key.realm === 'enterprise' ? { ...key, state: 'retired' } : key)),
  }))
  takes(trust, world)
  world.amend(() => ({ realms: { consumer: realms['consumer'] } }))
  world.publish(() => ({ cutoffs: cutoffs.slice(0, 1) }))
  takes(trust, world)
})

test('an approval that nobody relies on is not verified: it may be of a charter that a validator never saw', () => {
  const { world, join } = begin()
  const trust = join()
  const acts = [
    { approval: world.approve({ op: 'remove-validator', name: 'gateway-1' }, { charterVersion: 9 }) },
  ]
  world.publish(() => ({ acts }))
  takes(trust, world)
  assert.equal(trust.state?.manifest.acts.length, 1)
  assert.equal(readApproval(acts[0]?.approval).charterVersion, 9)
})
