/**
 * Goal: a byte string has exactly one text, and every other text is refused. Method: all bytes come back; then each
 * text of up to three characters over an alphabet with strangers in it is tried, and accepted only if `encode` writes it.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { decode, decodeText, encode } from './base64url.ts'

test('what was encoded is decoded to the same bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.deepEqual(new Uint8Array(decode(encode(bytes))), bytes)
    }),
    { seed: 1 },
  )
})

test('a view into a larger buffer is encoded alone', () => {
  assert.equal(encode(Uint8Array.of(1, 2, 3, 4).subarray(1, 3)), 'AgM')
})

for (const [what, text] of [
  ['padding', 'AA=='],
  ['the plus of the other alphabet', 'A+A'],
  ['the slash of the other alphabet', 'A/A'],
  ['a space', 'AA A'],
  ['a line break', 'AA\nA'],
  ['a null character', 'AAA\0'],
  ['a character beyond ASCII', 'AAĀA'],
  ['a full-width letter', 'AAＡA'],
  ['a length of one beyond a multiple of four', 'AAAAA'],
] as const) {
  test(`T049 base64url with ${what} is refused`, () => {
    assert.throws(() => decode(text), { reason: 'malformed' })
  })
}

test('T050 trailing bits that are not zero are refused, so that a token has one text', () => {
  assert.equal(decode('AA').length, 1)
  for (const last of 'BCDEFGHIJKLMNOP') assert.throws(() => decode(`A${last}`), { reason: 'malformed' })
  for (const last of 'BCD') assert.throws(() => decode(`AA${last}`), { reason: 'malformed' })
})

test('T049 T050 of all short texts, exactly those are accepted that encode writes', () => {
  const alphabet = [...'AQgw_-9+/= \n.é']
  const texts = [
    '',
    ...alphabet,
    ...alphabet.flatMap((a) => alphabet.flatMap((b) => [a + b, `${a}${b}A`, `A${a}${b}`])),
  ]
  let accepted = 0
  for (const text of texts) {
    try {
      assert.equal(encode(decode(text)), text)
      accepted++
      continue
    } catch (error) {
      assert.equal((error as { reason?: string }).reason, 'malformed', text)
    }
    assert.throws(() => decodeText(text), { reason: 'malformed' }, text)
  }
  assert.ok(accepted > 20)
})

test('T056 text is read as its bytes are: what is no UTF-8 is refused, and what only looks like a repair is not', () => {
  const textOf = (bytes: Uint8Array): string | undefined => {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      return undefined
    }
  }
  const reads = (bytes: Uint8Array): void => {
    const expected = textOf(bytes)
    if (expected === undefined) assert.throws(() => decodeText(encode(bytes)), { reason: 'malformed' })
    else assert.equal(decodeText(encode(bytes)), expected)
  }
  for (const text of ['', 'é', '\ufffd', '\ufeffa', '𝔸', 'a'.repeat(20_000), '\ufffd'.repeat(10_000)])
    reads(Buffer.from(text))
  for (const bytes of [[0xff], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xef, 0xbf, 0xbd, 0xe2, 0x82]]) {
    reads(Uint8Array.from(bytes))
    reads(Buffer.concat([Buffer.alloc(20_000, 'a'), Uint8Array.from(bytes)]))
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), reads))
})
