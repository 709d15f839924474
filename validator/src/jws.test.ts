/**
 * Goal: a compact JWS is read in one way or refused, each algorithm verifies what it should and nothing near it, and a
 * weak, private or ambiguous key is not used. Method: known attacks, one a test; keys and signatures by hand where the
 * arithmetic is attacked; every single bit of a signature turned.
 */

import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import test from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { calculateJwkThumbprint } from 'jose'
import { decode, encode } from './base64url.ts'
import { parseObject } from './json.ts'
import {
  type Algorithm,
  algorithms,
  importPublicJwk,
  mediaType,
  type PublicJwk,
  parseCompact,
  readCompact,
  signInput,
  thumbprint,
  verifySignature,
} from './jws.ts'
import { createTestKey, type TestKey } from './testing.ts'

const keys = Object.fromEntries(algorithms.map((each) => [each, createTestKey(each)])) as Record<
  Algorithm,
  TestKey
>
const es256 = keys.ES256
const input = 'aGVhZGVy.cGF5bG9hZA'

function segment(value: unknown): string {
  return encode(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)))
}

function compact(header: unknown, payload: unknown = { iss: 'a' }, signature = 'AAAA'): string {
  return `${segment(header)}.${segment(payload)}.${signature}`
}

function refusal(reason: string): object {
  return { name: 'Refusal', reason }
}

function verifies(key: TestKey, signature: Uint8Array, algorithm = key.algorithm): boolean {
  return verifySignature(algorithm, importPublicJwk(key.jwk).key, input, signature)
}

test('a token is taken apart without changing a character', () => {
  const token = compact(
    { alg: 'ES256', typ: 'at+jwt', kid: 'k', rcpt: 'r' },
    { iss: 'a', aud: ['b'] },
    'AAEC',
  )
  const jws = readCompact(token)
  assert.deepEqual(jws.header, { alg: 'ES256', typ: 'at+jwt', kid: 'k', rcpt: 'r' })
  assert.deepEqual(jws.claims, { iss: 'a', aud: ['b'] })
  assert.deepEqual([...jws.signature], [0, 1, 2])
  assert.equal(jws.signingInput, `${jws.headerSegment}.${jws.payloadSegment}`)
  assert.equal(`${jws.signingInput}.${jws.signatureSegment}`, token)
})

test('T054 T061 what was read before changes nothing in how a header is read', () => {
  const before = [
    '{"alg":"ES256","kid":"k","rcpt":"AAEC"}',
    '{"alg":"ES256","rcpt":"AAEC","kid":"k"}',
    '{"alg":"ES256","in":{"kid":"k","rcpt":"AAEC"}}',
    '{"alg":"ES256","in":{"kid":"k","rcpt":"AAEC"},"rcpt":"AAEC"}',
    '{"alg":"ES256" ,"rcpt":"AAEC"}',
    '{"alg":"\\u0041","rcpt":"AAEC"}',
    '{"rcpt":"AAEC"}',
    '{}',
  ]
  const outcome = (read: () => object): unknown => {
    try {
      return read()
    } catch (error) {
      return (error as { reason: string }).reason
    }
  }
  const pieces = [
    '',
    '{',
    '}',
    '"',
    '"}',
    ',"rcpt":"',
    '"rcpt":',
    '"kid":"l"',
    ',',
    'AAED',
    '\\',
    '\n',
    ' ',
    'é',
  ]
  const piece = fc.array(fc.constantFrom(...pieces), { maxLength: 3 }).map((some) => some.join(''))
  const place = fc.nat(60)
  fc.assert(
    fc.property(fc.constantFrom(...before), place, place, piece, (text, from, count, put) => {
      const bent = text.slice(0, from) + put + text.slice(from + count)
      for (const each of [...before, bent]) {
        assert.deepEqual(
          outcome(() => parseCompact(compact(each)).header),
          outcome(() => parseObject(each)),
        )
      }
    }),
    { numRuns: 3000 },
  )
})

test('T001 alg none with an empty signature is refused', () => {
  assert.throws(() => readCompact(compact({ alg: 'none' }, {}, '')), refusal('alg_not_allowed'))
})

for (const alg of ['noNE', 'NONE', 'None', ' none', 'none ', 'none\0', 'ｎｏｎｅ', '']) {
  test(`T002 alg ${JSON.stringify(alg)} is refused`, () => {
    assert.throws(() => readCompact(compact({ alg }, {}, '')), refusal('alg_not_allowed'))
  })
}

