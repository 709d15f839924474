/**
 * Goal: whoever approves sees all that they sign, as it is, and a page cannot be made to do anything else. Method: the
 * modules that run in the browser run here too: their differences are compared with random documents, their hashes,
 * names and headers with those of the validator; the pages are read as a browser would get them. What a browser does
 * with them is tried in test/passkeys.test.ts.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createHttp, createLog } from '@countersign/service'
import { decode, encode } from '@countersign/validator/base64url'
import { verifyCharter } from '@countersign/validator/charter'
import { encodePayload, protectedHeader } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { createTestKey, createTestWorld } from '@countersign/validator/testing'
import fc from 'fast-check'
import { decode as decodeInBrowser, encode as encodeInBrowser, utf8 } from '../browser/base64url.js'
import { differences } from '../browser/difference.js'
import type { Json } from '../browser/document.js'
import { algorithmOf, fingerprint, nameKeys, readSegment, thumbprint } from '../browser/document.js'
import { directionOf, meaningOf, placeOf, textOf, visible } from '../browser/words.js'
import { addPages } from './pages.ts'

const noKeys = (): undefined => undefined
const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>

test('a document that differs in anything is shown to differ', () => {
  fc.assert(
    fc.property(json, json, (before, after) => {
      const found = differences(before, after, noKeys)
      assert.equal(found.length === 0, sorted(before) === sorted(after))
    }),
    { numRuns: 2000 },
  )
})

test('one change somewhere in a document is shown there, with what was and what comes', () => {
  const place = fc.array(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(
      place,
      json,
      json,
      fc.dictionary(fc.stringMatching(/^[A-Z]$/), json),
      (path, one, other, more) => {
        fc.pre(!isBranch(one) && !isBranch(other) && one !== other)
        const around = (value: Json): Json =>
          path.reduceRight<Json>((inner, name) => ({ ...more, [name]: inner }), value)
        assert.deepEqual(differences(around(one), around(other), noKeys), [
          { path, before: one, after: other },
        ])
      },
    ),
  )
})

test('lists are compared by the names of their items; order is shown where it changes or means something', async () => {
  const [olga, omar, mallory] = ['olga', 'omar', 'mallory'].map((id) => ({ id, ...createTestKey('ES256') }))
  const person = ({ id, jwk }: { id: string; jwk: PublicJwk }) => ({ id, jwk }) as unknown as Json
  assert.ok(olga && omar && mallory)
  const before = { operators: [person(olga), person(omar)], signers: [olga.jwk as unknown as Json] }
  const after = {
    operators: [person(omar), person({ ...olga, jwk: mallory.jwk })],
    signers: [olga.jwk, omar.jwk] as unknown as Json,
  }
  const found = differences(before, after, await nameKeys([before, after]))
  assert.deepEqual(found, [
    { path: ['operators', 'olga', 'jwk'], before: olga.jwk, after: mallory.jwk },
    { path: ['operators'], order: ['omar', 'olga'] },
    { path: ['signers'], after: omar.jwk },
    { path: ['signers'], order: [olga.kid, omar.kid].map((kid) => `ES256 ${kid}`) },
  ])
  // Two of one name would hide each other.
  assert.deepEqual(differences(['a', 'a'], ['a'], noKeys), [{ path: [], before: 'a' }])
  assert.deepEqual(differences([{ id: 'a' }], [{ id: 'a' }, { id: 'a' }], noKeys), [
    { path: ['a (2)', 'id'], after: 'a' },
  ])
})

test('each member of a charter has words and a section of the page', () => {
  const { charterDocuments } = createTestWorld()
  const { payload } = readSegment(charterDocuments[0]?.payload ?? '')
  const { version: _, iat: __, ...content } = payload
  const found = differences({}, content, noKeys)
  assert.ok(found.length > 30)
  for (const { path } of found) {
    assert.notEqual(placeOf(path).section, 'Other', path.join('.'))
    const isName = ['id', 'name'].includes(path.at(-1) ?? '')
    assert.ok(isName || meaningOf(placeOf(path).rest), `${path.join('.')} is not put into words`)
  }
})

test('hashes, names of keys and signature lines are those of the validator', async () => {
  const world = createTestWorld()
  const [document] = world.charterDocuments
  assert.ok(document)
  const groups = await fingerprint(document.payload)
  const { sha256 } = verifyCharter(document, world.trustAnchor)
  assert.equal(groups.length, 16)
  assert.equal(groups.join(''), Buffer.from(sha256, 'base64url').toString('hex'))
  for (const algorithm of ['ES256', 'EdDSA', 'ML-DSA-44', 'RS256'] as const) {
    const { kid, jwk } = createTestKey(algorithm)
    const given = jwk as unknown as Parameters<typeof thumbprint>[0]
    assert.equal(await thumbprint(given), kid, algorithm)
    if (algorithm === 'RS256') continue
    const header = { alg: algorithmOf(given), typ: 'charter+jwt', kid: await thumbprint(given) }
    assert.equal(encodeInBrowser(utf8(JSON.stringify(header))), protectedHeader(jwk, 'charter+jwt'))
  }
})

test('base64url is read and written as the validator does', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
      assert.equal(encodeInBrowser(bytes), encode(bytes))
      assert.deepEqual(decodeInBrowser(encode(bytes)), new Uint8Array(decode(encode(bytes))))
    }),
  )
  for (const text of ['A', 'AB', 'AA==', 'A+/A', 'AA AA', 'AAAA\n'])
    assert.throws(() => decodeInBrowser(text), text)
})

test('a document that can be read in two ways is not shown', () => {
  const segment = encodePayload({ version: 2, realms: { 'a-realm': { max_ttl: 60 } } })
  assert.deepEqual(readSegment(segment).payload['version'], 2)
  for (const text of [
    '{"threshold":2,"threshold":1}',
    '{"threshold":1e0}',
    '{"threshold": 2}',
    '{"max_ttl":9007199254740993}',
    '{"reason":"\\u0061"}',
    '\ufeff{"version":2}',
    '["version"]',
    'null',
  ]) {
    assert.throws(() => readSegment(Buffer.from(text).toString('base64url')), text)
  }
  assert.throws(() => readSegment(Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')))
})

test('no character turns what is read around, or goes unseen', () => {
  assert.equal(visible('olga\u202egpj.exe'), 'olga\\u{202e}gpj.exe')
  assert.equal(
    visible('a\u200bb\u2028c\u0000d\ud800e\u{e0041}'),
    'a\\u{200b}b\\u{2028}c\\u{0}d\\u{d800}e\\u{e0041}',
  )
  assert.equal(textOf('Zoë, 東京', 'reason'), 'Zoë, 東京')
  assert.equal(textOf({ op: '\u202e' }, 'x'), '{"op":"\\u{202e}"}')
})

test('numbers are told with their unit, and which way they go', () => {
  assert.equal(textOf(7200, 'max_ttl'), '7200 s (2 h)')
  assert.equal(textOf(86_400, 'rotation_seconds'), '86400 s (1 d)')
  assert.equal(textOf(61, 'acknowledge_seconds'), '61 s')
  assert.equal(textOf(1_800_000_000, 'until'), '1800000000 (2027-01-15 08:00:00 UTC)')
  assert.equal(directionOf(3600, 7200, 'max_ttl'), 'longer')
  assert.equal(directionOf(3, 2, 'threshold'), 'fewer')
  assert.equal(directionOf('3', 2, 'threshold'), undefined)
})

test('T176: the pages bring no script or style inside, and everything that they ask for is served under the same policy', async (t) => {
  const http = createHttp(createLog('pages'))
  t.after(() => http.close())
  addPages(http)
  const get = (url: string) => http.inject({ method: 'GET', url })
  const seen = new Set<string>(['/approve', '/approve/any', '/passkey'])
  for (const url of seen) {
    const { statusCode, headers, body } = await get(url)
    assert.equal(statusCode, 200, url)
    const policy = String(headers['content-security-policy'])
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.doesNotMatch(policy, /unsafe|\*|data:|https?:/)
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['referrer-policy'], 'no-referrer')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    if (url.endsWith('.js')) {
      assert.match(String(headers['content-type']), /^text\/javascript/)
      assert.doesNotMatch(
        body,
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?:\/\//,
      )
      for (const [, file] of body.matchAll(/from '\.\/([\w.]+)'/g)) seen.add(`/pages/${file}`)
    } else if (!url.includes('/pages/')) {
      assert.doesNotMatch(body, /<style|style=|<script(?![^>]* src=)|\son[a-z]+=|javascript:/i)
      for (const [, path = ''] of body.matchAll(/(?:src|href)="([^"]+)"/g)) seen.add(path)
    }
  }
  assert.ok(seen.size >= 15)
  assert.equal((await get('/pages/tsconfig.json')).statusCode, 404)
  assert.equal((await get('/pages/..%2fpackage.json')).statusCode, 404)
})

function sorted(value: Json): string {
  return JSON.stringify(value, (_, part: Json) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}

function isBranch(value: Json): boolean {
  return typeof value === 'object' && value !== null
}
