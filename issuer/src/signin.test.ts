/**
 * Goal: only the person comes in, only with what the realm asks for, and only where they meant to. Method: a browser
 * that does each step wrong, and counts what an attacker could tell from the answers.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { tenants } from '@countersign/validator/testing'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { TOTP } from 'otpauth'
import { FakeBrowser } from './fake-browser.ts'
import { authorize, codeFrom, exchangeCode, nextCode, post, signIn } from './flows.ts'
import { openPeople } from './people.ts'
import { openIssuerDatabase } from './schema.ts'
import {
  clientIds,
  passSeconds,
  password,
  quietTransmitter,
  startTestIssuer,
  type TestIssuer,
  totpSecret,
} from './testing.ts'

const ada = 'ada@home.example'

let consumer: TestIssuer
let enterprise: TestIssuer
before(async () => {
  consumer = await startTestIssuer('consumer')
  enterprise = await startTestIssuer('enterprise', { world: consumer.world })
})
after(() => Promise.all([consumer.stop(), enterprise.stop()]))

test('T247 T244 in the enterprise realm a password alone leads nowhere', async () => {
  const browser = new FakeBrowser(enterprise)
  const { text, url } = await startSignIn(browser, enterprise)
  const second = await browser.submit({ username: ada, password })
  assert.match(second.text, /Enter your code/)
  // Going on as if that had been enough leads back to the beginning.
  const resumed = await browser.open(`${enterprise.issuers[0]}/authorize/${url.pathname.split('/').at(-1)}`)
  assert.match(resumed.text, /Sign in/)
  assert.match(text, /Sign in/)
  // Nor does it come back after a while.
  const late = new FakeBrowser(enterprise)
  await startSignIn(late, enterprise)
  await late.submit({ username: ada, password })
  passSeconds(301)
  const answer = await late.submit({ code: nextCode() })
  assert.equal(answer.status, 401)
  assert.match(answer.text, /Sign in again/)
})

test('T247 somebody without a second factor cannot sign in to the enterprise realm', async () => {
  const browser = new FakeBrowser(enterprise)
  await startSignIn(browser, enterprise)
  const { status, text } = await browser.submit({ username: 'ben', password })
  assert.equal(status, 403)
  assert.match(text, /needs a second factor/)
})

test('a password that has been changed is of no use with the code that comes after it', async () => {
  const browser = new FakeBrowser(enterprise)
  await startSignIn(browser, enterprise)
  assert.match((await browser.submit({ username: ada, password })).text, /Enter your code/)
  passSeconds(1)
  const database = await openIssuerDatabase(join(enterprise.folder, 'issuer.sqlite'))
  const changed = database.updateTable('person').where('username', '=', ada)
  await changed.set({ valid_after: Math.floor(Date.now() / 1000) }).execute()
  const answer = await browser.submit({ code: nextCode() })
  assert.equal(answer.status, 401)
  assert.match(answer.text, /name="password"/)
  await changed.set({ valid_after: 0 }).execute()
  await database.destroy()
})

test('T240 a code works in its own half minute, once, and is not guessed', async () => {
  const code = nextCode()
  const secondStep = async (): Promise<FakeBrowser> => {
    const browser = new FakeBrowser(enterprise)
    await startSignIn(browser, enterprise)
    await browser.submit({ username: ada, password })
    return browser
  }
  const first = await secondStep()
  assert.equal((await first.submit({ code })).response, undefined, 'signed in')
  const again = await secondStep()
  assert.equal((await again.submit({ code })).status, 401, 'once')
  const timestamp = Date.now() - 60_000
  assert.equal(
    (await again.submit({ code: new TOTP({ secret: totpSecret }).generate({ timestamp }) })).status,
    401,
  )
  const [left, right] = [await secondStep(), await secondStep()]
  const shared = nextCode()
  const both = await Promise.all([left.submit({ code: shared }), right.submit({ code: shared })])
  assert.equal(both.filter(({ response }) => response === undefined).length, 1, 'also at the same moment')

  passSeconds(900)
  const guesser = await secondStep()
  for (let guess = 0; guess < 5; guess++) assert.equal((await guesser.submit({ code: '000000' })).status, 401)
  assert.equal(
    (await guesser.submit({ code: nextCode() })).status,
    429,
    'even the right one, after five wrong',
  )
  const elsewhere = await secondStep()
  assert.equal((await elsewhere.submit({ code: nextCode() })).status, 429, 'whichever sign-in it is in')
  passSeconds(900)
  assert.equal((await (await secondStep()).submit({ code: nextCode() })).response, undefined)
})

test('T184 who is not there and who has another password get the same answer', async () => {
  const answers = await Promise.all(
    [ada, 'nobody@home.example', '', `${'x'.repeat(300)}`].map(async (username) => {
      const browser = new FakeBrowser(consumer)
      await startSignIn(browser, consumer)
      const { status, text, response } = await browser.submit({ username, password: 'not the password' })
      const same = text.replace(/\/interaction\/[\w-]+/, '').replace(/value="[^"]*"/, '')
      return { status, text: same, headers: [...(response?.headers.keys() ?? [])].sort() }
    }),
  )
  for (const answer of answers) assert.deepEqual(answer, answers[0])
  assert.equal(answers[0]?.status, 401)
})

test('T185 after five wrong guesses from one address it must wait, and says for how long', async () => {
  const browser = new FakeBrowser(consumer)
  await startSignIn(browser, consumer)
  for (let guess = 0; guess < 5; guess++) {
    assert.equal((await browser.submit({ username: 'ben', password: `guess ${guess}` })).status, 401)
  }
  const sixth = await browser.submit({ username: 'BEN ', password })
  assert.equal(sixth.status, 429)
  assert.equal(sixth.response?.headers.get('retry-after'), '900')
  const other = new FakeBrowser(consumer)
  await startSignIn(other, consumer)
  assert.equal((await other.submit({ username: ada, password })).response, undefined, 'nobody else waits')
  for (let guess = 0; guess < 6; guess++) {
    const [fabrikam] = enterprise.issuers
    const guesser = new FakeBrowser(enterprise)
    await guesser.open((await authorize(enterprise, {}, fabrikam)).url)
    await guesser.submit({ username: ada, password: `guess ${guess}` })
  }
  const [, northwind] = enterprise.issuers
  const namesake = new FakeBrowser(enterprise)
  await namesake.open((await authorize(enterprise, {}, northwind)).url)
  assert.equal(
    (await namesake.submit({ username: ada, password })).status,
    200,
    'nor a namesake of another tenant',
  )
  passSeconds(900)
  const later = new FakeBrowser(consumer)
  await startSignIn(later, consumer)
  assert.equal((await later.submit({ username: 'ben', password })).response, undefined)
})

test('T179 T199 a form from another site, or without the cookie of its own sign-in, is refused', async () => {
  for (const origin of ['https://evil.example', 'null', 'http://login.consumer.example']) {
    const browser = new FakeBrowser(consumer)
    await startSignIn(browser, consumer)
    browser.origin = origin
    const { status } = await browser.submit({ username: ada, password })
    assert.equal(status, 403, origin)
  }
  const victim = new FakeBrowser(consumer)
  const { url } = await startSignIn(victim, consumer)
  const attacker = new FakeBrowser(consumer)
  await startSignIn(attacker, consumer)
  const crossed = await attacker.post(`${url}/password`, { username: ada, password })
  assert.equal(crossed.status, 400, 'the cookie belongs to the path')
  const planted = new FakeBrowser(consumer)
  for (const cookie of attacker.cookies) planted.plant({ ...cookie, path: url.pathname })
  assert.equal((await planted.post(`${url}/password`, { username: ada, password })).status, 400)
  const forged = new FakeBrowser(consumer)
  for (const cookie of victim.cookies) {
    if (!cookie.name.endsWith('.sig')) forged.plant(cookie)
  }
  assert.equal((await forged.post(`${url}/password`, { username: ada, password })).status, 400, 'unsigned')
})

test('T193 T178 signing in gives a new session id; one that was planted is worth nothing', async () => {
  const browser = new FakeBrowser(consumer)
  const session = () => browser.cookies.find(({ name }) => name === '__Host-session')?.value
  await signIn(browser, (await authorize(consumer)).url)
  const first = session()
  assert.ok(first)
  await signIn(browser, (await authorize(consumer, { prompt: 'login' })).url)
  assert.notEqual(session(), first)
  const thief = new FakeBrowser(consumer)
  for (const cookie of browser.cookies)
    thief.plant({ ...cookie, ...(cookie.name === '__Host-session' && { value: first }) })
  assert.match((await thief.open((await authorize(consumer)).url)).text, /Sign in/)
})

test('T194 cookies are Secure, HttpOnly, SameSite, signed, bound to their host, and apart for each tenant', async () => {
  const browser = new FakeBrowser(enterprise)
  await signIn(browser, (await authorize(enterprise)).url)
  await signIn(browser, (await authorize(enterprise, {}, enterprise.issuers[1])).url)
  for (const { name, attributes } of browser.cookies) {
    assert.match(name, /^__(Host|Secure)-/)
    assert.match(attributes, /; samesite=lax/i)
    assert.match(attributes, /; secure/i)
    assert.match(attributes, /; httponly/i)
    assert.doesNotMatch(attributes, /; domain=/i)
    if (!name.endsWith('.sig')) assert.ok(browser.cookies.some((other) => other.name === `${name}.sig`))
  }
  const sessions = browser.cookies.filter(({ name }) => /^__Host-session-.*v2\.0$/.test(name))
  assert.equal(sessions.length, 2)
  // A session of one tenant is none at the other, under whatever name it comes.
  const [fabrikam, northwind] = sessions
  const thief = new FakeBrowser(enterprise)
  thief.plant({
    ...northwind,
    name: fabrikam?.name ?? '',
    value: northwind?.value ?? '',
    path: '/',
    attributes: '',
  })
  assert.match((await thief.open((await authorize(enterprise)).url)).text, /Sign in/)
})

test('T176 T232 pages allow no frame and no script, and show what they are told as text', async () => {
  const browser = new FakeBrowser(consumer)
  await startSignIn(browser, consumer)
  const { response, text } = await browser.submit({ username: '"><script>alert(1)</script>', password: 'x' })
  const policy = response?.headers.get('content-security-policy') ?? ''
  assert.match(policy, /default-src 'none'/)
  assert.match(policy, /frame-ancestors 'none'/)
  assert.match(policy, /form-action 'self' https:\/\/app\.example(;|$)/)
  assert.doesNotMatch(policy, /unsafe-/)
  assert.equal(response?.headers.get('x-frame-options'), 'DENY')
  assert.doesNotMatch(text, /<script/)
  assert.match(text, /value="&#34;&#62;&#60;script&#62;/)
})

test('T176 a third party gets what the page showed and nothing else, and nothing when the person says no', async () => {
  const request = { client_id: clientIds.thirdParty, scope: 'openid email mail.read' }
  const browser = new FakeBrowser(consumer)
  await startSignIn(browser, consumer, request)
  const page = await browser.submit({ username: ada, password })
  assert.match(page.text, /Paper &#60;&#38; Pen/)
  for (const shown of ['See your mail address', 'mail.read at https://mail.countersign.example']) {
    assert.ok(page.text.includes(shown), shown)
  }
  assert.ok(!page.text.includes('mail.send'))
  const { url } = await browser.submit({ answer: 'deny' })
  assert.equal(url.searchParams.get('error'), 'access_denied')

  const { url: asked, verifier } = await authorize(consumer, request)
  const { url: answer } = await signIn(browser, asked)
  const code = { code: answer.searchParams.get('code') ?? '', verifier }
  const tokens = await exchangeCode(consumer, code, clientIds.thirdParty)
  assert.equal(tokens['scope'], 'mail.read')
  const silent = await browser.open((await authorize(consumer, { ...request, prompt: 'none' })).url)
  assert.ok(silent.url.searchParams.get('code'), 'not asked again for the same')
  const more = await browser.open(
    (await authorize(consumer, { ...request, scope: 'openid mail.send', prompt: 'none' })).url,
  )
  assert.equal(more.url.searchParams.get('error'), 'consent_required', 'but for more')
})

test('T176 a person who is asked again sees again all that the client will have', async () => {
  const shown = ['Know that it is you when you come back', 'mail.read at https://mail.countersign.example']
  for (const client_id of [clientIds.thirdParty, clientIds.web]) {
    const request = { client_id, scope: 'openid mail.read' }
    const browser = new FakeBrowser(consumer)
    await signIn(browser, (await authorize(consumer, request)).url)
    const page = await browser.open((await authorize(consumer, { ...request, prompt: 'consent' })).url)
    for (const scope of shown) assert.ok(page.text.includes(scope), `${client_id}: ${scope}`)
  }
})

test('T180 prompt=none says only that a sign-in is needed, and max_age is kept', async () => {
  const stranger = await new FakeBrowser(consumer).open((await authorize(consumer, { prompt: 'none' })).url)
  assert.equal(stranger.url.searchParams.get('error'), 'login_required')
  assert.equal(stranger.url.searchParams.get('code'), null)
  const browser = new FakeBrowser(consumer)
  await signIn(browser, (await authorize(consumer)).url)
  passSeconds(120)
  assert.ok(
    (await browser.open((await authorize(consumer, { max_age: '300' })).url)).url.searchParams.get('code'),
  )
  assert.match((await browser.open((await authorize(consumer, { max_age: '60' })).url)).text, /Sign in/)
})

test('T191 T198 whoever is expelled is signed out everywhere, and signs in again only if not disabled', async () => {
  const browser = new FakeBrowser(consumer)
  const { url, verifier } = await authorize(consumer)
  const { url: answer } = await signIn(browser, url)
  const tokens = await exchangeCode(consumer, { code: answer.searchParams.get('code') ?? '', verifier })
  const { sub = '' } = decodeJwt(tokens.id_token ?? '')
  const refresh = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token ?? '' }
  passSeconds(1)
  const database = await openIssuerDatabase(join(consumer.folder, 'issuer.sqlite'))
  const now = (): number => Math.floor(Date.now() / 1000)
  const signals = quietTransmitter(database, tenants.home, now)
  const people = openPeople({ database, tenant: tenants.home, totpKey: Buffer.alloc(32), signals, now })
  await people.expel(sub)
  assert.equal(
    (await post(consumer, '/introspect', clientIds.web, { token: refresh.refresh_token }))['active'],
    false,
  )
  assert.equal((await post(consumer, '/token', clientIds.web, refresh)).error, 'invalid_grant')
  assert.match((await browser.open((await authorize(consumer)).url)).text, /Sign in/)
  assert.equal((await browser.submit({ username: ada, password })).response, undefined)
  await people.expel(sub, { disabled: true })
  assert.match((await browser.open((await authorize(consumer)).url)).text, /Sign in/)
  assert.equal((await browser.submit({ username: ada, password })).status, 401)
  await database.updateTable('person').set({ disabled_at: null }).execute()
  await database.destroy()
})

test('signing out ends the session, its tokens, and tells the applications with a logout token that has a receipt', async () => {
  const { url: heard, tokens: logoutTokens, stop } = await listenForLogout()
  const realm = await startTestIssuer('consumer', { backchannelLogoutUri: heard })
  const browser = new FakeBrowser(realm)
  const { url, verifier } = await authorize(realm)
  const { url: answer } = await signIn(browser, url)
  const tokens = await exchangeCode(realm, { code: answer.searchParams.get('code') ?? '', verifier })
  const logout = new URL(`${realm.issuers[0]}/logout`)
  logout.searchParams.set('id_token_hint', tokens.id_token ?? '')
  logout.searchParams.set('post_logout_redirect_uri', 'https://app.example/')
  logout.searchParams.set('state', 'bye')
  // An hour later the ID token has long expired, and still says whose session it is about.
  passSeconds(3600)
  const page = await browser.open(logout)
  assert.match(page.text, /Sign out\?/)
  assert.match(page.response?.headers.get('content-security-policy') ?? '', /script-src 'self';/)
  const gone = await browser.submit({ logout: 'yes' })
  assert.equal(gone.url.href, 'https://app.example/?state=bye')

  const [logoutToken = ''] = logoutTokens
  const { sid, sub } = decodeJwt(tokens.id_token ?? '')
  const claims = decodeJwt(logoutToken)
  assert.equal(decodeProtectedHeader(logoutToken).typ, 'logout+jwt')
  assert.ok(decodeProtectedHeader(logoutToken)['rcpt'])
  assert.deepEqual(
    [claims.iss, claims.aud, claims.sub, claims['sid']],
    [realm.issuers[0], clientIds.web, sub, sid],
  )
  assert.deepEqual(claims['events'], { 'http://schemas.openid.net/event/backchannel-logout': {} })
  assert.equal(claims['nonce'], undefined)
  assert.ok((claims.exp ?? 0) - (claims.iat ?? 0) <= 120)

  const refresh = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token ?? '' }
  assert.equal((await post(realm, '/token', clientIds.web, refresh)).error, 'invalid_grant')
  assert.match((await browser.open((await authorize(realm)).url)).text, /Sign in/)
  await realm.stop()
  await stop()
})

test('T164 T197 signing out redirects nowhere else, and no other site can do it', async () => {
  const browser = new FakeBrowser(consumer)
  const { url, verifier } = await authorize(consumer)
  const { url: answer } = await signIn(browser, url)
  const { id_token = '' } = await exchangeCode(consumer, {
    code: answer.searchParams.get('code') ?? '',
    verifier,
  })
  const logout = (parameters: Record<string, string>): URL => {
    const target = new URL(`${consumer.issuers[0]}/logout`)
    target.search = new URLSearchParams(parameters).toString()
    return target
  }
  for (const uri of [
    'https://evil.example/',
    'https://app.example.evil.example/',
    'https://app.example/x',
    '//evil.example',
  ]) {
    assert.equal(
      (await browser.open(logout({ id_token_hint: id_token, post_logout_redirect_uri: uri }))).status,
      400,
    )
  }
  const forged = consumer.world.issue({ type: 'id', receipt: null, claims: { aud: clientIds.web } })
  assert.equal((await browser.open(logout({ id_token_hint: forged }))).status, 400, 'a forged hint')
  const unknown = await browser.open(logout({ post_logout_redirect_uri: 'https://evil.example/' }))
  assert.doesNotMatch(unknown.response?.headers.get('content-security-policy') ?? '', /evil/)
  // Another site can bring the person to the question, and cannot answer it.
  await browser.post(`${consumer.issuers[0]}/logout/confirm`, { logout: 'yes', xsrf: 'guess' })
  assert.ok(
    (await browser.open((await authorize(consumer, { prompt: 'none' })).url)).url.searchParams.get('code'),
  )
})

test('T186 T183 T187 no spelling of a path reaches another tenant, and no other site may call', async () => {
  const [fabrikam = '', northwind = ''] = enterprise.issuers.map((issuer) => new URL(issuer).pathname)
  const { origin } = new URL(enterprise.issuers[0] ?? '')
  for (const path of [
    `${fabrikam}/..%2f..${northwind}/jwks`,
    `${fabrikam}%2Fjwks`,
    `${fabrikam.toUpperCase().replace('V2', 'v2')}x/jwks`,
    `/${northwind}/jwks`,
    '/jwks',
    `${fabrikam}/\\..\\..${northwind}/jwks`,
  ]) {
    assert.equal((await enterprise.fetch(`${origin}${path}`)).status, 404, path)
  }
  const override = { 'x-http-method-override': 'POST' }
  assert.equal((await consumer.fetch(`${consumer.issuers[0]}/token`, { headers: override })).status, 404)
  const cross = { headers: { origin: 'https://app.example' } }
  const answer = await post(
    consumer,
    '/token',
    clientIds.service,
    { grant_type: 'client_credentials' },
    cross,
  )
  assert.equal(answer.error, 'invalid_request')
})

test('the database holds no credential that could be used', async () => {
  const { code, verifier } = await codeFrom(enterprise)
  const tokens = await exchangeCode(enterprise, { code, verifier })
  const files = ['issuer.sqlite', 'issuer.sqlite-wal'].map((name) =>
    readFileSync(join(enterprise.folder, name), 'latin1'),
  )
  const secrets = [
    code,
    tokens.refresh_token,
    tokens.access_token,
    password,
    totpSecret,
    enterprise.secrets[clientIds.web],
  ]
  for (const secret of secrets) {
    assert.ok(secret !== undefined && secret.length > 8)
    for (const file of files) assert.ok(!file.includes(secret))
  }
})

async function startSignIn(browser: FakeBrowser, realm: TestIssuer, request = {}) {
  return browser.open((await authorize(realm, request)).url)
}

/** An application that hears when somebody signs out. */
async function listenForLogout() {
  const tokens: string[] = []
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    tokens.push(new URLSearchParams(Buffer.concat(chunks).toString()).get('logout_token') ?? '')
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = async (): Promise<void> => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/logout`, tokens, stop }
}