for (const header of [{}, { alg: null }, { alg: 256 }, { alg: ['ES256'] }, { alg: { alg: 'ES256' } }]) {
  test(`T003 the header ${JSON.stringify(header)} is refused`, () => {
    assert.throws(() => readCompact(compact(header)), refusal('alg_not_allowed'))
  })
}

for (const alg of [
  'HS256',
  'HS384',
  'HS512',
  'ES256K',
  'ES384',
  'ES512',
  'RS512',
  'PS512',
  'Ed448',
  'es256',
  'ES256 ',
]) {
  test(`T004 T008 T015 alg ${alg} is refused whatever the signature`, () => {
    assert.throws(() => readCompact(compact({ alg })), refusal('alg_not_allowed'))
  })
}

const publicKey = importPublicJwk(keys.RS256.jwk).key
const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
const secrets: Readonly<Record<string, string | Uint8Array>> = {
  'T004 the public PEM': pem,
  'T005 the PEM after a space': ` ${pem}`,
  'T005 the PEM after a line break': `\n${pem}`,
  'T005 the PEM with CRLF': pem.replaceAll('\n', '\r\n'),
  'T005 the DER': publicKey.export({ type: 'spki', format: 'der' }),
  'T005 the JWK as text': JSON.stringify(keys.RS256.jwk),
  'T006 T008 the empty secret': '',
}
for (const [what, secret] of Object.entries(secrets)) {
  test(`${what} as HMAC secret is refused by its alg, and is no signature under any other`, () => {
    const mac = (text: string): Buffer => createHmac('sha256', secret).update(text).digest()
    const token = compact({ alg: 'HS256' }, {}, encode(mac('x')))
    assert.throws(() => readCompact(token), refusal('alg_not_allowed'))
    for (const key of Object.values(keys)) assert.equal(verifies(key, mac(input)), false)
  })
}

for (const algorithm of algorithms) {
  const key = keys[algorithm]
  const signature = signInput(algorithm, key.privateKey, input)

  test(`${algorithm} verifies its own signature, over these bytes alone, T009 and no empty one`, () => {
    assert.equal(verifies(key, signature), true)
    assert.equal(verifySignature(algorithm, importPublicJwk(key.jwk).key, `${input}A`, signature), false)
    assert.equal(verifies(createTestKey(algorithm), signature), false)
    assert.equal(verifies(key, new Uint8Array()), false)
    assert.equal(verifies(key, new Uint8Array(signature.length)), false)
  })

  test(`T013 ${algorithm} refuses a signature that is a byte short or long`, () => {
    assert.equal(verifies(key, signature.subarray(0, -1)), false)
    assert.equal(verifies(key, Uint8Array.of(...signature, 0)), false)
    assert.equal(verifies(key, Uint8Array.of(0, ...signature)), false)
  })

  test(`${algorithm} refuses a signature with any byte changed`, () => {
    const step = Math.ceil(signature.length / 128)
    for (let at = 0; at < signature.length; at += step) {
      const changed = Uint8Array.from(signature)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      assert.equal(verifies(key, changed), false, `byte ${at}`)
    }
  })
}

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

function scalar(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
}

test('T010 T011 ES256 refuses r and s of zero, of the order and beyond', () => {
  const outside = [0n, ORDER, ORDER + 1n, 2n ** 256n - 1n]
  const [r, s] = [1n, 1n]
  for (const value of outside) {
    for (const [x, y] of [
      [value, s],
      [r, value],
      [value, value],
    ] as const) {
      assert.equal(verifies(es256, Buffer.concat([scalar(x), scalar(y)])), false)
    }
  }
})

test('T014 the twin of an ES256 signature verifies too: nothing may be keyed on a signature', () => {
  const signature = Buffer.from(signInput('ES256', es256.privateKey, input))
  const s = BigInt(`0x${signature.subarray(32).toString('hex')}`)
  assert.equal(verifies(es256, Buffer.concat([signature.subarray(0, 32), scalar(ORDER - s)])), true)
})

test('T012 ES256 refuses a signature in DER', () => {
  for (let count = 0; count < 20; count++) {
    assert.equal(verifies(es256, sign('sha256', Buffer.from(input), es256.privateKey)), false)
  }
})

