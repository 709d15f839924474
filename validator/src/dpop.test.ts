/**
 * Goal: a bound token counts with a proof by its key, made just now for this request, once; everything else is refused,
 * and says what was wrong. Method: the proofs of RFC 9449; proofs by `jose` and requests by `oauth4webapi`, as second
 * implementations; then a proof with each thing wrong in turn, and two servers that share what they must.
 */

import assert from 'node:assert/strict'
import {
  createHash,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  sign as signBytes,
} from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import * as oauth from 'oauth4webapi'
import { createCheck, type DpopOptions, dpop, type ProofFlaw, ProofRefusal, proofFlaws } from './dpop.ts'
import { createGuard, type GuardAdmission, type GuardedRequest } from './guard.ts'
import { createNonces } from './nonces.ts'
import { createReplayCache } from './replay.ts'
import type { Sighting } from './sighting.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator } from './validator.ts'

const world = createTestWorld()
const { now } = world
const base = 'https://mail.example'
const sightings: Sighting[] = []
const validator = createValidator({
  realm: ['consumer', 'enterprise'],
  audience: mailAudience,
  trust: world.trust,
  requireBinding: ['enterprise'],
  now: () => world.now,
  onSighting: (sighting) => sightings.push(sighting),
})
const holder = createHolder()
const token = issueTo(holder.jkt)

test('the proofs of RFC 9449 are good, for the requests that they are about', () => {
  const header =
    'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19'
  const check = createCheck({ base: 'https://resource.example.org' })
  // Section 7.1.
  const proof = `${header}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA`
  const request = {
    method: 'GET',
    target: '/protectedresource',
    token: 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU',
  }
  assert.equal(check(proof, request, 1562262618).jkt, '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')
  assert.throws(() => check(proof, { ...request, token: 'another' }, 1562262618), flaw('ath_mismatch'))
  assert.throws(() => check(proof, request, now), flaw('iat_outside_window'))
  // Section 4.1: for a token endpoint, and so without a token.
  const forTokens = `${header}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg`
  const server = createCheck({ base: 'https://server.example.com' })
  const post = { method: 'POST', target: '/token', token: request.token }
  assert.throws(() => server(forTokens, post, 1562262616), flaw('ath_mismatch'))
})

test('a bound token comes in with its proof, and says so to nobody else', async () => {
  const admission = await ask()
  assert.ok(admission.admitted)
  assert.equal(admission.token.subject, 'user-1')
  assert.deepEqual(admission.headers, {})
})

for (const name of ['ES256', 'EdDSA', 'Ed25519', 'PS256'] as const) {
  test(`a proof by ${name}, made by jose, is good`, async () => {
    const { privateKey, publicKey } = await generateKeyPair(name, { extractable: true })
    const jwk = await exportJWK(publicKey)
    const bound = issueTo(await calculateJwkThumbprint(jwk))
    const proof = await new SignJWT({
      htm: 'GET',
      htu: `${base}/mail`,
      jti: randomUUID(),
      iat: now,
      ath: createHash('sha256').update(bound).digest('base64url'),
    })
      .setProtectedHeader({ typ: 'dpop+jwt', alg: name, jwk: { ...jwk, kid: 'mine', alg: name } })
      .sign(privateKey)
    assert.ok((await ask({ token: bound, headers: ['DPoP', proof] })).admitted)
  })
}

const member = (name: string, value: unknown): Wrong => ({ header: { [name]: value } })
const claim = (name: string, value: unknown): Wrong => ({ claims: { [name]: value } })
const rsa = createHolder(generateKeyPairSync('rsa', { modulusLength: 2048 }))
const other = createHolder()

