/**
 * Goal: what is published is what a stranger needs, all of it and nothing else. Method: the package is compiled and packed as
 * npm would publish it, and installed from that archive alone, without a registry, into a project that knows nothing of ours. It
 * compiles there as strictly as it goes, runs on every Node that this machine has, and decides about tokens of a running
 * authority, until their key is revoked.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { startFakeAuthority } from '@countersign/validator/fake-authority'
import { createTestKey, createTestWorld } from '@countersign/validator/testing'
import { build } from 'esbuild'
import { folder as apiFolder, apiPages, undocumented } from '../tools/api.ts'
import { buildPackage, entries, NODE_OLDEST, packPackage } from '../tools/release.ts'
import { root } from '../tools/source.ts'
import { blocksOf } from './blocks.ts'

/** What the entry that decides may weigh, minified: everything that a verdict over a token of ours takes. */
const CORE_BYTES_MAX = 25_000
/** What an adapter may add to the guard that it stands on. */
const ADAPTER_BYTES_MAX = 2_000
/** With it come the checks of charters and manifests, and everything that follows the authority. */
const CONNECTED_BYTES_MAX = 80_000
/** Besides that, what a runtime without Node's cryptography does itself; less the streams and files, which it does not have. */
const EDGE_BYTES_MAX = 75_000

const folder = mkdtempSync(join(tmpdir(), 'countersign-release-'))
after(() => rmSync(folder, { recursive: true }))
const project = join(folder, 'project')
const readme = 'validator/release/README.md'
const built = buildPackage(join(folder, 'package'))
const archive = packPackage(built, folder)
install()

test('release: the package has no dependency, and nothing in it that is not for users', () => {
  const manifest = JSON.parse(readFileSync(join(built.folder, 'package.json'), 'utf8'))
  assert.equal(manifest.dependencies, undefined)
  assert.equal(manifest.devDependencies, undefined)
  assert.equal(manifest.private, undefined)
  assert.equal(manifest.scripts, undefined, 'nothing runs when it is installed')
  assert.deepEqual(manifest.publishConfig, { access: 'public', provenance: true })
  assert.ok(
    Object.values(manifest.peerDependenciesMeta).every((meta) => (meta as { optional?: boolean }).optional),
  )
  const packed = execFileSync('tar', ['-tzf', archive], { encoding: 'utf8' }).trim().split('\n')
  assert.deepEqual(packed.map((file) => file.slice('package/'.length)).sort(), built.files)
  const modules = built.files.filter((file) => file.endsWith('.js'))
  assert.deepEqual(
    built.files.filter((file) => !/^lib\/[\w-]+\.(js|js\.map|d\.ts)$/.test(file)),
    ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
  )
  assert.deepEqual(
    modules.filter((file) => /\.test\.|fake-/.test(file)),
    [],
  )
  // npm installed that package and no other.
  const lock = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  assert.deepEqual(Object.keys(lock.packages), ['', 'node_modules/@countersign/validator'])
})

test('release: what the README links exists, and in the package no link leads out of it', () => {
  const source = readFileSync(join(root, readme), 'utf8')
  const links = [...source.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, link = '']) => link)
  assert.ok(links.length > 0)
  assert.deepEqual(
    links.filter((link) => !existsSync(join(root, dirname(readme), link))),
    [],
  )
  const packed = readFileSync(join(built.folder, 'README.md'), 'utf8')
  assert.doesNotMatch(packed, /\]\((?!https?:)/)
  assert.match(packed, /express-oauth2-jwt-bearer \(`docs\/migration\/express-oauth2-jwt-bearer\.md`\)/)
})

test('release: what is internal cannot be imported', async () => {
  for (const inside of ['verdict', 'jws', 'fake-authority', 'lib/verdict.js', 'src/index.ts']) {
    const script = `import('@countersign/validator/${inside}').then(() => 'imported', ({ code }) => code).then(console.log)`
    const told = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
      cwd: project,
      encoding: 'utf8',
    })
    assert.equal(told.trim(), 'ERR_PACKAGE_PATH_NOT_EXPORTED', inside)
  }
})

test('release: a stranger compiles against it with every check on, and a handler without a validated token does not', () => {
  compileOnce()
  // The lines that must not compile are told apart by the compiler itself: without their marks it finds exactly them.
  const mailbox = join(project, 'mailbox.ts')
  const marked = readFileSync(mailbox, 'utf8')
  writeFileSync(mailbox, marked.replaceAll('// @ts-expect-error', '//'))
  assert.throws(
    () => compile(['--noEmit']),
    ({ stdout }: { readonly stdout: string }) => {
      const found = stdout.match(/^mailbox\.ts\(\d+,\d+\): error TS\d+/gm)
      assert.equal(found?.length, marked.match(/@ts-expect-error/g)?.length, stdout)
      return true
    },
  )
})

