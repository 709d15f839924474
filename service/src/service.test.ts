/**
 * Goal: a service starts and stops as whoever runs it expects, says nothing secret, and answers bad requests alike.
 * Method: a small service as a process of its own, with and without a parent that listens; and its server in memory.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import { createHttp, createLog } from './service.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-service-'))
after(() => rmSync(folder, { recursive: true }))
const config = join(folder, 'config.json')
writeFileSync(config, '{"port": 0}')

/** A program that runs a service; `start` is the body of its start. */
function program(start: string): string {
  const main = join(folder, `${Math.random()}.ts`)
  const service = JSON.stringify(import.meta.resolve('./service.ts'))
  const zod = JSON.stringify(import.meta.resolve('zod'))
  const source = `import { runService } from ${service}
    import { z } from ${zod}
    await runService('sample', z.strictObject({ port: z.int() }), async (config, log) => { ${start} })`
  writeFileSync(main, source)
  return main
}

const living = `const timer = setInterval(() => {}, 60_000)
  return { ready: { url: 'http://localhost' }, stop: async () => clearInterval(timer) }`

function forked(start: string, args: readonly string[] = ['--config', config]): ChildProcess {
  return fork(program(start), args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
}

test('a service tells its parent that it answers, and stops with 0 when told to or left alone', async () => {
  for (const leave of [
    (child: ChildProcess) => child.kill('SIGTERM'),
    (child: ChildProcess) => child.kill('SIGINT'),
    (child: ChildProcess) => child.disconnect(),
  ]) {
    const child = forked(living)
    assert.deepEqual(await once(child, 'message'), [{ ready: { url: 'http://localhost' } }, undefined])
    leave(child)
    assert.deepEqual(await once(child, 'exit'), [0, null])
  }
})

test('a service that can reloads on SIGHUP, as often as it is told to, and lives on when that fails', async () => {
  const child = forked(`const timer = setInterval(() => {}, 60_000)
    let reloads = 0
    return { ready: {}, stop: async () => clearInterval(timer), reload: async () => {
      process.send({ reloads: ++reloads })
      if (reloads === 1) throw new Error('the file is half written')
    } }`)
  await once(child, 'message')
  for (const reloads of [1, 2]) {
    child.kill('SIGHUP')
    assert.deepEqual(await once(child, 'message'), [{ reloads }, undefined])
  }
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
})

test('a service whose parent goes away before it answers does not outlive it', async () => {
  const child = forked(`log.error('starting'); await new Promise(() => setInterval(() => {}, 60_000))`)
  await once(child.stderr ?? child, 'data')
  child.disconnect()
  assert.deepEqual(await once(child, 'exit'), [1, null])
})

test('without a parent it says on standard output that it answers', async () => {
  const child = spawn(process.execPath, [program(living), '--config', config])
  const [line] = await once(child.stdout, 'data')
  assert.equal(String(line), '{"ready":{"url":"http://localhost"}}\n')
  child.kill()
  assert.deepEqual(await once(child, 'exit'), [0, null])
})

test('T239 a service that cannot start ends with 1 and one line that says why', async () => {
  for (const [start, args, complaint] of [
    [living, [], 'sample needs --config FILE'],
    [living, ['--config', 'none.json'], 'there is no file none.json'],
    ['throw new Error("the socket is taken")', ['--config', config], 'the socket is taken'],
  ] as const) {
    const child = forked(start, args)
    const [written] = await Promise.all([text(child.stderr as Readable), once(child, 'exit')])
    const { level, name, error, msg } = JSON.parse(written)
    assert.deepEqual([level, name, error, msg], [60, 'sample', complaint, 'could not start'])
    assert.equal(child.exitCode, 1)
  }
})

test('T237 what could hold a credential is cut from the log, whoever writes it', async () => {
  const start = `
    const secret = 'hunter2'
    log.warn({ it: { authorization: secret, cookie: secret, token: secret, client_secret: secret, password: secret } })
    log.warn({ authorization: secret, cookie: secret, token: secret, client_secret: secret, password: secret })
    log.warn({ req: { headers: { any: secret } } })
    process.exit(0)`
  const child = forked(start)
  const [written] = await Promise.all([text(child.stderr as Readable), once(child, 'exit')])
  assert.equal(written.trim().split('\n').length, 3)
  assert.doesNotMatch(written, /hunter2/)
})

test('bad requests are answered alike, and what failed inside stays inside', async () => {
  const log = createLog('sample')
  log.level = 'silent'
  const http = createHttp(log)
  http.post('/echo', ({ body }) => ({ body }))
  http.get('/fail', () => {
    throw new Error('the password is hunter2')
  })
  const missing = await http.inject('/none')
  assert.deepEqual([missing.statusCode, missing.json().error], [404, 'not_found'])
  const broken = await http.inject({
    method: 'POST',
    url: '/echo',
    body: '{',
    headers: { 'content-type': 'application/json' },
  })
  assert.deepEqual([broken.statusCode, broken.json().error], [400, 'invalid_request'])
  const large = await http.inject({ method: 'POST', url: '/echo', body: { text: 'x'.repeat(2 ** 20) } })
  assert.equal(large.statusCode, 413)
  const failed = await http.inject('/fail')
  assert.equal(failed.statusCode, 500)
  assert.deepEqual(failed.json(), { error: 'server_error', error_description: 'the request failed here' })
  for (const { headers } of [missing, broken, large, failed]) {
    assert.ok(!('server' in headers) && !('x-powered-by' in headers))
  }
  await http.close()
})
