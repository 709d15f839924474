/**
 * Goal: whoever follows a quick start ends where it says. Method: the code blocks of each page are taken out, compiled
 * together with the frameworks' own types, and run as they stand beside a system that was started for it; only ports are put
 * in, since others may hold those of the page. The commands of a page say behind a `#` what they are answered.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { type RunningSystem, startSystem } from '../cli/src/client.ts'
import { root } from '../tools/source.ts'
import { blocksOf, compilePrograms, prepareFolder } from './blocks.ts'
import { freePort } from './ports.ts'

const pages = ['express', 'fastify', 'hono', 'koa', 'node', 'websocket', 'sse', 'bound', 'edge'] as const
type Page = (typeof pages)[number]

const PAGE_LINES_MAX = 65
/** Twice what the page says. */
const REFRESH_MILLISECONDS_MAX = 4000
/** Of the sample, where nobody asked for others. */
const portsOfThePage = { authority: 'http://localhost:8402', sentinel: 'http://localhost:8406' } as const

const folder = mkdtempSync(join(tmpdir(), 'countersign-quickstart-'))
const run = promisify(execFile)
const path = `${join(root, 'node_modules/.bin')}:${process.env['PATH']}`

interface Started {
  readonly port: number
  readonly cwd: string
  readonly child: ChildProcess
}

let system: RunningSystem
let token: string
const servers = new Map<Page, Started>()

