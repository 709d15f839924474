/**
 * Goal: a passkey's line counts only for the document that its holder saw, on an origin of the charter, with the holder
 * there and verified. Method: a passkey made of `node:crypto` writes assertions byte by byte as WebAuthn Level 3 has
 * them (sections 5.8.1, 6.1 and 6.5.5); each thing that section 7.2 checks is bent in turn, and signed as it then is.
 * @module
 */

import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import test from 'node:test'
import { encode } from './base64url.ts'
import { approveCharter, approversOf, parseTrustAnchor, type TrustAnchor, verifyCharter } from './charter.ts'
import {
  addSignature,
  type DocumentFlaw,
  DocumentRefusal,
  encodePayload,
  protectedHeader,
  readPayload,
  type SignedDocument,
} from './document.ts'
import type { JsonObject } from './json.ts'
import { signInput } from './jws.ts'
import {
  type AssertionChange,
  createTestKey,
  createTestWorld,
  passkeyLine,
  type TestKey,
  testPasskey,
} from './testing.ts'

const TYPE = 'charter+jwt'
const { rpId, origins } = testPasskey
const [origin = ''] = origins
const world = createTestWorld()
const [olga, omar, opal] = [createTestKey('ES256'), createTestKey('EdDSA'), createTestKey('EdDSA')]
const webauthn = { rp_id: rpId, origins }
/** Olga and Omar have passkeys, of the two kinds that there are; Opal has a key file. */
const operators = [
  { id: 'olga', jwk: olga.jwk, webauthn },
  { id: 'omar', jwk: omar.jwk, webauthn },
  { id: 'opal', jwk: opal.jwk },
]
const anchor = parseTrustAnchor(JSON.parse(JSON.stringify({ operators, threshold: 2 })))
const payload = { ...readPayload(world.charterDocuments[0]?.payload ?? ''), operators, threshold: 2 }
const segment = encodePayload(payload)
const empty: SignedDocument = { payload: segment, signatures: [] }

function documentOf(...lines: SignedDocument['signatures']): SignedDocument {
  return lines.reduce(addSignature, empty)
}

function refuses(line: unknown, flaw: DocumentFlaw = 'signature_invalid', under: TrustAnchor = anchor): void {
  const document = { payload: segment, signatures: [line] }
  assert.throws(
    () => approversOf(document, TYPE, under),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
  )
}

/** Refused for Olga's passkey and for Omar's, with the complaint that must come. */
function refusesAssertion(change: AssertionChange, complaint: RegExp): void {
  for (const key of [olga, omar]) {
    const document = documentOf(passkeyLine(key, TYPE, segment, change))
    assert.throws(
      () => approversOf(document, TYPE, anchor),
      (error) => {
        assert.ok(error instanceof DocumentRefusal)
        assert.equal(error.flaw, 'signature_invalid')
        assert.match(error.message, complaint)
        return true
      },
    )
  }
}

test('A1 K11: two passkeys, of either kind of key, approve a charter', () => {
  const approved = documentOf(passkeyLine(olga, TYPE, segment), passkeyLine(omar, TYPE, segment))
  assert.equal(verifyCharter(JSON.parse(JSON.stringify(approved)), anchor).version, 1)
  assert.deepEqual(approversOf(approved, TYPE, anchor), ['olga', 'omar'])
})

test('a passkey and a key file approve together', () => {
  const first = approveCharter(payload, opal.privateKey)
  const both = addSignature(first, passkeyLine(olga, TYPE, segment))
  assert.deepEqual(verifyCharter(both, anchor).operators[0], {
    id: 'olga',
    jwk: olga.jwk,
    webauthn: testPasskey,
  })
})

test('T228: one passkey twice is one person', () => {
  const twice = { payload: segment, signatures: [1, 2].map(() => passkeyLine(olga, TYPE, segment)) }
  assert.throws(
    () => verifyCharter(twice, anchor),
    (error) => error instanceof DocumentRefusal && error.flaw === 'not_approved',
  )
  const line = passkeyLine(olga, TYPE, segment)
  assert.deepEqual(documentOf(passkeyLine(olga, TYPE, segment), line).signatures, [line])
})

