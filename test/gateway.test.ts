/**
 * Goal: a gateway that runs for years: its configuration is checked to the line, taken up anew without a refused request,
 * its routes mean what they say, its numbers can be read, and thousands of requests at a time leave nothing behind. Method: the
 * gateway as a process, asked as a proxy asks.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { eventually } from '@countersign/validator/eventually'
import { gatewayConfig } from '../gateway/src/config.ts'
import { root } from '../tools/source.ts'
import { ask, bearer, type Edge, startEdge, startGatewayProcess } from './edge.ts'

const original = { method: 'x-original-method', uri: 'x-original-uri', host: 'x-original-host' }
const routes: object[] = [
  { path: '/' },
  { path: '/admin', scopes: ['mail.admin'] },
  { path: '/calendar', audience: 'https://calendar.example' },
  { path: '/mail', methods: ['GET'], scopes: ['mail.read'] },
  { path: '/mail', methods: ['POST'], scopes: ['mail.write'] },
  { path: '/bank', acr: ['urn:mfa'], max_age_seconds: 60 },
  { host: 'hook.example', path: '/in' },
]
let edge: Edge

before(async () => {
  edge = await startEdge({ config: { original_request: original, routes } })
})
after(() => edge.stop())

test('T248 a request needs what its route says, by what the proxy says of it', async () => {
  const calendar = edge.issue({ claims: { aud: 'https://calendar.example' } })
  const signedIn = edge.issue({ claims: { acr: 'urn:mfa', auth_time: edge.world.now - 10 } })
  const mail = edge.issue()
  const forged = edge.issue({ receipt: null })
  const cases: readonly (readonly [
    token: string,
    method: string,
    uri: string,
    reason: string,
    host?: string,
  ])[] = [
    [mail, 'GET', '/', ''],
    [mail, 'GET', '/admin/users', 'insufficient_scope'],
    [mail, 'GET', '/ADMIN/users', 'route_unknown'],
    [mail, 'GET', '/x/..%2fadmin', 'route_unknown'],
    [calendar, 'GET', '/calendar/1', ''],
    [mail, 'GET', '/calendar/1', 'audience_mismatch'],
    [calendar, 'GET', '/', 'audience_mismatch'],
    [mail, 'GET', '/mail?x', ''],
    [mail, 'POST', '/mail', 'insufficient_scope'],
    [mail, 'DELETE', '/mail', 'route_unknown'],
    [mail, 'GET', '/bank', 'insufficient_user_authentication'],
    [signedIn, 'GET', '/bank', ''],
    [mail, 'GET', '/in', '', 'hook.example'],
    [mail, 'GET', '/', 'route_unknown', 'hook.example'],
    [calendar, 'GET', '/', 'route_unknown', 'hook.example'],
    [forged, 'GET', '/', 'receipt_missing', 'hook.example'],
  ]
  for (const [token, method, uri, reason, host = 'any.example'] of cases) {
    const answer = await askAuth(token, method, uri, host)
    assert.equal(answer.headers['x-countersign-reason'] ?? '', reason, `${method} ${host}${uri}`)
    assert.equal(answer.statusCode === 200, reason === '', uri)
  }
  const challenged = await askAuth(mail, 'GET', '/bank', '')
  assert.match(challenged.headers['www-authenticate'] ?? '', /acr_values="urn:mfa", max_age="60"/)
})

test('T249 what nobody was told to say of the original request, or said twice, is not believed', async () => {
  const token = bearer(edge.issue())
  const said = (...headers: string[]) =>
    ask(edge.gateway.port, [...token, ...headers], { path: '/auth/mail' })
  assert.equal((await said()).headers['x-countersign-reason'], 'route_unknown')
  assert.equal((await said('X-Forwarded-Uri', '/', 'X-Forwarded-Method', 'GET')).statusCode, 403)
  const twice = ['X-Original-Method', 'GET', 'X-Original-URI', '/', 'X-Original-URI', '/admin']
  assert.equal((await said(...twice)).statusCode, 403)
})

test('T239 a configuration that is wrong is refused at start, by file and line', async () => {
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const file = `${edge.configFile}.wrong`
  const wrong: readonly (readonly [change: object, member: string])[] = [
    [{ routes: [{ path: '/' }, { path: 'admin' }] }, 'routes.1.path'],
    [{ routes: [{ path: '/a/../b' }] }, 'routes.0.path'],
    [{ routes: [{ path: '/a/' }] }, 'routes.0.path'],
    [{ routes: [{ path: '/a' }, { path: '/A' }] }, 'routes.1.path'],
    [{ routes: [{ path: '/', scope: ['a'] }] }, 'routes.0'],
    [{ routes: [{ path: '/', scopes: ['a b'] }] }, 'routes.0.scopes.0'],
    [{ routes: [{ path: '/', methods: [] }] }, 'routes.0.methods'],
    [{ routes: [] }, 'routes'],
    [{ original_request: { method: 'm', uri: 'u' } }, 'routes.6.host'],
    [{ original_request: { method: 'M', uri: 'u' } }, 'original_request.method'],
  ]
  for (const [change, member] of wrong) {
    writeFileSync(file, JSON.stringify({ ...usual, ...change }, undefined, 2))
    const error = await startGatewayProcess(file).then(
      (gateway) => gateway.stop().then(() => ''),
      (failure: Error) => failure.message,
    )
    const [, line, named] = /wrong is not usable:\\n {2}line (\d+): ([\w.]+): /.exec(error) ?? []
    assert.equal(named, member, error)
    const [last = ''] = member
      .split('.')
      .filter((part) => /[a-z]/.test(part))
      .slice(-1)
    const shown = readFileSync(file, 'utf8').split('\n')[Number(line) - 1] ?? ''
    assert.match(shown, new RegExp(`"(${last}|scope)"|[\\[{"]`), shown)
  }
})

test('the settings that the pages show are settings that a gateway takes', () => {
  const pages = ['nginx', 'apache', 'haproxy', 'caddy', 'traefik', 'envoy'].map(
    (name) => `docs/proxies/${name}.md`,
  )
  for (const page of [...pages, 'gateway/README.md']) {
    const [, text = ''] = /^```json\n(.*?)^```/ms.exec(readFileSync(join(root, page), 'utf8')) ?? []
    for (const [name, value] of Object.entries(JSON.parse(text))) {
      const shape = gatewayConfig.shape[name as keyof typeof gatewayConfig.shape]
      assert.ok(shape?.safeParse(value).success, `${page}: ${name}`)
    }
  }
})

test('SIGHUP: another configuration is taken up whole, and no request is refused for it', async () => {
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const agent = new Agent({ keepAlive: true, maxSockets: 20 })
  const token = edge.issue()
  const statuses = new Map<number, number>()
  let stopped = false
  const load = Array.from({ length: 20 }, async () => {
    while (!stopped) {
      const status = await askQuickly(agent, token, '/mail')
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  })
  for (let round = 0; round < 20; round++) {
    const scopes = round % 2 === 0 ? [] : ['mail.admin']
    writeFileSync(
      edge.configFile,
      JSON.stringify({ ...usual, routes: [...routes, { path: '/changed', scopes }] }),
    )
    edge.gateway.process.kill('SIGHUP')
    const wanted = round % 2 === 0 ? 200 : 403
    await eventually(async () => (await askQuickly(agent, token, '/changed')) === wanted)
  }
  // What is of no use, and what needs a new start, change nothing.
  for (const bad of [
    '{',
    JSON.stringify({ ...usual, realms: ['enterprise'] }),
    JSON.stringify({ ...usual, routes: [{}] }),
  ]) {
    const before = edge.gateway.log.length
    writeFileSync(edge.configFile, bad)
    edge.gateway.process.kill('SIGHUP')
    await eventually(() => edge.gateway.log.slice(before).includes('stays as it was'))
    assert.equal(await askQuickly(agent, token, '/changed'), 403)
  }
  writeFileSync(edge.configFile, JSON.stringify(usual))
  stopped = true
  await Promise.all(load)
  agent.destroy()
  assert.deepEqual([...statuses.keys()], [200])
  assert.ok((statuses.get(200) ?? 0) > 100)
  assert.match(edge.gateway.log, /needs a new start: realms/)
})

for (const workers of [1, 2]) {
  test(`SIGHUP while the authority is waited for is heard as any other (workers: ${workers})`, async () => {
    const configFile = `${edge.configFile}.waiting-${workers}`
    const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
    const waiting = { workers, authority: 'http://127.0.0.1:1', state: `${usual.state}-waiting-${workers}` }
    writeFileSync(configFile, JSON.stringify({ ...usual, ...waiting }))
    const child = spawn(process.execPath, [join(root, 'gateway/src/main.ts'), '--config', configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, COUNTERSIGN_LOG_LEVEL: 'info' },
    })
    const ended = once(child, 'exit')
    const ready = once(child.stdout, 'data')
    let log = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
    await eventually(() => log.split('does not answer').length > 6)
    child.kill('SIGHUP')
    await Promise.race([ready, ended])
    assert.match(log, /the configuration was read again/)
    child.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
  })
}

test('health, readiness and numbers', async () => {
  const get = async (path: string): Promise<string> =>
    (await fetch(`http://127.0.0.1:${edge.gateway.port}${path}`)).text()
  assert.deepEqual(JSON.parse(await get('/healthz')), { status: 'ok' })
  assert.deepEqual(JSON.parse(await get('/readyz')), { ready: true })
  // The second is more than an HTTP parser reads.
  for (const kilobytes of [20, 200]) {
    const token = bearer('a'.repeat(kilobytes * 1024))
    assert.equal((await ask(edge.gateway.port, token, { path: '/auth' })).statusCode, 401)
  }
  const metrics = await get('/metrics')
  for (const line of [
    /^countersign_gateway_decisions_total\{way="auth",verdict="accepted"\} \d+$/m,
    /^countersign_gateway_decisions_total\{way="auth",verdict="audience_mismatch"\} 2$/m,
    /^countersign_gateway_decisions_total\{way="auth",verdict="oversized"\} 2$/m,
    /^countersign_gateway_decision_seconds_count\{way="auth"\} \d+$/m,
    /^countersign_gateway_manifest_version \d+$/m,
    /^countersign_gateway_manifest_age_seconds \d/m,
    /^countersign_gateway_ready 1$/m,
    /^countersign_gateway_connections \d+$/m,
    /^countersign_gateway_reloads_total\{result="refused"\} 3$/m,
    /^nodejs_heap_size_used_bytes \d+$/m,
  ])
    assert.match(metrics, line)
  assert.doesNotMatch(metrics, /eyJ/)
})

test('T263 thousands of requests at a time, round after round, leave nothing in the heap', async (t) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 2000 })
  // The same each time: verdicts are cached, and that is bounded elsewhere.
  const tokens = Array.from({ length: 200 }, (_, n) => edge.issue(n % 2 === 0 ? {} : { receipt: null }))
  const sizes: number[] = []
  for (let round = 0; round < 6; round++) {
    const statuses = await Promise.all(
      Array.from({ length: 2000 }, (_, n) => askQuickly(agent, tokens[n % tokens.length] ?? '', '/mail')),
    )
    assert.equal(statuses.filter((status) => status === 200).length, 1000)
    sizes.push(await heapAfterCollection())
  }
  agent.destroy()
  t.diagnostic(
    `heap after each round of 2000, MB: ${sizes.map((size) => (size / 1e6).toFixed(1)).join(', ')}`,
  )
  // What leaks is there after each later round. What a slow machine is late to give back is not.
  const [, , third = 0, ...later] = sizes
  assert.ok(Math.min(...later) < third + 1e6, sizes.join())
})

async function heapAfterCollection(): Promise<number> {
  const before = edge.gateway.log.length
  edge.gateway.process.kill('SIGUSR2')
  await eventually(() => edge.gateway.log.slice(before).includes('collected'))
  const metrics = await (await fetch(`http://127.0.0.1:${edge.gateway.port}/metrics`)).text()
  return Number(/^nodejs_heap_size_used_bytes (\d+)$/m.exec(metrics)?.[1])
}

function askAuth(token: string, method: string, uri: string, host: string) {
  const told = ['X-Original-Method', method, 'X-Original-URI', uri, 'X-Original-Host', host]
  return ask(edge.gateway.port, [...bearer(token), ...told], { path: '/auth' })
}

async function askQuickly(agent: Agent, token: string, uri: string): Promise<number> {
  const headers = {
    authorization: `Bearer ${token}`,
    'x-original-method': 'GET',
    'x-original-uri': uri,
    'x-original-host': '',
  }
  const outgoing = request({
    port: edge.gateway.port,
    host: '127.0.0.1',
    path: '/auth',
    agent,
    headers,
  }).end()
  const [answer] = await once(outgoing, 'response')
  answer.resume()
  await once(answer, 'end')
  return answer.statusCode
}
