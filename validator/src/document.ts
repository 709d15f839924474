/**
 * Signed documents: JWS in the General JSON Serialization (RFC 7515, section 7.2.1), so that several people can sign
 * one payload.
 *
 *     {"payload": "…", "signatures": [{"protected": "…", "signature": "…"}, …]}
 *
 * Stricter than the RFC: nothing unprotected but what a passkey signs itself, and every signature line must be one of a
 * known key, of the right type, and verify. One line that does not refuses the document, since nobody honest would have
 * written it.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { encodeUtf8, publicJwkOf } from '#platform'
import { decode, encode } from './base64url.ts'
import { isObject, type JsonObject, type JsonValue, parseObject } from './json.ts'
import {
  checkHeader,
  type ImportedKey,
  importPublicJwk,
  type ProtectedHeader,
  type PublicJwk,
  signInput,
  verifySignature,
} from './jws.ts'
import { each, Suspension } from './suspension.ts'
import { type Passkey, type PasskeyHeader, verifyAssertion } from './webauthn.ts'

export interface DocumentSignature {
  readonly protected: string
  readonly signature: string
  /** In the line of a passkey, and in no other. */
  readonly header?: PasskeyHeader
}

/** Whose signature counts. Somebody with a passkey can sign by it alone. */
export interface DocumentSigner {
  readonly jwk: PublicJwk
  readonly webauthn?: Passkey
}

export interface SignedDocument {
  readonly payload: string
  readonly signatures: readonly DocumentSignature[]
}

/** Why a trust document is refused. The words are API: spec/charter.md and spec/manifest.md say when each is used. */
export type DocumentFlaw =
  | 'malformed'
  | 'type_mismatch'
  | 'signature_invalid'
  | 'not_approved'
  | 'version_mismatch'
  | 'out_of_charter'
  | 'attestation_invalid'
  | 'receipt_invalid'
  | 'rolled_back'
  | 'issued_in_future'
  | 'key_revived'

/** A trust document is refused. The message says where, never what stood there. */
export class DocumentRefusal extends Error {
  readonly flaw: DocumentFlaw
  constructor(flaw: DocumentFlaw, message: string) {
    super(message)
    this.name = 'DocumentRefusal'
    this.flaw = flaw
  }
}

export interface VerifiedDocument {
  readonly payload: JsonObject
  readonly payloadSegment: string
  /** By `kid`: who signed, each key once. */
  readonly signers: ReadonlyMap<string, ProtectedHeader>
}

const SIGNATURE_COUNT_MAX = 64
const PAYLOAD_CHARACTERS_MAX = 4 * 1024 * 1024
const HEADER_CHARACTERS_MAX = 2 * 1024
/** Of a passkey's line: client data names an origin, authenticator data may hold extensions. */
const PASSKEY_CHARACTERS_MAX = 4 * 1024

/** Throws `DocumentRefusal` unless at least `threshold` of `people`, and nobody else, signed the document. */
export function verifyDocument(
  document: unknown,
  type: string,
  people: readonly DocumentSigner[],
  threshold: number,
): VerifiedDocument {
  const { payload: payloadSegment, signatures } = readDocument(document)
  const known = new Map(people.map((signer) => [importOnce(signer.jwk).kid, signer]))
  // Count distinct keys, not signature lines: one key repeated must not meet a threshold of two.
  const signers = new Map<string, ProtectedHeader>()
  for (const { kid, header } of each(signatures, (line) => verifyLine(line, payloadSegment, type, known)))
    signers.set(kid, header)
  if (signers.size < threshold) throw new DocumentRefusal('not_approved', 'too few keys signed the document')
  return { payload: readPayload(payloadSegment), payloadSegment, signers }
}

/** Checks the form of a document, given as parsed JSON, and nothing else. */
export function readDocument(document: unknown): SignedDocument {
  const value = document as JsonValue
  if (!isObject(value) || !hasOnly(value, ['payload', 'signatures'])) throw malformed('the document')
  const { payload, signatures } = value
  if (typeof payload !== 'string' || payload.length > PAYLOAD_CHARACTERS_MAX) throw malformed('payload')
  if (!Array.isArray(signatures) || signatures.length > SIGNATURE_COUNT_MAX) throw malformed('signatures')
  return { payload, signatures: (signatures as readonly JsonValue[]).map(readLine) }
}

/** The payload of a document, unverified: for those who must look before they can know whose signature to ask for. */
export function readPayload(payloadSegment: string): JsonObject {
  return refuseAs('payload', () => parseObject(decode(payloadSegment)))
}

/** The payload segment of a document still to be signed. */
export function encodePayload(payload: object): string {
  return encode(encodeUtf8(JSON.stringify(payload)))
}

/** Signs a payload segment with each key. `extra` joins the protected headers. */
export function signDocument(
  payloadSegment: string,
  type: string,
  privateKeys: readonly KeyObject[],
  extra: { readonly rcpt?: string } = {},
): SignedDocument {
  const signatures = privateKeys.map((privateKey) => {
    const half = publicHalf(privateKey)
    const segment = protectedSegment(half, type, extra)
    const signature = encode(signInput(half.algorithm, privateKey, `${segment}.${payloadSegment}`))
    return { protected: segment, signature }
  })
  return { payload: payloadSegment, signatures }
}

/**
 * Adds a signature to a payload, which becomes a document, or to a document that others have signed. `check` throws for
 * a payload that nobody should put their name to.
 */
