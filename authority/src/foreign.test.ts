/**
 * Goal: one person ends a key that is not ours, at every validator, and two let it go. Method: a whole authority over HTTP,
 * with validators that follow it and acknowledge; commands that are bent; approvals for other blocks.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { type ApprovalTarget, approve, writeApproval } from '@countersign/validator/approval'
import type { Enrolment } from '@countersign/validator/enrolment'
import { createProviderKey, signAs, startFakeProvider } from '@countersign/validator/fake-provider'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { FOREIGN_COUNT_MAX, noForeignDenials } from '@countersign/validator/foreign-denials'
import { entra, fetchFromLoopback } from '@countersign/validator/issuers'
import { acceptWithoutReceipt, createValidator } from '@countersign/validator/validator'
import { cutOffForeign } from './foreign.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

const iss = 'https://login.microsoftonline.com/{tenantid}/v2.0'
const kid = 'jS1Xo1OWDj_52vbwGNgvQO2VzMc'

async function follow(t: TestContext, authority: TestAuthority, name: string): Promise<Follower> {
  const key = await authority.enrol(name)
  const enrolment: Enrolment = { name, privateKey: key.privateKey }
  const { url, world } = authority
  const follower = followManifest({ authority: url, trustAnchor: world.trustAnchor, enrolment })
  t.after(() => follower.stop())
  await follower.ready()
  return follower
}

/** A document that two operators of the world have signed. */
function approved(authority: TestAuthority, target: ApprovalTarget): string {
  const now = Math.floor(Date.now() / 1000)
  const [first, second] = authority.world.operators
  const payload = writeApproval({
    target,
    reason: 'it was another one',
    proposer: 'olga',
    issuedAt: now,
    expiresAt: now + 900,
    jti: randomBytes(16).toString('base64url'),
    charterVersion: 1,
  })
  assert.ok(first !== undefined && second !== undefined)
  return JSON.stringify(approve(approve(payload, first.privateKey), second.privateKey))
}

const json = { 'content-type': 'application/json' }

test('R1: one person blocks a key that is not ours, every validator hears of it, and two people let it go', async (t) => {
  const authority = await startTestAuthority(t)
  const followers = await Promise.all(['a', 'b', 'c'].map((name) => follow(t, authority, name)))
  const blocked = await authority.command({ op: 'block', iss, kid, reason: 'stolen' })
  assert.deepEqual([blocked.status, blocked.body['changed']], [200, true])
  await authority.allAcknowledged()
  for (const { state } of followers) {
    assert.deepEqual(
      state?.manifest.foreign.blocked.map(({ issuer, kid: name, by, reason }) => [issuer, name, by, reason]),
      [[iss, kid, 'olga', 'stolen']],
    )
  }
  const again = await authority.command({ op: 'block', iss, kid, reason: 'again' })
  assert.equal(again.body['changed'], false)
  const [act] = (await authority.get('acts')).body['acts'] as Record<string, unknown>[]
  assert.deepEqual([act?.['op'], act?.['iss'], act?.['kid']], ['block', iss, kid])

  const [block] = authority.manifest.foreign.blocked
  const target = { op: 'lift-foreign', issuer: iss, kid, blockedAt: block?.at ?? 0 } as const
  const wrong = approved(authority, { ...target, blockedAt: target.blockedAt - 1 })
  assert.equal((await authority.post('proposals', wrong, json)).body['error'], 'proposal_impossible')
  assert.equal(authority.manifest.foreign.blocked.length, 1)
  const lifted = await authority.post('proposals', approved(authority, target), json)
  assert.equal(typeof lifted.body['version'], 'number', JSON.stringify(lifted.body))
  await authority.allAcknowledged()
  for (const { state } of followers) assert.deepEqual(state?.manifest.foreign.blocked, [])

  await authority.command({ op: 'block', iss, kid, reason: 'stolen after all' })
  await authority.restart()
  assert.equal(authority.manifest.foreign.blocked.length, 1, 'a restart keeps it')
})

