/**
 * Goal: a client signs in with its certificate and nobody does with another one, and its tokens are of use with that
 * certificate alone (RFC 8705). Method: an authority and certificates that are wrong in one way each; an issuer behind a
 * proxy that names them in a header, and one that asks for them itself, each asked in both ways that clients are known.
 */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import {
  createTestCertificate,
  createTestRevocationList,
  type TestCertificate,
} from '@countersign/validator/test-certificate'
import { createTestHolder } from '@countersign/validator/test-proof'
import { decodeJwt } from 'jose'
import { type SeedClient, tokenExchange } from './config.ts'
import { type Answer, codeFrom, post } from './flows.ts'
import { callback, clientIds, startTestIssuer, type TestIssuer } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'mutual-tls-'))
const hour = 3600 * 1000
const organization = [['2.5.4.10', 'Acme']] as const

const authority = createTestCertificate('clients', { isAuthority: true, names: {} })
const namesake = createTestCertificate('clients', { isAuthority: true, names: {} })
const lapsed = createTestCertificate('old clients', {
  isAuthority: true,
  names: {},
  valid: [Date.now() - 2 * hour, Date.now() - hour],
})
const intermediate = createTestCertificate('more clients', {
  issuer: authority,
  isAuthority: true,
  names: {},
})
const known = { issuer: authority, attributes: organization }
const good = createTestCertificate('mail', known)
const renewed = createTestCertificate('mail', known)
const revoked = createTestCertificate('mail', known)
const own = createTestCertificate('calendar')
const ended = createTestCertificate('calendar', { valid: [Date.now() - 2 * hour, Date.now() - hour] })
const server = createTestCertificate('localhost')

/** Of the subject that is registered, and no good all the same. */
const wrong: Readonly<Record<string, TestCertificate>> = {
  'of another subject': createTestCertificate('other', known),
  'of a subject with more': createTestCertificate('mail', {
    ...known,
    attributes: [...organization, ...organization],
  }),
  'by nobody': createTestCertificate('mail', { attributes: organization }),
  'by another authority of the same name': createTestCertificate('mail', { ...known, issuer: namesake }),
  'by a client': createTestCertificate('mail', { ...known, issuer: good }),
  'that has expired': createTestCertificate('mail', {
    ...known,
    valid: [Date.now() - 2 * hour, Date.now() - hour],
  }),
  'of tomorrow': createTestCertificate('mail', {
    ...known,
    valid: [Date.now() + hour, Date.now() + 2 * hour],
  }),
  'by an authority that has expired': createTestCertificate('mail', { ...known, issuer: lapsed }),
  'signed by SHA-1': createTestCertificate('mail', { ...known, isWeak: true }),
  'for servers': createTestCertificate('mail', { ...known, purpose: '1.3.6.1.5.5.7.3.1' }),
}

const service: Partial<SeedClient> = {
  client_secret: undefined,
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_subject_dn: 'CN=mail, O=Acme',
}
const clients: Readonly<Record<string, Partial<SeedClient>>> = {
  [clientIds.service]: service,
  [clientIds.web]: service,
  [clientIds.otherWeb]: service,
  [clientIds.mailService]: { ...service, dpop_bound_access_tokens: true },
  [clientIds.secondMailService]: {
    client_secret: undefined,
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_san_dns: 'mail',
  },
  [clientIds.calendarService]: {
    client_secret: undefined,
    token_endpoint_auth_method: 'self_signed_tls_client_auth',
    jwks: { keys: [own, ended].map(jwkOf) },
  },
  [clientIds.receiver]: service,
}

const client_ca = write('authorities.pem', authority.pem + lapsed.pem)
const header = 'client-cert'
const format = 'rfc9440'
const credentials = { grant_type: 'client_credentials' }

const behind = await startTestIssuer('consumer', {
  settings: { client_certificate: { header, format, client_ca, public_url: 'https://mtls.home.example' } },
  clients,
})
const stranger = await startTestIssuer('consumer', {
  settings: { client_certificate: { header, format, client_ca, peers: ['10.0.0.1'] } },
  clients,
})
const listener = {
  listen: { host: '127.0.0.1', port: 0 },
  public_url: 'https://mtls.work.example',
  key: write('server.key', server.privateKey),
  cert: write('server.pem', server.pem),
}
const direct = await startTestIssuer('enterprise', {
  settings: {
    mutual_tls: {
      ...listener,
      client_ca,
      crl: write(
        'crl.pem',
        createTestRevocationList(authority, [revoked]) + createTestRevocationList(lapsed, []),
      ),
    },
  },
  clients,
})
after(async () => {
  await Promise.all([behind.stop(), stranger.stop(), direct.stop()])
  rmSync(folder, { recursive: true })
})

