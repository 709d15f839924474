/**
 * Goal: a service that connects its validator decides by the authority's manifest, says so, reports what it refuses,
 * and refuses everything until it can decide. Method: an authority and a sentinel on loopback, and the files that a
 * service is given.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { bearerAllowed, type ConnectOptions, connectValidator } from './connect.ts'
import { readEnrolment } from './enrolment.ts'
import { type FakeAuthority, startFakeAuthority } from './fake-authority.ts'
import { createProviderKey, signAs, startFakeProvider } from './fake-provider.ts'
import { noForeignDenials } from './foreign-denials.ts'
import { fetchFromLoopback, oidc } from './issuers.ts'
import { type Report, verifyReport } from './sighting.ts'
import { createTestKey, createTestWorld, mailAudience } from './testing.ts'
import { acceptWithoutReceipt } from './validator.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-connect-'))
const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const key = createTestKey('EdDSA')
const keyFile = join(folder, 'enrolment.json')
let authority: FakeAuthority
let sentinel: Server
let options: ConnectOptions

before(async () => {
  writeFileSync(keyFile, JSON.stringify(key.privateKey.export({ format: 'jwk' })), { mode: 0o600 })
  writeFileSync(join(folder, 'trust-anchor.json'), JSON.stringify(world.trustAnchor))
  authority = await startFakeAuthority(world)
  sentinel = createServer(async (request, response) => {
    const report = await verifyReport(await text(request), async () => key.jwk)
    response.writeHead(204).end()
    sentinel.emit('report', report)
  })
  sentinel.listen(0, '127.0.0.1')
  await once(sentinel, 'listening')
  options = {
    realm: 'consumer',
    audience: mailAudience,
    authority: authority.url,
    trustAnchorFile: join(folder, 'trust-anchor.json'),
    stateFolder: join(folder, 'state'),
    enrolment: { name: 'gateway', keyFile },
    sentinel: `http://127.0.0.1:${(sentinel.address() as AddressInfo).port}`,
  }
})
after(async () => {
  await authority.stop()
  sentinel.close()
  sentinel.closeAllConnections()
  rmSync(folder, { recursive: true })
})

test('it accepts by the manifest, acknowledges it, and reports what it refuses', async () => {
  const validator = connectValidator(options)
  assert.equal(validator.isReady, false)
  const acknowledged = authority.acknowledged(1)
  await validator.whenReady(5000)
  assert.equal(validator.isReady, true)
  assert.equal(validator.decide(world.issue()).accepted, true)
  await acknowledged
  const reported = once(sentinel, 'report')
  const decision = validator.decide(world.issue({ receipt: null }), { network: '203.0.113.7' })
  assert.equal(decision.accepted, false)
  const [{ validator: name, sightings }] = await reported
  assert.equal(name, 'gateway')
  const forged = sightings.find(({ verdict }: { verdict: string }) => verdict === 'receipt_missing')
  assert.deepEqual([forged?.signatureValid, forged?.network], [true, '203.0.113.7'])
  await validator.stop()
})

test('T121: without an authority it starts, and refuses everything', async () => {
  const alone = connectValidator({
    ...options,
    authority: 'http://127.0.0.1:9',
    stateFolder: join(folder, 'alone'),
  })
  await alone.whenReady(1)
  const decision = alone.decide(world.issue())
  assert.equal(decision.accepted, false)
  assert.equal(!decision.accepted && decision.refusal.reason, 'manifest_stale')
  await alone.stop()
})

test('T066 T239: of the realm enterprise only bound tokens are taken, unless somebody says why not', async () => {
  const jkt = world.keys.consumer.kid
  const verdictOf = async (
    realm: 'consumer' | 'enterprise',
    claims: object,
    more: Partial<ConnectOptions>,
  ) => {
    const validator = connectValidator({
      ...options,
      realm: ['consumer', 'enterprise'],
      stateFolder: join(folder, 'bound'),
      sentinel: undefined,
      ...more,
    })
    await validator.whenReady(5000)
    const decision = validator.decide(world.issue({ realm, claims: { ...claims } }), {
      confirmation: 'cnf' in claims ? { jkt } : undefined,
    })
    await validator.stop()
    return decision.accepted ? 'accepted' : decision.refusal.reason
  }
  const bound = { cnf: { jkt } }
  assert.equal(await verdictOf('enterprise', bound, {}), 'accepted')
  assert.equal(await verdictOf('enterprise', {}, {}), 'sender_mismatch')
  assert.equal(await verdictOf('consumer', {}, {}), 'accepted')
  assert.equal(await verdictOf('consumer', {}, { boundRealms: ['consumer'] }), 'sender_mismatch')
  assert.equal(await verdictOf('enterprise', {}, { boundRealms: [] }), 'sender_mismatch', 'a list only adds')
  const warned = once(process, 'warning')
  assert.equal(
    await verdictOf('enterprise', {}, { [bearerAllowed]: 'until the clients can prove' }),
    'accepted',
  )
  assert.match(String(await warned), /bound to nothing: until the clients can prove/)
  assert.equal(await verdictOf('enterprise', {}, { [bearerAllowed]: undefined }), 'sender_mismatch')
  assert.throws(() => connectValidator({ ...options, [bearerAllowed]: '' }), /bearerAllowed needs its reason/)
  assert.throws(() => connectValidator({ ...options, boundRealms: ['enterprize'] }), /requireBinding/)
})

test('T223 T239: a key that others may read, or of another kind, is not used', () => {
  assert.equal(readEnrolment('gateway', keyFile).name, 'gateway')
  chmodSync(keyFile, 0o640)
  assert.throws(() => readEnrolment('gateway', keyFile), /0600/)
  chmodSync(keyFile, 0o600)
  const other = join(folder, 'other.json')
  writeFileSync(other, JSON.stringify(createTestKey('ES256').privateKey.export({ format: 'jwk' })), {
    mode: 0o600,
  })
  assert.throws(() => readEnrolment('gateway', other), /Ed25519/)
})

test('other issuers beside the authority, or alone: their keys are followed, and die when the manifest says so', async () => {
  const issuer = 'https://as.example'
  const theirs = createProviderKey('key-1')
  const provider = await startFakeProvider({
    issuer,
    metadataPath: '/.well-known/openid-configuration',
    keySet: `${issuer}/keys`,
  })
  provider.keys = [theirs.shown]
  const { realm: _, ...others } = options
  const validator = connectValidator({
    ...others,
    issuers: [oidc(issuer, { [fetchFromLoopback]: provider.origin })],
    [acceptWithoutReceipt]: 'it countersigns nothing',
    stateFolder: join(folder, 'foreign'),
  })
  await validator.whenReady(5000)
  const iat = Math.floor(Date.now() / 1000)
  const claims = { iss: issuer, aud: mailAudience, sub: 's', client_id: 'c', jti: 'j', iat, exp: iat + 300 }
  const token = signAs(theirs, { typ: 'at+jwt' }, claims)
  const reported = once(sentinel, 'report')
  assert.equal(validator.validate(token).issuer, issuer)
  const [report] = (await reported) as [Report]
  const seen = report.sightings.map((each) => [each.verdict, each.issuer, each.kid, each.realm])
  assert.deepEqual(seen, [['accepted', issuer, 'key-1', undefined]])
  const orders = validator.forAudience('api://orders')
  const fetched = provider.requests.length
  assert.equal(
    orders.validate(signAs(theirs, { typ: 'at+jwt' }, { ...claims, aud: 'api://orders' })).issuer,
    issuer,
  )
  assert.throws(() => orders.validate(token), { reason: 'audience_mismatch' })
  assert.equal(provider.requests.length, fetched, 'another audience asks nobody anew')
  const own = validator.decide(world.issue())
  assert.equal(!own.accepted && own.refusal.reason, 'issuer_mismatch', 'no realm of ours is taken')
  const news = new Promise((resolve) =>
    validator.hold(validator.validate(token)).signal.addEventListener('abort', resolve),
  )
  world.publish(() => ({
    foreign: {
      ...noForeignDenials,
      blocked: [{ issuer, kid: 'key-1', at: iat, reason: 'stolen', by: 'olga' }],
    },
  }))
  authority.push()
  await news
  assert.throws(() => validator.validate(token), { reason: 'key_blocked' })
  const forOrders = signAs(theirs, { typ: 'at+jwt' }, { ...claims, aud: 'api://orders' })
  assert.throws(() => orders.validate(forOrders), { reason: 'key_blocked' })
  await validator.stop()
  await provider.stop()
})
