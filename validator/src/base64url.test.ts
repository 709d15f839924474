/**
 * Goal: a byte string has exactly one text, and every other text is refused. Method: all bytes come back; then each
 * text of up to three characters over an alphabet with strangers in it is tried, and accepted only if `encode` writes it.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './base64url.ts'

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
    } catch (error) {
      assert.equal((error as { reason?: string }).reason, 'malformed', text)
    }
  }
  assert.ok(accepted > 20)
})