test('T017 EdDSA refuses S raised by the order of the base point', () => {
  const signature = Buffer.from(signInput('EdDSA', keys.EdDSA.privateKey, input))
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + order
  const raised = Buffer.concat([signature.subarray(0, 32), scalar(s).reverse()])
  assert.equal(verifies(keys.EdDSA, raised), false)
})

test('T020 PS256 refuses a salt of another length and another hash', () => {
  const key = keys.PS256.privateKey
  const padding = 6
  for (const saltLength of [0, 20, 31, 33, 64]) {
    assert.equal(
      verifies(keys.PS256, sign('sha256', Buffer.from(input), { key, padding, saltLength })),
      false,
    )
  }
  assert.equal(
    verifies(keys.PS256, sign('sha384', Buffer.from(input), { key, padding, saltLength: 32 })),
    false,
  )
})

test('T021 an RSA signature of one padding is none of the other', () => {
  const { key } = importPublicJwk(keys.RS256.jwk)
  assert.equal(verifySignature('PS256', key, input, signInput('RS256', keys.RS256.privateKey, input)), false)
  assert.equal(verifySignature('RS256', key, input, signInput('PS256', keys.RS256.privateKey, input)), false)
})

test('T025 what is verified is the text that came, not what its JSON says', () => {
  const token = compact('{ "alg":"ES256" }', '{ "iss":"a" }')
  assert.equal(readCompact(token).signingInput, token.slice(0, token.lastIndexOf('.')))
})

const jwt = { alg: 'ES256', typ: 'at+jwt', kid: 'k' }
const refusedHeaders: Readonly<Record<string, object>> = {
  'T033 jku of an attacker': { jku: 'https://attacker.example/jwks' },
  'T033 jku with user information': { jku: 'https://login.example@attacker.example/jwks' },
  'T034 x5u': { x5u: 'https://attacker.example/cert' },
  'T034 x5c': { x5c: ['MIIB'] },
  'T034 x5t': { x5t: 'AAAA' },
  'T034 x5t#S256': { 'x5t#S256': 'AAAA' },
  'T035 jwk': { jwk: es256.jwk },
  'T037 crit of an unknown extension': { crit: ['exp'], exp: 1 },
  'T038 crit empty': { crit: [] },
  'T038 crit that is no array': { crit: 'b64' },
  'T038 crit naming an absent member': { crit: ['absent'] },
  'T038 crit naming alg': { crit: ['alg'] },
  'T039 b64 false with crit': { b64: false, crit: ['b64'] },
  'T039 b64 false without crit': { b64: false },
  'T039 b64 true': { b64: true },
  'T040 zip': { zip: 'DEF' },
  'T041 cty JWT': { cty: 'JWT' },
  'T042 T043 enc': { enc: 'A128GCM' },
  'T045 p2c': { p2c: 2_000_000_000 },
  'T055 Alg beside alg': { Alg: 'none' },
  'T062 constructor': { constructor: 'x' },
  'an unknown member': { nonsense: true },
}
for (const [what, members] of Object.entries(refusedHeaders)) {
  test(`${what} in the header is refused`, () => {
    assert.throws(() => readCompact(compact({ ...jwt, ...members })), refusal('header_not_allowed'))
  })
}

for (const member of ['typ', 'kid', 'rcpt']) {
  for (const value of [null, 1, ['a'], { a: 1 }]) {
    test(`T003 ${member} ${JSON.stringify(value)} is refused`, () => {
      assert.throws(() => readCompact(compact({ ...jwt, [member]: value })), refusal('malformed'))
    })
  }
}