/** Asks as a client that shows a certificate, to the proxy or to the issuer itself. */
type Ask = (
  path: string,
  clientId: string,
  fields: Readonly<Record<string, string>>,
  certificate: TestCertificate | undefined,
  headers?: Readonly<Record<string, string>>,
) => Promise<Answer>

const ways: Readonly<Record<string, Ask>> = {
  'behind a proxy': (path, client_id, fields, certificate, headers = {}) =>
    askProxy(behind, path, { client_id, ...fields }, { ...shown(certificate), ...headers }),
  directly: (path, client_id, fields, certificate, headers = {}) =>
    askDirectly(path, { client_id, ...fields }, certificate, headers),
}

for (const [way, ask] of Object.entries(ways)) {
  test(`J5 RFC 8705, ${way}: a client that is known by its subject gets a token that is bound to its certificate`, async () => {
    for (const client of [clientIds.service, clientIds.secondMailService]) {
      const answer = await ask('/token', client, credentials, good)
      assert.deepEqual([answer.status, answer['token_type']], [200, 'Bearer'], JSON.stringify(answer))
      assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': good.thumbprint })
      const next = await ask('/token', client, credentials, renewed)
      assert.deepEqual(decodeJwt(next.access_token ?? '')['cnf'], { 'x5t#S256': renewed.thumbprint })
    }
  })

  for (const [what, certificate] of Object.entries(wrong))
    test(`T159 RFC 8705, ${way}: one ${what} is refused`, async () => {
      const answer = await ask('/token', clientIds.service, credentials, certificate)
      assert.deepEqual([answer.status, answer.error], [401, 'invalid_client'])
    })

  test(`T159 RFC 8705, ${way}: no certificate, a secret instead of it, and another kind of client`, async () => {
    const secret = Buffer.from(`${clientIds.service}:${behind.secrets[clientIds.service]}`).toString('base64')
    for (const [client, certificate, fields, headers] of [
      [clientIds.service, undefined, {}, {}],
      [clientIds.service, undefined, { client_secret: 'kept as a hash' }, {}],
      [clientIds.service, good, { client_secret: 'kept as a hash' }, {}],
      [clientIds.service, good, {}, { authorization: `Basic ${secret}` }],
      [clientIds.thirdParty, good, {}, {}],
      ['nobody', good, {}, {}],
      [clientIds.calendarService, good, {}, {}],
      [clientIds.service, own, {}, {}],
    ] as const) {
      const answer = await ask('/token', client, { ...credentials, ...fields }, certificate, headers)
      assert.deepEqual(
        [answer.status, answer.access_token],
        [answer.error === 'invalid_request' ? 400 : 401, undefined],
      )
    }
  })

  test(`J5 RFC 8705, ${way}: a client that is known by its own certificate`, async () => {
    const answer = await ask('/token', clientIds.calendarService, credentials, own)
    assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': own.thumbprint })
    for (const other of [createTestCertificate('calendar'), ended, good, undefined])
      assert.equal(
        (await ask('/token', clientIds.calendarService, credentials, other)).error,
        'invalid_client',
      )
  })

  test(`RFC 8705, ${way}: it asks about its tokens and takes them back, with a certificate again`, async () => {
    const token = (await ask('/token', clientIds.service, credentials, good)).access_token ?? ''
    const introspect = (certificate?: TestCertificate): Promise<Answer> =>
      ask('/introspect', clientIds.service, { token }, certificate)
    assert.deepEqual((await introspect(renewed))['cnf'], { 'x5t#S256': good.thumbprint })
    for (const certificate of [undefined, own, ...Object.values(wrong)])
      assert.equal((await introspect(certificate)).error, 'invalid_client')
    const secret = { token, client_secret: 'kept as a hash' }
    assert.equal((await ask('/introspect', clientIds.service, secret, good)).error, 'invalid_client')
    assert.equal((await ask('/revoke', clientIds.service, { token }, own)).error, 'invalid_client')
    assert.equal((await introspect(good))['active'], true)
    assert.equal((await ask('/revoke', clientIds.service, { token }, good)).status, 200)
    assert.equal((await introspect(good))['active'], false)
  })

  test(`T157 RFC 8705, ${way}: a refresh takes a certificate of the client, also the next one, and no other`, async () => {
    const realm = way === 'directly' ? direct : behind
    const code = await codeFrom(realm, { scope: 'openid offline_access mail.read', prompt: 'consent' })
    const grant = {
      grant_type: 'authorization_code',
      code: code.code,
      code_verifier: code.verifier ?? '',
      redirect_uri: callback,
    }
    const first = await ask('/token', clientIds.web, grant, good)
    assert.deepEqual(decodeJwt(first.access_token ?? '')['cnf'], { 'x5t#S256': good.thumbprint })
    const form = { grant_type: 'refresh_token', refresh_token: first.refresh_token ?? '' }
    for (const other of [undefined, own, ...Object.values(wrong)])
      assert.equal((await ask('/token', clientIds.web, form, other)).error, 'invalid_client')
    assert.equal((await ask('/token', clientIds.otherWeb, form, good)).error, 'invalid_grant')
    const next = await ask('/token', clientIds.web, form, renewed)
    assert.deepEqual(decodeJwt(next.access_token ?? '')['cnf'], { 'x5t#S256': renewed.thumbprint })
  })

  test(`T161 RFC 8705, ${way}: what comes of an exchange is bound to the certificate that was shown`, async () => {
    const form = {
      grant_type: tokenExchange,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    }
    const exchange = (subject_token: string | undefined, certificate: TestCertificate): Promise<Answer> =>
      ask('/token', clientIds.secondMailService, { ...form, subject_token: subject_token ?? '' }, certificate)
    const token = async (certificate: TestCertificate): Promise<string | undefined> =>
      (await ask('/token', clientIds.service, credentials, certificate)).access_token
    const answer = await exchange(await token(good), good)
    assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': good.thumbprint })
    assert.equal((await exchange(await token(renewed), good)).error, 'invalid_grant')
  })

  test(`J5 RFC 9449, ${way}: a client with a certificate may bind its tokens by DPoP, at either address`, async () => {
    const realm = way === 'directly' ? direct : behind
    const aliases = (await metadataOf(realm))['mtls_endpoint_aliases'] as Record<string, string>
    const holder = createTestHolder()
    const prove = (url: string): Record<string, string> => ({ dpop: holder.prove({ method: 'POST', url }) })
    for (const url of [`${realm.issuers[0]}/token`, aliases['token_endpoint'] ?? '']) {
      const answer = await ask('/token', clientIds.mailService, credentials, good, prove(url))
      assert.deepEqual(
        decodeJwt(answer.access_token ?? '')['cnf'],
        { jkt: holder.jkt },
        JSON.stringify(answer),
      )
    }
    for (const url of [
      'https://evil.example/token',
      `${realm.issuers[0]}/par`,
      aliases['revocation_endpoint'] ?? '',
    ]) {
      const answer = await ask('/token', clientIds.mailService, credentials, good, prove(url))
      assert.equal(answer.error, 'invalid_dpop_proof')
    }
    assert.equal((await ask('/token', clientIds.mailService, credentials, good)).error, 'invalid_grant')
  })

  test(`T160, ${way}: the key of its certificate makes no proofs`, async () => {
    const realm = way === 'directly' ? direct : behind
    const request = { method: 'POST', url: `${realm.issuers[0]}/token` }
    const dpop = createTestHolder(good.privateKey).prove(request)
    const reused = await ask('/token', clientIds.mailService, credentials, good, { dpop })
    assert.equal(reused.error, 'invalid_dpop_proof')
    const next = createTestHolder(good.privateKey).prove(request)
    const other = await ask('/token', clientIds.mailService, credentials, renewed, { dpop: next })
    assert.equal(other['token_type'], 'DPoP')
    const exchange = {
      grant_type: tokenExchange,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      subject_token: other.access_token ?? '',
    }
    const proof = createTestHolder(good.privateKey).prove(request)
    const exchanged = await ask('/token', clientIds.secondMailService, exchange, good, { dpop: proof })
    assert.equal(exchanged.error, 'invalid_dpop_proof')
  })

  test(`J5 T066, ${way}: a receiver of signals comes with the certificate that its token is bound to, or a proof`, async () => {
    const realm = way === 'directly' ? direct : behind
    const issuer = realm.issuers[0] ?? ''
    const scoped = { ...credentials, scope: 'ssf.manage' }
    const token = (await ask('/token', clientIds.receiver, scoped, good)).access_token ?? ''
    const list = (headers: Record<string, string>, certificate?: TestCertificate): Promise<Response> =>
      way === 'directly'
        ? getDirectly(`${issuer}/ssf/stream`, headers, certificate)
        : realm.fetch(`${issuer}/ssf/stream`, { headers: { ...shown(certificate), ...headers } })
    const bearer = { authorization: `Bearer ${token}` }
    assert.equal((await list(bearer, good)).status, 200)
    for (const certificate of [undefined, renewed, own]) {
      const answer = await list(bearer, certificate)
      assert.deepEqual([answer.status, ((await answer.json()) as Answer).error], [401, 'invalid_token'])
    }
  })
}

