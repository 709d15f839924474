/**
 * Goal: whoever moves from another library ends where its guide says, and is told what is answered otherwise. Method: the programs of
 * each guide, compiled with the libraries' own types and run as they stand, beside a provider that is what both are configured for; the
 * same requests to both. The guide for express-oauth2-jwt-bearer has a test of its own.
 */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { root } from '../tools/source.ts'
import {
  blocksOf,
  compilePrograms,
  type Program,
  type Provider,
  prepareFolder,
  startProgram,
  startProvider,
  statusOf,
} from './blocks.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-moving-'))
const pool = 'cognito-idp.eu-central-1.amazonaws.com'
const keys = await generateKeyPair('RS256', { extractable: true })
const strangers = await generateKeyPair('RS256')
const now = Math.floor(Date.now() / 1000)
let provider: Provider

type Make = (claims?: object, header?: object, key?: CryptoKey) => Promise<string>

interface Guide {
  readonly name: string
  /** A good token, or one that differs from it. */
  readonly make: Make
  /** An ID token with everything by which one could take it for an access token. */
  readonly idToken: () => Promise<string>
}

const makeRfc9068: Make = (claims = {}, header = {}, key = keys.privateKey) =>
  sign(
    {
      iss: 'https://id.example',
      sub: 'user-1',
      aud: 'https://api.example',
      client_id: 'client-1',
      scope: 'read:orders',
      jti: crypto.randomUUID(),
      iat: now,
      exp: now + 300,
      ...claims,
    },
    { typ: 'at+jwt', ...header },
    key,
  )

const makeCognito: Make = (claims = {}, header = {}, key = keys.privateKey) =>
  sign(
    {
      iss: `https://${pool}/eu-central-1_Example`,
      sub: 'user-1',
      client_id: 'client-1',
      token_use: 'access',
      scope: 'orders/read',
      jti: crypto.randomUUID(),
      auth_time: now,
      iat: now,
      exp: now + 300,
      ...claims,
    },
    header,
    key,
  )

const idToken = (): Promise<string> => makeRfc9068({ nonce: 'n', client_id: undefined }, { typ: 'JWT' })
const guides: readonly Guide[] = [
  { name: 'jsonwebtoken', make: makeRfc9068, idToken },
  { name: 'jose', make: makeRfc9068, idToken },
  { name: 'passport-jwt', make: makeRfc9068, idToken },
  {
    name: 'aws-jwt-verify',
    make: makeCognito,
    idToken: () => makeCognito({ token_use: 'id', aud: 'client-1', scope: undefined, client_id: undefined }),
  },
]

async function sign(claims: object, header: object, key: CryptoKey): Promise<string> {
  return new SignJWT({ ...claims }).setProtectedHeader({ alg: 'RS256', kid: 'one', ...header }).sign(key)
}

before(async () => {
  prepareFolder(folder)
  provider = await startProvider(folder, ['id.example', pool])
  const set = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }] }
  const [issuer, cognito] = ['https://id.example', `https://${pool}/eu-central-1_Example`]
  const metadata = '.well-known/openid-configuration'
  provider.documents.set(`id.example/${metadata}`, { issuer, jwks_uri: `${issuer}/jwks` })
  provider.documents.set('id.example/jwks', set)
  const path = `${pool}/eu-central-1_Example/.well-known`
  provider.documents.set(`${path}/openid-configuration`, {
    issuer: cognito,
    jwks_uri: `${cognito}/.well-known/jwks.json`,
  })
  provider.documents.set(`${path}/jwks.json`, set)
})
after(async () => {
  await provider?.stop()
  rmSync(folder, { recursive: true, force: true })
})

