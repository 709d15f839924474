/**
 * Goal: who has an application of one's own puts it behind the running system by the pages alone. Method: docs/proxies/README.md
 * step by step, its file and its commands as they stand there, with Debian's nginx by the page of nginx; then a kill.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { startSystem } from '@countersign/cli/client'
import { countersign, run } from '../cli/src/testing.ts'
import { root } from '../tools/source.ts'
import { blocksOf } from './blocks.ts'
import { findProgram, startNginx } from './edge.ts'
import { freePort } from './ports.ts'

const page = 'docs/proxies/README.md'

test('an application of one’s own behind nginx: its own audience in, another out, and nobody after a kill', async (t: TestContext) => {
  const nginx = findProgram('nginx')
  if (nginx === undefined || findProgram('jq') === undefined || findProgram('curl') === undefined)
    return t.skip('nginx, jq or curl is missing')
  const folder = mkdtempSync(join(tmpdir(), 'countersign-application-'))
  // Not where secrets lie: it belongs to whom nginx runs as.
  const home = mkdtempSync(join(tmpdir(), 'countersign-nginx-'))
  const ends: (() => unknown)[] = [
    () => rmSync(folder, { recursive: true }),
    () => rmSync(home, { recursive: true }),
  ]
  t.after(async () => {
    for (const end of ends.reverse()) await end()
  })
  const config = join(folder, 'countersign.json')
  const [file = ''] = blocksOf(page, 'json')
  // A route, since canaries after a kill come by none.
  const written = JSON.parse(file)
  written.gateway.routes = [{ host: '127.0.0.1', path: '/' }]
  writeFileSync(config, JSON.stringify(written))
  const data = join(folder, '.countersign')
  const system = await startSystem(data, { args: ['--config', config], logLevel: 'error' })
  ends.push(() => system.stop())

  const seen: IncomingMessage[] = []
  const application = createServer((request, response) => {
    seen.push(request)
    response.end(`hello ${request.headers['x-auth-subject']}\n`)
  }).listen(0, '127.0.0.1')
  await once(application, 'listening')
  ends.push(() => application.close().closeAllConnections())
  const ports = {
    gateway: Number(new URL(system.ready.gateway.url).port),
    application: (application.address() as AddressInfo).port,
    proxy: await freePort(),
  }
  const proxy = await startNginx(nginx, ports, join(home, 'nginx'))
  ends.push(() => proxy.stop())

  const commands = blocksOf(page, 'sh').at(-1)?.replaceAll(':8000', `:${ports.proxy}`) ?? ''
  const bash = async (script: string): Promise<string> =>
    (await promisify(execFile)('bash', ['-ec', script], { cwd: folder })).stdout
  const said = await bash(commands)
  assert.deepEqual(said.match(/(?<=^HTTP\/1.1 )\d+/gm), ['401', '200', '403'], said)
  assert.deepEqual(said.match(/(?<=^X-Countersign-Reason: )\w+/gim), ['token_missing', 'audience_mismatch'])
  assert.match(said, /hello consumer-service/)
  assert.equal(seen.length, 1)
  assert.equal(seen[0]?.headers['x-auth-scope'], 'read')

  const ready = ['--ready', join(data, 'ready.json')]
  const { stdout: keys } = await countersign(['key', 'list', ...ready])
  const [, kid = ''] = /^(\S+) +consumer +active/m.exec(keys) ?? []
  const killed = await countersign(['key', 'block', `--kid=${kid}`, '--reason', 'a test', ...ready])
  assert.equal(killed.code, 0, killed.stdout + killed.stderr)
  assert.match(killed.stdout, /gateway +refused +key_blocked/)

  const drill = await run(join(root, 'drill/src/main.ts'), ['--ready-file', join(data, 'ready.json')])
  assert.equal(drill.code, 2)
  assert.match(drill.stderr, /^drill: the gateway there asks for https:\/\/application.example/)
})

test('the page of nginx says how many lines its block has', () => {
  const [block = ''] = blocksOf('docs/proxies/nginx.md', 'nginx')
  const text = readFileSync(join(root, 'docs/proxies/nginx.md'), 'utf8')
  const [, all, before, more] = /has (\d+) lines: those (\d+), and (\d+) that/.exec(text) ?? []
  assert.equal(Number(all), block.trimEnd().split('\n').length)
  assert.equal(Number(before) + Number(more), Number(all))
})