test('release: the README compiles there, and its test says what it says', () => {
  compileOnce()
  const blocks = blocksOf(readme, 'ts')
  const tested = blocks.findIndex((code) => code.includes('createTestWorld'))
  const said = [...(blocks[tested] ?? '').matchAll(/^console\.log\(.*\/\/ (.*)$/gm)].map(([, words]) => words)
  const told = execFileSync(process.execPath, [join(project, `out/readme-${tested}.js`)], {
    encoding: 'utf8',
  })
  assert.deepEqual(told.trim().split('\n'), said)
})

const everyEntryDecides = {
  decided: ['user-1', 'receipt_missing', 'malformed'],
  thrown: 'malformed',
  made: true,
  later: ['user-1', '401', 'user-1', 'receipt_missing'],
  entries: ['function', 'function', 'function', 'function'],
}

test(`release: every entry does without what came to Node after ${NODE_OLDEST}, which its types tell nothing of`, () => {
  compileOnce()
  const removal = encodeURIComponent(`
    for (const each of [Blob, Request, Response]) delete each.prototype.bytes
    delete URL.parse
    delete globalThis.URLPattern
    delete globalThis.WebSocket
    delete globalThis.navigator
  `)
  const told = execFileSync(
    process.execPath,
    ['--import', `data:text/javascript,${removal}`, join(project, 'out/entries.js')],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  )
  assert.deepEqual(JSON.parse(told), everyEntryDecides)
})

test('release: who writes CommonJS requires every entry', () => {
  const names = Object.keys(entries).map((path) => path.replace('.', '@countersign/validator'))
  const script = `console.log(${JSON.stringify(names)}.every((name) => Object.keys(require(name)).length > 0))`
  const told = execFileSync(process.execPath, ['--input-type=commonjs', '--eval', script], {
    cwd: project,
    encoding: 'utf8',
  })
  assert.equal(told.trim(), 'true')
})

for (const { path, version } of nodes()) {
  test(`release: on Node ${version} every entry is there and decides`, () => {
    compileOnce()
    const script = [join(project, 'out/entries.js')]
    const told = JSON.parse(
      execFileSync(path, script, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    )
    assert.deepEqual(told, everyEntryDecides)
  })

  test(`release: on Node ${version} an edge function decides by a running authority, with WebCrypto alone or Node's`, async (context) => {
    compileOnce()
    const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
    const authority = await startFakeAuthority(world)
    context.after(() => authority.stop())
    writeFileSync(join(project, 'trust-anchor.json'), JSON.stringify(world.trustAnchor))
    const good = world.issue()
    const twisted = `${good.slice(0, -4)}AAAA`
    const tokens = [good, world.issue({ receipt: null }), twisted, world.issue({ claims: { scope: 'x' } })]
    const run = [join(project, 'out/edge.js'), authority.url, project, ...tokens]
    for (const [by, options] of [
      ['by the web', ['--conditions=countersign-web']],
      ['by Node', []],
    ] as const) {
      const { stdout } = await promisify(execFile)(path, [...options, ...run])
      const answers = [
        '200 accepted',
        '401 receipt_missing',
        '401 signature_invalid',
        '403 insufficient_scope',
      ]
      assert.deepEqual(stdout.trim().split('\n'), [...answers, by])
    }
    const asked = ['GET /manifest', 'GET /charter/1']
    assert.deepEqual(authority.requests, [...asked, ...asked])
  })

  test(`release: on Node ${version} a service decides by a running authority, until a key is revoked`, async () => {
    compileOnce()
    const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
    const authority = await startFakeAuthority(world)
    const enrolment = join(project, 'enrolment.json')
    rmSync(enrolment, { force: true })
    writeFileSync(enrolment, JSON.stringify(createTestKey('EdDSA').privateKey.export({ format: 'jwk' })), {
      mode: 0o600,
    })
    writeFileSync(join(project, 'trust-anchor.json'), JSON.stringify(world.trustAnchor))
    const service = spawn(path, [join(project, 'out/main.js'), authority.url, project], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const url = await firstLine(service)
      const ask = (token: string): Promise<Response> =>
        fetch(url, { headers: { authorization: `Bearer ${token}` } })
      const good = world.issue()
      const answer = await ask(good)
      assert.deepEqual([answer.status, await answer.json()], [200, { of: 'user-1', scopes: ['mail.read'] }])
      assert.equal((await fetch(url)).status, 401)
      assert.equal(
        (await ask(world.issue({ receipt: null }))).headers.get('x-countersign-reason'),
        'receipt_missing',
      )
      assert.equal((await ask(world.issue({ claims: { scope: 'x' } }))).status, 403)
      const acknowledged = authority.acknowledged()
      world.setState(world.keys.consumer.kid, 'revoked')
      authority.push()
      await acknowledged
      assert.equal((await ask(good)).headers.get('x-countersign-reason'), 'key_revoked')
    } finally {
      const gone = once(service, 'exit')
      service.kill('SIGTERM')
      const [code] = await gone
      await authority.stop()
      assert.equal(code, 0, 'it ends when it is asked to')
    }
  })
}

test('release: docs/api is what the package exports, and each of it says what it is (node tools/api.ts rewrites it)', () => {
  assert.deepEqual(undocumented(built.folder), [])
  const pages = apiPages(built.folder)
  assert.deepEqual(
    readdirSync(join(root, apiFolder))
      .filter((name) => name.endsWith('.md'))
      .sort(),
    [...pages.keys()].sort(),
  )
  const stale = [...pages].filter(
    ([name, text]) => readFileSync(join(root, apiFolder, name), 'utf8') !== text,
  )
  assert.deepEqual(
    stale.map(([name]) => name),
    [],
  )
})

test('release: minified, what decides is no larger than it may be, and an adapter next to nothing', async () => {
  const weights = new Map<string, number>()
  for (const [path, module] of Object.entries(entries)) weights.set(path, await weigh([module]))
  weights.set('. and ./connect', await weigh(['index', 'connect']))
  weights.set('./edge on the web', await weigh(['edge'], 'browser'))
  for (const [path, bytes] of weights) console.log(`${path.padEnd(16)} ${bytes} bytes minified`)
  const over = (path: string, bytesMax: number): readonly string[] => {
    const bytes = weights.get(path) ?? Number.POSITIVE_INFINITY
    return bytes > bytesMax ? [`${path}: ${bytes} bytes, of ${bytesMax}`] : []
  }
  const adapters = ['express', 'fastify', 'hono', 'koa', 'node', 'websocket', 'sse']
  assert.deepEqual(
    [
      ...over('.', CORE_BYTES_MAX),
      ...over('. and ./connect', CONNECTED_BYTES_MAX),
      ...over('./edge on the web', EDGE_BYTES_MAX),
      ...adapters.flatMap((name) => over(`./${name}`, ADAPTER_BYTES_MAX)),
    ],
    [],
  )
})

/** Everything that these modules pull in, in one file, as esbuild makes it smallest; Node's own modules stay outside. */
async function weigh(modules: readonly string[], platform: 'node' | 'browser' = 'node'): Promise<number> {
  const contents = modules.map((module) => `export * from './${module}.js'`).join('\n')
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: join(built.folder, 'lib') },
    bundle: true,
    minify: true,
    platform,
    format: 'esm',
    write: false,
    logLevel: 'silent',
  })
  return outputFiles[0]?.contents.length ?? Number.POSITIVE_INFINITY
}

