/**
 * Goal: a key that is not ours dies here when our authority says so, when its owner drops it or when a transmitter of signals
 * ends it, and whatever hangs on it dies with it; tokens of our own are judged as ever. Method: a validator over a fake
 * provider and a test world's manifests, which change while tokens are held.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import type { Denial } from './denials.ts'
import { createProviderKey, type ProviderKey, signAs, startFakeProvider } from './fake-provider.ts'
import { type ForeignProfile, openIssuer } from './foreign.ts'
import { type ForeignDenials, noForeignDenials } from './foreign-denials.ts'
import type { ForeignKey, KeyFollower } from './foreign-keys.ts'
import { consumerTenant, entra, fetchFromLoopback, oidc } from './issuers.ts'
import { importPublicJwk } from './jws.ts'
import type { Sighting } from './sighting.ts'
import { createReceiver, fixedKeys, openDenials } from './ssf.ts'
import { eventTypes, THUMBPRINT_URI } from './ssf-events.ts'
import { createTestKey, createTestWorld, issuers, type TestWorld, verdictOf } from './testing.ts'
import {
  acceptWithoutReceipt,
  createValidator,
  type ForeignValidator,
  type ForeignValidatorOptions,
} from './validator.ts'

const microsoft = 'https://login.microsoftonline.com'
const template = `${microsoft}/{tenantid}/v2.0`
const [tenantA, tenantB] = ['8eaef023-2b34-4da1-9baa-8bc8c9d6a490', '82229342-1101-4ab6-817b-70c0747630f3']
const audience = 'api://orders'

interface Scene {
  readonly world: TestWorld
  readonly validator: ForeignValidator
  readonly key: ProviderKey
  readonly sightings: Sighting[]
  token(claims?: object): string
  /** Publishes what is denied of others. */
  deny(foreign: Partial<ForeignDenials>): void
  reasonFor(token: string): string
}

async function begin(t: TestContext, change: Partial<ForeignValidatorOptions> = {}): Promise<Scene> {
  const world = createTestWorld()
  const provider = await startFakeProvider({
    issuer: template,
    metadataPath: '/organizations/v2.0/.well-known/openid-configuration',
    keySet: `${microsoft}/organizations/discovery/v2.0/keys`,
  })
  const key = createProviderKey('jS1Xo1OWDj_52vbwGNgvQO2VzMc', 'RS256', { issuer: template })
  provider.keys = [key.shown]
  const sightings: Sighting[] = []
  const validator = createValidator({
    issuers: [entra({ tenants: [tenantA, tenantB], [fetchFromLoopback]: provider.origin })],
    audience,
    [acceptWithoutReceipt]: 'Entra countersigns nothing',
    trust: world.trust,
    onSighting: (sighting) => sightings.push(sighting),
    now: () => world.now,
    ...change,
  })
  t.after(async () => {
    validator.stop()
    await provider.stop()
  })
  await validator.ready()
  return {
    world,
    validator,
    key,
    sightings,
    token: (claims = {}) =>
      signAs(
        key,
        { typ: 'JWT' },
        {
          aud: audience,
          iss: `${microsoft}/${tenantA}/v2.0`,
          tid: tenantA,
          iat: world.now,
          nbf: world.now,
          exp: world.now + 3600,
          azp: 'client',
          scp: 'orders.read',
          sub: 'person',
          sid: 'session-1',
          ver: '2.0',
          ...claims,
        },
      ),
    deny: (foreign) => void world.publish(() => ({ foreign: { ...noForeignDenials, ...foreign } })),
    reasonFor: (token) => {
      return verdictOf(validator.decide(token))
    },
  }
}

function ofTenant(tenant: string): object {
  return { iss: `${microsoft}/${tenant}/v2.0`, tid: tenant }
}