test('R1 T118: a stolen key of Entra dies at twenty validators in one command, and ends what is open there, long before its owner removes it', async (t) => {
  const authority = await startTestAuthority(t)
  const microsoft = 'https://login.microsoftonline.com'
  const tenant = '8eaef023-2b34-4da1-9baa-8bc8c9d6a490'
  const audience = 'api://orders'
  const provider = await startFakeProvider({
    issuer: `${microsoft}/${tenant}/v2.0`,
    metadataPath: `/${tenant}/v2.0/.well-known/openid-configuration`,
    keySet: `${microsoft}/${tenant}/discovery/v2.0/keys`,
  })
  t.after(() => provider.stop())
  const stolen = createProviderKey(kid, 'RS256', { issuer: iss })
  provider.keys = [stolen.shown]
  const followers = await Promise.all(
    Array.from({ length: 20 }, (_, nth) => follow(t, authority, `validator-${nth}`)),
  )
  const validators = followers.map((trust) => {
    const validator = createValidator({
      issuers: [entra({ tenants: [tenant], [fetchFromLoopback]: provider.origin })],
      audience,
      [acceptWithoutReceipt]: 'Entra countersigns nothing',
      trust,
    })
    t.after(validator.stop)
    return validator
  })
  await Promise.all(validators.map((validator) => validator.ready()))
  const now = Math.floor(Date.now() / 1000)
  const forge = (sub: string): string =>
    signAs(
      stolen,
      { typ: 'JWT' },
      {
        iss: `${microsoft}/${tenant}/v2.0`,
        aud: audience,
        tid: tenant,
        sub,
        iat: now,
        nbf: now,
        exp: now + 3600,
        azp: 'thief',
        scp: 'orders.read',
        ver: '2.0',
      },
    )
  const shown = forge('victim')
  const endings = validators.map((validator) => {
    const { signal } = validator.hold(validator.validate(shown))
    return new Promise<number>((resolve) => {
      signal.addEventListener('abort', () => resolve(performance.now()))
    })
  })
  const startedAt = performance.now()
  const { body } = await authority.command({ op: 'block', iss, kid, reason: 'stolen' })
  const ended = await Promise.all(endings)
  for (const validator of validators) {
    for (const token of [shown, forge('another')]) {
      assert.throws(() => validator.validate(token), { reason: 'key_blocked' })
    }
  }
  await authority.allAcknowledged()
  assert.equal(authority.manifest.version, body['version'])
  const [last, acknowledged] = [Math.max(...ended) - startedAt, performance.now() - startedAt]
  t.diagnostic(
    `20 validators refuse it, and what was open is closed, after ${Math.round(last)} ms; all acknowledged after ${Math.round(acknowledged)} ms`,
  )
  assert.ok(last < 3000)
  assert.deepEqual(provider.keys, [stolen.shown], 'its owner shows it still')
})

test('R1: a block key of the charter, such as the sentinel has, blocks a key that is not ours and cuts nothing off', async (t) => {
  const authority = await startTestAuthority(t)
  const { blockKey } = authority.world
  const { body } = await authority.command({ op: 'block', iss, kid, reason: 'seen' }, blockKey)
  assert.equal(body['changed'], true)
  const cutoff = await authority.command({ op: 'cutoff', iss, reason: 'seen' }, blockKey)
  assert.equal(cutoff.body['error'], 'command_not_allowed')
})

