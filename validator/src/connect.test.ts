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
import { after, before, type TestContext, test } from 'node:test'
import {
  bearerAllowed,
  type ConnectedValidator,
  type ConnectOptions,
  connectValidator,
  type ForeignConnectOptions,
} from './connect.ts'
import { readEnrolment } from './enrolment.ts'
import { type FakeAuthority, startFakeAuthority } from './fake-authority.ts'
import { createProviderKey, signAs, startFakeProvider } from './fake-provider.ts'
import { noForeignDenials } from './foreign-denials.ts'
import { fetchFromLoopback, oidc } from './issuers.ts'
import { type Report, type Sighting, verifyReport } from './sighting.ts'
import { createTestKey, createTestWorld, mailAudience, verdictOf } from './testing.ts'
import { acceptWithoutReceipt } from './validator.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-connect-'))
const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const key = createTestKey('EdDSA')
const keyFile = join(folder, 'enrolment.json')
let authority: FakeAuthority
let sentinel: Server
let options: ConnectOptions
/** Everything that the sentinel was told. */
const sighted: (Sighting & Pick<Report, 'validator'>)[] = []

before(async () => {
  writeFileSync(keyFile, JSON.stringify(key.privateKey.export({ format: 'jwk' })), { mode: 0o600 })
  writeFileSync(join(folder, 'trust-anchor.json'), JSON.stringify(world.trustAnchor))
  authority = await startFakeAuthority(world)
  sentinel = createServer(async (request, response) => {
    try {
      const { validator, sightings } = await verifyReport(await text(request), async () => key.jwk)
      sighted.push(...sightings.map((each) => ({ ...each, validator })))
      response.writeHead(204).end()
    } catch {
      // A validator that stops may leave in the middle.
      response.destroy()
    }
    sentinel.emit('report')
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

/** A test that fails does not leave it following, which would keep this process alive. */
function connect(t: TestContext, options: ConnectOptions | ForeignConnectOptions): ConnectedValidator {
  const validator = connectValidator(options)
  t.after(validator.stop)
  return validator
}

/** Refusals are told of at once and acceptances later, so a report that comes may be one of before. */
async function sightingOf(isMeant: (sighting: Sighting) => boolean) {
  for (;;) {
    const seen = sighted.find(isMeant)
    if (seen !== undefined) return seen
    await once(sentinel, 'report', { signal: AbortSignal.timeout(10_000) })
  }
}

test('it accepts by the manifest, acknowledges it, and reports what it refuses', async (t) => {
  const validator = connect(t, options)
  assert.equal(validator.isReady, false)
  const acknowledged = authority.acknowledged(1)
  await validator.whenReady(5000)
  assert.equal(validator.isReady, true)
  assert.equal(validator.decide(world.issue()).accepted, true)
  await acknowledged
  const decision = validator.decide(world.issue({ receipt: null }), { network: '203.0.113.7' })
  assert.equal(decision.accepted, false)
  const forged = await sightingOf(({ verdict }) => verdict === 'receipt_missing')
  assert.deepEqual(
    [forged.validator, forged.signatureValid, forged.network],
    ['gateway', true, '203.0.113.7'],
  )
})

test('T121: without an authority it starts, and refuses everything', async (t) => {
  const alone = connect(t, {
    ...options,
    authority: 'http://127.0.0.1:9',
    stateFolder: join(folder, 'alone'),
  })
  await alone.whenReady(1)
  const decision = alone.decide(world.issue())
  assert.equal(decision.accepted, false)
  assert.equal(!decision.accepted && decision.refusal.reason, 'manifest_stale')
})

test('T066 T239: of the realm enterprise only bound tokens are taken, unless somebody says why not', async (t) => {
  const jkt = world.keys.consumer.kid
  const verdictUnder = async (
    realm: 'consumer' | 'enterprise',
    claims: object,
    more: Partial<ConnectOptions>,
  ) => {
    const validator = connect(t, {
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
    return verdictOf(decision)
  }
  const bound = { cnf: { jkt } }
  assert.equal(await verdictUnder('enterprise', bound, {}), 'accepted')
  assert.equal(await verdictUnder('enterprise', {}, {}), 'sender_mismatch')
  assert.equal(await verdictUnder('consumer', {}, {}), 'accepted')
  assert.equal(await verdictUnder('consumer', {}, { boundRealms: ['consumer'] }), 'sender_mismatch')
  assert.equal(
    await verdictUnder('enterprise', {}, { boundRealms: [] }),
    'sender_mismatch',
    'a list only adds',
  )
  const warnings: string[] = []
  const hear = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', hear)
  t.after(() => process.off('warning', hear))
  assert.equal(
    await verdictUnder('enterprise', {}, { [bearerAllowed]: 'until the clients can prove' }),
    'accepted',
  )
  assert.ok(warnings.some((warning) => /bound to nothing: until the clients can prove/.test(warning)))
  assert.equal(await verdictUnder('enterprise', {}, { [bearerAllowed]: undefined }), 'sender_mismatch')
  assert.throws(() => connectValidator({ ...options, [bearerAllowed]: '' }), /bearerAllowed needs its reason/)
  assert.throws(() => connectValidator({ ...options, boundRealms: ['enterprize'] }), /requireBinding/)
})

test('V1 T239: what is missing or mistaken in the options is named at once', () => {
  const wrong: readonly (readonly [change: object, message: RegExp])[] = [
    [{ boundRealm: ['consumer'] }, /^connectValidator knows no option boundRealm$/],
    [{ clockToleranceSeconds: 3 }, /^connectValidator knows no option clockToleranceSeconds$/],
    [{ authority: undefined }, /^authority is missing$/],
    [{ authority: 'localhost:8402' }, /^authority is no URL of http or https$/],
    [{ authority: 'authority' }, /^authority is no URL of http or https$/],
    [{ trustAnchorFile: undefined }, /^trustAnchorFile is missing$/],
    [{ stateFolder: undefined }, /^stateFolder is missing$/],
    [{ enrolment: undefined }, /^enrolment is missing: /],
    [{ enrolment: { keyFile } }, /^enrolment is missing: /],
  ]
  for (const [change, message] of wrong)
    assert.throws(() => connectValidator({ ...options, ...change }), { name: 'TypeError', message })
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

test('other issuers beside the authority, or alone: their keys are followed, and die when the manifest says so', async (t) => {
  const issuer = 'https://as.example'
  const theirs = createProviderKey('key-1')
  const provider = await startFakeProvider({
    issuer,
    metadataPath: '/.well-known/openid-configuration',
    keySet: `${issuer}/keys`,
  })
  t.after(provider.stop)
  provider.keys = [theirs.shown]
  const { realm: _, ...others } = options
  const validator = connect(t, {
    ...others,
    issuers: [oidc(issuer, { [fetchFromLoopback]: provider.origin })],
    [acceptWithoutReceipt]: 'it countersigns nothing',
    stateFolder: join(folder, 'foreign'),
  })
  await validator.whenReady(5000)
  const iat = Math.floor(Date.now() / 1000)
  const claims = { iss: issuer, aud: mailAudience, sub: 's', client_id: 'c', jti: 'j', iat, exp: iat + 300 }
  const token = signAs(theirs, { typ: 'at+jwt' }, claims)
  assert.equal(validator.validate(token).issuer, issuer)
  const { verdict, kid, realm } = await sightingOf((sighting) => sighting.issuer === issuer)
  assert.deepEqual([verdict, kid, realm], ['accepted', 'key-1', undefined])
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
})