test('an assertion for another document answers another challenge', () => {
  const other = encodePayload({ ...payload, threshold: 1 })
  refuses(passkeyLine(olga, TYPE, other))
  refusesAssertion({ clientData: { challenge: encode(Buffer.alloc(32)) } }, /another challenge/)
  refusesAssertion({ clientData: { challenge: undefined } }, /another challenge/)
})

test('an assertion over another type of document answers another challenge', () => {
  const line = passkeyLine(olga, 'approval+jwt', segment)
  refuses(line, 'type_mismatch')
  refuses({ ...line, protected: protectedHeader(olga.jwk, TYPE) })
})

test('an assertion that was asked for on another origin is refused', () => {
  for (const other of [
    'https://evil.example',
    'http://approve.countersign.example',
    'https://approve.countersign.example:8443',
    'https://approve.countersign.example/',
    'https://approve.countersign.example.evil.example',
    '',
    undefined,
    [origin],
  ]) {
    refusesAssertion({ clientData: { origin: other } }, /another origin/)
  }
})

test('a registration, or something else of a passkey, is no assertion', () => {
  for (const type of ['webauthn.create', 'payment.get', '', undefined]) {
    refusesAssertion({ clientData: { type } }, /something else/)
  }
})

test('an assertion that was asked for in a frame of another page is refused', () => {
  refusesAssertion({ clientData: { crossOrigin: true } }, /page of somebody else/)
  refusesAssertion({ clientData: { crossOrigin: 'false' } }, /page of somebody else/)
  refusesAssertion({ clientData: { topOrigin: 'https://evil.example' } }, /page of somebody else/)
})

test('client data may leave out crossOrigin, and may have members that nobody knows yet', () => {
  const changes: AssertionChange[] = [
    { clientData: { crossOrigin: undefined } },
    { clientData: { other_keys_can_be_added_here: 'do not compare clientDataJSON against a template' } },
  ]
  for (const change of changes)
    approversOf(documentOf(passkeyLine(olga, TYPE, segment, change)), TYPE, anchor)
})

test('client data that is no JSON object, or that two readers read differently, is refused', () => {
  const good = passkeyLine(olga, TYPE, segment).header?.client_data ?? ''
  const text = Buffer.from(good, 'base64url').toString()
  for (const clientDataText of [
    '',
    '[]',
    'null',
    text.slice(1),
    `${text.slice(0, -1)},"origin":"${origin}"}`,
  ]) {
    refusesAssertion({ clientDataText }, /no JSON object/)
  }
})

test('an assertion for another relying party is refused', () => {
  refusesAssertion({ rpId: 'evil.example' }, /another relying party/)
  refusesAssertion({ rpId: `www.${rpId}` }, /another relying party/)
})

test('an assertion with nobody present is refused', () => {
  refusesAssertion({ flags: 0x04 }, /nobody present/)
  refusesAssertion({ flags: 0x00 }, /nobody present/)
})

test('an assertion by somebody unverified is refused: who found the device is not its owner', () => {
  refusesAssertion({ flags: 0x01 }, /unverified/)
})

test('a passkey that is in step across devices says so, and never that it is without being able to', () => {
  approversOf(documentOf(passkeyLine(olga, TYPE, segment, { flags: 0x1d })), TYPE, anchor)
  approversOf(documentOf(passkeyLine(olga, TYPE, segment, { flags: 0x0d })), TYPE, anchor)
  refusesAssertion({ flags: 0x15 }, /contradict/)
})

test('authenticator data that is cut short is refused, at every length', () => {
  for (let length = 0; length < 37; length++) {
    refusesAssertion({ authenticatorData: (data) => data.subarray(0, length) }, /cut short|another relying/)
  }
})