for (const guide of guides) {
  const { name } = guide
  const page = `docs/migration/${name}.md`
  const programs = blocksOf(page, 'ts')
  const packages = programs.flatMap((code) =>
    [...code.matchAll(/from '([^.'][^']*)'/g)].map(([, from = '']) => from),
  )
  const missing = packages.find((each) => !isInstalled(each))
  const skip = missing !== undefined && `${missing} is not installed`

  test(`moving from ${name}: both programs of the guide run, and answer as it says`, { skip }, async () => {
    const [old = '', moved = ''] = programs
    const started: Program[] = []
    try {
      for (const [when, code] of [
        ['before', old],
        ['after', moved],
      ] as const) {
        const cwd = join(folder, name, when)
        mkdirSync(cwd, { recursive: true })
        writeFileSync(join(cwd, 'provider.pem'), await exportSPKI(keys.publicKey))
        started.push(await startProgram(cwd, code, provider))
      }
      compilePrograms(join(folder, name))
      const asked = await requests(guide)
      const rows = [
        ...readFileSync(join(root, page), 'utf8').matchAll(/^\| (.+?) +\| (\d{3}) +\| (\d{3}) +\|$/gm),
      ]
      assert.ok(rows.length >= 9, 'the table has few rows')
      const found = []
      for (const [, request = ''] of rows) {
        const headers = asked[request] ?? assert.fail(`nobody asks: ${request}`)
        const answers = []
        for (const program of started) answers.push(await statusOf(program, '/orders', headers))
        found.push([request, ...answers.map(String)])
      }
      assert.deepEqual(
        found,
        rows.map(([, ...cells]) => cells),
      )
    } finally {
      for (const program of started) await program.stop()
    }
  })
}

function isInstalled(specifier: string): boolean {
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  return specifier.startsWith('node:') || existsSync(join(root, 'node_modules', name))
}

/** What the tables name, as header names and values. */
async function requests({ make, idToken }: Guide): Promise<Readonly<Record<string, readonly string[]>>> {
  const bearer = (token: string): readonly string[] => ['Authorization', `Bearer ${token}`]
  const good = await make()
  const payload = Buffer.from(good.split('.')[1] ?? '', 'base64url').toString()
  const [header] = good.split('.').map((segment) => Buffer.from(segment, 'base64url').toString())
  const twice = await new CompactSign(Buffer.from(payload.replace(/}$/, ',"sub":"user-1"}')))
    .setProtectedHeader(JSON.parse(header ?? ''))
    .sign(keys.privateKey)
  const forged = await make({}, {}, strangers.privateKey)
  const other = await make({ aud: 'https://other.example', client_id: 'client-2' })
  return {
    'a good token': bearer(good),
    'no token': [],
    'a scope is missing': bearer(await make({ scope: 'openid' })),
    expired: bearer(await make({ iat: now - 600, exp: now - 300 })),
    'signed by a key that the provider does not publish': bearer(forged),
    'signed by a key that the pool does not publish': bearer(forged),
    'for another audience': bearer(other),
    'for another client': bearer(await make({ client_id: 'client-2' })),
    'of another issuer': bearer(await make({ iss: 'https://other.example' })),
    '`typ` is `JWT`': bearer(await make({}, { typ: 'JWT' })),
    'without `jti`': bearer(await make({ jti: undefined })),
    'without `client_id`': bearer(await make({ client_id: undefined })),
    'its scopes as a list': bearer(await make({ scope: ['read:orders'] })),
    'good for longer than a day': bearer(await make({ exp: now + 2 * 86_400 })),
    'of another pool': bearer(await make({ iss: `https://${pool}/eu-central-1_Other` })),
    'an ID token that names the API as audience': bearer(await idToken()),
    'an ID token of the same client': bearer(await idToken()),
    'issued in the future': bearer(await make({ iat: now + 200 })),
    'without `exp`': bearer(await make({ exp: undefined })),
    'without `sub`': bearer(await make({ sub: undefined })),
    'critical members that nobody knows': bearer(
      await signed({ ...JSON.parse(header ?? ''), crit: ['x'], x: 1 }, payload),
    ),
    'with a member in the header that names a key': bearer(
      await make({}, { jku: 'https://thief.example/jwks' }),
    ),
    'a member of the claims twice': bearer(twice),
    'with another text of its signature': bearer(otherText(good)),
    'two `Authorization` headers': [...bearer(good), ...bearer(good)],
  }
}

/** As jose would not sign it. */
async function signed(header: object, payload: string): Promise<string> {
  const input = [JSON.stringify(header), payload]
    .map((text) => Buffer.from(text).toString('base64url'))
    .join('.')
  const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', keys.privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

/** The bits behind the last byte of an RSA signature are nobody's. */
function otherText(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return token.slice(0, -1) + alphabet[alphabet.indexOf(token.at(-1) ?? '') | 1]
}