/** Each is one thing wrong with an otherwise good request. */
const wrongs: readonly (readonly [what: string, ProofFlaw, Wrong])[] = [
  ['no proof', 'missing', { proofs: 0 }],
  ['T155: two proofs, both good', 'several', { proofs: 2 }],
  ['T155: two proofs in one header', 'malformed', { join: true }],
  ['T063: a proof of 9 KB', 'oversized', claim('jti', 'j'.repeat(7000))],
  ['what is no JWS', 'malformed', { text: 'proof' }],
  ['T054: a claim twice', 'malformed', { payload: '{"jti":"a","jti":"b","htm":"GET"}' }],
  ['T092: an access token as the proof', 'typ_wrong', { text: token }],
  ['a proof of another type', 'typ_wrong', member('typ', 'JWT')],
  ['a proof of no type', 'typ_wrong', member('typ', undefined)],
  ['T153 T001: alg none', 'alg_not_allowed', { header: { alg: 'none' }, signature: '' }],
  ['T153: alg HS256, with the public key as the secret', 'alg_not_allowed', member('alg', 'HS256')],
  ['T153: alg left out', 'alg_not_allowed', member('alg', undefined)],
  ['T153: an algorithm that was not named', 'alg_not_allowed', { by: rsa, header: { alg: 'RS256' } }],
  ['a critical extension', 'header_not_allowed', member('crit', ['exp'])],
  ['a key elsewhere', 'header_not_allowed', member('jku', 'https://evil.example')],
  ['no jwk', 'jwk_invalid', member('jwk', undefined)],
  ['T036: a private jwk', 'jwk_invalid', member('jwk', holder.privateKey.export({ format: 'jwk' }))],
  ['T153: a symmetric jwk', 'jwk_invalid', member('jwk', { kty: 'oct', k: 'c2VjcmV0' })],
  ['a jwk of another algorithm', 'jwk_invalid', member('jwk', rsa.jwk)],
  ['a jwk for encryption', 'jwk_invalid', member('jwk', { ...holder.jwk, use: 'enc' })],
  [
    'T016: a point that is not on the curve',
    'jwk_invalid',
    member('jwk', { ...holder.jwk, x: holder.jwk['y'] }),
  ],
  ['T154: the jwk of another, signed by the own key', 'signature_invalid', member('jwk', other.jwk)],
  ['a signature that is not', 'signature_invalid', { signature: 'A'.repeat(86) }],
  ['T012: a DER signature', 'signature_invalid', { der: true }],
  ['no jti', 'malformed', claim('jti', undefined)],
  ['an empty jti', 'malformed', claim('jti', '')],
  ['no iat', 'malformed', claim('iat', undefined)],
  ['iat as a text', 'malformed', claim('iat', String(now))],
  ['T149: another method', 'htm_mismatch', claim('htm', 'POST')],
  ['T149: the method in lower case', 'htm_mismatch', claim('htm', 'get')],
  ['T149: another path', 'htu_mismatch', claim('htu', `${base}/other`)],
  ['T149: a path in another case', 'htu_mismatch', claim('htu', `${base}/Mail`)],
  ['T149: a slash more', 'htu_mismatch', claim('htu', `${base}/mail/`)],
  ['T149: an escaped slash', 'htu_mismatch', claim('htu', `${base}/%2Fmail`)],
  ['T149: http', 'htu_mismatch', claim('htu', 'http://mail.example/mail')],
  ['T149: another port', 'htu_mismatch', claim('htu', 'https://mail.example:8443/mail')],
  ['T149: the host behind the proxy', 'htu_mismatch', claim('htu', 'https://10.0.0.7/mail')],
  ['T149: a user in front of the host', 'htu_mismatch', claim('htu', 'https://evil@mail.example/mail')],
  [
    'T149: a host that begins the same',
    'htu_mismatch',
    claim('htu', 'https://mail.example.evil.example/mail'),
  ],
  ['T149: a backslash', 'htu_mismatch', claim('htu', 'https:\\\\mail.example\\mail')],
  ['T149: a space that a parser would mend', 'htu_mismatch', claim('htu', ` ${base}/mail`)],
  ['T149: a path alone', 'htu_mismatch', claim('htu', '/mail')],
  ['T149: no URL', 'htu_mismatch', claim('htu', '')],
  ['T149: no ath', 'ath_mismatch', claim('ath', undefined)],
  ['T149: the ath of another token', 'ath_mismatch', claim('ath', createHash('sha256').digest('base64url'))],
  ['T151: a proof of 61 seconds ago', 'iat_outside_window', claim('iat', now - 61)],
  ['T151: a proof from 11 seconds ahead', 'iat_outside_window', claim('iat', now + 11)],
]

