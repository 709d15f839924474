/**
 * Goal: an application that stands on express-oauth2-jwt-bearer moves in as many lines as the guide says, keeps its provider and
 * its clients, and answers otherwise only where the guide says so. Method: a provider with TLS on loopback; the two programs of the
 * guide, run as they stand, with nothing put in but addresses; the same requests to both.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createPort } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { root } from '../tools/source.ts'

const guide = readFileSync(join(root, 'docs/migration/express-oauth2-jwt-bearer.md'), 'utf8')
const [old = '', moved = ''] = [...guide.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) => code)
const audience = 'https://api.example'

const folder = mkdtempSync(join(tmpdir(), 'countersign-migration-'))
const ours = await generateKeyPair('RS256')
const foreign = await generateKeyPair('RS256')
const provider = createServer(makeCertificate())
let issuer = ''
const programs: { before?: Program; after?: Program } = {}

interface Program {
  readonly port: number
  readonly child: ChildProcess
}

before(async () => {
  const keys = [{ ...(await exportJWK(ours.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }]
  provider.on('request', (asked, answer) => {
    const documents: Readonly<Record<string, object>> = {
      '/.well-known/openid-configuration': { issuer, jwks_uri: `${issuer}/jwks` },
      '/jwks': { keys },
    }
    const document = documents[asked.url ?? '']
    answer.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' })
    answer.end(JSON.stringify(document ?? {}))
  })
  await once(provider.listen(0, 'localhost'), 'listening')
  issuer = `https://localhost:${(provider.address() as AddressInfo).port}`
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  programs.before = await start('before', old)
  programs.after = await start('after', moved)
})
after(() => {
  for (const program of Object.values(programs)) program.child.kill()
  provider.closeAllConnections()
  provider.close()
  rmSync(folder, { recursive: true, force: true })
})

test('the guide counts its lines as they are', () => {
  const said = /Of the (\d+) lines, (\d+) change and (\d+) come along/.exec(guide)?.slice(1).map(Number)
  const [from, to] = [old, moved].map((code) => code.split('\n').filter((line) => line.trim() !== ''))
  const kept = commonLines(from ?? [], to ?? [])
  const changed = (from ?? []).length - kept
  assert.deepEqual(said, [(from ?? []).length, changed, (to ?? []).length - kept - changed])
})

test('both programs answer each request as the guide says', async () => {
  const section = guide.slice(guide.indexOf('| request | before | after |'))
  const rows = [...section.matchAll(/^\| (.+?) +\| (\d{3}) +\| (\d{3}) +\|$/gm)]
  const asked = await requests()
  assert.deepEqual(
    rows.map(([, name]) => name),
    Object.keys(asked),
  )
  for (const [, name = '', said, saidAfter] of rows) {
    const { path = '/orders', headers } = asked[name] ?? assert.fail(name)
    const answers = await Promise.all(
      [programs.before, programs.after].map((program) => ask(program as Program, path, headers)),
    )
    assert.deepEqual([name, ...answers.map(String)], [name, said, saidAfter])
  }
})

test('both programs give a good token the same', async () => {
  const { headers } = (await requests())['a good token'] ?? assert.fail()
  for (const path of ['/health', '/me', '/orders']) {
    const bodies = await Promise.all(
      [programs.before, programs.after].map(async (program) => {
        const { port } = program as Program
        const [, value = ''] = headers
        return (await fetch(`http://localhost:${port}${path}`, { headers: { authorization: value } })).text()
      }),
    )
    assert.equal(bodies[0], bodies[1], path)
  }
})

interface Asked {
  readonly path?: string
  readonly headers: readonly string[]
}

async function requests(): Promise<Readonly<Record<string, Asked>>> {
  const now = Math.floor(Date.now() / 1000)
  const usual = {
    iss: issuer,
    sub: 'user-1',
    aud: audience,
    client_id: 'client-1',
    scope: 'read:orders',
    jti: crypto.randomUUID(),
    iat: now,
    exp: now + 300,
  }
  const issue = (claims: object = {}, header: object = {}, key = ours.privateKey): Promise<string> =>
    new SignJWT({ ...usual, ...claims })
      .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: 'one', ...header })
      .sign(key)
  const shown = async (token: Promise<string>): Promise<Asked> => ({
    headers: ['Authorization', `Bearer ${await token}`],
  })
  const good = await issue()
  return {
    'a good token': await shown(issue()),
    'no token': { headers: [] },
    'a scope is missing': await shown(issue({ scope: 'openid' })),
    expired: await shown(issue({ iat: now - 600, exp: now - 300 })),
    'signed by a key that the provider does not publish': await shown(issue({}, {}, foreign.privateKey)),
    'for another audience': await shown(issue({ aud: 'https://other.example' })),
    'an ID token that names the API as audience': await shown(
      issue({ nonce: 'n', client_id: undefined }, { typ: 'JWT' }),
    ),
    'without `exp`': await shown(issue({ exp: undefined })),
    'a good token in the query': { path: `/orders?access_token=${good}`, headers: [] },
    'two `Authorization` headers': {
      headers: ['Authorization', `Bearer ${good}`, 'Authorization', `Bearer ${good}`],
    },
    'an unknown member in the header': await shown(issue({}, { jku: 'https://elsewhere.example/jwks' })),
  }
}

async function ask({ port }: Program, path: string, headers: readonly string[]): Promise<number> {
  const outgoing = request({
    host: 'localhost',
    port,
    path,
    agent: false,
    headers: ['Host', 'localhost', ...headers],
  })
  outgoing.end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode ?? 0
}

/** Runs one program of the guide; only the addresses are others. */
async function start(name: string, code: string): Promise<Program> {
  const port = await freePort()
  const cwd = join(folder, name)
  mkdirSync(cwd)
  const here = code.replaceAll('https://id.example', issuer).replaceAll('3000', String(port))
  writeFileSync(join(cwd, 'server.ts'), here)
  const child = spawn(process.execPath, ['server.ts'], {
    cwd,
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, 'certificate.pem') },
    // The one warns of every refusal there, the other that it is weakened.
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  await once(createInterface(child.stdout), 'line')
  return { port, child }
}

async function freePort(): Promise<number> {
  const server = createPort().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Of a provider that only this test believes. */
function makeCertificate(): { readonly key: Buffer; readonly cert: Buffer } {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  })
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

/** How many lines stay, in order: the longest common subsequence. */
function commonLines(from: readonly string[], to: readonly string[]): number {
  let row = new Array<number>(to.length + 1).fill(0)
  for (const line of from) {
    const next = [0]
    for (const [at, other] of to.entries())
      next.push(line === other ? (row[at] ?? 0) + 1 : Math.max(row[at + 1] ?? 0, next[at] ?? 0))
    row = next
  }
  return row.at(-1) ?? 0
}
