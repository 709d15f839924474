/**
 * Goal: an application that stands on express-oauth2-jwt-bearer moves in as many lines as the guide says, keeps its provider and
 * its clients, and answers otherwise only where the guide says so. Method: a provider with TLS on loopback; the two programs of the
 * guide, run as they stand; the same requests to both.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { root } from '../tools/source.ts'
import {
  blocksOf,
  type Program,
  type Provider,
  prepareFolder,
  startProgram,
  startProvider,
  statusOf,
} from './blocks.ts'

const page = 'docs/migration/express-oauth2-jwt-bearer.md'
const guide = readFileSync(join(root, page), 'utf8')
const [old = '', moved = ''] = blocksOf(page, 'ts')
const [routes = ''] = blocksOf(page, 'js')
/** As the page says that it is without types: other routes, all else the same. */
const untyped = moved.replace(/^app\.get\('\/me'.*^(?=app\.listen)/ms, () => `${routes}\n`)
const issuer = 'https://id.example'
const audience = 'https://api.example'

const folder = mkdtempSync(join(tmpdir(), 'countersign-migration-'))
const ours = await generateKeyPair('RS256')
const foreign = await generateKeyPair('RS256')
let provider: Provider
const programs: { before?: Program; after?: Program; untyped?: Program } = {}

before(async () => {
  prepareFolder(folder)
  provider = await startProvider(folder, ['id.example'])
  const metadata = { issuer, jwks_uri: `${issuer}/jwks` }
  const keys = [{ ...(await exportJWK(ours.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }]
  provider.documents.set('id.example/.well-known/openid-configuration', metadata)
  provider.documents.set('id.example/jwks', { keys })
  programs.before = await startProgram(join(folder, 'before'), old, provider)
  programs.after = await startProgram(join(folder, 'after'), moved, provider)
  programs.untyped = await startProgram(join(folder, 'untyped'), untyped, provider)
})
after(async () => {
  for (const program of Object.values(programs)) await program.stop()
  await provider?.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('the guide counts its lines as they are, with types and without', () => {
  const said = [...guide.matchAll(/[Oo]f the (\d+) lines, (\d+) change and (\d+) come along/g)]
  assert.deepEqual(
    said.map(([, ...counts]) => counts.map(Number)),
    [counted(old, moved), counted(old, untyped)],
  )
})

function counted(before: string, after: string): readonly number[] {
  const linesOf = (code: string): readonly string[] => code.split('\n').filter((line) => line.trim() !== '')
  const [from, to] = [linesOf(before), linesOf(after)]
  const kept = commonLines(from, to)
  const changed = from.length - kept
  return [from.length, changed, to.length - kept - changed]
}

test('all programs answer each request as the guide says', async () => {
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
      [programs.before, programs.after, programs.untyped].map((program) =>
        statusOf(program as Program, path, headers),
      ),
    )
    assert.deepEqual([name, ...answers.map(String)], [name, said, saidAfter, saidAfter])
  }
})

test('all programs give a good token the same', async () => {
  const { headers } = (await requests())['a good token'] ?? assert.fail()
  for (const path of ['/health', '/me', '/orders', '/invoices']) {
    const bodies = await Promise.all(
      [programs.before, programs.after, programs.untyped].map(async (program) => {
        const { port } = program as Program
        const [, value = ''] = headers
        return (await fetch(`http://localhost:${port}${path}`, { headers: { authorization: value } })).text()
      }),
    )
    assert.deepEqual(bodies, Array(3).fill(bodies[0]), path)
  }
})

test('a refusal is answered with the body that the guide shows', async () => {
  const { headers } = (await requests())['expired'] ?? assert.fail()
  const { port } = programs.after ?? assert.fail()
  const [, authorization = ''] = headers
  const answer = await fetch(`http://localhost:${port}/orders`, { headers: { authorization } })
  assert.equal(await answer.text(), blocksOf(page, 'json')[0]?.trim())
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
    department: 'sales',
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
    'of another issuer': await shown(issue({ iss: 'https://other.example' })),
    'an ID token that names the API as audience': await shown(
      issue({ nonce: 'n', client_id: undefined }, { typ: 'JWT' }),
    ),
    '`typ` is `JWT`': await shown(issue({}, { typ: 'JWT' })),
    'without `typ`': await shown(issue({}, { typ: undefined })),
    'without `jti`': await shown(issue({ jti: undefined })),
    'without `sub`': await shown(issue({ sub: undefined })),
    'without `client_id`': await shown(issue({ client_id: undefined })),
    'without `exp`': await shown(issue({ exp: undefined })),
    'expired before it was issued (`malformed`)': await shown(issue({ exp: now - 60 })),
    'its scopes as a list': await shown(issue({ scope: ['read:orders'] })),
    'good for longer than a day': await shown(issue({ exp: now + 2 * 86_400 })),
    'a claim check that fails': { path: '/invoices', ...(await shown(issue({ department: 'it' }))) },
    'a good token in the query': { path: `/orders?access_token=${good}`, headers: [] },
    'two `Authorization` headers': {
      headers: ['Authorization', `Bearer ${good}`, 'Authorization', `Bearer ${good}`],
    },
    'an unknown member in the header': await shown(issue({}, { jku: 'https://elsewhere.example/jwks' })),
  }
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
