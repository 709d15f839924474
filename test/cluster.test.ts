/**
 * Goal: a gateway of several processes is one gateway: what it acknowledges all of its workers do, what is known at one is known at
 * all, and none of them can die, hang or be replaced so that a token passes that should not, or a sighting is lost. Method: real
 * processes behind one port, stopped and killed by the kernel.
 */

import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json, text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '@countersign/validator/eventually'
import { type Report, verifyReport } from '../validator/src/sighting.ts'
import { createTestHolder } from '../validator/src/test-proof.ts'
import {
  allAnswer,
  answerOf,
  Connections,
  enrolmentOf,
  numberOf,
  start,
  verdicts,
  WORKERS,
  withToken,
  workersOf,
} from './cluster.ts'
import { ask, type Edge, startGatewayProcess } from './edge.ts'
import { allGone, descendants } from './processes.ts'

test('one process is what a gateway is unless it is told otherwise', async (t) => {
  assert.equal(workersOf(await start(t, { config: { workers: 1 } })).length, 0)
  assert.equal(workersOf(await start(t)).length, WORKERS)
})

test('T118 T123: what is acknowledged every worker does: on connections that are open, and on those that come', async (t) => {
  const edge = await start(t)
  const connections = new Connections(t)
  const token = edge.issue()
  assert.deepEqual(verdicts(await connections.ask(edge, withToken(token))), ['200'])
  await edge.authority.acknowledged(1)
  const acknowledged = edge.authority.acknowledged(2)
  const killedAt = edge.kill()
  await acknowledged
  const took = performance.now() - killedAt
  assert.deepEqual(verdicts(await connections.ask(edge, withToken(token))), ['key_revoked'])
  assert.deepEqual(verdicts(await new Connections(t).ask(edge, withToken(token))), ['key_revoked'])
  t.diagnostic(`acknowledged by ${WORKERS} workers after ${took.toFixed(0)} ms`)
  assert.ok(took < 1000, `${took} ms`)
})

test('T150: a proof that was shown at one worker is none at the next; a nonce of one is one at all', async (t) => {
  const url = 'https://mail.example/inbox'
  const edge = await start(t, { config: { dpop: { base: ['https://mail.example'] } } })
  const holder = createTestHolder()
  const token = edge.issue({ claims: { cnf: { jkt: holder.jkt } } })
  const shown = { authorization: `DPoP ${token}`, dpop: holder.prove({ url, token }) }
  const connections = new Connections(t)
  const answers = await connections.ask(edge, () => shown, '/auth/inbox')
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1)
  // All at one moment.
  const proofs = Array.from({ length: 50 }, () => holder.prove({ url, token }))
  const statuses = await Promise.all(
    [...proofs, ...proofs, ...proofs].map(
      async (dpop) =>
        (await answerOf(edge.gateway.port, false, { ...shown, dpop }, '/auth/inbox')).statusCode,
    ),
  )
  assert.equal(statuses.filter((status) => status === 200).length, proofs.length)
  assert.equal(statuses.filter((status) => status === 401).length, 2 * proofs.length)

  const file = join(edge.folder, 'nonces.json')
  writeFileSync(file, JSON.stringify({ secrets: ['A'.repeat(43)] }), { mode: 0o600 })
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const dpop = { base: ['https://mail.example'], nonce_secrets: file }
  writeFileSync(edge.configFile, JSON.stringify({ ...usual, dpop }))
  edge.gateway.process.kill('SIGHUP')
  const prove = (nonce?: string) => () => ({
    authorization: `DPoP ${token}`,
    dpop: holder.prove({ url, token }, { nonce }),
  })
  await eventually(
    async () => verdicts(await connections.ask(edge, prove(), '/auth/inbox')).join() === 'sender_mismatch',
  )
  const [asked] = await connections.ask(edge, prove(), '/auth/inbox')
  const nonce = String(asked?.headers['dpop-nonce'])
  assert.deepEqual(verdicts(await connections.ask(edge, prove(nonce), '/auth/inbox')), ['200'])
})