test('J5 T066 T149 T150: a receiver whose token is bound to a key comes with a proof for this very request, once', async () => {
  const issuer = direct.issuers[0] ?? ''
  const holder = createTestHolder()
  const url = `${issuer}/ssf/stream`
  const form = new URLSearchParams({ ...credentials, scope: 'ssf.manage' })
  const basic = [clientIds.otherReceiver, direct.secrets[clientIds.otherReceiver] ?? ''].map(
    encodeURIComponent,
  )
  const made = await direct.fetch(`${issuer}/token`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(basic.join(':')).toString('base64')}`,
      dpop: holder.prove({ method: 'POST', url: `${issuer}/token` }),
    },
    body: form,
  })
  const token = ((await made.json()) as Answer).access_token ?? ''
  const get = (scheme: string, dpop?: string): Promise<Response> =>
    direct.fetch(url, { headers: { authorization: `${scheme} ${token}`, ...(dpop && { dpop }) } })
  const proof = holder.prove({ url, token })
  assert.equal((await get('DPoP', proof)).status, 200)
  const again = await get('DPoP', proof)
  assert.equal(again.status, 401)
  assert.match(again.headers.get('www-authenticate') ?? '', /^DPoP error="invalid_dpop_proof"/)
  for (const [scheme, dpop] of [
    ['Bearer', holder.prove({ url, token })],
    ['Bearer', undefined],
    ['DPoP', undefined],
    ['DPoP', createTestHolder().prove({ url, token })],
    ['DPoP', holder.prove({ url: `${issuer}/ssf/status`, token })],
    ['DPoP', holder.prove({ url: url.replace(issuer, direct.issuers[1] ?? ''), token })],
    ['DPoP', holder.prove({ method: 'POST', url, token })],
    ['DPoP', holder.prove({ url })],
  ] as const)
    assert.equal((await get(scheme, dpop)).status, 401)
})

test('T150: a proof of a receiver counts once at all processes of the realm, also at one that starts later', async () => {
  const first = await startTestIssuer('enterprise')
  const holder = createTestHolder()
  const issuer = first.issuers[0] ?? ''
  const form = { grant_type: 'client_credentials', scope: 'ssf.manage' }
  const headers = { dpop: holder.prove({ method: 'POST', url: `${issuer}/token` }) }
  const { access_token: token = '' } = await post(first, '/token', clientIds.receiver, form, { headers })
  const url = `${issuer}/ssf/stream`
  const proof = holder.prove({ url, token })
  const show = async (realm: TestIssuer, dpop: string): Promise<number> =>
    (await realm.fetch(url, { headers: { authorization: `DPoP ${token}`, dpop } })).status
  const together = await Promise.all(Array.from({ length: 5 }, () => show(first, proof)))
  assert.deepEqual(together.sort(), [200, 401, 401, 401, 401])
  const second = await startTestIssuer('enterprise', { world: first.world, folder: first.folder })
  assert.equal(await show(second, proof), 401)
  assert.equal(await show(second, holder.prove({ url, token })), 200)
  await Promise.all([first.stop(), second.stop()])
})

test('J5 T066: in the enterprise realm a receiver comes with a bound token, unless somebody says why not', async () => {
  const bearerAllowed = { loopback_receivers: true, bearer_allowed: 'a receiver that knows nothing else' }
  const lenient = await startTestIssuer('enterprise', { settings: { signals: bearerAllowed } })
  const home = await startTestIssuer('consumer')
  const strict = await startTestIssuer('enterprise', { settings: { client_address_header: 'x-real-ip' } })
  const list = async (realm: TestIssuer): Promise<Response> => {
    const form = { grant_type: 'client_credentials', scope: 'ssf.manage' }
    const { access_token } = await post(realm, '/token', clientIds.receiver, form)
    return realm.fetch(`${realm.issuers[0]}/ssf/stream`, {
      headers: { authorization: `Bearer ${access_token}`, 'x-real-ip': '192.0.2.7' },
    })
  }
  assert.equal((await list(lenient)).status, 200)
  assert.equal((await list(home)).status, 200)
  const refused = await list(strict)
  assert.equal(refused.status, 401)
  assert.match(String(((await refused.json()) as Answer)['error_description']), /bound to their sender/)
  assert.match(refused.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token"/)
  assert.deepEqual(
    strict.sightings.map(({ verdict, network }) => [verdict, network]),
    [['sender_mismatch', '192.0.2.7']],
  )
  await Promise.all([lenient, home, strict].map(({ stop }) => stop()))
})

test('T158 T249 RFC 8705: who is not the proxy, or what is no certificate, shows none', async () => {
  const ask = (realm: TestIssuer, headers: Record<string, string>): Promise<Answer> =>
    askProxy(realm, '/token', { ...credentials, client_id: clientIds.service }, headers)
  assert.equal((await ask(behind, shown(good))).error, undefined)
  assert.equal((await ask(stranger, shown(good))).error, 'invalid_client')
  for (const value of [
    '',
    '-',
    'nonsense',
    good.der.toString('base64'),
    `${shown(good)[header]}, ${shown(good)[header]}`,
  ])
    assert.equal((await ask(behind, { [header]: value })).error, 'invalid_client', value.slice(0, 40))
  // Where the issuer asks itself, nobody else may say anything of it.
  assert.equal((await ask(direct, shown(good))).error, 'invalid_client')
  const own = await askDirectly(
    '/token',
    { ...credentials, client_id: clientIds.service },
    undefined,
    shown(good),
  )
  assert.equal(own.error, 'invalid_client')
})

test('RFC 8705: an authority below ours counts where it stands in the file', async () => {
  const below = createTestCertificate('mail', { issuer: intermediate, attributes: organization })
  const form = { ...credentials, client_id: clientIds.service }
  assert.equal((await askProxy(behind, '/token', form, shown(below))).error, 'invalid_client')
  assert.equal((await askDirectly('/token', form, below)).error, 'invalid_client')
  const listed = await startTestIssuer('consumer', {
    settings: {
      client_certificate: { header, format, client_ca: write('more.pem', authority.pem + intermediate.pem) },
    },
    clients,
  })
  assert.equal((await askProxy(listed, '/token', form, shown(below))).error, undefined)
  await listed.stop()
  // OpenSSL wants the whole chain, which may come with the certificate.
  const whole = await startTestIssuer('enterprise', {
    settings: { mutual_tls: { ...listener, client_ca: write('root.pem', authority.pem) } },
    clients,
  })
  const chain = { ...below, pem: below.pem + intermediate.pem }
  const answers = await Promise.all(
    [below, chain].map((each) => askDirectly('/token', form, each, {}, whole)),
  )
  await whole.stop()
  assert.deepEqual(
    answers.map(({ error }) => error),
    ['invalid_client', undefined],
  )
})

test('RFC 8705: a certificate that its authority has taken back is refused where the issuer asks itself', async () => {
  const answer = await askDirectly('/token', { ...credentials, client_id: clientIds.service }, revoked)
  assert.equal(answer.error, 'invalid_client')
})

test('RFC 8705, section 5: metadata says where to come with a certificate, and how', async () => {
  for (const [realm, base] of [
    [behind, 'https://mtls.home.example'],
    [direct, 'https://mtls.work.example'],
  ] as const) {
    const metadata = await metadataOf(realm)
    const alias = `${base}${new URL(realm.issuers[0] ?? '').pathname.replace(/\/$/, '')}`
    const methods = [
      'client_secret_basic',
      'client_secret_post',
      'self_signed_tls_client_auth',
      'tls_client_auth',
    ]
    assert.equal(metadata['tls_client_certificate_bound_access_tokens'], true)
    for (const endpoint of ['token', 'introspection', 'revocation'])
      assert.deepEqual(metadata[`${endpoint}_endpoint_auth_methods_supported`], methods)
    assert.deepEqual(metadata['mtls_endpoint_aliases'], {
      token_endpoint: `${alias}/token`,
      pushed_authorization_request_endpoint: `${alias}/par`,
      introspection_endpoint: `${alias}/introspect`,
      revocation_endpoint: `${alias}/revoke`,
    })
    assert.equal(metadata['token_endpoint'], `${realm.issuers[0]}/token`)
  }
  const plain = await startTestIssuer('consumer', { settings: { client_certificate: { header, format } } })
  const metadata = await metadataOf(plain)
  assert.equal(metadata['mtls_endpoint_aliases'], undefined)
  assert.deepEqual(metadata['token_endpoint_auth_methods_supported'], [
    'client_secret_basic',
    'client_secret_post',
    'self_signed_tls_client_auth',
  ])
  await plain.stop()
})

test('the listener for certificates has what clients call, and nothing for people', async () => {
  const issuer = direct.issuers[0] ?? ''
  for (const path of [
    '/authorize',
    '/.well-known/openid-configuration',
    '/jwks',
    '/logout',
    '/interaction/a',
    '/token/',
  ])
    assert.equal((await getDirectly(`${issuer}${path}`, {}, good)).status, 404, path)
  assert.equal((await getDirectly(`${new URL(issuer).origin}/token`, {}, good)).status, 404)
})

test('T239: clients that nobody could know do not start', async () => {
  const start = async (settings: object, one: Partial<SeedClient>): Promise<void> => {
    const issuer = await startTestIssuer('consumer', { settings, clients: { [clientIds.service]: one } })
    await issuer.stop()
  }
  await assert.rejects(start({}, service), /client_certificate is missing/)
  await assert.rejects(start({ client_certificate: { header, format } }, service), /client_ca is missing/)
  const leaf = write('leaf.pem', good.pem)
  await assert.rejects(
    start({ client_certificate: { header, format, client_ca: leaf } }, service),
    /authorities/,
  )
  const empty = write('empty.pem', '')
  await assert.rejects(
    start({ client_certificate: { header, format, client_ca: empty } }, service),
    /authorities/,
  )
})

function write(name: string, content: string): string {
  const file = join(folder, name)
  writeFileSync(file, content)
  return file
}

function jwkOf({ der }: TestCertificate): { kty: string; x5c: string[] } {
  const jwk = new X509Certificate(der).publicKey.export({ format: 'jwk' }) as { kty: string }
  return { ...jwk, x5c: [der.toString('base64')] }
}

function shown(certificate: TestCertificate | undefined): Record<string, string> {
  return certificate === undefined ? {} : { [header]: `:${certificate.der.toString('base64')}:` }
}

async function metadataOf(realm: TestIssuer): Promise<Record<string, unknown>> {
  const response = await realm.fetch(`${realm.issuers[0]}/.well-known/openid-configuration`)
  return (await response.json()) as Record<string, unknown>
}

async function askProxy(
  realm: TestIssuer,
  path: string,
  fields: Readonly<Record<string, string>>,
  headers: Record<string, string>,
): Promise<Answer> {
  const body = new URLSearchParams(fields)
  const response = await realm.fetch(`${realm.issuers[0]}${path}`, { method: 'POST', headers, body })
  return answerOf(response.status, await response.text())
}

async function askDirectly(
  path: string,
  fields: Readonly<Record<string, string>>,
  certificate: TestCertificate | undefined,
  headers: Readonly<Record<string, string>> = {},
  realm = direct,
): Promise<Answer> {
  const form = { 'content-type': 'application/x-www-form-urlencoded', ...headers }
  const url = `${realm.issuers[0]}${path}`
  const response = await overTls(realm, url, form, certificate, new URLSearchParams(fields).toString())
  return answerOf(response.status, await response.text())
}

function getDirectly(
  url: string,
  headers: Readonly<Record<string, string>>,
  certificate: TestCertificate | undefined,
): Promise<Response> {
  return overTls(direct, url, headers, certificate)
}

async function overTls(
  realm: TestIssuer,
  url: string,
  headers: Readonly<Record<string, string>>,
  certificate: TestCertificate | undefined,
  body?: string,
): Promise<Response> {
  const asked = request({
    host: '127.0.0.1',
    port: realm.mutualTlsPort,
    path: new URL(url).pathname,
    method: body === undefined ? 'GET' : 'POST',
    headers,
    ca: server.pem,
    servername: 'localhost',
    agent: false,
    ...(certificate && { key: certificate.privateKey, cert: certificate.pem }),
  })
  const [answer] = await once(asked.end(body), 'response')
  return new Response(await text(answer), { status: answer.statusCode })
}

function answerOf(status: number, content: string): Answer {
  return { status, ...(content === '' ? {} : (JSON.parse(content) as object)) }
}
