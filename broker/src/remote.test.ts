/**
 * Goal: an issuer elsewhere gets tokens of the realm and the issuers that its certificate is configured for, and nothing
 * else gets anything. Method: a whole broker with real signers, and certificates of a real authority, good, revoked,
 * expired, of strangers and with names made up to be taken for others.
 */

import assert from 'node:assert/strict'
import { hash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type RequestOptions, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { issuers, mailAudience, tenants, verdictOf } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { findClient } from './clients.ts'
import type { RemoteClient } from './config.ts'
import { operationNames } from './remote.ts'
import { initSigner, startTestBroker, type TestBroker } from './testing.ts'
import { type Certificate, createTestAuthority, missingOpenssl, type TestAuthority } from './testing-pki.ts'

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Readonly<Record<string, unknown>>
}

describe('the broker for issuers elsewhere', { skip: missingOpenssl() }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-remote-'))
  const names = {
    pinned: ['DNS:pinned.partner.example'],
    dns: ['DNS:login.partner.example'],
    spiffe: ['URI:spiffe://partner.example/login'],
    northwind: ['DNS:northwind.partner.example'],
    hasty: ['DNS:hasty.partner.example'],
    stranger: ['DNS:stranger.example'],
    twoUris: ['URI:spiffe://partner.example/login', 'URI:spiffe://partner.example/other'],
    two: ['DNS:login.partner.example', 'DNS:northwind.partner.example'],
    quoted: ['URI:http://x/, DNS:login.partner.example'],
    revoked: ['DNS:revoked.partner.example'],
    added: ['DNS:added.example'],
  }
  type Name = keyof typeof names
  let authority: TestAuthority
  let certificates: Readonly<Record<Name | 'server' | 'ended', Certificate>>
  let broker: TestBroker

  before(async () => {
    authority = createTestAuthority(join(folder, 'ca'))
    certificates = {
      ...(Object.fromEntries(
        Object.entries(names).map(([name, san]) => [name, authority.issue(name, san)]),
      ) as Record<Name, Certificate>),
      server: authority.issue('server', ['IP:127.0.0.1']),
      ended: authority.issue('ended', names.dns, { ended: true }),
    }
    const consumer = { realm: 'consumer', issuers: [issuers.consumer] }
    broker = await startTestBroker({
      remote: {
        listen: { port: 0 },
        tls: {
          key: certificates.server.key,
          cert: certificates.server.cert,
          client_ca: authority.cert,
          crl: authority.crl,
        },
        clients: [
          { name: 'pinned', certificate: { sha256: certificates.pinned.sha256 }, ...consumer },
          { name: 'dns', certificate: { dns: 'login.partner.example' }, ...consumer },
          { name: 'spiffe', certificate: { uri: 'spiffe://partner.example/login' }, ...consumer },
          { name: 'revoked', certificate: { dns: 'revoked.partner.example' }, ...consumer },
          {
            name: 'northwind',
            certificate: { dns: 'northwind.partner.example' },
            realm: 'enterprise',
            issuers: [issuers.enterprise.replace('{tenantid}', tenants.northwind)],
          },
          {
            name: 'hasty',
            certificate: { dns: 'hasty.partner.example' },
            tokens_per_second: 1,
            ...consumer,
          },
        ],
      },
    })
  })
  after(async () => {
    await broker?.stop()
    rmSync(folder, { recursive: true })
  })

  function tlsOf({ key, cert }: Certificate): RequestOptions {
    return { ca: readFileSync(authority.cert), key: readFileSync(key), cert: readFileSync(cert) }
  }

  async function ask(
    who: Certificate,
    operation: string,
    body?: unknown,
    options: RequestOptions = {},
  ): Promise<Answer> {
    const [method, path] = operation.split(' ')
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
    const asking = request({
      host: '127.0.0.1',
      port: broker.remotePort,
      method,
      path,
      agent: false,
      ...tlsOf(who),
      ...options,
      headers: { ...(text !== undefined && { 'content-type': 'application/json' }), ...options.headers },
    })
    asking.end(text)
    const [response] = await once(asking, 'response')
    return {
      status: response.statusCode,
      headers: response.headers,
      body: (await json(response)) as Answer['body'],
    }
  }

  function claims(
    realm: 'consumer' | 'enterprise' = 'consumer',
    change: object = {},
  ): Record<string, unknown> {
    return JSON.parse(broker.claims(realm, change)) as Record<string, unknown>
  }

  function judge(token: unknown, realm = 'consumer'): string {
    const validator = createValidator({ realm, audience: mailAudience, trust: broker.world.trust })
    return verdictOf(validator.decide(String(token)))
  }

  async function codeOf(answer: Promise<Answer>): Promise<unknown> {
    const { status, headers, body } = await answer
    if (status !== 200) assert.equal(headers['content-type'], 'application/problem+json')
    if (status !== 200) assert.equal(body['status'], status)
    return body['code'] ?? status
  }

  test('a client gets tokens that validators accept, known by its certificate’s hash, DNS name or SPIFFE ID', async () => {
    for (const name of ['pinned', 'dns', 'spiffe'] as const) {
      const { status, body } = await ask(certificates[name], 'POST /v1/issue', {
        type: 'access',
        claims: claims(),
      })
      assert.deepEqual([name, status, judge(body['token'])], [name, 200, 'accepted'])
    }
  })

  test('of a batch each request has its own token or problem, in its place', async () => {
    const good = { type: 'access', claims: claims() }
    const requests = [
      good,
      { type: 'access', claims: claims('enterprise') },
      7,
      { ...good, realm: 'enterprise' },
      { type: 'access', claims: claims('consumer', { exp: (claims()['iat'] as number) + 3601 }) },
      { type: 'none', claims: claims() },
      good,
    ]
    const { status, body } = await ask(certificates.dns, 'POST /v1/issue-batch', { requests })
    const results = body['results'] as { token?: string; error?: { code: string; status: number } }[]
    assert.equal(status, 200)
    assert.deepEqual(
      results.map(({ token, error }) => (error ? `${error.status} ${error.code}` : judge(token))),
      [
        'accepted',
        '403 issuer_mismatch',
        '400 malformed',
        '400 malformed',
        '422 lifetime_too_long',
        '422 type_mismatch',
        'accepted',
      ],
    )
    for (const wrong of [
      {},
      { requests: [] },
      { requests: Array(257).fill(good) },
      { requests: [good], realm: 'x' },
    ])
      assert.equal(await codeOf(ask(certificates.dns, 'POST /v1/issue-batch', wrong)), 'malformed')
  })

  test('T222 F1: no request reaches another realm, or another issuer of its own', async () => {
    const issue = (who: Name, of: Record<string, unknown>): Promise<unknown> =>
      codeOf(ask(certificates[who], 'POST /v1/issue', { type: 'access', claims: of }))
    const northwind = issuers.enterprise.replace('{tenantid}', tenants.northwind)
    const own = { iss: northwind, tid: tenants.northwind }
    assert.equal(await issue('dns', claims('enterprise', own)), 'issuer_mismatch')
    assert.equal(await issue('northwind', claims()), 'issuer_mismatch')
    assert.equal(await issue('northwind', claims('enterprise')), 'issuer_mismatch')
    assert.equal(await issue('northwind', claims('enterprise', { iss: northwind })), 'tenant_mismatch')
    assert.equal(await issue('northwind', claims('enterprise', own)), 200)
    for (const member of ['realm', 'kid', 'key', 'header', 'issuer'])
      assert.equal(
        await codeOf(
          ask(certificates.dns, 'POST /v1/issue', {
            type: 'access',
            claims: claims(),
            [member]: 'enterprise',
          }),
        ),
        'malformed',
      )
  })

  test('T222: a certificate that is nobody’s, or could be two clients’, gets nothing', async () => {
    for (const name of ['stranger', 'twoUris', 'two', 'quoted'] as const)
      for (const operation of operationNames)
        assert.equal(await codeOf(ask(certificates[name], operation, '{}')), 'unknown_client')
  })

  test('T222: an expired or revoked certificate, one of another authority, and none at all end in the handshake', async () => {
    const other = createTestAuthority(join(folder, 'other'))
    const foreign = other.issue('foreign', names.dns)
    assert.equal(await codeOf(ask(certificates.revoked, 'GET /v1/health')), 200)
    authority.revoke(certificates.revoked)
    await broker.reload()
    for (const certificate of [certificates.ended, certificates.revoked, foreign])
      await assert.rejects(ask(certificate, 'GET /v1/health'), { code: /ERR_SSL_|ECONNRESET|EPROTO/ })
    await assert.rejects(
      ask(certificates.dns, 'GET /v1/health', undefined, { key: undefined, cert: undefined }),
      {
        code: /ERR_SSL_|ECONNRESET/,
      },
    )
    await assert.rejects(ask(certificates.dns, 'GET /v1/health', undefined, { maxVersion: 'TLSv1.2' }), {
      code: /ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION|EPROTO/,
    })
    assert.equal(await codeOf(ask(certificates.dns, 'GET /v1/health')), 200)
  })

  test('T222: a client that signs its own certificate vouches for itself, and for no certificate in another’s name', async () => {
    const { remote } = broker.config
    assert.ok(remote)
    const partner = createTestAuthority(join(folder, 'partner'))
    const { fingerprint256 } = new X509Certificate(readFileSync(partner.cert))
    const own = {
      key: join(folder, 'partner', 'ca.key'),
      cert: partner.cert,
      sha256: fingerprint256.replaceAll(':', '').toLowerCase(),
    }
    const client_ca = join(folder, 'both.pem')
    writeFileSync(
      client_ca,
      [authority.cert, partner.cert].map((file) => readFileSync(file, 'utf8')).join(''),
    )
    const { crl: _, ...tls } = { ...remote.tls, client_ca }
    const enterprise = { realm: 'enterprise', issuers: [issuers.enterprise], tokens_per_second: 10 }
    const clients = [
      ...remote.clients,
      { name: 'partner', certificate: { sha256: own.sha256 }, ...enterprise },
    ]
    await broker.reload({ remote: { ...remote, tls, clients } })
    const forged = partner.issue('forged', names.dns)
    assert.equal(await codeOf(ask(own, 'GET /v1/health')), 200)
    assert.equal(await codeOf(ask(forged, 'GET /v1/health')), 'unknown_client')
    assert.equal(await codeOf(ask(certificates.dns, 'GET /v1/health')), 200)
    await broker.reload({ remote })
    const selfSigned = { fingerprint256: 'AA', subjectAltName: 'DNS:login.partner.example', authorities: [] }
    assert.equal(findClient(clients, selfSigned), undefined)
  })

  test('T222: a session that is resumed would outlive its certificate, so none is', async () => {
    const sessions: Buffer[] = []
    const open = async (session?: Buffer): Promise<boolean> => {
      const socket = connect({
        host: '127.0.0.1',
        port: broker.remotePort,
        ...(tlsOf(certificates.dns) as object),
        ...(session && { session }),
      })
      socket.on('session', (each) => sessions.push(each))
      await once(socket, 'secureConnect')
      const isReused = socket.isSessionReused()
      socket.end('GET /v1/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
      socket.resume()
      await once(socket, 'close')
      return isReused
    }
    await open()
    for (const session of sessions.slice()) assert.equal(await open(session), false)
  })

  test('T222: a client that is taken out is cut off, also on the connection that it has', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...tlsOf(certificates.spiffe) } as object)
    const again = (): Promise<Answer> => ask(certificates.spiffe, 'GET /v1/health', undefined, { agent })
    assert.equal(await codeOf(again()), 200)
    const idle = Object.values(agent.freeSockets).flat()[0]
    const { remote } = broker.config
    assert.ok(remote && idle)
    const closed = once(idle, 'close')
    const clients = remote.clients.filter(({ name }: RemoteClient) => name !== 'spiffe')
    await broker.reload({ remote: { ...remote, clients } })
    await closed
    assert.equal(await codeOf(again()), 'unknown_client')
    await broker.reload({ remote })
    assert.equal(await codeOf(again()), 200)
    await assert.rejects(broker.reload({ remote: undefined }), { code: 'malformed' })
    await broker.reload({ remote })
    agent.destroy()
  })

  test('a new certificate of the server is taken up when its files change; one that cannot be used is not', async () => {
    const { remote } = broker.config
    assert.ok(remote)
    const tls = { ...remote.tls, key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') }
    cpSync(certificates.server.key, tls.key)
    cpSync(certificates.server.cert, tls.cert)
    await broker.reload({ remote: { ...remote, tls } })
    const seen = async (): Promise<string> => {
      const socket = connect({
        host: '127.0.0.1',
        port: broker.remotePort,
        ...(tlsOf(certificates.dns) as object),
      })
      await once(socket, 'secureConnect')
      const sha256 = hash('sha256', socket.getPeerCertificate().raw)
      socket.destroy()
      return sha256
    }
    const renewed = authority.issue('renewed', ['IP:127.0.0.1'])
    const first = await seen()
    assert.equal(first, certificates.server.sha256)
    // Half of it, as somebody who copies the files one by one leaves it for a moment.
    cpSync(renewed.cert, tls.cert)
    await assert.rejects(broker.reload(), /key values mismatch/)
    assert.equal(await seen(), first)
    cpSync(renewed.key, tls.key)
    for (const endsAt = Date.now() + 20_000; (await seen()) === first; await delay(100))
      assert.ok(Date.now() < endsAt, 'the change of the files was seen')
    assert.equal(await seen(), renewed.sha256)
    await broker.reload({ remote })
  })

  test('T265: who asks for more than was agreed is told to come again, whatever others have', async () => {
    const requests = Array(256).fill({ type: 'access', claims: claims() })
    assert.equal(await codeOf(ask(certificates.hasty, 'POST /v1/issue-batch', { requests })), 200)
    const { status, headers, body } = await ask(certificates.hasty, 'POST /v1/issue', requests[0])
    assert.deepEqual(
      [status, body['code'], body['retryable'], headers['retry-after']],
      [429, 'rate_limited', true, '1'],
    )
    assert.equal(await codeOf(ask(certificates.dns, 'POST /v1/issue', requests[0])), 200)
  })

  test('T265: who opens connections without end is cut off, and others are served', async () => {
    const open = async (): Promise<ReturnType<typeof connect>> => {
      const socket = connect({
        host: '127.0.0.1',
        port: broker.remotePort,
        ...(tlsOf(certificates.hasty) as object),
      })
      socket.on('error', () => {})
      await once(socket, 'secureConnect')
      return socket
    }
    const sockets = []
    let cut = 0
    for (let n = 0; n < 136; n++) {
      const socket = await open()
      socket.once('close', () => cut++)
      sockets.push(socket)
    }
    while (cut < 8) await delay(10)
    assert.equal(await codeOf(ask(certificates.dns, 'GET /v1/health')), 200)
    await assert.rejects(ask(certificates.hasty, 'GET /v1/health'), { code: /ECONNRESET|EPIPE/ })
    assert.equal(cut, 8)
    for (const socket of sockets) socket.destroy()
    for (let served = false; !served; await delay(10))
      served = await codeOf(ask(certificates.hasty, 'GET /v1/health')).then(
        (code) => code === 200,
        () => false,
      )
  })

  test('what is no request of this interface is refused by name', async () => {
    const issue = 'POST /v1/issue'
    for (const [operation, body, options, code] of [
      ['GET /v1/issue', undefined, {}, 'method_not_allowed'],
      ['DELETE /v1/jwks', undefined, {}, 'method_not_allowed'],
      ['GET /v1/Health', undefined, {}, 'not_found'],
      ['GET /v1/../v1/health', undefined, {}, 'not_found'],
      ['GET /constructor', undefined, {}, 'not_found'],
      [issue, '{', {}, 'malformed'],
      [issue, '[]', {}, 'malformed'],
      [issue, { type: 'access' }, {}, 'malformed'],
      [issue, { type: 'access', claims: JSON.stringify(claims()) }, {}, 'malformed'],
      [issue, { type: 'access', claims: { ...claims(), jti: 'short' } }, {}, 'malformed'],
      [issue, { type: 7, claims: claims() }, {}, 'malformed'],
      [issue, { type: 'access', claims: claims(), alg: 7 }, {}, 'malformed'],
      [issue, { type: 'access', claims: claims(), alg: 'none' }, {}, 'alg_not_allowed'],
      [issue, { type: 'access', claims: claims(), alg: 'RS256' }, {}, 'no_active_key'],
      [issue, { type: 'access', claims: { ...claims(), iat: 1, exp: 2 } }, {}, 'clock_off'],
      [issue, { type: 'access', claims: { ...claims(), note: 'x'.repeat(11_000) } }, {}, 'oversized'],
      [issue, 'x'.repeat(5 * 1024 * 1024), {}, 'oversized'],
      [issue, 'a=b', { headers: { 'content-type': 'text/plain' } }, 'unsupported_media_type'],
      [issue, '{}', { headers: { 'content-encoding': 'gzip' } }, 'unsupported_media_type'],
      [issue, `{"type":"access","type":"id","claims":${JSON.stringify(claims())}}`, {}, 'malformed'],
      [issue, `{"type":"access","claims":{"iss":"${issuers.consumer}","iss":"x"}}`, {}, 'malformed'],
    ] as const)
      assert.equal(await codeOf(ask(certificates.dns, operation, body, options)), code, String(operation))
  })

  test('a reload with certificates that cannot be used changes nothing, so that the configuration before can be put back', async () => {
    const { remote, realms } = broker.config
    assert.ok(remote)
    await initSigner(broker.folder, 'undone')
    const own = join(broker.folder, 'undone')
    const keystores = [{ keystore: join(own, 'keystore.age'), passphrase_file: join(own, 'passphrase') }]
    const undone = { socket: join(broker.folder, 'undone.sock'), keystores, signatures_per_second: 100 }
    const tls = { ...remote.tls, cert: join(folder, 'none.pem') }
    await assert.rejects(broker.reload({ realms: { ...realms, undone }, remote: { ...remote, tls } }), {
      code: 'malformed',
      message: /none\.pem/,
    })
    await broker.reload({ realms, remote })
    assert.equal(await codeOf(ask(certificates.dns, 'GET /v1/health')), 200)
  })

  test('a realm and its client that are added together are let in by the same reload', async () => {
    const { remote, realms } = broker.config
    assert.ok(remote)
    assert.equal(await codeOf(ask(certificates.added, 'GET /v1/health')), 'unknown_client')
    await initSigner(broker.folder, 'added')
    const own = join(broker.folder, 'added')
    const keystores = [{ keystore: join(own, 'keystore.age'), passphrase_file: join(own, 'passphrase') }]
    const added = { socket: join(broker.folder, 'added.sock'), keystores, signatures_per_second: 100 }
    const client = {
      name: 'added',
      certificate: { dns: 'added.example' },
      realm: 'added',
      issuers: ['https://added.example'],
      tokens_per_second: 10,
    }
    await broker.reload({
      realms: { ...realms, added },
      remote: { ...remote, clients: [...remote.clients, client] },
    })
    assert.equal((await ask(certificates.added, 'GET /v1/health')).body['realm'], 'added')
    assert.deepEqual((await ask(certificates.added, 'GET /v1/jwks')).body['keys'], [])
    await broker.reload({ remote })
  })

  test('T265: with the witness away there is a retryable problem and no token, and health says which of us it is', async () => {
    await broker.witness.close()
    const { status, headers, body } = await ask(certificates.dns, 'POST /v1/issue', {
      type: 'access',
      claims: claims(),
    })
    assert.deepEqual(
      [status, body['code'], body['retryable'], headers['retry-after']],
      [503, 'witness_unavailable', true, '1'],
    )
    const sick = await ask(certificates.dns, 'GET /v1/health')
    assert.deepEqual([sick.status, sick.body['witness'], sick.body['signer']], [503, 'unavailable', 'ready'])
    await broker.witness.open()
    const well = await ask(certificates.dns, 'GET /v1/health')
    assert.deepEqual([well.status, well.body['witness'], well.body['realm']], [200, 'ready', 'consumer'])
  })

  test('the keys of the client’s issuers, and of nobody else, are there to be published', async () => {
    const { headers, body } = await ask(certificates.dns, 'GET /v1/jwks')
    const keys = body['keys'] as { kid: string; issuer: string; alg: string }[]
    assert.ok(keys.some(({ kid, alg }) => kid === broker.kid('consumer') && alg === 'ES256'))
    assert.deepEqual(new Set(keys.map(({ issuer }) => issuer)), new Set([issuers.consumer]))
    assert.equal(headers['content-type'], 'application/jwk-set+json')
    // One of the many issuers of a template signs with the template's key.
    const one = (await ask(certificates.northwind, 'GET /v1/jwks')).body['keys'] as typeof keys
    assert.deepEqual(
      one.map(({ kid }) => kid),
      [broker.kid('enterprise')],
    )
  })

  test('many at once all get tokens of their own', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 32, ...tlsOf(certificates.pinned) } as object)
    const answers = await Promise.all(
      Array.from({ length: 400 }, () =>
        ask(certificates.pinned, 'POST /v1/issue', { type: 'access', claims: claims() }, { agent }),
      ),
    )
    agent.destroy()
    assert.equal(new Set(answers.map(({ body }) => body['token'])).size, 400)
  })

  test('health says that no token can be made where the key was killed and none has taken over', async () => {
    const health = async (who: Name): Promise<unknown[]> => {
      const { status, body } = await ask(certificates[who], 'GET /v1/health')
      return [status, body['key'], body['signer']]
    }
    assert.deepEqual(await health('dns'), [200, 'active', 'ready'])
    const killed = { state: 'revoked', revoked: { at: broker.world.now, reason: 'stolen' } } as const
    broker.world.publish(({ keys }) => ({
      keys: keys.map((key) => (key.kid === broker.kid('consumer') ? { ...key, ...killed } : key)),
    }))
    await broker.deliver()
    assert.deepEqual(await health('dns'), [503, 'none', 'ready'])
    assert.deepEqual(await health('northwind'), [200, 'active', 'ready'])
  })
})