test('T252 T254: sessions of a mail server are watched over once, and a worker that dies puts nobody out', async (t) => {
  const kicked: string[] = []
  const dovecot = await listen(t, async (incoming) => {
    const [[, { mask }]] = (await json(incoming)) as [[string, { mask: [string] }]]
    kicked.push(mask[0])
    return JSON.stringify([['doveadmResponse', [], 'kick']])
  })
  const secret = 'a secret of the mail server'
  const edge = await start(t, {
    clients: [
      {
        client_id: 'dovecot',
        secret_sha256: hash('sha256', secret, 'base64url'),
        kick: { url: `${dovecot}/doveadm/v1`, api_key: 'key' },
      },
    ],
  })
  await eventually(() => kicked.length === 2)
  assert.deepEqual(kicked.splice(0), ['*', '*'], 'whoever is there at the start, and who had just logged in')
  const introspect = async (token: string): Promise<boolean> => {
    const response = await fetch(`http://127.0.0.1:${edge.gateway.port}/introspect`, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(`dovecot:${secret}`).toString('base64')}`,
        connection: 'close',
      },
      body: new URLSearchParams({ token }),
    })
    return ((await response.json()) as { active: boolean }).active
  }
  const tokens = Array.from({ length: 6 }, (_, n) => edge.issue({ claims: { sub: `user-${n}` } }))
  for (const token of [...tokens, ...tokens]) assert.equal(await introspect(token), true)
  assert.equal(await introspect(edge.issue({ claims: { sub: '*' } })), false)
  assert.equal(await introspect(edge.issue({ receipt: null })), false)
  assert.equal(await numberOf(edge, 'countersign_gateway_watched_tokens'), tokens.length)
  for (const pid of workersOf(edge)) process.kill(pid, 'SIGKILL')
  await eventually(() => allAnswer(edge))
  assert.equal(await introspect(tokens[0] ?? ''), true)
  assert.deepEqual(kicked, [])
  edge.kill()
  await eventually(() => new Set(kicked).size === tokens.length)
  await eventually(() => kicked.length === 2 * tokens.length)
  assert.equal(await introspect(tokens[0] ?? ''), false)
})

test('sightings: kill -9 in the middle of them loses none that was there a moment before, and brings none twice', async (t) => {
  const reports = new Map<string, Report>()
  let isAway = true
  const url = await listen(t, async (incoming) => {
    const statement = await text(incoming)
    if (isAway) return undefined
    const report = await verifyReport(statement, async () => enrolmentOf(edge).jwk)
    reports.set(report.id, report)
    return ''
  })
  const edge = await start(t, { config: { sentinel: url } })
  const answered: { readonly at: number; readonly n: number }[] = []
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  t.after(() => agent.destroy())
  const tokens = Array.from({ length: 3000 }, () => edge.issue())
  const queue = [...tokens.entries()]
  let killedAt = 0
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const [n, token] = next
        const headers = { authorization: `Bearer ${token}` }
        const answer = await answerOf(edge.gateway.port, agent, headers).catch(() => undefined)
        if (answer?.statusCode === 200) answered.push({ at: performance.now(), n })
        if (answered.length === 1000 && killedAt === 0) {
          killedAt = performance.now()
          process.kill(workersOf(edge)[0] ?? 0, 'SIGKILL')
        }
      }
    }),
  )
  assert.ok(answered.length > 2000, `${answered.length}`)
  await eventually(() => allAnswer(edge))
  isAway = false
  const sure = answered.filter(({ at }) => at < killedAt - 100 || at > killedAt + 100)
  const seen = () => [...reports.values()].flatMap(({ sightings }) => sightings)
  await eventually(() => seen().length >= sure.length)
  await delay(1500)
  const indexes = seen().map(({ leafHash }) => Buffer.from(leafHash ?? []).toString('hex'))
  assert.ok(indexes.every((index) => index !== ''))
  assert.equal(new Set(indexes).size, indexes.length, 'none twice')
  assert.ok(indexes.length >= sure.length && indexes.length <= tokens.length)
  t.diagnostic(`${answered.length} answered, ${indexes.length} reported, ${tokens.length} sent`)
})

test('numbers are the sums of all workers, also of one that has died', async (t) => {
  const edge = await start(t)
  const connections = new Connections(t)
  const accepted = 'countersign_gateway_decisions_total{way="auth",verdict="accepted"}'
  await connections.ask(edge, withToken(edge.issue()))
  await connections.ask(edge, withToken(edge.issue({ receipt: null })))
  for (let n = 0; n < 2 * WORKERS; n++) assert.equal(await numberOf(edge, accepted), 4 * WORKERS)
  assert.equal(
    await numberOf(edge, 'countersign_gateway_decisions_total{way="auth",verdict="receipt_missing"}'),
    4 * WORKERS,
  )
  assert.equal(await numberOf(edge, 'countersign_gateway_manifest_version'), 1)
  for (const worker of [1, 2])
    assert.ok((await numberOf(edge, `countersign_gateway_worker_heap_bytes{worker="${worker}"}`)) > 1e6)
  process.kill(workersOf(edge)[0] ?? 0, 'SIGKILL')
  await eventually(() => edge.gateway.log.includes('has ended and is replaced'))
  await eventually(() => allAnswer(edge))
  assert.equal(await numberOf(edge, 'countersign_gateway_workers_replaced_total'), 1)
  assert.equal(await numberOf(edge, accepted), 4 * WORKERS)
  assert.equal((await ask(edge.gateway.port, [], { path: '/readyz' })).statusCode, 200)
  assert.equal((await ask(edge.gateway.port, [], { path: '/healthz' })).statusCode, 200)
  assert.match(edge.gateway.log, /"worker":[12],.*has ended and is replaced/)
})

test('SIGHUP under load: all workers take it or none; a worker that dies then comes with what is in force', async (t) => {
  const edge = await start(t, { config: { routes: [{ path: '/' }] } })
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  const token = edge.issue()
  const load = startLoad(t, edge, token)
  const connections = new Connections(t)
  const changed = async (): Promise<string> =>
    verdicts(await connections.ask(edge, withToken(token), '/auth/changed')).join()
  for (let round = 0; round < 20; round++) {
    const scopes = round % 2 === 0 ? ['mail.admin'] : []
    writeFileSync(
      edge.configFile,
      JSON.stringify({ ...usual, routes: [{ path: '/' }, { path: '/changed', scopes }] }),
    )
    edge.gateway.process.kill('SIGHUP')
    const wanted = round % 2 === 0 ? 'insufficient_scope' : '200'
    await eventually(async () => (await changed()) === wanted)
  }
  const bad: readonly string[] = [
    '{',
    JSON.stringify({ ...usual, realms: ['enterprise'] }),
    JSON.stringify({ ...usual, workers: 3 }),
    JSON.stringify({ ...usual, routes: [{}] }),
    JSON.stringify({ ...usual, introspection_clients: join(edge.folder, 'none') }),
  ]
  for (const content of bad) {
    const before = edge.gateway.log.length
    writeFileSync(edge.configFile, content)
    edge.gateway.process.kill('SIGHUP')
    await eventually(() => edge.gateway.log.slice(before).includes('stays as it was'))
    assert.equal(await changed(), '200')
  }
  const { statuses, errors } = await load.stop()
  assert.deepEqual([...statuses.keys(), errors], [200, 0])
  t.diagnostic(`${statuses.get(200)} requests under 20 reloads, none refused`)
  // The file is still wrong, and no new worker reads it.
  for (const pid of workersOf(edge)) process.kill(pid, 'SIGKILL')
  await eventually(() => allAnswer(edge))
  const anew = await new Connections(t).ask(edge, withToken(token), '/auth/changed')
  assert.deepEqual(verdicts(anew), ['200'])
  assert.equal(await numberOf(edge, 'countersign_gateway_reloads_total{result="refused"}'), bad.length)
})

test('a worker that dies takes its own requests with it and no others', async (t) => {
  const edge = await start(t)
  const load = startLoad(t, edge, edge.issue())
  for (let round = 0; round < 5; round++) {
    await delay(200)
    process.kill(workersOf(edge)[0] ?? 0, 'SIGKILL')
    await eventually(() => edge.gateway.log.split('has ended and is replaced').length === round + 2)
    await eventually(() => allAnswer(edge))
  }
  const { statuses, errors } = await load.stop()
  assert.deepEqual([...statuses.keys()], [200])
  // Each death breaks the connections of that worker, about half, with at most one request on each.
  assert.ok(errors <= 5 * LOAD, `${errors}`)
  t.diagnostic(`${statuses.get(200)} answered, ${errors} broken off by 5 deaths`)
})

test('SIGTERM: what was asked is answered by all workers, and nothing is left', async (t) => {
  const edge = await start(t)
  const load = startLoad(t, edge, edge.issue())
  await delay(500)
  const all = descendants(edge.gateway.process.pid ?? 0)
  const began = performance.now()
  await edge.gateway.stop()
  const took = performance.now() - began
  const { statuses } = await load.stop()
  assert.equal(edge.gateway.process.exitCode, 0)
  assert.ok(took < 4000, `${took} ms`)
  assert.deepEqual([...statuses.keys()], [200])
  await allGone(all)
  assert.doesNotMatch(edge.gateway.log, /replaced|in time/)
})

test('T118: a gateway does not begin while a worker of the one before is there, and takes up what it left', async (t) => {
  const reports: Report[] = []
  let isAway = true
  const url = await listen(t, async (incoming) => {
    const statement = await text(incoming)
    if (isAway) return undefined
    reports.push(await verifyReport(statement, async () => enrolmentOf(edge).jwk))
    return ''
  })
  const edge = await start(t, { config: { sentinel: url } })
  await new Connections(t).ask(edge, (n) => ({ authorization: `Bearer ${edge.issue({ claims: { n } })}` }))
  await delay(100)
  const [one = 0, other = 0] = workersOf(edge)
  process.kill(one, 'SIGSTOP')
  await edge.gateway.stop('SIGKILL')
  await eventually(() => !isThere(other))
  await assert.rejects(
    startGatewayProcess(edge.configFile),
    /is in use by another gateway, or by what is left/,
  )
  process.kill(one, 'SIGKILL')
  const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
  // Of one process this time.
  writeFileSync(edge.configFile, JSON.stringify({ ...usual, workers: 1 }))
  isAway = false
  const next = await startGatewayProcess(edge.configFile)
  await eventually(() => reports.flatMap(({ sightings }) => sightings).length === 4 * WORKERS)
  await next.stop()
})

test('T118: nobody begins beside a gateway in whose name it would acknowledge, of whatever kind', async (t) => {
  const tried = [1, 2].map(async (workers) => {
    const edge = await start(t, { config: { workers } })
    const usual = JSON.parse(readFileSync(edge.configFile, 'utf8'))
    const others = [1, 2].map((own) => {
      const file = `${edge.configFile}.${own}`
      writeFileSync(file, JSON.stringify({ ...usual, workers: own }))
      return assert.rejects(startGatewayProcess(file), /is in use by another/)
    })
    await Promise.all(others)
    const answer = await ask(edge.gateway.port, [], { path: '/auth' })
    assert.equal(answer.headers['x-countersign-reason'], 'token_missing')
    await edge.gateway.stop('SIGKILL')
    await (await startGatewayProcess(edge.configFile)).stop()
  })
  await Promise.all(tried)
})

test('T263 thousands of requests at a time, round after round, leave nothing in the heap of any worker', async (t) => {
  const edge = await start(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 2000 })
  t.after(() => agent.destroy())
  const tokens = Array.from({ length: 200 }, (_, n) => edge.issue(n % 2 === 0 ? {} : { receipt: null }))
  /** Of each worker, once it has collected what nobody holds. */
  async function heaps(): Promise<number[]> {
    const before = edge.gateway.log.length
    for (const pid of workersOf(edge)) process.kill(pid, 'SIGUSR2')
    await eventually(() => edge.gateway.log.slice(before).split('collected').length > WORKERS)
    return Promise.all(
      [1, 2].map((worker) => numberOf(edge, `countersign_gateway_worker_heap_bytes{worker="${worker}"}`)),
    )
  }
  const sizes: number[][] = []
  for (let round = 0; round < 6; round++) {
    const answers = await Promise.all(
      Array.from({ length: 2000 }, (_, n) =>
        answerOf(edge.gateway.port, agent, { authorization: `Bearer ${tokens[n % tokens.length]}` }),
      ),
    )
    assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1000)
    sizes.push(await heaps())
  }
  // What is still on its way to the sentinel then is gone when nobody asks any more.
  sizes.push(await heaps())
  t.diagnostic(
    `heaps after each round of 2000, MB: ${sizes.map((each) => each.map((size) => (size / 1e6).toFixed(1)).join(' + ')).join(', ')}`,
  )
  for (const worker of [0, 1]) {
    const [, , third = 0, ...later] = sizes.map((each) => each[worker] ?? 0)
    assert.ok(Math.min(...later) < third + 1e6, sizes.join())
  }
})

const LOAD = 20

function startLoad(t: TestContext, edge: Edge, token: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: LOAD })
  t.after(() => agent.destroy())
  const statuses = new Map<number, number>()
  let errors = 0
  let isStopped = false
  const running = Array.from({ length: LOAD }, async () => {
    while (!isStopped) {
      try {
        const { statusCode = 0 } = await answerOf(edge.gateway.port, agent, {
          authorization: `Bearer ${token}`,
        })
        statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1)
      } catch {
        errors++
        await delay(20)
      }
    }
  })
  return {
    stop: async () => {
      isStopped = true
      await Promise.all(running)
      return { statuses, errors }
    },
  }
}

function isThere(pid: number): boolean {
  try {
    // Of a process that nobody has waited for yet there is a name and nothing else.
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''
  } catch {
    return false
  }
}

/** Answers 200 with a text; 503 where there is none. */
async function listen(
  t: TestContext,
  answer: (incoming: IncomingMessage) => Promise<string | undefined>,
): Promise<string> {
  const server: Server = createServer(async (incoming, response) => {
    const body = await answer(incoming)
    response.writeHead(body === undefined ? 503 : 200).end(body ?? '')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
