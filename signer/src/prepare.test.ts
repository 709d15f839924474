/**
 * Goal: whatever an issuer asks for, only what its realm's key may sign is prepared, and each refusal has its word.
 * Method: one good request, spoilt in one respect at a time; then what came out is read as a validator reads it.
 */

import assert from 'node:assert/strict'
import { createPublicKey, hash } from 'node:crypto'
import { after, test } from 'node:test'
import { decode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { createTestKey, issuers, mailAudience, tenants } from '@countersign/validator/testing'
import fc from 'fast-check'
import { draftToken } from './prepare.ts'
import { openTestSigner } from './testing.ts'

const signer = await openTestSigner()
const { world } = signer
after(() => signer.remove())
const { now } = world
const logoutEvents = { 'http://schemas.openid.net/event/backchannel-logout': {} }
const oddIssuer = issuers.enterprise.replace('{tenantid}', tenants.fabrikam)

/** What makes an access token's claims those of a SET. */
const asSet = {
  sub: undefined,
  exp: undefined,
  tid: undefined,
  client_id: undefined,
  scope: undefined,
  sub_id: { format: 'opaque', id: 'session-1' },
  events: { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': {} },
}

test('an access token, an ID token, a logout token and a SET of the realm are prepared', async () => {
  for (const [type, change] of [
    ['access', {}],
    ['id', { client_id: undefined, nonce: 'n-0S6' }],
    ['logout', { client_id: undefined, events: logoutEvents }],
    ['set', asSet],
  ] as const) {
    const { entry, kid } = await signer.prepare({ type, claims: signer.claims(change) })
    const decoded = decodeEntry(decode(entry))
    assert.equal(decoded.tokenType, type)
    assert.equal(kid, signer.kid)
    assert.deepEqual(Buffer.from(decoded.keyThumbprint), Buffer.from(decode(kid)))
    // A SET names no end: it promises nothing beyond its issue.
    assert.deepEqual([decoded.issuedAt, decoded.expiresAt], [now, type === 'set' ? now : now + 300])
  }
})

test('serials count up by one for each request that is prepared, and for none that is refused', async () => {
  const requests = ['access', 'nonsense', 'access', 'access'].map((type) => ({
    type,
    claims: signer.claims(),
  }))
  const before = decodeEntry(decode((await signer.prepare()).entry)).serial
  const { prepared } = await signer.signer.prepare({ requests })
  const serials = prepared.map((each) =>
    'entry' in each ? decodeEntry(decode(each.entry)).serial : undefined,
  )
  assert.deepEqual(serials, [before + 1, undefined, before + 2, before + 3])
})

const refused: readonly (readonly [title: string, change: object, code: string])[] = [
  ['T084: an issuer of the other realm', { iss: oddIssuer }, 'issuer_mismatch'],
  ['T084: the other realm whole', { iss: oddIssuer, tid: tenants.fabrikam }, 'issuer_mismatch'],
  ['T085: a tenant of the other realm', { tid: tenants.fabrikam }, 'tenant_mismatch'],
  ['T086: the text of a template', { tid: '{tenantid}' }, 'tenant_mismatch'],
  ['T083: an issuer with a slash more', { iss: `${issuers.consumer}/` }, 'issuer_mismatch'],
  ['T072: a life longer than the key may give', { exp: now + 3601 }, 'lifetime_too_long'],
  ['T067: no end', { exp: undefined }, 'malformed'],
  ['T067: an end that is a text', { exp: String(now + 300) }, 'malformed'],
  ['T067: an end that is a fraction', { exp: now + 0.5 }, 'malformed'],
  ['T069: an end at its beginning', { exp: now }, 'malformed'],
  ['T069: no beginning', { iat: undefined }, 'malformed'],
  ['T069: made more than a minute ahead', { iat: now + 61 }, 'clock_off'],
  ['T069: made more than a minute ago', { iat: now - 61 }, 'clock_off'],
  ['T068: not before, as a text', { nbf: 'now' }, 'malformed'],
  ['T073: no audience', { aud: undefined }, 'malformed'],
  ['T073: an audience without a name', { aud: [''] }, 'malformed'],
  ['T073: a list of no audience', { aud: [] }, 'malformed'],
  ['T075: no subject', { sub: undefined }, 'malformed'],
  ['T075: an empty subject', { sub: '' }, 'malformed'],
  ['T077: scopes as a list', { scope: ['mail.read'] }, 'malformed'],
  ['T080: a confirmation that is a text', { cnf: 'jkt' }, 'malformed'],
  ['an access token that names no client', { client_id: undefined }, 'malformed'],
  ['T143: a jti that can be guessed', { jti: '1' }, 'malformed'],
  ['T092: an access token that looks like a logout token', { events: logoutEvents }, 'type_mismatch'],
  ['T063: more claims than a validator reads', { padding: 'x'.repeat(9000) }, 'oversized'],
]
for (const [title, change, code] of refused) {
  test(`T221 K7: refused: ${title}`, async () => {
    assert.equal(await signer.refusal({ claims: signer.claims(change) }), code)
  })
}

test('T221 T092: each kind of token may only look like itself', async () => {
  const setEvents = { 'https://example.com/event': {} }
  const twoEvents = { ...setEvents, ...logoutEvents }
  for (const [type, change] of [
    ['id', { events: logoutEvents }],
    ['logout', {}],
    ['logout', { events: setEvents }],
    ['logout', { events: logoutEvents, nonce: 'n' }],
    ['logout', { events: [] }],
    ['set', { ...asSet, events: logoutEvents }],
    ['manifest', {}],
    ['refresh', {}],
    ['toString', {}],
  ] as const)
    assert.equal(await signer.refusal({ type, claims: signer.claims(change) }), 'type_mismatch', type)
  for (const change of [{ sub: 'user-1' }, { exp: now + 300 }, { tid: tenants.home }, { events: twoEvents }])
    assert.equal(
      await signer.refusal({ type: 'set', claims: signer.claims({ ...asSet, ...change }) }),
      'malformed',
      'T210',
    )
})

test('K10 a SET is signed by the RS256 key for SETs alone, and that key signs nothing else', async () => {
  const kid = await signer.addKey('RS256', { tokenTypes: ['set'] })
  const request = { alg: 'RS256', claims: signer.claims(asSet) }
  assert.equal((await signer.prepare({ ...request, type: 'set' })).kid, kid)
  const [header = ''] = (await signer.issue({ ...request, type: 'set' })).split('.')
  const { typ, alg, rcpt } = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, string>
  assert.deepEqual([typ, alg], ['secevent+jwt', 'RS256'])
  assert.ok(rcpt)
  for (const type of ['access', 'id'])
    assert.equal(
      await signer.refusal({ type, alg: 'RS256', claims: signer.claims() }),
      'key_out_of_scope',
      type,
    )
})

test('an issuer is told which claims are at fault, and how', async () => {
  for (const [change, message, type] of [
    [{ tid: undefined, sub: 7 }, /^sub, tid: missing, or not what/],
    [{ scope: ['a'], cnf: 'b' }, /^scope, cnf: missing, or/],
    [{ exp: now }, /^exp: not after iat$/],
    [{ client_id: undefined }, /^client_id: missing$/],
    [{ aud: [''] }, /^aud: names nobody$/],
    [{ jti: '1' }, /^jti: shorter than 22 characters/],
    [{ ...asSet, tid: 'a', events: {} }, /^events, tid: missing, or|^tid, events: missing, or/, 'set'],
  ] as const)
    assert.match(
      (await signer.complaint({ type: type ?? 'access', claims: signer.claims(change) })) ?? '',
      message,
    )
})

test('an integer that a double rounds is refused, wherever it stands: it names somebody else', async () => {
  const good = signer.claims()
  for (const member of [
    '"uid":9007199254740993',
    '"a":[{"b":-9007199254740993}]',
    '"n":12345678901234567890',
  ])
    assert.match((await signer.complaint({ claims: good.replace('{', `{${member},`) })) ?? '', /beyond 2\^53/)
  for (const member of ['"uid":9007199254740991', '"n":0.1', '"n":-0', '"n":1e-400'])
    assert.equal(await signer.complaint({ claims: good.replace('{', `{${member},`) }), undefined)
})

for (const [title, text] of [
  ['T054: a member twice', (good: string) => good.replace('{', '{"sub":"admin",')],
  ['T057: a member twice, once escaped', (good: string) => good.replace('{', '{"\\u0073ub":"admin",')],
  ['T056: a lone surrogate', (good: string) => good.replace('user-1', '\\ud800')],
  ['T062: __proto__', (good: string) => good.replace('{', '{"__proto__":{"sub":"admin"},')],
  ['T058: a number too large for a double', (good: string) => good.replace('{', '{"n":1e400,')],
  [
    'T059: nesting without end',
    (good: string) => good.replace('{', `{"n":${'['.repeat(4000)}${']'.repeat(4000)},`),
  ],
  ['T060: a trailing comma', (good: string) => good.replace('}', ',}')],
  ['T061: a list', (good: string) => `[${good}]`],
  ['T061: a text', (good: string) => JSON.stringify(good)],
  ['nothing', () => ''],
  ['two objects', (good: string) => good + good],
] as const) {
  test(`T221: claims that are no plain JSON object are refused: ${title}`, async () => {
    const claims = text(signer.claims())
    assert.equal(await signer.refusal({ claims }), claims.length > 10_240 ? 'oversized' : 'malformed')
  })
}

test('T221: a request that brings a key, a header, a digest, or claims that were parsed elsewhere, is refused', async () => {
  for (const extra of [
    { kid: signer.kid },
    { header: { jku: 'https://attacker.example' } },
    { digest: 'AAAA' },
    { payload: 'AAAA' },
    { realm: 'enterprise' },
    { claims: JSON.parse(signer.claims()) as object },
    { claims: undefined },
  ])
    assert.equal(await signer.refusal(extra), 'malformed', JSON.stringify(extra))
  for (const alg of ['none', 'HS256', 'ES384', 'es256', 7, null, {}])
    assert.equal(await signer.refusal({ alg }), 'alg_not_allowed', String(alg))
  assert.equal(await signer.refusal({ alg: 'PS256' }), 'no_active_key')
  for (const request of [null, 'text', 7, [], [[]]]) {
    const { prepared } = await signer.signer.prepare({ requests: [request] })
    assert.equal('error' in (prepared[0] ?? {}), true)
  }
})

test('T221: there is nothing to call that signs what it is given', () => {
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(signer.signer))
  assert.deepEqual(methods.sort(), [
    'constructor',
    'counters',
    'describe',
    'generate',
    'prepare',
    'sign',
    'stop',
    'trust',
  ])
})

test('T143: a jti of at least 128 random bits is added where there is none, and kept where there is one', async () => {
  const claimsOf = async (claims: string): Promise<Record<string, unknown>> => {
    const [, payload] = (await signer.issue({ claims })).split('.')
    return JSON.parse(Buffer.from(payload as string, 'base64url').toString()) as Record<string, unknown>
  }
  const ids = new Set<unknown>()
  for (let n = 0; n < 50; n++) {
    const { jti } = await claimsOf(signer.claims())
    assert.equal(Buffer.from(jti as string, 'base64url').length, 16)
    ids.add(jti)
  }
  assert.equal(ids.size, 50)
  const jti = 'dGhpcy1pcy1sb25nLWVub3VnaA'
  assert.equal((await claimsOf(signer.claims({ jti })))['jti'], jti)
})

test('T025: what is signed is what was understood, whatever the claims are besides', async () => {
  const member = fc
    .string({ minLength: 1, unit: 'grapheme' })
    .filter((name) => name !== '__proto__' && name !== 'events')
  const tame = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isSafeInteger(Math.trunc(value)) ? 0 : value
  const values = fc
    .jsonValue({ maxDepth: 3 })
    .map((value) => JSON.parse(JSON.stringify(value, tame)) as unknown)
  await fc.assert(
    fc.asyncProperty(fc.dictionary(member, values), async (others) => {
      const claims = { ...others, ...(JSON.parse(signer.claims({ jti: 'x'.repeat(22) })) as object) }
      delete (claims as Record<string, unknown>)['nbf']
      delete (claims as Record<string, unknown>)['cnf']
      // Spelled in another way: spaces, and every letter of a name escaped.
      const spelled = JSON.stringify(claims, undefined, 1).replace('"sub"', '"\\u0073\\u0075\\u0062"')
      const prepared = await signer.prepare({ claims: spelled })
      const signed = await signer.sign(prepared, signer.receipt(prepared))
      assert.ok('token' in signed)
      const [, payload = ''] = signed.token.split('.')
      assert.deepEqual(JSON.parse(Buffer.from(payload, 'base64url').toString()), JSON.parse(spelled))
      const { payloadSha256 } = decodeEntry(decode(prepared.entry))
      assert.equal(Buffer.from(payloadSha256).toString('hex'), hash('sha256', payload))
    }),
    { seed: 11, numRuns: 60 },
  )
})

test('of two issuers in one realm each has its own key, whichever is newer', () => {
  const other = 'https://other.example'
  const [first, second] = [issuers.consumer, other].map((issuer, at) => {
    const key = createTestKey('ES256')
    const publicKey = createPublicKey(key.privateKey)
    return { ...world.draftKey(key, 'consumer'), publicKey, issuer, notBefore: now - 2 + at }
  })
  assert.ok(first !== undefined && second !== undefined)
  for (const key of [first, second]) {
    const claims = signer.claims({ iss: key.issuer })
    assert.equal(draftToken({ type: 'access', claims }, [first, second], now).key.kid, key.kid)
  }
})

test('an audience outside the key’s is refused, also beside one that is inside', async () => {
  world.publish(({ keys }) => ({
    keys: keys.map((key) => (key.kid === signer.kid ? { ...key, audiences: [mailAudience] } : key)),
  }))
  await signer.bringTrust()
  assert.equal(
    await signer.refusal({ claims: signer.claims({ aud: 'https://other.example' }) }),
    'key_out_of_scope',
  )
  const both = signer.claims({ aud: [mailAudience, 'https://other.example'] })
  assert.equal(await signer.refusal({ claims: both }), 'key_out_of_scope')
  assert.equal(await signer.refusal({ claims: signer.claims({ aud: [mailAudience] }) }), 'prepared')
})