test('authenticator data holds what its flags announce, and nothing more', () => {
  const extensions = Buffer.from('a16a6372656450726f7465637402', 'hex')
  const change: AssertionChange = {
    flags: 0x85,
    authenticatorData: (data) => Buffer.concat([data, extensions]),
  }
  approversOf(documentOf(passkeyLine(olga, TYPE, segment, change)), TYPE, anchor)
  refusesAssertion({ ...change, flags: 0x05 }, /more or less/)
  refusesAssertion({ flags: 0x85 }, /more or less/)
  refusesAssertion({ ...change, flags: 0x45 }, /more or less/)
})

test('the count of signatures is not looked at', () => {
  const last = (data: Buffer): Buffer => Buffer.concat([data.subarray(0, 33), Buffer.from('00000007', 'hex')])
  approversOf(documentOf(passkeyLine(olga, TYPE, segment, { authenticatorData: last })), TYPE, anchor)
})

test('an assertion by another key is refused, whoever it says it is by', () => {
  const stranger = createTestKey('ES256')
  const line = passkeyLine(stranger, TYPE, segment)
  refuses(line)
  // The challenge names Olga; the key that answers it is another.
  refuses(passkeyLine({ ...stranger, jwk: olga.jwk }, TYPE, segment))
})

test('an assertion whose data was changed afterwards is refused', () => {
  const line = passkeyLine(olga, TYPE, segment)
  const other = passkeyLine(olga, TYPE, segment, { flags: 0x1d })
  refuses({ ...line, header: { ...line.header, authenticator_data: other.header?.authenticator_data } })
  const signature = Buffer.from(line.signature, 'base64url')
  signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1
  refuses({ ...line, signature: encode(signature) })
})

test('an ECDSA signature of a passkey is DER, not r || s, and an Ed25519 one is 64 bytes', () => {
  refuses(passkeyLine(olga, TYPE, segment, { signatureEncoding: 'ieee-p1363' }))
  const { signature, ...line } = passkeyLine(omar, TYPE, segment)
  for (const bytes of ['', `${signature}AA`, signature.slice(0, 60)]) refuses({ ...line, signature: bytes })
  refuses({ ...passkeyLine(olga, TYPE, segment), signature: '' })
})

test('members that are not base64url, too long, unknown or missing are refused', () => {
  const line = passkeyLine(olga, TYPE, segment)
  const { header } = line
  for (const [bent, flaw] of [
    [{ ...line, signature: `${line.signature}=` }, 'signature_invalid'],
    [{ ...line, header: { ...header, client_data: `${header?.client_data}=` } }, 'signature_invalid'],
    [{ ...line, header: { ...header, authenticator_data: '*' } }, 'signature_invalid'],
    [{ ...line, header: { ...header, client_data: 'A'.repeat(4097) } }, 'malformed'],
    [{ ...line, header: { ...header, user_handle: 'AAAA' } }, 'malformed'],
    [{ ...line, header: { client_data: header?.client_data } }, 'malformed'],
    [{ ...line, header: {} }, 'malformed'],
    [{ ...line, header: null }, 'malformed'],
  ] as const) {
    refuses(bent, flaw)
  }
})

test('an operator with a passkey approves by it alone, and one without by no assertion', () => {
  refuses(approveCharter(payload, olga.privateKey).signatures[0])
  refuses(passkeyLine(opal, TYPE, segment))
})

test('the same key with the other algorithm in its header is refused', () => {
  const bare = (key: TestKey, alg: string): string => encodePayload({ alg, typ: TYPE, kid: key.kid })
  const head = bare(olga, 'EdDSA')
  refuses({ ...passkeyLine(olga, TYPE, segment), protected: head })
  const signature = encode(signInput('EdDSA', opal.privateKey, `${bare(opal, 'ES256')}.${segment}`))
  refuses({ protected: bare(opal, 'ES256'), signature })
})

