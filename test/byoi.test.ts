/**
 * Goal: a provider that knows nothing of us keeps its pages and loses its keys, by the change that the documentation shows
 * and no other, and nobody who takes its tokens has to change. Method: an application as oidc-provider's README has it, as a
 * process, before and after; a broker with real signers, reached by a real certificate; clients that everybody uses. And an
 * issuer in another language, which brings nothing.
 */

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { startSystem } from '@countersign/cli/client'
import { issuers, mailAudience, verdictOf } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import {
  createRemoteJWKSet,
  customFetch,
  decodeProtectedHeader,
  type JWK,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import * as oidc from 'openid-client'
import { startTestBroker, type TestBroker } from '../broker/src/testing.ts'
import {
  type Certificate,
  createTestAuthority,
  missingOpenssl,
  type TestAuthority,
} from '../broker/src/testing-pki.ts'
import { FakeBrowser } from '../issuer/src/fake-browser.ts'
import { connectBroker } from '../oidc-adapter/src/broker.ts'
import { root } from '../tools/source.ts'
import { type Application, moved, plain as source, startApplication } from './plain-application.ts'
import { freePort } from './ports.ts'

const issuer = issuers.consumer
const callback = 'https://shop.example/callback'
const folder = mkdtempSync(join(tmpdir(), 'countersign-byoi-'))
const oldKey = generateKeyPairSync('rsa', { modulusLength: 2048 })

let broker: TestBroker
let authority: TestAuthority
let certificate: Certificate

before(async () => {
  if (missingOpenssl() !== undefined) return
  authority = createTestAuthority(join(folder, 'ca'))
  certificate = authority.issue('login', ['URI:spiffe://consumer.example/login'])
  const { key, cert } = authority.issue('broker', ['IP:127.0.0.1'])
  broker = await startTestBroker({
    algorithms: { consumer: 'RS256' },
    remote: {
      listen: { port: 0 },
      tls: { key, cert, client_ca: authority.cert },
      clients: [
        {
          name: 'login',
          certificate: { uri: 'spiffe://consumer.example/login' },
          realm: 'consumer',
          issuers: [issuer],
        },
      ],
    },
  })
  const jwk = { ...oldKey.privateKey.export({ format: 'jwk' }), kid: 'old', alg: 'RS256', use: 'sig' }
  writeFileSync(join(folder, 'keys.json'), JSON.stringify({ keys: [jwk] }))
})
after(async () => {
  await broker?.stop()
  rmSync(folder, { recursive: true })
})

function start(name: string, program: string): Promise<Application> {
  return startApplication(join(folder, name), program, issuer, [
    ['/etc/login/keys.json', join(folder, 'keys.json')],
    ['/etc/login/broker-ca.crt', authority.cert],
    ['/etc/login/broker.key', certificate.key],
    ['/etc/login/broker.crt', certificate.cert],
    ['/etc/login/trust-anchor.json', broker.config.trust_anchor],
    ['https://broker.example:8443', `https://127.0.0.1:${broker.remotePort}`],
    ['https://authority.example', broker.authority.url],
  ])
}

async function discover(application: Application, from: string = issuer): Promise<oidc.Configuration> {
  return oidc.discovery(new URL(from), 'shop', undefined, oidc.ClientSecretBasic('the secret of the shop'), {
    [oidc.customFetch]: application.fetch as oidc.CustomFetch,
  })
}

async function signIn(
  application: Application,
  client: oidc.Configuration,
  parameters: Record<string, string> = {},
): Promise<oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers> {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expected = { expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce() }
  const url = oidc.buildAuthorizationUrl(client, {
    redirect_uri: callback,
    scope: 'openid email offline_access',
    prompt: 'consent',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expected.expectedState,
    nonce: expected.expectedNonce,
    ...parameters,
  })
  const browser = new FakeBrowser({ issuers: [issuer], fetch: application.fetch })
  await browser.open(url)
  await browser.submit({ login: 'ada', password: 'anything' })
  const arrival = await browser.submit({})
  assert.equal(arrival.response, undefined, arrival.text)
  return oidc.authorizationCodeGrant(client, arrival.url, { pkceCodeVerifier, ...expected })
}

function judge(token: string, tokenType: 'access' | 'id', audience = mailAudience): string {
  const options = { realm: 'consumer', audience, tokenType, trust: broker.world.trust }
  return verdictOf(createValidator(options).decide(token))
}

/** As a stranger verifies it, who knows the issuer's metadata and nothing else. */
async function verifyAsEverybody(
  application: Application,
  client: oidc.Configuration,
  token: string,
  audience: string,
): Promise<JWTPayload> {
  const url = new URL(client.serverMetadata().jwks_uri ?? '')
  const keys = createRemoteJWKSet(url, { [customFetch]: application.fetch as never })
  const { payload } = await jwtVerify(token, keys, { issuer, audience, algorithms: ['RS256'] })
  const { keys: set } = (await (await application.fetch(url)).json()) as {
    keys: JWK[]
  }
  const jwk = set.find(({ kid }) => kid === decodeProtectedHeader(token).kid)
  const key = createPublicKey({ key: jwk as never, format: 'jwk' })
  const pem = key.export({ type: 'spki', format: 'pem' })
  jsonwebtoken.verify(token, pem, { issuer, audience, algorithms: ['RS256'] })
  return payload
}

describe('an application on oidc-provider', { skip: missingOpenssl() }, () => {
  let application: Application
  let client: oidc.Configuration

  test('as it was: everybody takes its tokens, and our validators do not, since no witness saw them', async () => {
    const plain = await start('plain', source)
    try {
      const before = await discover(plain)
      const { access_token } = await oidc.clientCredentialsGrant(before, {
        resource: mailAudience,
        scope: 'mail.read',
      })
      await verifyAsEverybody(plain, before, access_token, mailAudience)
      assert.equal(decodeProtectedHeader(access_token).kid, 'old')
      assert.notEqual(judge(access_token, 'access'), 'accepted')
    } finally {
      await plain.stop()
    }
  })

  test('is moved by a few lines', async () => {
    const { program, added, removed } = moved(source)
    assert.ok(added <= 15 && removed <= 5, `${added} lines added, ${removed} removed`)
    application = await start('moved', program)
    client = await discover(application)
  })
  after(() => application?.stop())

  test('people sign in, and the ID token is taken by the client as before and by our validators too', async () => {
    const tokens = await signIn(application, client)
    const { id_token = '', access_token, refresh_token } = tokens
    assert.equal(tokens.claims()?.sub, 'ada')
    assert.deepEqual([judge(id_token, 'id', 'shop')], ['accepted'])
    assert.equal(typeof decodeProtectedHeader(id_token)['rcpt'], 'string')
    await verifyAsEverybody(application, client, id_token, 'shop')
    assert.equal((await oidc.fetchUserInfo(client, access_token, 'ada')).email, 'ada@login.consumer.example')
    assert.equal((await oidc.tokenIntrospection(client, access_token)).active, true)
    const refreshed = await oidc.refreshTokenGrant(client, refresh_token ?? '')
    assert.equal(judge(refreshed.id_token ?? '', 'id', 'shop'), 'accepted')
    await oidc.tokenRevocation(client, refreshed.access_token)
    assert.equal((await oidc.tokenIntrospection(client, refreshed.access_token)).active, false)
  })

  test('access tokens are RFC 9068 with all that the application put into them, and taken by all', async () => {
    const { access_token } = await signIn(application, client, {
      resource: mailAudience,
      scope: 'openid mail.read',
    })
    assert.equal(judge(access_token, 'access'), 'accepted')
    const payload = await verifyAsEverybody(application, client, access_token, mailAudience)
    assert.deepEqual(
      [payload.sub, payload['client_id'], payload['scope'], payload['department']],
      ['ada', 'shop', 'mail.read', 'sales'],
    )
    assert.equal(decodeProtectedHeader(access_token).typ, 'at+jwt')
  })

  test('a token that is bound to a DPoP key stays bound to it', async () => {
    const DPoP = oidc.getDPoPHandle(client, await oidc.randomDPoPKeyPair('ES256'))
    const { access_token, token_type } = await oidc.clientCredentialsGrant(
      client,
      { resource: mailAudience, scope: 'mail.read' },
      { DPoP },
    )
    const { cnf } = await verifyAsEverybody(application, client, access_token, mailAudience)
    assert.deepEqual([token_type, typeof (cnf as { jkt: unknown }).jkt], ['dpop', 'string'])
    assert.equal(judge(access_token, 'access'), 'sender_mismatch')
  })

  test('the old key opens nothing: it is in no key set, and neither a token nor a hint of its making is taken', async () => {
    const { keys } = (await (await application.fetch(`${issuer}/jwks`)).json()) as { keys: { kid: string }[] }
    assert.deepEqual(
      keys.map(({ kid }) => kid),
      [broker.kid('consumer')],
    )
    const forge = (audience: string, typ: string): Promise<string> =>
      new SignJWT({ client_id: 'shop', tid: '11111111-1111-4111-8111-111111111111' })
        .setProtectedHeader({ alg: 'RS256', kid: 'old', typ })
        .setIssuer(issuer)
        .setSubject('ada')
        .setAudience(audience)
        .setJti('x'.repeat(22))
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(oldKey.privateKey)
    const forged = await forge(mailAudience, 'at+jwt')
    await assert.rejects(verifyAsEverybody(application, client, forged, mailAudience))
    assert.equal(judge(forged, 'access'), 'unknown_key')
    const { id_token = '' } = await signIn(application, client)
    for (const [hint, status] of [
      [id_token, 200],
      [await forge('shop', 'JWT'), 400],
    ] as const) {
      const url = oidc.buildEndSessionUrl(client, {
        id_token_hint: hint,
        post_logout_redirect_uri: 'https://shop.example/',
      })
      assert.equal((await application.fetch(url)).status, status)
    }
  })

  test('T265: with the witness away a client is told to come again, and gets no token', async () => {
    const grant = async (): Promise<readonly unknown[]> => {
      const response = await application.fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa('shop:the+secret+of+the+shop')}` },
        body: new URLSearchParams({
          grant_type: 'client_credentials',
          resource: mailAudience,
          scope: 'mail.read',
        }),
      })
      const { error, access_token } = (await response.json()) as Record<string, string>
      return [response.status, error, typeof access_token]
    }
    await broker.witness.close()
    const answer = await grant()
    await broker.witness.open()
    assert.deepEqual(answer, [503, 'temporarily_unavailable', 'undefined'])
    assert.deepEqual(await grant(), [200, undefined, 'string'])
  })
})

test('an adapter asks again where the connection that it had kept was closed, and takes nobody else for the broker', {
  skip: missingOpenssl(),
}, async (t) => {
  const { key, cert } = authority.issue('stand-in', ['IP:127.0.0.1'])
  const known = new WeakSet<object>()
  let answer: (request: IncomingMessage, response: ServerResponse) => unknown = () => {}
  const server = createServer(
    { key: readFileSync(key), cert: readFileSync(cert), ca: readFileSync(authority.cert), requestCert: true },
    (request, response) => answer(request, response),
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const url = `https://127.0.0.1:${port}`
  const adapter = connectBroker({ url, key: certificate.key, cert: certificate.cert, ca: authority.cert })
  t.after(() => {
    adapter.close()
    server.close()
  })
  const issue = (): Promise<string> => adapter.issue('access', {}, 'ES256')

  answer = ({ socket }, response) => {
    if (known.has(socket)) return socket.destroy()
    known.add(socket)
    return response.end('{"token":"a.b.c"}')
  }
  for (let n = 0; n < 3; n++) assert.equal(await issue(), 'a.b.c')

  for (const [status, content, retryable] of [
    [503, '<html>down</html>', true],
    [502, 'null', true],
    [404, '{"message":"no route"}', false],
    [200, '{}', false],
    [200, 'null', false],
    [200, '{"token":7}', false],
  ] as const) {
    answer = (_, response) => response.writeHead(status).end(content)
    const message = `what answers ${status} there is not the broker`
    await assert.rejects(issue(), { name: 'LineError', code: 'disconnected', message, retryable })
  }
})

function missingPython(): string | undefined {
  try {
    execFileSync('python3', ['-c', 'import ssl'], { stdio: 'ignore' })
    return missingOpenssl()
  } catch {
    return 'there is no python3 on this machine'
  }
}

test('an issuer in another language gets tokens with what that language brings', {
  skip: missingPython(),
}, async () => {
  const ask = async (...claims: readonly string[]): Promise<readonly string[]> => {
    const files = [authority.cert, certificate.cert, certificate.key]
    const args = [
      join(root, 'test/other-language/issue.py'),
      '127.0.0.1',
      String(broker.remotePort),
      ...files,
      'RS256',
    ]
    const child = spawn('python3', args, { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.end(`${claims.join('\n')}\n`)
    return (await text(child.stdout)).trim().split('\n')
  }
  const own = broker.claims('consumer')
  const [token = ''] = await ask(own)
  assert.equal(judge(token, 'access'), 'accepted')
  const [first = '', second, third = ''] = await ask(own, broker.claims('enterprise'), own)
  assert.deepEqual(
    [judge(first, 'access'), second, judge(third, 'access')],
    ['accepted', 'issuer_mismatch', 'accepted'],
  )
})

test('a realm whose issuer is elsewhere is a few lines of configuration, and its tokens pass the gateway', {
  skip: missingOpenssl(),
}, async () => {
  const partner = 'https://login.partner.example'
  const ca = createTestAuthority(join(folder, 'partner-ca'))
  const server = ca.issue('broker', ['IP:127.0.0.1'])
  const own = ca.issue('login', ['DNS:login.partner.example'])
  const file = join(folder, 'countersign.json')
  const [tls, port] = [{ key: server.key, cert: server.cert, client_ca: ca.cert }, await freePort()]
  const client = { name: 'partner', certificate: { dns: 'login.partner.example' } }
  const realm = { issuer: partner, tenants: ['55555555-5555-4555-8555-555555555555'], clients: [client] }
  writeFileSync(file, JSON.stringify({ elsewhere: { partner: realm }, remote: { listen: { port }, tls } }))
  const system = await startSystem(join(folder, 'system'), { args: ['--config', file], logLevel: 'error' })
  let application: Application | undefined
  try {
    const { authority: control, gateway, elsewhere } = system.ready
    assert.equal(elsewhere['partner']?.issuer, partner)
    application = await startApplication(join(folder, 'partner'), moved(source).program, partner, [
      [issuer, partner],
      ['/etc/login/broker-ca.crt', ca.cert],
      ['/etc/login/broker.key', own.key],
      ['/etc/login/broker.crt', own.cert],
      ['/etc/login/trust-anchor.json', control.trust_anchor],
      ['https://broker.example:8443', `https://127.0.0.1:${port}`],
      ['https://authority.example', control.url],
    ])
    const { access_token } = await oidc.clientCredentialsGrant(await discover(application, partner), {
      resource: gateway.audience,
      scope: 'mail.read',
    })
    const headers = { authorization: `Bearer ${access_token}` }
    const answer = await fetch(`${gateway.url}/auth`, { headers })
    assert.deepEqual(
      [answer.status, answer.headers.get('x-auth-subject'), answer.headers.get('x-auth-tenant')],
      [200, 'shop', '55555555-5555-4555-8555-555555555555'],
    )
  } finally {
    await application?.stop()
    await system.stop()
  }
})