for (const [what, expected, wrong] of wrongs) {
  test(`${what}: ${expected}`, async () => {
    const before = sightings.length
    const admission = await ask({ headers: wrongHeaders(wrong) })
    assert.ok(!admission.admitted)
    const { denial } = admission
    assert.deepEqual([denial.status, denial.reason], [401, 'sender_mismatch'])
    assert.equal(
      denial.headers['www-authenticate'],
      `DPoP error="invalid_dpop_proof", error_description="${proofFlaws[expected]}", algs="ES256 EdDSA Ed25519 PS256"`,
    )
    assert.deepEqual(denial.body, {
      error: 'invalid_dpop_proof',
      error_description: proofFlaws[expected],
      reason: 'sender_mismatch',
    })
    assert.deepEqual(
      sightings.slice(before).map(({ verdict }) => verdict),
      ['sender_mismatch'],
      'and the sentinel hears of it',
    )
  })
}

test('no flaw goes untried', () => {
  const tried = new Set([...wrongs.map(([, name]) => name), 'replayed', 'nonce_missing', 'nonce_unknown'])
  assert.deepEqual([...tried].sort(), Object.keys(proofFlaws).sort())
})

test('T149: spellings of the same URL are the same (RFC 9449, section 4.3)', async () => {
  const same: readonly (readonly [target: string, htu: string])[] = [
    ['/mail', 'HTTPS://MAIL.example:443/mail'],
    ['/mail?page=2', `${base}/mail`],
    ['/mail', `${base}/mail?page=2#top`],
    ['/%7Eada/%c3%a9', `${base}/~ada/%C3%A9`],
    ['/a/../mail', `${base}/mail`],
    ['/', base],
    ['//mail', `${base}//mail`],
  ]
  for (const [target, htu] of same)
    assert.ok((await ask({ target, headers: proofHeader({ claims: { htu } }) })).admitted, `${target} ${htu}`)
  for (const target of ['https://evil.example/mail', '*', 'mail', '', '/ma\\il'])
    assert.ok(!(await ask({ target })).admitted, target)
})

test('T149: whatever stands in a proof, nothing is thrown, and a URL is only another spelling of the same', async () => {
  const pieces = [
    'https://',
    'mail.example',
    'MAIL.example',
    ':443',
    '/',
    'mail',
    '%6dail',
    '.',
    '..',
    '@',
    '?',
    '#',
    '%',
    '\\',
    '\t',
  ]
  const text = fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string())).map((parts) => parts.join(''))
  const value = fc.oneof(text, fc.jsonValue({ maxDepth: 1 }))
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('htu', 'htm', 'jti', 'ath', 'nonce', 'typ', 'alg', 'jwk'),
      value,
      async (name, odd) => {
        const isHeader = ['typ', 'alg', 'jwk'].includes(name)
        const admission = await ask({
          headers: proofHeader({ [isHeader ? 'header' : 'claims']: { [name]: odd } }),
        })
        if (!admission.admitted) return
        if (name === 'htu')
          assert.equal(
            new URL(String(odd)).host + new URL(String(odd)).pathname.replace('%6d', 'm'),
            'mail.example/mail',
          )
        else assert.ok(['jti', 'nonce'].includes(name), `${name}: ${JSON.stringify(odd)}`)
      },
    ),
    { numRuns: 1000 },
  )
})

test('T149 T181: where the service is comes from its settings, not from Host', async () => {
  const evil = proofHeader({ claims: { htu: 'https://evil.example/mail' } })
  assert.ok(
    !(await ask({ headers: [...evil, 'Host', 'evil.example', 'X-Forwarded-Host', 'evil.example'] })).admitted,
  )
  const several = { base: ['https://one.example/v1/', 'https://two.example'] }
  const htu = 'https://one.example/v1/mail'
  assert.ok((await ask({ headers: proofHeader({ claims: { htu } }), options: several })).admitted)
  for (const [host, isGood] of [
    ['One.example', true],
    ['one.example:443', true],
    ['two.example', false],
    ['', false],
  ] as const) {
    const request = { headers: proofHeader({ claims: { htu } }), options: several, host }
    assert.equal((await ask(request)).admitted, isGood, host)
  }
  for (const wrong of ['mail.example', 'https://mail.example?a', 'ftp://mail.example', '', []])
    assert.throws(() => dpop({ base: wrong }), TypeError)
})

