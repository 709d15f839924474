/**
 * What the tests of proxies stand on: a world of trust, its authority, a gateway that is a process of its own, an
 * application that remembers what it was asked, and a proxy of this machine that is set up by the very files that
 * docs/proxies shows.
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { root } from '../tools/source.ts'
import { type FakeAuthority, startFakeAuthority } from '../validator/src/fake-authority.ts'
import { createTestKey, createTestWorld, mailAudience, type TestWorld } from '../validator/src/testing.ts'

export interface Gateway {
  readonly port: number
  /** What it said when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>
  readonly process: ChildProcess
  /** What it wrote on standard error. */
  readonly log: string
  stop(signal?: NodeJS.Signals): Promise<void>
}

export interface Edge {
  readonly folder: string
  readonly world: TestWorld
  readonly authority: FakeAuthority
  readonly gateway: Gateway
  /** What reached the application. */
  readonly application: { readonly port: number; readonly requests: IncomingMessage[] }
  /** The file that the gateway was started with. */
  readonly configFile: string
  /** A good token, of now. */
  issue(order?: Parameters<TestWorld['issue']>[0]): string
  /** Publishes that the key which signs them is revoked, and gives when. */
  kill(): number
  stop(): Promise<void>
}

export interface EdgeOptions {
  /** Laid over the gateway's usual configuration. */
  readonly config?: Readonly<Record<string, unknown>>
  /** What the gateway's file of those who introspect says, */
  readonly clients?: readonly object[]
  /** How long ago the authority made its manifest and vouched for it. Left out: just now. */
  readonly vouchedSecondsAgo?: number
}

export async function startEdge({
  config = {},
  clients = [],
  vouchedSecondsAgo = 0,
}: EdgeOptions = {}): Promise<Edge> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-edge-'))
  const world = createTestWorld({ now: seconds() - vouchedSecondsAgo })
  const authority = await startFakeAuthority(world)
  const application = await startApplication()
  const key = createTestKey('EdDSA')
  const write = (name: string, content: object): string => {
    writeFileSync(join(folder, name), JSON.stringify(content, undefined, 2), { mode: 0o600 })
    return join(folder, name)
  }
  const configFile = write('gateway.json', {
    listen: { port: 0 },
    realms: ['consumer'],
    audience: mailAudience,
    authority: authority.url,
    trust_anchor: write('trust-anchor.json', world.trustAnchor),
    state: join(folder, 'gateway'),
    enrolment: { name: 'gateway', key: write('enrolment.json', key.privateKey.export({ format: 'jwk' })) },
    introspection_clients: write('clients.json', { clients }),
    ...config,
  })
  const gateway = await startGatewayProcess(configFile)
  return {
    folder,
    world,
    authority,
    gateway,
    application,
    configFile,
    issue: (order) => {
      world.now = seconds()
      return world.issue(order)
    },
    kill: () => {
      world.now = seconds()
      world.setState(world.keys.consumer.kid, 'revoked')
      authority.push()
      return performance.now()
    },
    stop: async () => {
      await gateway.stop()
      await authority.stop()
      application.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** On SIGUSR2 the garbage is collected, and `collected` written on standard error. */
const collector = `data:text/javascript,process.on('SIGUSR2', () => { gc(); console.error('collected') })`

export async function startGatewayProcess(configFile: string): Promise<Gateway> {
  const args = [
    '--expose-gc',
    '--import',
    collector,
    join(root, 'gateway/src/main.ts'),
    '--config',
    configFile,
  ]
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const ended = once(child, 'exit')
  const ready = await Promise.race([
    once(child.stdout.setEncoding('utf8'), 'data'),
    ended.then(() => undefined),
  ])
  if (ready === undefined) throw new Error(`the gateway did not start: ${log}`)
  const said = JSON.parse(String(ready[0])).ready
  return {
    port: Number(new URL(said.url).port),
    ready: said,
    process: child,
    get log() {
      return log
    },
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      await ended
    },
  }
}

async function startApplication(): Promise<Edge['application'] & { stop(): void }> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    request.resume()
    response.end('the application')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    stop: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** A program of this machine; undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/local/sbin']
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file))
}