test('R1 T255: a block in the manifest ends a foreign key at the next call, from the cache too, whichever tenant was named', async (t) => {
  const names = [
    template,
    `${microsoft}/${tenantA}/v2.0`,
    `${microsoft}/common/v2.0`,
    `https://sts.windows.net/${tenantB}/`,
  ]
  for (const issuer of names) {
    const { validator, token, deny, reasonFor, key, world, sightings } = await begin(t)
    const [ofA, ofB] = [token(), token(ofTenant(tenantB))]
    assert.deepEqual([reasonFor(ofA), reasonFor(ofB)], ['accepted', 'accepted'])
    const hold = validator.hold(validator.validate(ofA))
    const block = { issuer, kid: key.kid, at: world.now, reason: 'stolen', by: 'olga' }
    deny({ blocked: [block] })
    assert.deepEqual([reasonFor(ofA), reasonFor(ofB)], ['key_blocked', 'key_blocked'], issuer)
    assert.equal(sightings.at(-1)?.signatureValid, true, 'who uses a killed key is of interest')
    await once(hold.signal, 'abort')
    assert.equal(hold.signal.reason.reason, 'key_blocked', 'T252')
    deny({})
    assert.equal(reasonFor(ofA), 'accepted', 'two people let it go')
  }
})

test('a block reaches no other key and no other provider', async (t) => {
  const { token, deny, reasonFor, key, world } = await begin(t)
  const block = { issuer: template, kid: key.kid, at: world.now, reason: 'stolen', by: 'olga' }
  deny({
    blocked: [
      { ...block, kid: 'another' },
      { ...block, issuer: 'https://acme.okta.com/oauth2/default' },
      { ...block, issuer: `${microsoft}/${tenantA}` },
      { ...block, issuer: `https://login.microsoftonline.us/${tenantA}/v2.0` },
    ],
  })
  assert.equal(reasonFor(token()), 'accepted')
})

test('a cutoff reaches an issuer, all issuers of a template, a tenant, a subject, and what was issued before it', async (t) => {
  const { token, deny, reasonFor, world } = await begin(t)
  const [old, ofB, other] = [token(), token(ofTenant(tenantB)), token({ sub: 'other' })]
  world.now += 10
  const before = world.now
  const fresh = token()
  const rows: readonly (readonly [cutoff: object, refused: readonly string[]])[] = [
    [{ issuer: template }, [old, ofB, other]],
    [{ issuer: `${microsoft}/${tenantA}/v2.0` }, [old, other]],
    [{ issuer: template, tenant: tenantB }, [ofB]],
    [{ issuer: `${microsoft}/${tenantA}/v2.0`, subject: 'person' }, [old]],
    [{ issuer: `${microsoft}/${tenantA}/v2.0`, tenant: tenantB }, []],
    [{ issuer: 'https://acme.okta.com/oauth2/default' }, []],
  ]
  for (const [cutoff, refused] of rows) {
    deny({ cutoffs: [{ ...(cutoff as { issuer: string }), before }] })
    for (const each of [old, ofB, other]) {
      const expected = refused.includes(each) ? 'issued_before_cutoff' : 'accepted'
      assert.equal(reasonFor(each), expected, JSON.stringify(cutoff))
    }
    assert.equal(reasonFor(fresh), 'accepted')
  }
})

test('V5 T121: a validator that has lost its authority takes no foreign tokens, since a kill may be on its way', async (t) => {
  let age = 0
  const world = createTestWorld()
  const trust = { ...world.trust, state: world.state, ageSeconds: () => age }
  const { token, reasonFor } = await begin(t, { trust })
  assert.equal(reasonFor(token()), 'accepted')
  age = 61
  assert.equal(reasonFor(token()), 'manifest_stale')
  age = 0
  const none = await begin(t, { trust: { state: undefined, ageSeconds: () => 0 } })
  assert.equal(none.reasonFor(none.token()), 'manifest_stale', 'and none before the first manifest')
})

test('T071 T115: a clock that is set behind the manifest takes a remembered token no more than a new one', async (t) => {
  const { token, reasonFor, deny, world } = await begin(t)
  const [remembered, other] = [
    token({ iat: world.now - 600, nbf: world.now - 600 }),
    token({ iat: world.now - 600, nbf: world.now - 600, sub: 'other' }),
  ]
  deny({})
  assert.equal(reasonFor(remembered), 'accepted')
  world.now -= 60
  assert.equal(reasonFor(remembered), 'accepted')
  world.now -= 1
  assert.deepEqual([remembered, other].map(reasonFor), ['manifest_stale', 'manifest_stale'])
})