before(async () => {
  prepareFolder(folder)
  system = await startSystem(join(folder, '.countersign'), { logLevel: 'error' })
  const [enrol = '', obtain = ''] = blocks('README', 'sh')
  await bash(enrol, folder)
  token = await bash(`${obtain}\nprintf %s "$token"`, folder)
  for (const page of pages) layOut(page)
  mkdirSync(join(folder, 'migration'))
  for (const [at, code] of blocks('../migration/express-oauth2-jwt-bearer', 'ts').entries())
    writeFileSync(join(folder, 'migration', `${at}.ts`), code)
})
after(async () => {
  for (const { child } of servers.values()) child.kill()
  await system?.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('each page fits on one, and is code for the most part that compiles with the types of its framework', () => {
  for (const page of ['README', ...pages])
    assert.ok(read(page).split('\n').length <= PAGE_LINES_MAX, `${page} is longer than a page`)
  compilePrograms(folder)
})

for (const page of ['express', 'fastify', 'hono', 'koa', 'node', 'edge'] as const) {
  test(`${page}: the server of the page answers as the page says`, async () => {
    await start(page)
    await answersAsSaid(page)
  })
}

test('T066 T150 T156: the client of the page of bound tokens is admitted with its proof, and with nothing less', async () => {
  const { port, cwd } = await start('bound')
  const [command = ''] = blocks('bound', 'sh')
  const [, obtain = ''] = blocks('README', 'sh')
  const client = obtain.replace(/^ready=.*$/m, `ready=${join(folder, '.countersign/ready.json')}`)
  const [said] = blocks('bound', 'text')
  assert.equal(await bash(`${client}\n${command.replace('3000', String(port))}`, cwd), said)
})

test('T252: the socket and the stream of the pages end once the key is blocked, and every server refuses', async () => {
  const [socket, stream] = await Promise.all([follow('websocket'), follow('sse')])
  assert.match(await socket.line(), /: hello$/)
  assert.match(await stream.line(), /^event: time$/)
  const kid = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid
  await run('countersign', ['key', 'block', `--kid=${kid}`, '--reason', 'to see it end'], inFolder(folder))
  await socket.until('closed: 1008 key_blocked')
  await stream.until('data: {"reason":"key_blocked"}')
  for (const page of ['express', 'fastify', 'hono', 'koa', 'node'] as const) {
    const { status, reason } = await curl(`-H "authorization: Bearer $token" http://localhost:3000/me`, page)
    assert.deepEqual([page, status, reason], [page, 401, 'key_blocked'])
  }
  await knownAtEdge(Date.now() + REFRESH_MILLISECONDS_MAX)
})

/** An edge hears of nothing: it asks again after so long. */
async function knownAtEdge(deadline: number): Promise<void> {
  const { status, reason } = await curl(`-H "authorization: Bearer $token" http://localhost:3000/me`, 'edge')
  if (status === 200 && Date.now() < deadline) return knownAtEdge(deadline)
  assert.deepEqual([status, reason], [401, 'key_blocked'])
}

/** Everything that a page asks for, in a folder of its own. */
function layOut(page: Page): void {
  const cwd = join(folder, page)
  mkdirSync(cwd)
  cpSync(join(folder, 'notes'), join(cwd, 'notes'), { recursive: true })
  const [validator = ''] = blocks('README', 'ts')
  const { authority, sentinel } = system.ready
  const here = (code: string): string =>
    code.replace(portsOfThePage.authority, authority.url).replace(portsOfThePage.sentinel, sentinel.url)
  writeFileSync(join(cwd, 'validator.ts'), here(validator))
  const programs = [...blocks(page, 'ts')]
  if (page === 'edge') writeFileSync(join(cwd, 'worker.ts'), here(programs.shift() ?? ''))
  const [server = '', client] = programs
  writeFileSync(join(cwd, 'server.ts'), server)
  if (client !== undefined) writeFileSync(join(cwd, 'client.ts'), client)
}

/** Starts the page's server on a port that is free, and waits until it says that it listens. */
async function start(page: Page): Promise<Started> {
  const port = await freePort()
  const cwd = join(folder, page)
  for (const file of ['server.ts', 'client.ts'].filter((name) => existsSync(join(cwd, name))))
    writeFileSync(join(cwd, file), readFileSync(join(cwd, file), 'utf8').replaceAll('3000', String(port)))
  const options = page === 'edge' ? ['--conditions=countersign-web'] : []
  const child = spawn(process.execPath, [...options, 'server.ts'], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const started = { port, cwd, child }
  servers.set(page, started)
  const [line] = await once(createInterface(child.stdout), 'line')
  assert.equal(line, `http://localhost:${port}`)
  return started
}

/** Runs each command of the page, and compares with what stands behind it. */
async function answersAsSaid(page: Page): Promise<void> {
  const lines = blocks(page, 'sh').join('').trim().split('\n')
  assert.ok(lines.length >= 5)
  for (const line of lines) {
    const [, command, said] = /^curl -i (.*?) +# (.*)$/.exec(line) ?? []
    assert.ok(command !== undefined, `${page}: ${line} does not say what it is answered`)
    const { status, reason } = await curl(command, page)
    assert.equal([status, reason].filter((word) => word !== undefined).join(' '), said, `${page}: ${line}`)
  }
}

async function curl(command: string, page: Page): Promise<{ status: number; reason: string | undefined }> {
  const { port, cwd } = servers.get(page) as Started
  const answer = await bash(`curl -si ${command.replace('3000', String(port))}`, cwd)
  const [, status] = /^HTTP\/1\.1 (\d+)/.exec(answer) ?? []
  const [, reason] = /^x-countersign-reason: (\w+)/im.exec(answer) ?? []
  return { status: Number(status), reason }
}

/** Starts a page's server and runs its one command, which goes on; gives what that says. */
async function follow(page: 'websocket' | 'sse') {
  const { port, cwd } = await start(page)
  const command = blocks(page, 'sh').join('').trim().replace('3000', String(port))
  const child = spawn('bash', ['-c', `exec ${command}`], {
    ...inFolder(cwd),
    // What curl says there is how fast it goes.
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const line = async (): Promise<string> => (await lines.next()).value ?? assert.fail(`${page} said no more`)
  const until = async (last: string): Promise<void> => {
    while ((await line()) !== last);
  }
  return { line, until }
}

function inFolder(cwd: string): { readonly cwd: string; readonly env: Record<string, string> } {
  return { cwd, env: { PATH: path, HOME: folder, token: token ?? '' } }
}

async function bash(commands: string, cwd: string): Promise<string> {
  // What `npx` finds in the folder is on the path here.
  const local = commands.replaceAll('npx countersign', 'countersign')
  return (await run('bash', ['-euo', 'pipefail', '-c', local], inFolder(cwd))).stdout
}

function blocks(page: string, language: string): readonly string[] {
  return blocksOf(`docs/quickstart/${page}.md`, language)
}

function read(page: string): string {
  return readFileSync(join(root, 'docs/quickstart', `${page}.md`), 'utf8')
}