test('T239 T271: what would check less than it says is no setting', () => {
  const base = 'https://mail.example'
  const ages = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '60'].map((ageSecondsMax) => ({ ageSecondsMax }))
  const misspelt = [{ nonce: createNonces() }, { replayCache: createReplayCache() }, { ageSeconds: 5 }]
  for (const wrong of [...ages, ...misspelt, { algorithms: ['HS256'] }, { algorithms: [] }])
    assert.throws(() => dpop({ base, ...wrong } as DpopOptions), TypeError, JSON.stringify(wrong))
})

test('T066 T156 T154: scheme, token and proof belong together', async () => {
  const unbound = world.issue()
  const proof = proofHeader()
  const cases: readonly (readonly [what: string, headers: readonly string[], expected: string])[] = [
    ['bound, as Bearer', ['Authorization', `Bearer ${token}`], 'sender_mismatch'],
    ['bound, as Bearer with a proof', ['Authorization', `Bearer ${token}`, ...proof], 'sender_mismatch'],
    ['unbound, as DPoP', dpopHeaders(unbound, proofHeader({ token: unbound })), 'sender_mismatch'],
    ['of another key', dpopHeaders(token, proofHeader({ by: other })), 'sender_mismatch'],
    ['unbound, as Bearer', ['Authorization', `Bearer ${unbound}`], 'accepted'],
    [
      'unbound, of enterprise',
      ['Authorization', `Bearer ${world.issue({ realm: 'enterprise' })}`],
      'sender_mismatch',
    ],
    [
      'bound by case',
      [...dpopHeaders(token, proof).with(0, 'authorization').with(1, `dPoP ${token}`)],
      'accepted',
    ],
    ['as MAC', ['Authorization', `MAC ${token}`, ...proof], 'malformed'],
  ]
  for (const [what, rawHeaders, expected] of cases) {
    const admission = await guardOf().admit({ source: {}, rawHeaders, method: 'GET', target: '/mail' })
    assert.equal(admission.admitted ? 'accepted' : admission.denial.reason, expected, what)
  }
  const nothing = await guardOf().admit({ source: {}, rawHeaders: [], method: 'GET', target: '/mail' })
  assert.equal(
    !nothing.admitted && nothing.denial.headers['www-authenticate'],
    'Bearer, DPoP algs="ES256 EdDSA Ed25519 PS256"',
  )
})

test('T150: a proof counts once, at one server and at two that share what was shown, also at the same moment', async () => {
  const shared = createReplayCache({ now: () => world.now })
  const [one, two] = [guardOf({ replay: shared }), guardOf({ replay: shared })]
  const request = (): GuardedRequest => requestFor({ headers: proof })
  let proof = proofHeader()
  assert.ok((await one.admit(request())).admitted)
  for (const guard of [one, two]) {
    const admission = await guard.admit(request())
    assert.ok(!admission.admitted)
    assert.equal(admission.denial.body['error_description'], proofFlaws.replayed)
  }
  assert.equal(sightings.at(-1)?.verdict, 'sender_mismatch')
  proof = proofHeader()
  const twins = await Promise.all([one, two, one, two].map((guard) => guard.admit(request())))
  assert.equal(twins.filter(({ admitted }) => admitted).length, 1)
  // A slow one, as a shared cache is.
  const slow = guardOf({
    replay: { add: (proof) => new Promise((resolve) => setImmediate(() => resolve(shared.add(proof)))) },
  })
  proof = proofHeader()
  const slowTwins = await Promise.all([slow.admit(request()), slow.admit(request())])
  assert.equal(slowTwins.filter(({ admitted }) => admitted).length, 1)
})

test('one request that passes two guards shows its proof once', async () => {
  const guard = guardOf()
  const request = requestFor({ headers: proofHeader() })
  assert.ok((await guard.admit(request)).admitted)
  assert.ok((await guard.requiring({ scopes: 'mail.read' }).admit(request)).admitted)
  assert.ok(!(await guard.admit({ ...request, source: {} })).admitted)
})

