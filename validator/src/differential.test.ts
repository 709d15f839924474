/**
 * Goal: there is no token that we accept and jose refuses, and none that both accept and read differently. Method:
 * tokens of every algorithm, mutated: as text without the key, where nearly all must fall, and as header and claims
 * before signing, so that what is twisted also verifies and only the readers stand between. jose is the judge. Seeded.
 */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { compactVerify, jwtVerify } from 'jose'
import { encode } from './base64url.ts'
import { algorithms, importPublicJwk, readCompact, signInput, verifySignature } from './jws.ts'
import { createTestKey, createTestWorld, mailAudience, type TestKey, tenants } from './testing.ts'
import { acceptWithoutReceipt, createValidator } from './validator.ts'

const world = createTestWorld()
const { now } = world
const key = world.keys.enterprise
const keys = [key, ...algorithms.filter((each) => each !== key.algorithm).map(createTestKey)]
const issuer = `https://login.enterprise.example/${tenants.fabrikam}/v2.0`
const header = { alg: key.algorithm, typ: 'at+jwt', kid: key.kid }
const claims = {
  iss: issuer,
  sub: 'ada',
  aud: mailAudience,
  client_id: 'client-1',
  iat: now,
  exp: now + 300,
  jti: randomUUID(),
  scope: 'mail.read',
  tid: tenants.fabrikam,
}

function signText(header: string, payload: string, by: TestKey = key): string {
  const input = `${encode(Buffer.from(header))}.${encode(Buffer.from(payload))}`
  return `${input}.${encode(signInput(by.algorithm, by.privateKey, input))}`
}

/** What a reader makes of a token: its payload, or nothing. */
type Reading = { readonly header: unknown; readonly payload: unknown } | undefined

function readOurs(token: string, { jwk, algorithm }: TestKey): Reading {
  try {
    const { header, claims, signingInput, signature } = readCompact(token)
    const good =
      header.alg === algorithm &&
      verifySignature(algorithm, importPublicJwk(jwk).key, signingInput, signature)
    return good ? { header, payload: claims } : undefined
  } catch {
    return undefined
  }
}

async function readJose(token: string, { jwk, algorithm }: TestKey): Promise<Reading> {
  try {
    const verified = await compactVerify(token, importPublicJwk(jwk).key, { algorithms: [algorithm] })
    return {
      header: verified.protectedHeader,
      payload: JSON.parse(new TextDecoder().decode(verified.payload)),
    }
  } catch {
    return undefined
  }
}

const validator = createValidator({
  realm: 'enterprise',
  audience: mailAudience,
  trust: world.trust,
  now: () => now,
  [acceptWithoutReceipt]: 'jose knows no receipts',
})

function validateOurs(token: string): unknown {
  const decision = validator.decide(token)
  return decision.accepted ? decision.token.claims : undefined
}

async function validateJose(token: string): Promise<unknown> {
  try {
    const { payload } = await jwtVerify(token, importPublicJwk(key.jwk).key, {
      algorithms: [key.algorithm],
      issuer,
      audience: mailAudience,
      typ: 'at+jwt',
      currentDate: new Date(now * 1000),
      clockTolerance: 5,
      requiredClaims: ['exp', 'iat', 'sub', 'jti'],
    })
    return payload
  } catch {
    return undefined
  }
}

/** Runs the property and returns how many tokens both accepted: none would prove nothing. */
async function compare(
  tokens: fc.Arbitrary<readonly [string, TestKey]>,
  seed: number,
  numRuns: number,
): Promise<number> {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(tokens, async ([token, by]) => {
      const ours = readOurs(token, by)
      if (ours !== undefined) {
        assert.deepEqual(ours, await readJose(token, by))
        accepted++
      }
      if (by !== key) return
      const validated = validateOurs(token)
      if (validated !== undefined) assert.deepEqual(validated, await validateJose(token))
    }),
    { seed, numRuns },
  )
  return accepted
}

interface Edit {
  /** A place in the text, or below zero: before the nth end of a segment. */
  readonly at: number
  readonly cut: number
  readonly put: string
}

const character = fc.oneof(
  fc.constantFrom(...'AQgw_-=+/.{}"\\ \n\t\0\u00e9\u212a'),
  fc.constantFrom('%2e', '..', 'Ag', '==', '\r\n'),
)

/** One edit of a text anywhere in it, most often where its segments end. */
const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.oneof(fc.nat(), fc.constantFrom(-1, -2, -3)),
  cut: fc.constantFrom(0, 1, 1, 1, 2, 4),
  put: fc.oneof(character, fc.constant('')),
})

function apply(text: string, { at, cut, put }: Edit): string {
  const ends = [...text.matchAll(/\.|$/g)].map(({ index }) => index)
  const place = at < 0 ? Math.max(0, (ends[-at - 1] ?? text.length) - 1) : at % (text.length + 1)
  return text.slice(0, place) + put + text.slice(place + cut)
}

const good = keys.map((by) => {
  const alg = { ...header, alg: by.algorithm, kid: by.kid }
  return [signText(JSON.stringify(alg), JSON.stringify(claims), by), by] as const
})

test('every algorithm: both accept the token itself', async () => {
  for (const [token, by] of good) {
    const ours = readOurs(token, by)
    assert.notEqual(ours, undefined)
    assert.deepEqual(ours, await readJose(token, by))
  }
  assert.deepEqual(validateOurs(good[0]?.[0] ?? ''), await validateJose(good[0]?.[0] ?? ''))
})

