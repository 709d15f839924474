/**
 * Goal: behind each proxy that docs/proxies shows, an application is reached by good tokens alone, and hears from the
 * gateway who came. Method: Debian's own programs, set up by the very files of those pages, in front of a real gateway;
 * asked with good tokens and with what clients can do to them, while a key is killed, and while the gateway is away.
 */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { mailAudience, tenants } from '../validator/src/testing.ts'
import {
  ask,
  bearer,
  blockOf,
  type Edge,
  findProgram,
  pageFile,
  type Server,
  startEdge,
  startNginx,
  startServer,
} from './edge.ts'
import { freePort } from './ports.ts'

interface Proxy {
  readonly name: string
  readonly program: string
  /** The status that says that the gateway could not be asked. */
  readonly fault: number
  start(program: string, edge: Edge): Promise<Server>
}

/** A page's file, for this edge. */
function fileOf(
  page: string,
  language: string,
  { gateway, application }: Edge,
  port: number,
  folder = '',
): string {
  return pageFile(
    page,
    language,
    { gateway: gateway.port, application: application.port, proxy: port },
    folder,
  )
}

const proxies: readonly Proxy[] = [
  {
    name: 'nginx',
    program: 'nginx',
    fault: 500,
    start: async (program, edge) => {
      const ports = {
        gateway: edge.gateway.port,
        application: edge.application.port,
        proxy: await freePort(),
      }
      return startNginx(program, ports, join(edge.folder, 'nginx'))
    },
  },
  {
    name: 'Apache',
    program: 'apache2',
    fault: 503,
    start: async (program, edge) => {
      const [port, folder] = [await freePort(), join(edge.folder, 'apache')]
      const modules = ['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'lua']
        .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`)
        .join('')
      const files = {
        'apache.conf': `${modules}ServerRoot ${folder}\nServerName localhost\nPidFile ${folder}/pid\nErrorLog ${folder}/error.log
          StartServers 1\nDefaultRuntimeDir ${folder}\nInclude ${folder}/application.conf\n`,
        'application.conf': fileOf('apache.md', 'apache', edge, port, folder),
        'countersign.lua': fileOf('apache.md', 'lua', edge, port, folder),
      }
      return startServer(program, port, folder, files, [
        '-D',
        'FOREGROUND',
        '-f',
        join(folder, 'apache.conf'),
      ])
    },
  },
  {
    name: 'HAProxy',
    program: 'haproxy',
    fault: 503,
    start: async (program, edge) => {
      const [port, folder] = [await freePort(), join(edge.folder, 'haproxy')]
      const files = {
        'haproxy.cfg': fileOf('haproxy.md', 'haproxy', edge, port, folder),
        'countersign.lua': fileOf('haproxy.md', 'lua', edge, port, folder),
      }
      return startServer(program, port, folder, files, ['-db', '-f', join(folder, 'haproxy.cfg')])
    },
  },
  {
    name: 'Caddy',
    program: 'caddy',
    fault: 502,
    start: async (program, edge) => {
      const [port, folder] = [await freePort(), join(edge.folder, 'caddy')]
      const files = {
        Caddyfile: `{\n\tadmin off\n}\n${fileOf('caddy.md', 'caddyfile', edge, port)}`,
      }
      return startServer(program, port, folder, files, [
        'run',
        '--adapter',
        'caddyfile',
        '--config',
        join(folder, 'Caddyfile'),
      ])
    },
  },
]

const routes = [
  { path: '/' },
  { path: '/admin', scopes: ['mail.admin'] },
  { path: '/posted', methods: ['POST'] },
  { host: 'application.example', path: '/' },
  { host: 'application.example', path: '/admin', scopes: ['mail.admin'] },
  { host: 'application.example', path: '/posted', methods: ['POST'] },
  { host: 'admin.example', path: '/', scopes: ['mail.admin'] },
]

for (const { name, program, fault, start } of proxies) {
  const found = findProgram(program)
  const skip = found === undefined && `${program} is not installed: see tools/debian.sh`
  test(`${name}: good tokens in, everything else out`, { skip }, async (t) => {
    const edge = await startEdge({
      config: { ...JSON.parse(blockOf(`${name.toLowerCase()}.md`, 'json')), routes },
    })
    t.after(() => edge.stop())
    const proxy = await start(found ?? '', edge)
    t.after(() => proxy.stop())
    const { application, world } = edge
    const askIt = (headers: readonly string[], options = {}) => ask(proxy.port, headers, options)

    await t.test('a good token reaches the application, with who it is', async () => {
      const answer = await askIt(bearer(edge.issue()), { path: '/mail?folder=inbox' })
      assert.equal(answer.statusCode, 200, proxy.output)
      const [seen] = application.requests.splice(0)
      assert.equal(seen?.url, '/mail?folder=inbox')
      assert.deepEqual(identityOf(seen), {
        'x-auth-subject': 'user-1',
        'x-auth-tenant': tenants.home,
        'x-auth-issuer': 'https://login.consumer.example',
        'x-auth-client': 'client-1',
        'x-auth-scope': 'mail.read',
      })
      assert.equal(seen?.headers.authorization, undefined)
    })

    await t.test(
      'T249: names that a client sent are overwritten, whatever their case, and empty ones too',
      async () => {
        const spoofed = [
          'X-Auth-Subject',
          'root',
          'x-auth-scope',
          'admin',
          'X-AUTH-CLIENT',
          'operator',
          'X-Auth-Tenant',
          'other',
        ]
        const token = edge.issue({ claims: { client_id: undefined, scope: undefined } })
        assert.equal((await askIt([...spoofed, ...bearer(token)])).statusCode, 200)
        const [seen] = application.requests.splice(0)
        assert.equal(seen?.headers['x-auth-subject'], 'user-1')
        assert.equal(seen?.headers['x-auth-tenant'], tenants.home)
        for (const empty of ['scope', 'client']) assert.equal(seen?.headers[`x-auth-${empty}`] ?? '', '')
      },
    )

    await t.test(
      'T249: no name of theirs passes that an application reads as one of ours, and none of ours is taken off',
      async () => {
        const token = bearer(edge.issue())
        const alike = [
          'X_Auth_Subject',
          'root',
          'X-Auth_Subject',
          'root',
          'x_auth-scope',
          'admin',
          'X.Auth.Tenant',
          'other',
        ]
        assert.equal((await askIt([...alike, ...token])).statusCode, 200)
        const named = await askIt([...token, 'Connection', 'X-Auth-Subject, x-auth-tenant'])
        assert.ok(named.statusCode === 200 || named.statusCode === 400, proxy.output)
        for (const seen of application.requests.splice(0)) {
          const names = Object.keys(seen.headers).filter((name) => /^x.auth/.test(name))
          assert.deepEqual(names.sort(), Object.keys(identityOf(seen)).sort())
          assert.equal(names.length, 5)
        }
      },
    )

    await t.test('what is upgraded to is no protocol in which more is asked for', async () => {
      const upgrade = [
        'Connection',
        'Upgrade, HTTP2-Settings',
        'Upgrade',
        'h2c',
        'HTTP2-Settings',
        'AAMAAABkAAQAAP__',
      ]
      assert.equal((await askIt([...bearer(edge.issue()), ...upgrade])).statusCode, 200)
      assert.notEqual(application.requests.splice(0)[0]?.headers.upgrade, 'h2c')
    })

    await t.test('a token with much to say passes as any other', async () => {
      const scope = Array.from({ length: 500 }, (_, at) => `mail.folder.${at}`).join(' ')
      assert.equal((await askIt(bearer(edge.issue({ claims: { scope } })))).statusCode, 200)
      assert.equal(application.requests.splice(0)[0]?.headers['x-auth-scope'], scope)
    })

    await t.test(
      'T063 T064 T065 T250 T251: what is hostile is refused, and the application hears of none',
      async () => {
        const good = edge.issue()
        const hostile: Readonly<
          Record<string, readonly [reason: string, headers: readonly string[], path?: string]>
        > = {
          missing: ['token_missing', []],
          'in the query': ['token_missing', [], `/?access_token=${good}`],
          'two headers': ['malformed', [...bearer(good), ...bearer(good)]],
          'two in one': ['malformed', ['Authorization', `Bearer ${good}, Bearer ${good}`]],
          'another scheme': ['malformed', ['Authorization', `Basic ${good}`]],
          expired: [
            'expired',
            bearer(edge.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } })),
          ],
          forged: ['receipt_missing', bearer(edge.issue({ receipt: null }))],
          'tampered with': ['signature_invalid', bearer(`${good.slice(0, -8)}AAAAAAAA`)],
          'for another': ['audience_mismatch', bearer(edge.issue({ claims: { aud: `${mailAudience}/x` } }))],
          'of another kind': ['type_mismatch', bearer(edge.issue({ type: 'id' }))],
          oversize: ['oversized', bearer('a'.repeat(20 * 1024))],
          'as large as a header may be': ['oversized', bearer('a'.repeat(64 * 1024 - 100))],
        }
        for (const [kind, [reason, headers, path]] of Object.entries(hostile)) {
          const answer = await askIt(headers, { path: path ?? '/' })
          // nginx and others refuse a second header of this name themselves.
          if (kind === 'two headers' && answer.statusCode === 400) continue
          assert.equal(
            answer.statusCode,
            reason === 'audience_mismatch' ? 403 : 401,
            `${kind}: ${proxy.output}`,
          )
          assert.equal(answer.headers['x-countersign-reason'], reason, kind)
          assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer/, kind)
        }
        // Larger than anybody's limit: refused by whoever reads it first.
        const answer = await askIt(bearer('a'.repeat(200 * 1024))).catch(() => undefined)
        assert.ok((answer?.statusCode ?? 400) >= 400)
        assert.deepEqual(application.requests, [])
      },
    )

    await t.test('T248 T249: routes go by what the proxy says, whatever the client says', async () => {
      const token = bearer(edge.issue())
      const original = [
        'X-Original-URI',
        '/',
        'X-Original-Method',
        'POST',
        'X-Original-Host',
        'other.example',
      ]
      const forwarded = [
        'X-Forwarded-Uri',
        '/',
        'X-Forwarded-Method',
        'POST',
        'X-Forwarded-Host',
        'other.example',
      ]
      for (const spoofed of [[], original, forwarded]) {
        const headers = [...token, ...spoofed]
        assert.equal(
          (await askIt(headers, { path: '/admin?a=/' })).headers['x-countersign-reason'],
          'insufficient_scope',
        )
        assert.equal((await askIt(headers, { path: '/posted' })).statusCode, 403)
        // Some proxies put such a path right, or refuse it themselves; none lets it through.
        for (const path of ['/ADMIN', '/x/..%2fadmin', '/x/..;/admin', '//admin', '/x/../admin'])
          assert.ok([400, 403, 404].includes((await askIt(headers, { path })).statusCode ?? 0), path)
      }
      for (const host of ['admin.example:', 'admin.example,x', 'admin.example..', 'x@admin.example'])
        await askIt(token, { host })
      assert.deepEqual(application.requests, [])
      assert.equal((await askIt(token, { path: '/posted', method: 'POST' })).statusCode, 200)
      assert.equal(application.requests.splice(0).length, 1)
    })

    await t.test('T254 T252: a token of a killed key is refused within a second of the kill', async () => {
      const token = edge.issue()
      assert.equal((await askIt(bearer(token))).statusCode, 200)
      application.requests.length = 0
      const killedAt = edge.kill()
      let passed = 0
      let answer = await askIt(bearer(token))
      while (answer.statusCode === 200 && performance.now() - killedAt < 5000) {
        passed++
        answer = await askIt(bearer(token))
      }
      const milliseconds = performance.now() - killedAt
      t.diagnostic(`${name}: refused ${milliseconds.toFixed(0)} ms after the kill; ${passed} passed before`)
      assert.equal(answer.statusCode, 401)
      assert.equal(answer.headers['x-countersign-reason'], 'key_revoked')
      assert.ok(milliseconds < 1000, `${milliseconds} ms`)
      assert.equal(application.requests.length, passed)
      application.requests.length = 0
    })

    await t.test('T250: without a gateway nobody passes', async () => {
      await edge.gateway.stop('SIGKILL')
      for (const headers of [bearer(edge.issue()), []]) {
        assert.equal((await askIt(headers)).statusCode, fault)
      }
      assert.deepEqual(application.requests, [])
    })
  })
}

function identityOf(request: Edge['application']['requests'][number] | undefined): object {
  return Object.fromEntries(
    Object.entries(request?.headers ?? {}).filter(([name]) => name.startsWith('x-auth-')),
  )
}