/** A block of a page in docs/proxies: the first in this language. */
export function blockOf(page: string, language: string): string {
  const text = readFileSync(join(root, 'docs/proxies', page), 'utf8')
  const block = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms').exec(text)?.[1]
  if (block === undefined) throw new Error(`${page} shows no ${language}`)
  return block
}

export interface ProxyPorts {
  readonly gateway: number
  readonly application: number
  readonly proxy: number
}

/** Such a block, with the addresses of a test in the place of its own. */
export function pageFile(page: string, language: string, ports: ProxyPorts, folder = ''): string {
  const program = page.replace('.md', '')
  return blockOf(page, language)
    .replaceAll('127.0.0.1:8404', `127.0.0.1:${ports.gateway}`)
    .replaceAll('127.0.0.1:3000', `127.0.0.1:${ports.application}`)
    .replaceAll(':8000', `:${ports.proxy}`)
    .replaceAll(new RegExp(`/etc/${program}2?`, 'g'), folder)
}

/** nginx, by the file of its page. */
export function startNginx(program: string, ports: ProxyPorts, folder: string): Promise<Server> {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join(' ')
  const files = {
    'nginx.conf': `daemon off; worker_processes 2; pid ${folder}/pid; error_log stderr;
      events {} http { access_log off; ${temporary} include ${folder}/application.conf; }`,
    'application.conf': pageFile('nginx.md', 'nginx', ports),
  }
  return startServer(program, ports.proxy, folder, files, ['-c', join(folder, 'nginx.conf'), '-e', 'stderr'])
}

export interface Server {
  readonly port: number
  readonly output: string
  stop(): Promise<void>
}

/**
 * Starts a program in the foreground, by files that `write` gives, and waits until it answers on `port`. Where this process
 * is root, it runs as nobody.
 */
export async function startServer(
  program: string,
  port: number,
  folder: string,
  files: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<Server> {
  mkdirSync(folder, { mode: 0o700 })
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
  if (nobody.uid !== undefined) {
    chownSync(dirname(folder), nobody.uid, nobody.gid)
    for (const name of ['.', ...globSync('**/*', { cwd: folder })])
      chownSync(join(folder, name), nobody.uid, nobody.gid)
  }
  const child = spawn(program, args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: folder },
    ...nobody,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const ended = once(child, 'exit')
  await Promise.race([
    listens(port),
    ended.then(() => Promise.reject(new Error(`${program} did not start: ${output}`))),
  ])
  return {
    port,
    get output() {
      return output
    },
    stop: async () => {
      child.kill('SIGTERM')
      await ended
    },
  }
}

const POLL_MILLISECONDS = 20
const PATIENCE_MILLISECONDS = 15_000

async function listens(port: number): Promise<void> {
  for (const endsAt = performance.now() + PATIENCE_MILLISECONDS; performance.now() < endsAt; ) {
    const socket = connect(port, '127.0.0.1')
    const answered = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (answered) return
    await delay(POLL_MILLISECONDS)
  }
  throw new Error(`nobody listens on ${port}`)
}

/** One request on a connection of its own, its headers as they are given. */
export async function ask(
  port: number,
  headers: readonly string[],
  { path = '/', method = 'GET', host = 'application.example' } = {},
): Promise<IncomingMessage> {
  const all = ['Host', host, ...headers, 'Connection', 'close']
  const outgoing = request({ host: '127.0.0.1', port, path, method, agent: false, headers: all })
  outgoing.end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  answer.resume()
  if (!answer.complete) await once(answer, 'end').catch(() => {})
  return answer
}

export function bearer(token: string): readonly string[] {
  return ['Authorization', `Bearer ${token}`]
}

function seconds(): number {
  return Math.floor(Date.now() / 1000)
}