test('T239: where a passkey lives is read as strictly as the rest', () => {
  const withPasskey = (change: object): unknown => ({
    operators: [{ id: 'olga', jwk: olga.jwk, webauthn: { ...webauthn, ...change } }],
    threshold: 1,
  })
  const read = (change: object): TrustAnchor =>
    parseTrustAnchor(JSON.parse(JSON.stringify(withPasskey(change))))
  for (const change of [
    { rp_id: undefined },
    { rp_id: '' },
    { rp_id: 'Countersign.example' },
    { rp_id: 'countersign.example:443' },
    { origins: undefined },
    { origins: [] },
    { origins: [origin, origin] },
    { origins: ['https://evil.example'] },
    { origins: [`https://evil${rpId}`] },
    { origins: [`http://${rpId}`] },
    { origins: [`https://${rpId}/`] },
    { origins: [`https://${rpId}:443`] },
    { origins: ['*'] },
    { credential_id: 'AAAA' },
  ]) {
    assert.throws(() => read(change), DocumentRefusal, JSON.stringify(change))
  }
  const local: JsonObject = { rp_id: 'localhost', origins: ['http://localhost:8402'] }
  assert.deepEqual(read(local).operators[0]?.webauthn, {
    rpId: 'localhost',
    origins: ['http://localhost:8402'],
  })
})

test('T228: two ids that differ in case alone are one person', () => {
  const people = [
    { id: 'olga', jwk: olga.jwk },
    { id: 'Olga', jwk: omar.jwk },
  ]
  assert.throws(() => parseTrustAnchor({ operators: people, threshold: 1 }), DocumentRefusal)
})

test('a signature in DER that is bent in any byte, cut short or drawn out is taken where OpenSSL takes it, and nowhere else', () => {
  const key = createPublicKey({ key: { ...olga.jwk }, format: 'jwk' })
  let taken = 0
  for (let round = 0; round < 12; round++) {
    const line = passkeyLine(olga, TYPE, segment)
    const { authenticator_data, client_data } = line.header ?? assert.fail()
    const [data, client] = [authenticator_data, client_data].map((text) => Buffer.from(text, 'base64url'))
    const signed = Buffer.concat([
      data as Buffer,
      createHash('sha256')
        .update(client as Buffer)
        .digest(),
    ])
    const der = Buffer.from(line.signature, 'base64url')
    const bent = [...der.keys()].flatMap((at) =>
      [1, 0x80, 0xff].map((bits) =>
        Buffer.from(der.map((byte, place) => (place === at ? byte ^ bits : byte))),
      ),
    )
    const [r, s] = integersOf(der)
    const padded = [
      sequence(Buffer.concat([Buffer.of(0), r]), s),
      sequence(r, Buffer.concat([Buffer.of(0, 0), s])),
      sequence(Buffer.of(), s),
      sequence(Buffer.of(0), Buffer.of(0)),
      sequence(Buffer.of(1), s),
      sequence(s, r),
      Buffer.concat([sequence(r, s), Buffer.of(0)]),
      Buffer.concat([Buffer.of(0x30, 0x81, der.length - 2), der.subarray(2)]),
      sequence(r, s),
    ]
    for (const each of [...bent, ...padded, der.subarray(0, -1), der.subarray(1), Buffer.of(), der]) {
      const document = documentOf({ ...line, signature: encode(each) })
      const isTaken = isApproved(document)
      assert.equal(isTaken, verify('sha256', signed, key, each), each.toString('hex'))
      if (isTaken) taken++
    }
  }
  assert.equal(taken, 2 * 12, 'itself, and as it is written anew')
})

function isApproved(document: SignedDocument): boolean {
  try {
    return approversOf(document, TYPE, anchor).includes('olga')
  } catch (error) {
    assert.ok(error instanceof DocumentRefusal)
    return false
  }
}

function integersOf(der: Buffer): readonly [Buffer, Buffer] {
  const length = der[3] ?? 0
  return [der.subarray(4, 4 + length), der.subarray(6 + length)]
}

function sequence(...integers: readonly Buffer[]): Buffer {
  const content = Buffer.concat(integers.flatMap((each) => [Buffer.of(0x02, each.length), each]))
  return Buffer.concat([Buffer.of(0x30, content.length), content])
}