test('T271: only with a good token does a proof take up room', async () => {
  const shown: string[] = []
  const replay = { add: ({ id }: { id: string }) => Boolean(shown.push(id)) }
  const guard = guardOf({ replay })
  const expired = issueTo(holder.jkt, { iat: now - 600, exp: now - 300 })
  for (const bad of [expired, `${token}x`, issueTo(other.jkt)])
    await guard.admit(requestFor({ token: bad, headers: proofHeader({ token: bad }) }))
  assert.deepEqual(shown, [])
  await guard.admit(requestFor({ headers: proofHeader() }))
  assert.equal(shown.length, 1)
})

test('T152: where nonces are asked for, a proof needs one of ours, and is told the next before it needs it', async () => {
  const place = { now }
  const nonces = createNonces({ secrets: [randomBytes(32)], periodSeconds: 60 })
  const guard = guardOf({ nonces, now: () => place.now })
  const show = (nonce?: string, iat = place.now): Promise<GuardAdmission> =>
    guard.admit(requestFor({ headers: proofHeader({ claims: { nonce, iat } }) }))
  const first = await show()
  assert.ok(!first.admitted)
  assert.match(first.denial.headers['www-authenticate'] ?? '', /^DPoP error="use_dpop_nonce"/)
  const before = sightings.length
  const nonce = first.denial.headers['dpop-nonce'] ?? ''
  assert.match(nonce, /^[\w-]{22}$/)
  const second = await show(nonce)
  assert.ok(second.admitted)
  assert.deepEqual(second.headers, {}, 'it has the one to use')
  // A clock of the client that is wrong does not matter then.
  assert.ok((await show(nonce, 0)).admitted)
  for (const strange of ['', 'A'.repeat(22), createNonces().current(now)]) {
    const refused = await show(strange)
    assert.equal(!refused.admitted && refused.denial.headers['dpop-nonce'], nonce)
  }
  assert.equal(
    sightings.slice(before).filter(({ verdict }) => verdict !== 'accepted').length,
    0,
    'asking for a nonce is no attack',
  )
  place.now += 60
  const third = await show(nonce)
  assert.ok(third.admitted)
  const next = third.headers['dpop-nonce'] ?? ''
  assert.notEqual(next, nonce)
  place.now += 60
  assert.ok(!(await show(nonce)).admitted, 'stale')
  assert.ok((await show(next)).admitted)
})

test('T152: nonces are known to every server with the secret, before and after it is replaced', () => {
  const [older, newer] = [randomBytes(32), randomBytes(32)]
  const before = createNonces({ secrets: [older] })
  const during = createNonces({ secrets: [newer, older] })
  const after = createNonces({ secrets: [newer] })
  assert.ok(during.endOf(before.current(now), now))
  assert.ok(after.endOf(during.current(now), now))
  assert.equal(after.endOf(before.current(now), now), undefined)
  assert.ok(before.endOf(before.current(now + 60), now), 'of a server whose clock is ahead')
  assert.equal(before.endOf(before.current(now + 180), now), undefined)
  assert.throws(() => createNonces({ secrets: [randomBytes(16)] }), /32 bytes/)
  assert.throws(() => createNonces({ secrets: [] }), /32 bytes/)
  assert.throws(() => createNonces({ periodSeconds: 0 }), /periodSeconds/)
})

