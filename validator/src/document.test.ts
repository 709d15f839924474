/**
 * Goal: a document counts only when enough distinct known keys, and nobody else, signed exactly its payload. Method:
 * jose is the second implementation in both directions; then every part of a good document is bent in turn.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { GeneralSign, generalVerify, importJWK } from 'jose'
import { encode } from './base64url.ts'
import {
  type DocumentFlaw,
  DocumentRefusal,
  encodePayload,
  type SignedDocument,
  signDocument,
  verifyDocument,
} from './document.ts'
import { signInput } from './jws.ts'
import { createTestKey, type TestKey } from './testing.ts'

const TYPE = 'charter+jwt'
const [first, second, third] = [createTestKey('EdDSA'), createTestKey('ES256'), createTestKey('ML-DSA-44')]
const keys = [first, second, third]
const people = keys.map(({ jwk }) => ({ jwk }))
const payload = { version: 1, words: ['ä', '€', '🔑'] }
const segment = encodePayload(payload)
const good = signDocument(
  segment,
  TYPE,
  [first, second].map(({ privateKey }) => privateKey),
)

function refuses(document: unknown, flaw: DocumentFlaw, threshold = 2): void {
  assert.throws(
    () => verifyDocument(document, TYPE, people, threshold),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
  )
}

/** One signature line with a protected header of the caller's making. */
function line(key: TestKey, header: object, payloadSegment = segment): SignedDocument['signatures'][number] {
  const head = encodePayload(header)
  return {
    protected: head,
    signature: encode(signInput(key.algorithm, key.privateKey, `${head}.${payloadSegment}`)),
  }
}

function headerOf({ algorithm, kid }: TestKey): object {
  return { alg: algorithm, typ: TYPE, kid }
}

test('a document signed by enough keys gives its payload and says who signed', () => {
  const verified = verifyDocument(good, TYPE, people, 2)
  assert.deepEqual(verified.payload, payload)
  assert.deepEqual([...verified.signers.keys()], [first.kid, second.kid])
  assert.equal(verifyDocument(good, TYPE, people, 1).payloadSegment, segment)
})

test('jose verifies what is signed here', async () => {
  for (const { jwk } of [first, second]) {
    const signatures = good.signatures.map(({ protected: head, signature }) => ({
      protected: head,
      signature,
    }))
    const { payload: bytes } = await generalVerify(
      { payload: good.payload, signatures },
      await importJWK({ ...jwk }),
    )
    assert.deepEqual(JSON.parse(Buffer.from(bytes).toString()), payload)
  }
})

test('what jose signs is verified here', async () => {
  const jws = new GeneralSign(Buffer.from(JSON.stringify(payload)))
  for (const { algorithm, kid, privateKey } of [first, second]) {
    jws.addSignature(privateKey).setProtectedHeader({ alg: algorithm, typ: TYPE, kid })
  }
  const verified = verifyDocument(await jws.sign(), TYPE, people, 2)
  assert.deepEqual(verified.payload, payload)
})

test('T129: one key that signs twice does not meet a threshold of two', () => {
  const twice = signDocument(segment, TYPE, [first.privateKey, first.privateKey])
  refuses(twice, 'not_approved')
  assert.equal(verifyDocument(twice, TYPE, people, 1).signers.size, 1)
})

test('T129: one key that is listed twice does not meet a threshold of two', () => {
  const alone = signDocument(segment, TYPE, [first.privateKey])
  assert.throws(
    () => verifyDocument(alone, TYPE, [{ jwk: first.jwk }, { jwk: { ...first.jwk } }], 2),
    DocumentRefusal,
  )
})

test('nobody signed: refused at any threshold above zero', () => {
  refuses({ payload: segment, signatures: [] }, 'not_approved', 1)
})

test('one line by a stranger refuses the document, whoever else signed', () => {
  const stranger = createTestKey('EdDSA')
  const lines = [...good.signatures, line(stranger, headerOf(stranger))]
  refuses({ payload: segment, signatures: lines }, 'signature_invalid')
})

test('a signature of one document does not carry over to another', () => {
  const other = encodePayload({ ...payload, version: 2 })
  refuses({ ...good, payload: other }, 'signature_invalid')
})

