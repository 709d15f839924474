/**
 * Goal: code that runs where a signer runs reaches nothing but its own folder. Method: a program that tries everything,
 * under the very flags and limits that a signer gets, with a socket as descriptor 3 as a signer has.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { allowanceOf, confine } from './confine.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-confine-'))
after(() => rmSync(folder, { recursive: true }))
// Somebody listens where the program knocks: nothing but the confinement keeps it out.
const server = createServer().listen(0, '127.0.0.1')
await once(server, 'listening')
after(() => server.close())
const { port } = server.address() as AddressInfo
const own = join(folder, 'own')
const foreign = join(folder, 'foreign')
for (const path of [own, foreign]) mkdirSync(path)
for (const path of [join(own, 'keystore.age'), join(foreign, 'keystore.age'), join(folder, 'anchor.json')])
  writeFileSync(path, 'content')

/** Each line is tried on its own; what it gives back, or the code of its error, is what is reported. */
const attempts = {
  'connect to a host': `new Promise((yes, no) => net.connect(${port}, '127.0.0.1', yes).once('error', no))`,
  'connect to a socket': `new Promise((yes, no) => net.connect('${foreign}/x.sock', yes).once('error', no))`,
  'listen on a port': `new Promise((yes, no) => net.createServer().once('error', no).listen(0, yes))`,
  'listen on a socket': `new Promise((yes, no) => net.createServer().once('error', no).listen('${own}/x.sock', yes))`,
  'bind a datagram socket': `new Promise((yes, no) => dgram.createSocket('udp4').once('error', no).bind(0, yes))`,
  'look up a name': `dns.lookup('localhost')`,
  'fetch a page': `fetch('http://127.0.0.1:${port}/').catch((error) => { throw error.cause })`,
  'spawn a program': `child.spawnSync('/bin/true').error ?? 0`,
  'fork a process': `child.fork('${own}/x.js')`,
  'start a worker': `new threads.Worker('0', { eval: true })`,
  'open an inspector': `inspector.open(0)`,
  'load an addon': `process.dlopen({ exports: {} }, '${own}/x.node')`,
  'use SQLite': `import('node:sqlite')`,
  'run WASI': `new wasi.WASI({ version: 'preview1' })`,
  'read another realm’s keystore': `fs.readFileSync('${foreign}/keystore.age')`,
  'list another folder': `fs.readdirSync('${foreign}')`,
  'read the passwords of the machine': `fs.readFileSync('/etc/passwd')`,
  'read its own environment through /proc': `fs.readFileSync('/proc/self/environ')`,
  'write beside its folder': `fs.writeFileSync('${foreign}/y', '')`,
  'write to its sources': `fs.writeFileSync(new URL('./x', '${import.meta.url}'), '')`,
  'write to its trust anchor': `fs.writeFileSync('${folder}/anchor.json', '')`,
  'link out of its folder': `fs.symlinkSync('${foreign}/keystore.age', '${own}/link')`,
  'rename out of its folder': `fs.renameSync('${own}/keystore.age', '${foreign}/taken')`,
  'dump its memory': `v8.writeHeapSnapshot('${foreign}/heap')`,
  'write a report': `process.report.writeReport('${foreign}/report')`,
  'make code of a text': `new Function('return 1')()`,
} as const

const program = `
import child from 'node:child_process'
import dgram from 'node:dgram'
import dns from 'node:dns/promises'
import fs from 'node:fs'
import inspector from 'node:inspector'
import net from 'node:net'
import threads from 'node:worker_threads'
import v8 from 'node:v8'
import wasi from 'node:wasi'
const outcomes = {}
async function attempt(name, act) {
  try { outcomes[name] = 'done: ' + String(await act()) } catch (error) { outcomes[name] = String(error.code ?? error.name) }
}
${Object.entries(attempts)
  .map(
    ([name, code]) =>
      `await attempt(${JSON.stringify(name)}, async () => { const result = await ${code}; if (result instanceof Error) throw result; return result })`,
  )
  .join('\n')}
await attempt('own', () => { fs.writeFileSync('${own}/file', 'kept'); return fs.readFileSync('${own}/file', 'utf8') })
await attempt('anchor', () => fs.readFileSync('${folder}/anchor.json', 'utf8'))
const facts = { outcomes, environment: Object.keys(process.env), proto: '__proto__' in {} }
new net.Socket({ fd: 3 }).end(JSON.stringify(facts))
`

async function runProbe(keystore: string): Promise<{
  outcomes: Record<string, string>
  environment: readonly string[]
  proto: boolean
}> {
  const probe = join(own, 'probe.mjs')
  writeFileSync(probe, program)
  const allowance = allowanceOf({
    keystore,
    folder: own,
    passphraseFile: join(own, 'passphrase'),
    trustAnchor: join(folder, 'anchor.json'),
  })
  const { file, args, env } = confine(probe, [], allowance)
  const running = spawn(file, args, { env, cwd: '/', stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  let text = ''
  const socket = running.stdio[3] as Socket
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await once(socket, 'end')
  return JSON.parse(text)
}

const { outcomes, environment, proto } = await runProbe(join(own, 'keystore.age'))
const onToken = await runProbe('pkcs11:token=any?module-path=/any.so')

for (const name of Object.keys(attempts)) {
  test(`F6 K9: where a signer runs, nobody can ${name}`, () => {
    const refused = /^(ERR_ACCESS_DENIED|ERR_DLOPEN_DISABLED|ERR_UNKNOWN_BUILTIN_MODULE|EvalError)$/
    assert.match(outcomes[name] ?? 'not tried', refused)
    // With a token, native code is let in; what JavaScript may do stays the same.
    const mayLoad = name === 'load an addon'
    assert.match(onToken.outcomes[name] ?? 'not tried', mayLoad ? /^ERR_DLOPEN_FAILED$/ : refused)
  })
}

test('what a signer needs, it can do: its folder, its trust anchor, its socket', () => {
  assert.equal(outcomes['own'], 'done: kept')
  assert.equal(outcomes['anchor'], 'done: content')
})

test('T223: nothing is in its environment, and no object has a __proto__ to set', () => {
  assert.deepEqual(
    environment.filter((name) => name !== 'PWD'),
    [],
  )
  assert.equal(proto, false)
})