/** A project as `npm install ARCHIVE` leaves it, with the types of Node and the frameworks, which a stranger has anyway. */
function install(): void {
  mkdirSync(project)
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'stranger', private: true, type: 'module' }),
  )
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', archive], {
    cwd: project,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const around = [
    '@types/node',
    '@types/express',
    '@types/koa',
    '@types/ws',
    'express',
    'fastify',
    'hono',
    'koa',
    'ws',
  ]
  for (const name of around) {
    const link = join(project, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }
  for (const file of ['main.ts', 'edge.ts', 'entries.ts', 'mailbox.ts'])
    copyFileSync(join(root, 'test/stranger', file), join(project, file))
  for (const [nth, code] of blocksOf(readme, 'ts').entries())
    writeFileSync(join(project, `readme-${nth}.ts`), code)
  writeFileSync(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        types: ['node'],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: false,
        rewriteRelativeImportExtensions: true,
        outDir: 'out',
      },
      include: ['*.ts'],
    }),
  )
}

/** Into `out`, for whichever test comes first. */
function compileOnce(): void {
  if (!existsSync(join(project, 'out'))) compile([])
}

function compile(options: readonly string[]): void {
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['--project', project, ...options], {
    cwd: project,
    encoding: 'utf8',
  })
}

/** The Node that runs this, and an older one that the package is for, where the machine has one. */
function nodes(): readonly { readonly path: string; readonly version: string }[] {
  const paths = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((each) => !each.includes('node_modules'))
    .map((each) => join(each, 'node'))
    .filter((path) => existsSync(path))
  const found = new Map([[process.version.slice(1), process.execPath]])
  for (const path of paths) {
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).trim().slice(1)
    if (!found.has(version) && version.localeCompare(NODE_OLDEST, 'en', { numeric: true }) >= 0)
      found.set(version, path)
  }
  return [...found].map(([version, path]) => ({ version, path }))
}

async function firstLine(service: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of service.stdout ?? []) {
    text += chunk
    if (text.includes('\n')) break
  }
  assert.match(text, /^http:.*\n$/, 'the service did not start')
  return text.trim()
}