test('T046 T092: a signature under another type does not count', () => {
  const lines = keys.map((key) => line(key, { ...headerOf(key), typ: 'key-manifest+jwt' }))
  refuses({ payload: segment, signatures: lines }, 'type_mismatch')
  refuses(
    { payload: segment, signatures: [line(first, { alg: 'EdDSA', kid: first.kid })] },
    'type_mismatch',
    1,
  )
})

test('T001 T007: the header does not choose the algorithm', () => {
  for (const alg of ['none', 'HS256', 'ES384', '']) {
    refuses({ payload: segment, signatures: [line(first, { ...headerOf(first), alg })] }, 'malformed', 1)
  }
  // An algorithm of ours, but not that of the key.
  refuses(
    { payload: segment, signatures: [line(first, { ...headerOf(first), alg: 'ES256' })] },
    'signature_invalid',
    1,
  )
})

test('T035 T037 T039: header members that ask for something else refuse the document', () => {
  for (const extra of [{ jwk: first.jwk }, { crit: ['b64'], b64: false }, { jku: 'https://evil.example' }]) {
    refuses({ payload: segment, signatures: [line(first, { ...headerOf(first), ...extra })] }, 'malformed', 1)
  }
})

test('T052: anything but the general serialization is refused', () => {
  const [flattened] = good.signatures
  const bent: unknown[] = [
    undefined,
    null,
    'text',
    [],
    [good],
    `${flattened?.protected}.${segment}.${flattened?.signature}`,
    { payload: segment, ...flattened },
    { ...good, header: {} },
    { ...good, signatures: {} },
    { ...good, signatures: [null] },
    { ...good, signatures: [[]] },
    { ...good, signatures: [{ ...flattened, header: { kid: first.kid } }] },
    { ...good, signatures: [{ protected: flattened?.protected }] },
    { ...good, signatures: [{ ...flattened, protected: 7 }] },
    { ...good, payload: 7 },
    { signatures: good.signatures },
    { payload: segment },
  ]
  for (const document of bent) refuses(document, 'malformed', 1)
})

test('T134: a document with more signatures than anybody needs is not worked through', () => {
  const [one] = good.signatures
  refuses({ payload: segment, signatures: Array(65).fill(one) }, 'malformed', 1)
})

test('T049 T050: a segment that is not canonical base64url is refused', () => {
  const [one, ...rest] = good.signatures as [SignedDocument['signatures'][number]]
  for (const bend of [
    (text: string) => `${text}=`,
    (text: string) => ` ${text}`,
    (text: string) => `${text}\n`,
  ]) {
    refuses({ ...good, signatures: [{ ...one, signature: bend(one.signature) }, ...rest] }, 'malformed')
    refuses({ ...good, signatures: [{ ...one, protected: bend(one.protected) }, ...rest] }, 'malformed')
  }
})

test('T054 T057: a payload with a member twice is refused although it is signed', () => {
  for (const text of ['{"version":1,"version":2}', '{"version":1,"\\u0076ersion":2}', '[1]', '"text"', '{']) {
    const odd = encode(Buffer.from(text))
    refuses(signDocument(odd, TYPE, [first.privateKey]), 'malformed', 1)
  }
})

test('no character of a signed document can be changed', () => {
  const text = JSON.stringify(good)
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom('A', 'b', '7', '_'), (at, character) => {
      const changed = `${text.slice(0, at)}${character}${text.slice(at + 1)}`
      fc.pre(changed !== text)
      try {
        verifyDocument(JSON.parse(changed), TYPE, people, 2)
      } catch (error) {
        return error instanceof DocumentRefusal || error instanceof SyntaxError
      }
      return false
    }),
    { seed: 4, numRuns: 600 },
  )
})

test('a refusal never repeats what stood in the document', () => {
  const secret = 'do-not-repeat-me'
  for (const document of [
    { payload: encodePayload({ secret }), signatures: good.signatures },
    { ...good, [secret]: secret },
    { payload: segment, signatures: [line(first, { ...headerOf(first), [secret]: secret })] },
  ]) {
    assert.throws(
      () => verifyDocument(document, TYPE, people, 1),
      (error: Error) => !error.message.includes(secret),
    )
  }
})