const good = compact(jwt, { iss: 'a' })
const [head, body, tail] = good.split('.') as [string, string, string]
const malformed: Readonly<Record<string, unknown>> = {
  'T042 T043 a JWE': `${head}.AAAA.AAAA.${body}.${tail}`,
  'T044 a JWE with a compressed bomb': `${head}..AAAA.${encode(gzipSync('0'.repeat(1000)))}.AAAA`,
  'T049 padding in a segment': `${head}=.${body}.${tail}`,
  'T049 the other alphabet': `${head}.${body}.++//`,
  'T049 a space inside': `${head}. ${body}.${tail}`,
  'T049 a line break after it': `${good}\n`,
  'T049 a space before it': ` ${good}`,
  'T050 trailing bits that are not zero': `${head}.${body}.AB`,
  'T051 four segments': `${good}.AAAA`,
  'T051 two segments': `${head}.${body}`,
  'T051 one segment': head,
  'T051 nothing': '',
  'T051 dots alone': '..',
  'T051 an empty header': `.${body}.${tail}`,
  'T051 an empty payload': `${head}..${tail}`,
  'T051 a dot at the end': `${good}.`,
  'T052 the flattened JSON serialization': JSON.stringify({
    payload: body,
    protected: head,
    signature: tail,
  }),
  'T052 the general JSON serialization': JSON.stringify({
    payload: body,
    signatures: [{ protected: head, signature: tail }],
  }),
  'T053 braces around it': `{${good}}`,
  'T053 quotes around it': `"${good}"`,
  'T053 a quote in a segment': `${head}.${body}".${tail}`,
  'T047 a header with alg twice': compact('{"alg":"none","alg":"ES256"}'),
  'T048 a header that is an array': compact([jwt]),
  'T048 a header that is a string': compact('"ES256"'),
  'T048 a header that is null': compact('null'),
  'T061 a payload that is an array': compact(jwt, [{ iss: 'a' }]),
  'T061 a payload that is a string': compact(jwt, '"a"'),
  'T061 a payload that is null': compact(jwt, 'null'),
  'T041 a payload that is another token': compact(jwt, good),
  'no string but a number': 7,
  'no string but an array of one': [good],
  'no string but undefined': undefined,
}
for (const [what, token] of Object.entries(malformed)) {
  test(`${what} is refused as malformed`, () => {
    assert.throws(() => readCompact(token as string), refusal('malformed'))
  })
}

test('T063 a token of more than 16 KiB is refused before it is read', () => {
  const room = 16 * 1024 - good.length
  assert.throws(() => readCompact(`${good}${'!'.repeat(room + 1)}`), refusal('oversized'))
  assert.throws(() => readCompact(`${good}${'!'.repeat(room)}`), refusal('malformed'))
})

test('T030 T063 a header of more than 2 KiB is refused before it is read', () => {
  assert.throws(() => readCompact(`${'!'.repeat(2049)}.${body}.${tail}`), refusal('oversized'))
  assert.throws(() => readCompact(`${'!'.repeat(2048)}.${body}.${tail}`), refusal('malformed'))
  assert.throws(() => readCompact(compact({ ...jwt, kid: 'k'.repeat(1024 * 1024) })), refusal('oversized'))
})

test('T046 typ names one media type with and without application/, in any case of ASCII letters', () => {
  for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+jwt']) {
    assert.equal(mediaType(typ), 'at+jwt')
  }
  // KELVIN SIGN lower-cases to k, and LATIN SMALL LETTER LONG S upper-cases to S.
  for (const typ of ['\u212aey', 'application/application/at+jwt', 'at+jwt ', 'text/at+jwt', 'ａt+jwt']) {
    assert.notEqual(mediaType(typ), 'at+jwt')
    assert.notEqual(mediaType(typ), 'key')
  }
})

test('thumbprints are those of RFC 7638, as jose computes them', async () => {
  for (const { jwk } of Object.values(keys)) assert.equal(thumbprint(jwk), await calculateJwkThumbprint(jwk))
})

function refusedKey(jwk: object, message: RegExp): void {
  assert.throws(() => importPublicJwk(jwk), { name: 'InvalidKey', message })
}

const p256 = es256.jwk
const rsa = keys.RS256.jwk

test('T007 an RSA key must say its algorithm: no header may choose', () => {
  const { alg: _, ...bare } = rsa
  refusedKey(bare, /no algorithm/)
  assert.equal(importPublicJwk({ ...bare, alg: 'PS256' }).algorithm, 'PS256')
})

test('T015 T018 keys of other curves and other algorithms are refused', () => {
  for (const [type, options] of [
    ['ec', { namedCurve: 'P-384' }],
    ['ec', { namedCurve: 'secp256k1' }],
    ['ed448', {}],
    ['x25519', {}],
  ] as const) {
    const jwk = generate(type, options).export({ format: 'jwk' })
    refusedKey(jwk, /no algorithm/)
    refusedKey({ ...jwk, alg: 'EdDSA' }, /no algorithm/)
  }
  refusedKey({ ...p256, alg: 'ES384' }, /no algorithm/)
  refusedKey({ ...p256, crv: 'secp256k1' }, /no algorithm/)
  refusedKey({ ...rsa, alg: 'RS512' }, /no algorithm/)
})