test('T204: signals of a foreign transmitter end sessions, people and keys of its tokens', async (t) => {
  const denials = openDenials()
  const { token, reasonFor, key, world, validator } = await begin(t, { denials })
  const issuer = `${microsoft}/${tenantA}/v2.0`
  const signer = createTestKey('RS256')
  const receiver = createReceiver({
    issuer,
    audience: 'us',
    keys: fixedKeys([{ ...signer.jwk, kid: 'set-key' }]),
    denials,
    now: () => world.now,
  })
  let count = 0
  const tell = (type: string, subject: object, payload: object = {}): Promise<void> =>
    receiver.receive(
      signAs(
        { ...signer, kid: 'set-key' },
        { typ: 'secevent+jwt' },
        {
          iss: issuer,
          aud: 'us',
          iat: world.now,
          jti: `jti-${++count}`,
          sub_id: subject,
          events: { [type]: payload },
        },
      ),
    )
  const [one, two, person] = [token(), token({ sid: 'session-2' }), token({ sid: undefined, sub: 'gone' })]
  const hold = validator.hold(validator.validate(one))
  assert.deepEqual([one, two, person].map(reasonFor), ['accepted', 'accepted', 'accepted'])
  await tell(eventTypes.sessionRevoked, { format: 'opaque', id: 'session-1' })
  assert.deepEqual([one, two, person].map(reasonFor), ['issued_before_cutoff', 'accepted', 'accepted'])
  await once(hold.signal, 'abort')
  await tell(eventTypes.sessionRevoked, { format: 'iss_sub', iss: issuer, sub: 'gone' })
  assert.deepEqual([two, person].map(reasonFor), ['accepted', 'issued_before_cutoff'])
  // By what the key is: a transmitter cannot know what every validator knows it by.
  const { kid } = importPublicJwk(key.jwk)
  await tell(eventTypes.keyRevoked, { format: 'uri', uri: `${THUMBPRINT_URI}${kid}` }, { kid })
  assert.equal(reasonFor(two), 'key_revoked')
  assert.equal(reasonFor(token(ofTenant(tenantB))), 'accepted', 'it speaks for its own issuer')
  const denial: Denial = { issuer: `${microsoft}/${tenantB}/v2.0`, kid: key.kid }
  await denials.add(denial)
  assert.equal(reasonFor(token(ofTenant(tenantB))), 'key_revoked', 'by the name that it has there')
})

test('V2 V5 T102 T116: what was accepted ends with its key, and with the last word of its owner, held or remembered', async () => {
  const world = createTestWorld()
  const key = createProviderKey('key-1', 'ES256')
  const issuer = 'https://as.example'
  const scope = {
    realm: issuer,
    issuer,
    tenants: ['as'],
    tokenTypes: ['access'],
    audiences: undefined,
    lifetimeSecondsMax: 3600,
  } as const
  const { algorithm, key: publicKey, kid: thumbprint } = importPublicJwk(key.jwk)
  const held: ForeignKey = { ...scope, kid: key.kid, algorithm, publicKey, thumbprint }
  let known: ForeignKey | undefined = held
  let isStale = false
  const keys: KeyFollower = {
    find: () => known,
    get isStale() {
      return isStale
    },
    miss: () => {},
    ready: async () => {},
    stop: () => {},
  }
  const profile: ForeignProfile = {
    ...scope,
    tokenType: 'access',
    headerTypes: ['at+jwt'],
    headerMembers: [],
    sharesKeysWith: (named) => named === issuer,
    readClaims: () => ({
      issuer,
      subject: 's',
      audiences: [audience],
      tenant: undefined,
      tokenId: 'token-1',
      issuedAt: world.now,
      expiresAt: world.now + 600,
      notBefore: undefined,
      clientId: 'c',
      session: undefined,
      scopes: [],
      confirmation: undefined,
      ancestors: [],
      event: undefined,
    }),
  }
  const validator = createValidator({
    issuers: [{ open: (context) => openIssuer(profile, keys, context) }],
    audience,
    [acceptWithoutReceipt]: 'tests',
    now: () => world.now,
  })
  const token = signAs(key, { typ: 'at+jwt' }, { iss: issuer })
  const accepted = validator.validate(token)
  assert.equal(validator.validate(token), accepted)
  for (const [change, reason] of [
    [() => (known = undefined), 'unknown_key'],
    [() => (isStale = true), 'manifest_stale'],
  ] as const) {
    const hold = validator.hold(validator.validate(token))
    change()
    assert.throws(() => validator.validate(token), { reason })
    await once(hold.signal, 'abort')
    assert.equal(hold.signal.reason.reason, reason)
    known = held
    isStale = false
  }
  known = { ...held }
  assert.notEqual(validator.validate(token), accepted, 'another key of the name: verified anew')
})