test('T049 T050 T051 tokens edited as text, without the key', async () => {
  const tokens = fc
    .tuple(fc.constantFrom(...good), fc.array(edit, { minLength: 1, maxLength: 2 }))
    .map(([[token, by], edits]) => [edits.reduce(apply, token), by] as const)
  await compare(tokens, 5, 1500)
})

test('T051 segments exchanged, repeated, dropped and taken from other tokens', async () => {
  const pool = good.flatMap(([token]) => token.split('.'))
  const segment = fc.constantFrom(...pool, '', 'AA', 'e30', encode(Buffer.from('{"alg":"none"}')))
  const tokens = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 5 }), fc.constantFrom(...keys))
    .map(([segments, by]) => [segments.join('.'), by] as const)
  await compare(tokens, 6, 1500)
})

const oddText = fc.oneof(
  fc.constantFrom(
    'null',
    'true',
    '0',
    '-1',
    '-0',
    '1.0',
    '1e3',
    '1e400',
    '01',
    '"1"',
    '""',
    '[]',
    '{}',
    '[[]]',
  ),
  fc.constantFrom(
    `${now}`,
    `${now}.5`,
    `${now}.0`,
    `${now + 300}`,
    `"${now + 300}"`,
    '9007199254740993',
    'NaN',
  ),
  fc.constantFrom(
    '"ES256"',
    '"none"',
    '"HS256"',
    '["ES256"]',
    '"at+jwt"',
    '"application/AT+JWT"',
    '"JWT"',
    '"\\ud800"',
  ),
  fc.constantFrom(
    JSON.stringify(issuer),
    JSON.stringify([issuer]),
    JSON.stringify(mailAudience),
    `["${mailAudience}"]`,
  ),
  fc.json({ maxDepth: 3 }),
)
const oddName = fc.oneof(
  fc.constantFrom(
    'alg',
    'typ',
    'kid',
    'rcpt',
    'crit',
    'b64',
    'zip',
    'cty',
    'jwk',
    'jku',
    'x5c',
    'enc',
    'Alg',
    '__proto__',
  ),
  fc.constantFrom(
    'iss',
    'sub',
    'aud',
    'exp',
    'nbf',
    'iat',
    'jti',
    'tid',
    'scope',
    'cnf',
    'client_id',
    'Exp',
    'constructor',
  ),
  fc.string({ maxLength: 4 }),
)

interface Writing {
  readonly changes: readonly {
    readonly name: string
    readonly text: string
    readonly doubled: boolean
    readonly first: boolean
  }[]
  readonly escaped: boolean
  readonly space: string
  readonly edit: Edit | null
  readonly mark: string
}

/** A way to write an object: members put in, replaced or doubled, names escaped, spaces, and an edit of the text. */
const writing: fc.Arbitrary<Writing> = fc.record({
  changes: fc.array(fc.record({ name: oddName, text: oddText, doubled: fc.boolean(), first: fc.boolean() }), {
    maxLength: 2,
  }),
  escaped: fc.boolean(),
  space: fc.constantFrom('', '', '', ' ', '\n', '\t', '\u00a0', '/**/'),
  edit: fc.option(edit, { freq: 8 }),
  mark: fc.constantFrom('', '', '', '', '\ufeff', ' '),
})

function write(object: object, { changes, escaped, space, edit, mark }: Writing): string {
  let members = Object.entries(object).map(([name, value]) => [name, JSON.stringify(value)] as const)
  for (const { name, text, doubled, first } of changes) {
    if (!doubled) members = members.filter(([each]) => each !== name)
    members = first ? [[name, text], ...members] : [...members, [name, text]]
  }
  const text = members
    .map(
      ([name, value]) =>
        `${space}${escaped ? escapeName(name) : JSON.stringify(name)}${space}:${space}${value}`,
    )
    .join(',')
  const written = `${mark}{${text}}`
  return edit === null ? written : apply(written, edit)
}

function escapeName(name: string): string {
  const [first, ...rest] = name.split('')
  if (first === undefined) return '""'
  return `"\\u${first.charCodeAt(0).toString(16).padStart(4, '0')}${JSON.stringify(rest.join('')).slice(1)}`
}

const plain: Writing = { changes: [], escaped: false, space: '', edit: null, mark: '' }

test('T037 T047 T054 T056 T057 headers twisted and then signed', async () => {
  const tokens = writing.map((way) => [signText(write(header, way), JSON.stringify(claims)), key] as const)
  assert.ok((await compare(tokens, 7, 3000)) > 100)
})

test('T054 T056 T057 T058 T061 claims twisted and then signed', async () => {
  const tokens = writing.map((way) => [signText(JSON.stringify(header), write(claims, way)), key] as const)
  assert.ok((await compare(tokens, 8, 3000)) > 100)
})

test('T067 T068 T069 T070 T073 claims that are no text tricks, at every edge of time', async () => {
  const time = fc.oneof(
    fc.integer({ min: now - 310, max: now + 310 }),
    fc.constantFrom(now - 5, now - 4, now + 5, now + 6, now, -1, 0.5, null, `${now}`, undefined, 2 ** 53),
  )
  const audience = fc.constantFrom(
    mailAudience,
    [mailAudience],
    ['x', mailAudience],
    'x',
    [],
    '',
    null,
    [7],
    undefined,
  )
  const tokens = fc
    .record({ exp: time, iat: time, nbf: time, aud: audience })
    .map((change) => [signText(write(header, plain), JSON.stringify({ ...claims, ...change })), key] as const)
  assert.ok((await compare(tokens, 9, 1500)) > 100)
})