test('oauth4webapi gets through, with nonces and without', async () => {
  for (const nonces of [undefined, createNonces()]) {
    const clock = (): number => Date.now() / 1000
    const live = createTestWorld({ now: Math.floor(clock()) })
    const keys = await generateKeyPair('ES256', { extractable: true })
    const jkt = await calculateJwkThumbprint(await exportJWK(keys.publicKey))
    const bound = live.issue({ realm: 'enterprise', claims: { cnf: { jkt } } })
    let guard = createGuard(validator)
    const server = createServer(async (request, response) => {
      const { rawHeaders, method = '', url: target = '' } = request
      const admission = await guard.admit({ source: request, rawHeaders, method, target })
      const { status, headers } = admission.admitted
        ? { status: 200, headers: admission.headers }
        : admission.denial
      response.writeHead(status, headers).end(admission.admitted ? admission.token.subject : '')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const trusting = createValidator({
      realm: 'enterprise',
      audience: mailAudience,
      trust: live.trust,
      requireBinding: true,
    })
    guard = createGuard(trusting, { bindings: [dpop({ base: url, nonces })] })
    const DPoP = oauth.DPoP({}, keys)
    const fetchMail = (): Promise<Response> =>
      oauth.protectedResourceRequest(bound, 'GET', new URL('/mail?page=1', url), undefined, undefined, {
        DPoP,
        [oauth.allowInsecureRequests]: true,
      })
    const answer = await fetchMail().catch((error) => {
      assert.ok(nonces !== undefined && oauth.isDPoPNonceError(error), String(error))
      return fetchMail()
    })
    assert.equal(await answer.text(), 'user-1')
    server.close()
  }
})

interface Holder {
  readonly privateKey: KeyObject
  readonly jwk: Record<string, unknown>
  readonly jkt: string
  readonly algorithm: string
}

function createHolder(
  pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
  }),
): Holder {
  const jwk = pair.publicKey.export({ format: 'jwk' }) as Record<string, string>
  const { kty, crv, x, y, n, e } = jwk
  const members = kty === 'EC' ? { crv, kty, x, y } : { e, kty, n }
  const jkt = createHash('sha256').update(JSON.stringify(members)).digest('base64url')
  return { privateKey: pair.privateKey, jwk, jkt, algorithm: kty === 'EC' ? 'ES256' : 'PS256' }
}

function issueTo(jkt: string, claims: object = {}): string {
  return world.issue({ realm: 'enterprise', claims: { cnf: { jkt }, ...claims } })
}

interface Wrong {
  readonly header?: Readonly<Record<string, unknown>>
  readonly claims?: Readonly<Record<string, unknown>>
  readonly payload?: string
  readonly signature?: string
  readonly der?: boolean
  readonly by?: Holder
  readonly token?: string
  /** The whole proof. */
  readonly text?: string
  readonly proofs?: number
  readonly join?: boolean
}

function prove({
  header,
  claims,
  payload,
  signature,
  der,
  by = holder,
  token: of = token,
  text,
}: Wrong = {}): string {
  if (text !== undefined) return text
  const ath = createHash('sha256').update(of).digest('base64url')
  const usual = { htm: 'GET', htu: `${base}/mail`, jti: randomUUID(), iat: now, ath }
  const segment = (value: string): string => Buffer.from(value).toString('base64url')
  const protectedHeader = { typ: 'dpop+jwt', alg: by.algorithm, jwk: by.jwk, ...header }
  const input = `${segment(JSON.stringify(protectedHeader))}.${segment(payload ?? JSON.stringify({ ...usual, ...claims }))}`
  return `${input}.${signature ?? signProof(input, by, der)}`
}

function signProof(input: string, { privateKey }: Holder, der = false): string {
  const dsaEncoding = der ? 'der' : 'ieee-p1363'
  return signBytes('sha256', Buffer.from(input), { key: privateKey, dsaEncoding }).toString('base64url')
}

function proofHeader(wrong: Wrong = {}): string[] {
  return ['DPoP', prove(wrong)]
}

function wrongHeaders(wrong: Wrong): string[] {
  if (wrong.join) return ['DPoP', `${prove()}, ${prove()}`]
  return Array.from({ length: wrong.proofs ?? 1 }, () => proofHeader(wrong)).flat()
}

function dpopHeaders(bearer: string, proof: readonly string[]): string[] {
  return ['Authorization', `DPoP ${bearer}`, ...proof]
}

function guardOf(options: Partial<DpopOptions> = {}) {
  return createGuard(validator, { bindings: [dpop({ base, now: () => world.now, ...options })] })
}

interface Ask {
  readonly token?: string
  readonly headers?: readonly string[]
  readonly target?: string
  readonly host?: string
  readonly options?: Partial<DpopOptions>
}

function requestFor({
  token: shown = token,
  headers = proofHeader(),
  target = '/mail',
  host,
}: Ask): GuardedRequest {
  return { source: {}, rawHeaders: dpopHeaders(shown, headers), method: 'GET', target, host }
}

function ask(wanted: Ask = {}): Promise<GuardAdmission> {
  return guardOf(wanted.options).admit(requestFor(wanted))
}

function flaw(name: ProofFlaw): (error: unknown) => boolean {
  return (error) => error instanceof ProofRefusal && error.flaw === name
}