test('a cutoff of an issuer that is not ours reaches it, a tenant or a subject, and only moves forward', async (t) => {
  const authority = await startTestAuthority(t)
  const before = Math.floor(Date.now() / 1000)
  const cut = (change: object) =>
    authority.command({ op: 'cutoff', iss, reason: 'incident', before, ...change })
  await cut({ tenant: 'tenant-1' })
  await cut({ tenant: 'tenant-2', sub: 'person' })
  assert.equal((await cut({ tenant: 'tenant-1', before: before - 10 })).body['changed'], false)
  assert.equal((await cut({ before: before + 3600 })).body['error'], 'command_malformed')
  assert.deepEqual(authority.manifest.foreign.cutoffs, [
    { issuer: iss, tenant: 'tenant-1', before },
    { issuer: iss, tenant: 'tenant-2', subject: 'person', before },
  ])
  assert.equal(
    (await cut({ tenant: 'tenant-1', sub: 'person' })).body['changed'],
    false,
    'it is cut off already',
  )
  await cut({})
  assert.deepEqual(authority.manifest.foreign.cutoffs, [{ issuer: iss, before }], 'it reaches the others')
})

test('where a manifest has no room for another cutoff of theirs, a wider one takes the place of those that it reaches', () => {
  const cutoffs = Array.from({ length: FOREIGN_COUNT_MAX }, (_, nth) => {
    return { issuer: iss, subject: `person-${nth}`, before: nth }
  })
  const cut = (change: object) => {
    const command = {
      op: 'cutoff',
      iss,
      reason: 'incident',
      by: 'olga',
      iat: 5000,
      jti: 'a',
      ...change,
    } as const
    return cutOffForeign({ ...noForeignDenials, cutoffs }, command, 5000).cutoffs
  }
  assert.throws(() => cut({ sub: 'another' }), { code: 'command_malformed' })
  assert.deepEqual(cut({}), [{ issuer: iss, before: 5001 }])
  assert.equal(cut({ before: 1000 }).length, FOREIGN_COUNT_MAX - 1000, 'what reaches further than it stays')
})

test('a command about an issuer that is not ours says what has a meaning there, and nothing else', async (t) => {
  const authority = await startTestAuthority(t)
  const own = authority.key('consumer', 'active').kid
  const bad = [
    { op: 'revoke', iss, kid },
    { op: 'retire', iss, kid },
    { op: 'rotate', iss, kid },
    { op: 'block', iss },
    { op: 'block', iss, kid, realm: 'consumer' },
    { op: 'block', iss, kid, tenant: 'tenant-1' },
    { op: 'cutoff', iss, kid },
    { op: 'cutoff', iss, realm: 'consumer' },
    { op: 'block', iss, kid: `${kid}\u0000` },
    { op: 'block', iss: `${iss}\n`, kid },
    { op: 'block', iss, kid: 'k'.repeat(513) },
  ] as const
  for (const command of bad) {
    const { body } = await authority.command({ ...command, reason: 'bent' })
    assert.equal(body['error'], 'command_malformed', JSON.stringify(command))
  }
  assert.equal(authority.manifest.version, 1)
  await authority.command({ op: 'block', iss, kid: own, reason: 'theirs has the same name' })
  assert.equal(authority.key('consumer', 'active').kid, own, 'T031: a key of ours by the same name goes on')
})

test('T118: a kill that would be acknowledged and reach nothing, since the issuer is ours, is turned down and says how', async (t) => {
  const authority = await startTestAuthority(t)
  const { kid: own } = authority.key('enterprise', 'active')
  const [template = ''] = authority.world.state.charter.realms.get('enterprise')?.issuers ?? []
  for (const issuer of [template, template.replace('{tenantid}', '22222222-2222-4222-8222-222222222222')]) {
    const block = await authority.command({ op: 'block', iss: issuer, kid: own, reason: 'stolen' })
    assert.equal(block.body['error'], 'command_malformed', issuer)
    assert.match(String(block.body['error_description']), /ours, of the realm enterprise: leave iss out/)
    const cutoff = await authority.command({ op: 'cutoff', iss: issuer, reason: 'stolen' })
    assert.equal(cutoff.body['error'], 'command_malformed', issuer)
  }
  assert.equal(authority.manifest.version, 1)
})
