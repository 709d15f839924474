/**
 * Goal: whatever the runtime, the same bytes, texts and keys are taken and the same signatures verified. Method: both platforms
 * side by side on Node, with the same good, edited and random input, seeded; Node's own cryptography is the judge of the other.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { algorithms, InvalidKey, type PublicJwk } from './jws.ts'
import * as node from './platform.ts'
import * as web from './platform-web.ts'
import { createTestKey } from './testing.ts'

const bytes = (maxLength = 300): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength })

test('hashes: every length around the end of a block, and texts of any script', () => {
  for (let length = 0; length < 260; length++) {
    const message = Uint8Array.from({ length }, (_, at) => (at * 31 + length) & 0xff)
    const expected = createHash('sha256').update(message).digest()
    assert.deepEqual(Buffer.from(web.sha256(message)), expected)
    // A view of something larger, as receipts are read.
    const inside = new Uint8Array(length + 9).fill(7)
    inside.set(message, 5)
    assert.deepEqual(Buffer.from(web.sha256(inside.subarray(5, 5 + length))), expected)
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.deepEqual(Buffer.from(web.sha256(text)), Buffer.from(node.sha256(text)))
    }),
    { seed: 1 },
  )
})

test('base64url: bytes come back, and of a text that was edited both say the same', () => {
  const edited = fc
    .tuple(bytes(), fc.nat(), fc.constantFrom('', '=', '+', '/', '-', '_', ' ', '\n', 'A', 'B', 'é', '.'))
    .map(([given, at, put]) => {
      const text = node.encodeBase64url(given)
      const place = at % (text.length + 1)
      return text.slice(0, place) + put + text.slice(place + (at % 3))
    })
  fc.assert(
    fc.property(bytes(9000), (given) => {
      const text = node.encodeBase64url(given)
      assert.equal(web.encodeBase64url(given), text)
      assert.deepEqual(web.decodeBase64url(text), given)
    }),
    { seed: 2 },
  )
  fc.assert(
    fc.property(edited, (text) => {
      const [one, other] = [node.decodeBase64url(text), web.decodeBase64url(text)]
      assert.deepEqual(one && Uint8Array.from(one), other, text)
      assert.equal(web.decodeBase64urlText(text), node.decodeBase64urlText(text), text)
    }),
    { seed: 3, numRuns: 3000 },
  )
})

test('UTF-8: both read the same texts out of any bytes, byte order marks included, and write the same', () => {
  const odd = fc.constantFrom(
    [0xef, 0xbb, 0xbf],
    [0xed, 0xa0, 0x80],
    [0xc0, 0x80],
    [0xf0, 0x9f, 0x98, 0x80],
    [0x41],
  )
  const mixed = fc
    .array(fc.oneof(odd, fc.array(fc.nat({ max: 255 }), { maxLength: 3 })))
    .map((parts) => Uint8Array.from(parts.flat()))
  fc.assert(
    fc.property(mixed, (given) => assert.equal(web.decodeUtf8(given), node.decodeUtf8(given))),
    { seed: 4, numRuns: 2000 },
  )
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.constantFrom('', '\ud800', '\udc00a'), (text, lone) => {
      assert.deepEqual(web.encodeUtf8(text + lone), Uint8Array.from(node.encodeUtf8(text + lone)))
    }),
    { seed: 5 },
  )
  fc.assert(
    fc.property(bytes(), bytes(), (one, other) => {
      assert.equal(web.latin1(one), node.latin1(one))
      assert.equal(web.sameBytes(one, other), node.sameBytes(one, other))
      assert.ok(web.sameBytes(one, Uint8Array.from(one)))
    }),
    { seed: 6 },
  )
})

const takes = (platform: { importKey(jwk: PublicJwk): unknown }, jwk: PublicJwk): boolean => {
  try {
    platform.importKey(jwk)
    return true
  } catch (error) {
    assert.ok(!(error instanceof InvalidKey))
    return false
  }
}

test('T016 a P-256 point is taken by both or by neither: on the curve, beside it, beyond the field, or nowhere', () => {
  const good = createTestKey('ES256').jwk
  const [x, y] = [good.x, good.y].map((text) => Buffer.from(text ?? '', 'base64url')) as [Buffer, Buffer]
  const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn
  const member = (value: bigint): string =>
    Buffer.from(value.toString(16).padStart(64, '0'), 'hex').toString('base64url')
  const negated = member(p - BigInt(`0x${y.toString('hex')}`))
  const points: [string, string][] = [
    [member(0n), member(0n)],
    [member(p), member(0n)],
    [good.x ?? '', negated],
    [good.y ?? '', good.x ?? ''],
    [member(2n ** 256n - 1n), member(2n ** 256n - 1n)],
  ]
  // The one x whose image is below 2^256 − p comes with two encodings, of which the one beyond the field is none.
  for (let small = 0n; small < 40n; small++) {
    points.push([member(small), good.y ?? ''], [member(small + p), good.y ?? ''])
  }
  for (let at = 0; at < 256; at++) {
    const twisted = Buffer.from(at % 2 === 0 ? x : y)
    twisted[at >> 3] = (twisted[at >> 3] ?? 0) ^ (1 << (at & 7))
    points.push(
      at % 2 === 0
        ? [twisted.toString('base64url'), good.y ?? '']
        : [good.x ?? '', twisted.toString('base64url')],
    )
  }
  for (const [px, py] of points) {
    const jwk = { kty: 'EC', crv: 'P-256', x: px, y: py, alg: 'ES256' }
    assert.equal(takes(web, jwk), takes(node, jwk), `${px} ${py}`)
  }
  assert.ok(takes(web, { ...good, y: negated }), 'the other point of the same x is one')
})

for (const algorithm of algorithms) {
  test(`${algorithm}: later is as now, on both platforms, for the signature itself and whatever it is twisted into`, async () => {
    const { jwk, privateKey } = createTestKey(algorithm)
    const [nodeKey, webKey] = [node.importKey(jwk), web.importKey(jwk)]
    const stranger = createTestKey(algorithm)
    for (let round = 0; round < 40; round++) {
      const input = round % 2 === 0 ? `input ${round} é` : Uint8Array.of(round, 0, 255)
      const signature = Uint8Array.from(node.signNow(algorithm, privateKey, input))
      const twisted = Uint8Array.from(signature)
      twisted[(round * 7) % twisted.length] =
        (twisted[(round * 7) % twisted.length] ?? 0) ^ (1 << (round % 8))
      const shown: readonly (readonly [string | Uint8Array, Uint8Array])[] = [
        [input, signature],
        [input, twisted],
        ['another input', signature],
        [input, new Uint8Array(signature.length)],
        [input, node.signNow(algorithm, stranger.privateKey, input)],
      ]
      for (const [at, [given, by]] of shown.entries()) {
        const isSigned = node.verifyNow(algorithm, nodeKey, given, by)
        assert.equal(isSigned, at === 0)
        assert.equal(await node.verifyLater(algorithm, nodeKey, given, by), isSigned)
        assert.equal(await web.verifyLater(algorithm, webKey, given, by), isSigned)
      }
    }
    assert.deepEqual(
      { ...webKey.export({ format: 'jwk' }), alg: undefined },
      { ...nodeKey.export({ format: 'jwk' }), alg: undefined },
    )
    assert.equal(webKey.asymmetricKeyType, nodeKey.asymmetricKeyType)
  })
}

test('a runtime that cannot verify at once says so, and what is amiss with it is no verdict', async (context) => {
  const { jwk } = createTestKey('ES256')
  const key = web.importKey(jwk)
  assert.throws(() => web.verifyNow('ES256', key, 'x', new Uint8Array(64)), TypeError)
  assert.throws(() => web.signNow('ES256', key, 'x'), TypeError)
  assert.throws(() => web.publicJwkOf(key), TypeError)
  // A point that a runtime finds to be none: nobody can have signed with it.
  const nowhere = web.importKey({ kty: 'OKP', crv: 'X', x: 'AA', alg: 'EdDSA' })
  assert.equal(await web.verifyLater('EdDSA', nowhere, 'x', new Uint8Array(64)), false)
  context.mock.method(crypto.subtle, 'importKey', async () => {
    throw new DOMException('no such algorithm here', 'NotSupportedError')
  })
  const other = web.importKey(createTestKey('ES256').jwk)
  await assert.rejects(web.verifyLater('ES256', other, 'x', new Uint8Array(64)), {
    name: 'NotSupportedError',
  })
})