test('T016 a point that is not on the curve, at infinity or compressed is refused', () => {
  refusedKey({ ...p256, y: p256.x }, /no key/)
  refusedKey({ ...p256, x: encode(new Uint8Array(32)), y: encode(new Uint8Array(32)) }, /no key/)
  refusedKey({ ...p256, y: undefined }, /y is missing/)
  refusedKey({ ...p256, x: encode(Uint8Array.of(2, ...decode(p256.x ?? ''))) }, /x has a wrong length/)
  refusedKey({ ...p256, x: encode(decode(p256.x ?? '').subarray(1)) }, /x has a wrong length/)
})

const prime = 2n ** 255n - 19n
/** The y coordinates of the points whose order divides eight, each also beyond the prime where that fits. */
const smallOrder = [
  0n,
  1n,
  prime - 1n,
  prime,
  prime + 1n,
  2707385501144840649318225287225658788936804267575313519463743609750303402022n,
  55188659117513257062467267217118295137698188065244968500265048394206261417927n,
]
test('T017 Ed25519 keys of small order, for which anybody can sign, are refused in every encoding', () => {
  for (const y of smallOrder) {
    for (const signBit of [0n, 2n ** 255n]) {
      const x = encode(scalar(y | signBit).reverse())
      refusedKey({ kty: 'OKP', crv: 'Ed25519', x }, /small order/)
    }
  }
})

test('T019 RSA keys with a small exponent, a short, a huge or an even modulus are refused', () => {
  refusedKey({ ...rsa, e: 'AQ' }, /e is not 65537/)
  refusedKey({ ...rsa, e: 'Aw' }, /e is not 65537/)
  refusedKey({ ...rsa, e: 'AAEAAQ' }, /e is not 65537/)
  refusedKey(
    { ...generate('rsa', { modulusLength: 1024 }).export({ format: 'jwk' }), alg: 'RS256' },
    /n has a wrong length/,
  )
  refusedKey({ ...rsa, n: encode(new Uint8Array(2048).fill(255)) }, /n has a wrong length/)
  const n = Buffer.from(decode(rsa.n ?? ''))
  refusedKey({ ...rsa, n: encode(Buffer.concat([Buffer.alloc(1), n])) }, /leading zeros/)
  n[n.length - 1] = (n.at(-1) ?? 0) & 0xfe
  refusedKey({ ...rsa, n: encode(n) }, /n is even/)
})

test('T022 a key for encryption, or that may not verify, is refused', () => {
  refusedKey({ ...p256, use: 'enc' }, /use/)
  refusedKey({ ...p256, key_ops: ['sign'] }, /key_ops/)
  refusedKey({ ...p256, key_ops: 'verify' }, /key_ops/)
  assert.equal(importPublicJwk({ ...p256, use: 'sig', key_ops: ['verify'] }).algorithm, 'ES256')
})

test('T006 T023 a symmetric key is refused', () => {
  refusedKey({ kty: 'oct', k: 'AAAA' }, /no k/)
  refusedKey({ kty: 'oct' }, /no algorithm/)
})

test('T024 a private key is refused, and none of it is in the message', () => {
  for (const { privateKey, algorithm } of Object.values(keys)) {
    const jwk = { ...privateKey.export({ format: 'jwk' }), alg: algorithm }
    assert.throws(
      () => importPublicJwk(jwk),
      (error: Error) =>
        error.name === 'InvalidKey' &&
        !Object.values(jwk).some((value) => error.message.includes(`${value}`)),
    )
  }
})

test('a kid that is not the thumbprint is refused', () => {
  refusedKey({ ...p256, kid: 'chosen' }, /thumbprint/)
  assert.equal(importPublicJwk({ ...p256, kid: es256.kid }).kid, es256.kid)
})

test('members that are not canonical are refused', () => {
  refusedKey({ ...p256, x: `${p256.x}=` }, /x is not base64url/)
  refusedKey({ ...p256, x: 7 } as object, /x is missing/)
})

test('an imported key keeps only what makes the key, and its algorithm', () => {
  const jwk: PublicJwk = importPublicJwk({ ...p256, use: 'sig', kid: es256.kid, nbf: 1 }).jwk
  assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kty', 'x', 'y'])
  assert.ok(createPublicKey({ key: { ...jwk }, format: 'jwk' }).equals(importPublicJwk(jwk).key))
})

function generate(type: 'ec' | 'rsa' | 'ed448' | 'x25519', options: object): KeyObject {
  return (generateKeyPairSync as (type: string, options: object) => { publicKey: KeyObject })(type, options)
    .publicKey
}