export function countersignDocument(
  content: object,
  type: string,
  check: (payload: JsonObject) => unknown,
  privateKey: KeyObject,
): SignedDocument {
  const before = 'signatures' in content ? readDocument(content) : undefined
  const segment = before?.payload ?? encodePayload(content)
  check(readPayload(segment))
  const { payload, signatures } = signDocument(segment, type, [privateKey])
  return { payload, signatures: [...(before?.signatures ?? []), ...signatures] }
}

/** The protected header that a line of this key has, for those who sign elsewhere: with a passkey, say. */
export function protectedHeader(jwk: PublicJwk, type: string): string {
  return protectedSegment(importOnce(jwk), type, {})
}

/** The document with one more line, in the place of an older one by the same key. Nothing is verified. */
export function addSignature(document: SignedDocument, line: DocumentSignature): SignedDocument {
  const kidOf = (each: DocumentSignature): unknown => readPayload(each.protected)['kid']
  const others = document.signatures.filter((each) => kidOf(each) !== kidOf(line))
  return { payload: document.payload, signatures: [...others, line] }
}

function protectedSegment({ algorithm, kid }: ImportedKey, type: string, extra: object): string {
  return encodePayload({ alg: algorithm, typ: type, kid, ...extra })
}

const halves = new WeakMap<KeyObject, ImportedKey>()

/** Name, algorithm and public JWK of a private key. An RSA key does not say its algorithm and is refused. */
export function publicHalf(privateKey: KeyObject): ImportedKey {
  let half = halves.get(privateKey)
  if (half === undefined) {
    half = importPublicJwk(publicJwkOf(privateKey))
    halves.set(privateKey, half)
  }
  return half
}

const imported = new WeakMap<object, ImportedKey>()

/** `importPublicJwk`, once per object: each manifest is verified with the same keys of the same charter. */
export function importOnce(jwk: PublicJwk): ImportedKey {
  let key = imported.get(jwk)
  if (key === undefined) {
    key = importPublicJwk(jwk)
    imported.set(jwk, key)
  }
  return key
}

/** Runs `read`, and names `where` it failed in what is thrown instead. */
export function refuseAs<Result>(
  where: string,
  read: () => Result,
  flaw: DocumentFlaw = 'malformed',
): Result {
  try {
    return read()
  } catch (error) {
    if (error instanceof DocumentRefusal || error instanceof Suspension) throw error
    throw new DocumentRefusal(flaw, `${where}: ${(error as Error).message}`)
  }
}

function readLine(line: JsonValue, index: number): DocumentSignature {
  const where = `signatures[${index}]`
  if (!isObject(line) || !hasOnly(line, ['protected', 'signature', 'header'])) throw malformed(where)
  const { protected: segment, signature, header } = line
  if (typeof segment !== 'string' || segment.length > HEADER_CHARACTERS_MAX) throw malformed(where)
  if (typeof signature !== 'string') throw malformed(where)
  if (header === undefined) return { protected: segment, signature }
  return { protected: segment, signature, header: readPasskeyHeader(header, where) }
}

function readPasskeyHeader(header: JsonValue, where: string): PasskeyHeader {
  if (!isObject(header) || !hasOnly(header, ['authenticator_data', 'client_data'])) throw malformed(where)
  const { authenticator_data, client_data } = header
  for (const text of [authenticator_data, client_data]) {
    if (typeof text !== 'string' || text.length > PASSKEY_CHARACTERS_MAX) throw malformed(where)
  }
  return { authenticator_data: authenticator_data as string, client_data: client_data as string }
}

function verifyLine(
  line: DocumentSignature,
  payloadSegment: string,
  type: string,
  known: ReadonlyMap<string, DocumentSigner>,
): { kid: string; header: ProtectedHeader } {
  const header = refuseAs('a protected header', () => checkHeader(parseObject(decode(line.protected))))
  if (header.typ !== type) throw new DocumentRefusal('type_mismatch', `a signature is not over ${type}`)
  const signer = known.get(header.kid ?? '')
  if (signer === undefined) throw new DocumentRefusal('signature_invalid', 'a signature is by an unknown key')
  const key = importOnce(signer.jwk)
  if (header.alg !== key.algorithm) {
    throw new DocumentRefusal('signature_invalid', 'a signature is of another algorithm than its key')
  }
  verifyLineBy(signer, key, line, `${line.protected}.${payloadSegment}`)
  return { kid: key.kid, header }
}

/** Somebody with a passkey signs by it alone, and nobody else does: the weaker way would be the one that is attacked. */
function verifyLineBy(
  { webauthn }: DocumentSigner,
  key: ImportedKey,
  { header, signature }: DocumentSignature,
  signingInput: string,
): void {
  if ((webauthn === undefined) !== (header === undefined)) {
    throw new DocumentRefusal('signature_invalid', 'a signature was not made in the way of its signer')
  }
  if (webauthn !== undefined && header !== undefined) {
    const verify = (): void => verifyAssertion(header, signature, key, webauthn, signingInput)
    refuseAs('a signature', verify, 'signature_invalid')
  } else {
    const bytes = refuseAs('a signature', () => decode(signature))
    if (!verifySignature(key.algorithm, key.key, signingInput, bytes)) {
      throw new DocumentRefusal('signature_invalid', 'a signature does not verify')
    }
  }
}

function hasOnly(value: JsonObject, names: readonly string[]): boolean {
  return Object.keys(value).every((name) => names.includes(name))
}

function malformed(where: string): DocumentRefusal {
  return new DocumentRefusal('malformed', `${where} is not as a signed document has it`)
}