test('tokens of our own are judged as ever beside foreign ones: the reason for the others is none for them', async (t) => {
  const { world, validator, token, reasonFor } = await begin(t, { realm: 'enterprise' })
  const own = (change: object = {}): string =>
    world.issue({ realm: 'enterprise', claims: { aud: audience }, ...change })
  assert.equal(validator.validate(own()).realm, 'enterprise')
  assert.equal(reasonFor(token()), 'accepted')
  assert.equal(reasonFor(own({ receipt: null, header: { rcpt: undefined } })), 'receipt_missing')
  assert.equal(reasonFor(world.issue({ realm: 'consumer', claims: { aud: audience } })), 'key_out_of_scope')
  assert.equal(reasonFor(token({ iss: 'https://evil.example', jti: 'j' })), 'type_mismatch')
})

test('F8 T125: an issuer of ours that somebody names as a foreign one is judged as ours all the same', async (t) => {
  const provider = await startFakeProvider({
    issuer: issuers.consumer,
    metadataPath: '/.well-known/openid-configuration',
    keySet: `${issuers.consumer}/jwks`,
  })
  const world = createTestWorld()
  const stolen = world.keys.consumer
  provider.keys = [{ ...stolen.jwk, kid: stolen.kid, use: 'sig' }]
  const validator = createValidator({
    issuers: [oidc(issuers.consumer, { [fetchFromLoopback]: provider.origin })],
    realm: 'consumer',
    audience,
    [acceptWithoutReceipt]: 'a mistake',
    trust: world.trust,
    now: () => world.now,
  })
  t.after(async () => {
    validator.stop()
    await provider.stop()
  })
  await validator.ready()
  const forged = world.issue({ claims: { aud: audience }, receipt: null, header: { rcpt: undefined } })
  assert.throws(() => validator.validate(forged), { reason: 'receipt_missing' })
  assert.equal(validator.validate(world.issue({ claims: { aud: audience } })).realm, 'consumer')
})

test('requireBinding reaches foreign issuers, all of them or the one that it names', async (t) => {
  const all = await begin(t, { requireBinding: true })
  assert.equal(all.reasonFor(all.token()), 'sender_mismatch')
  const jkt = 'x'.repeat(43)
  const bound = all.token({ cnf: { jkt } })
  assert.equal(all.reasonFor(bound), 'sender_mismatch', 'T156')
  assert.equal(
    all.validator.validate(bound, { confirmation: { jkt } }).issuer,
    `${microsoft}/${tenantA}/v2.0`,
  )
  const named = await begin(t, { requireBinding: [template] })
  assert.equal(named.reasonFor(named.token()), 'sender_mismatch')
})

test('that no receipt is asked for is warned of at start, with the reason, and so is every origin without TLS', async (t) => {
  const warnings: string[] = []
  const listen = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', listen)
  t.after(() => process.off('warning', listen))
  await begin(t)
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(
    warnings.some((warning) => warning.includes('Entra countersigns nothing')),
    warnings.join('\n'),
  )
  assert.ok(warnings.some((warning) => /without TLS, from: http:\/\/127\.0\.0\.1/.test(warning)))
})

test('T085: personal accounts of the incident stay out, whatever is denied or not', async (t) => {
  const { reasonFor, token } = await begin(t)
  assert.equal(reasonFor(token(ofTenant(consumerTenant))), 'tenant_mismatch')
})
