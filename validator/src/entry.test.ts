/**
 * Goal: one entry has one encoding, and nothing else is read as one. Method: vectors of a second implementation, every
 * field over its range, every byte changed.
 * @module
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './base64url.ts'
import {
  decodeEntry,
  ENTRY_BYTES,
  type Entry,
  encodeEntry,
  entryOf,
  leafHash,
  leafHashOf,
  tokenTypes,
} from './entry.ts'
import { Refusal } from './refusal.ts'

interface Vectors {
  readonly cases: readonly {
    readonly name: string
    readonly parts: {
      readonly token_type: keyof typeof tokenTypes
      readonly kid: string
      readonly issued_at: number
      readonly expires_at: number
      readonly serial: number
      readonly payload_segment: string
    }
    readonly entry: string
    readonly leaf_hash: string
  }[]
  readonly refused: readonly { readonly name: string; readonly entry: string }[]
}

const vectors = JSON.parse(
  readFileSync(new URL('../../spec/vectors/entry.json', import.meta.url), 'utf8'),
) as Vectors
const malformed = { name: 'Refusal', reason: 'malformed' }

for (const { name, parts, entry, leaf_hash } of vectors.cases) {
  test(`entry vector: ${name}`, () => {
    const facts = {
      tokenType: parts.token_type,
      kid: parts.kid,
      issuedAt: parts.issued_at,
      expiresAt: parts.expires_at,
      serial: parts.serial,
      payloadSegment: parts.payload_segment,
    }
    const made = entryOf(facts)
    assert.equal(encode(encodeEntry(made)), entry)
    assert.equal(encode(leafHashOf(facts)), leaf_hash)
    assert.equal(encode(leafHash(decode(entry))), leaf_hash)
    assert.deepEqual(encodeEntry(decodeEntry(decode(entry))), encodeEntry(made))
  })
}

for (const { name, entry } of vectors.refused) {
  test(`entry vector, refused: ${name}`, () => {
    assert.throws(() => decodeEntry(decode(entry)), malformed)
  })
}

const number = fc.oneof(fc.integer({ min: 0, max: 2 ** 40 }), fc.maxSafeNat())
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
const anyEntry: fc.Arbitrary<Entry> = fc.record(
  {
    tokenType: fc.constantFrom(...(Object.keys(tokenTypes) as (keyof typeof tokenTypes)[])),
    keyThumbprint: bytes32,
    issuedAt: number,
    expiresAt: number,
    serial: number,
    payloadSha256: bytes32,
  },
  { noNullPrototype: true },
)

test('every entry is read back as it was written, and no two are written alike', () => {
  fc.assert(
    fc.property(anyEntry, fc.nat(ENTRY_BYTES - 1), fc.integer({ min: 1, max: 255 }), (entry, at, bits) => {
      const bytes = encodeEntry(entry)
      assert.equal(bytes.length, ENTRY_BYTES)
      assert.deepEqual(decodeEntry(bytes), entry)
      const bent = Uint8Array.from(bytes, (byte, position) => (position === at ? byte ^ bits : byte))
      try {
        assert.deepEqual(encodeEntry(decodeEntry(bent)), bent)
      } catch (error) {
        assert.ok(error instanceof Refusal)
      }
    }),
    { seed: 90 },
  )
})

test('T143: what an entry holds of a payload is a hash alone', () => {
  const payloadSegment = Buffer.from('{"sub":"someone@mail.example"}').toString('base64url')
  const bytes = encodeEntry(
    entryOf({
      tokenType: 'access',
      kid: encode(Buffer.alloc(32)),
      issuedAt: 1,
      expiresAt: 2,
      serial: 3,
      payloadSegment,
    }),
  )
  assert.equal(bytes.length, 90)
  assert.ok(!Buffer.from(bytes).includes('mail.example'))
})

test('an entry in the middle of a larger buffer is read from its own bytes', () => {
  const [{ entry = '' } = {}] = vectors.cases
  const around = Buffer.concat([Buffer.alloc(3, 0xff), decode(entry), Buffer.alloc(3, 0xff)])
  assert.deepEqual(decodeEntry(around.subarray(3, 93)), decodeEntry(decode(entry)))
})

test('numbers that cannot be written exactly are refused', () => {
  const entry = decodeEntry(decode(vectors.cases[0]?.entry ?? ''))
  for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    for (const field of ['issuedAt', 'expiresAt', 'serial'] as const) {
      assert.throws(() => encodeEntry({ ...entry, [field]: value }), malformed, `${field} ${value}`)
    }
  }
})

test('a kid that is no thumbprint makes no entry', () => {
  const parts = { tokenType: 'access', issuedAt: 1, expiresAt: 2, serial: 3, payloadSegment: 'e30' } as const
  for (const kid of [
    '',
    'short',
    encode(Buffer.alloc(31)),
    encode(Buffer.alloc(33)),
    `${encode(Buffer.alloc(32))}=`,
  ]) {
    assert.throws(() => encodeEntry(entryOf({ ...parts, kid })), malformed, kid)
  }
})

test('the leaf hash of a token is its own, whatever was asked before, and also after what cannot be an entry', () => {
  const parts = fc.record({
    tokenType: fc.constantFrom(...(Object.keys(tokenTypes) as (keyof typeof tokenTypes)[])),
    kid: fc.oneof(bytes32.map(encode), fc.constantFrom(encode(new Uint8Array(31)), 'no thumbprint')),
    issuedAt: fc.oneof(number, fc.constantFrom(-1, 0.5)),
    expiresAt: number,
    serial: number,
    payloadSegment: fc.base64String(),
  })
  fc.assert(
    fc.property(fc.array(parts, { minLength: 2, maxLength: 8 }), (tokens) => {
      for (const token of tokens) {
        let expected: string | undefined
        try {
          expected = encode(leafHash(encodeEntry(entryOf(token))))
        } catch {
          assert.throws(() => leafHashOf(token), malformed)
          continue
        }
        assert.equal(encode(leafHashOf(token)), expected)
      }
    }),
  )
})
