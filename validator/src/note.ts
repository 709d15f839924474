/**
 * Signed notes (C2SP signed-note): a text, an empty line, and signature lines that each name a key.
 *
 *     text, one or more lines
 *
 *     — name base64(key id (4 bytes) || signature)
 *
 * A key is told as a verifier key: `name+hex(key id)+base64(type || public key)`.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { decodeBase64url, decodeUtf8, encodeUtf8, sha256, signNow } from '#platform'
import { decode, encode } from './base64url.ts'
import { concat, readUint32 } from './bytes.ts'
import { importPublicJwk, verifySignature } from './jws.ts'

/** A note is refused: not one, or signed by nobody that is known, or a known key's signature is wrong. */
export class NoteRefusal extends Error {
  readonly code: 'malformed' | 'unsigned' | 'signature_invalid' | 'time_off' | 'origin_mismatch'
  constructor(code: NoteRefusal['code'], message: string) {
    super(message)
    this.name = 'NoteRefusal'
    this.code = code
  }
}

/** Checks one key's signatures. The pair of name and key id tells which lines are meant. */
export interface NoteVerifier {
  readonly name: string
  readonly keyId: number
  verify(text: string, signature: Uint8Array): boolean
}

export interface NoteSigner {
  readonly name: string
  readonly keyId: number
  sign(text: string): Uint8Array
}

export interface SignatureLine {
  readonly name: string
  readonly keyId: number
  /** Without the key id. */
  readonly signature: Uint8Array
}

export interface OpenedNote {
  readonly text: string
  /** One for each known key, however often it signed: a key that is repeated is still one. */
  readonly verified: readonly SignatureLine[]
}

/** More than any checkpoint needs, post-quantum signatures included; the specification asks for at least 16 lines. */
const SIGNATURE_LINES_MAX = 64
const NOTE_CHARACTERS_MAX = 512 * 1024

/**
 * The text of a note that at least one of the verifiers' keys signed. Lines by unknown keys are passed over; a wrong
 * signature by a known key refuses the whole note. Throws `NoteRefusal`.
 */
export function openNote(note: string | Uint8Array, verifiers: readonly NoteVerifier[]): OpenedNote {
  const { text, lines } = parseNote(note)
  const verified = new Map<NoteVerifier, SignatureLine>()
  for (const line of lines) {
    const verifier = verifiers.find(({ name, keyId }) => name === line.name && keyId === line.keyId)
    if (verifier === undefined) continue
    if (!verifier.verify(text, line.signature)) {
      throw new NoteRefusal('signature_invalid', `the signature by ${line.name} is wrong`)
    }
    if (!verified.has(verifier)) verified.set(verifier, line)
  }
  if (verified.size === 0) throw new NoteRefusal('unsigned', 'no known key signed the note')
  return { text, verified: [...verified.values()] }
}

/** The parts of a note, nothing verified. Throws `NoteRefusal('malformed')`. */
export function parseNote(note: string | Uint8Array): { text: string; lines: readonly SignatureLine[] } {
  const whole = typeof note === 'string' ? note : readUtf8(note)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what a note must not have
  if (whole.length > NOTE_CHARACTERS_MAX || /[\u0000-\u0009\u000b-\u001f]/.test(whole)) throw malformed()
  const split = whole.lastIndexOf('\n\n')
  if (split === -1 || !whole.endsWith('\n')) throw malformed()
  const lines = whole
    .slice(split + 2)
    .split('\n')
    .slice(0, -1)
  if (lines.length === 0 || lines.length > SIGNATURE_LINES_MAX) throw malformed()
  return { text: whole.slice(0, split + 1), lines: lines.map(parseLine) }
}

/** Writes a note: the text, which ends in a newline, and a line for each signer. */
export function signNote(text: string, signers: readonly NoteSigner[]): string {
  const lines = signers.map(({ name, keyId, sign }) => {
    return `— ${name} ${encodeBase64(concat(uint32(keyId), sign(text)))}\n`
  })
  return `${text}\n${lines.join('')}`
}

/** The kinds of signature that we make and check, by the byte that stands for each (C2SP signed-note). */
export const signatureTypes = { ed25519: 0x01, cosignatureEd25519: 0x04, cosignatureMlDsa44: 0x06 } as const
export type SignatureType = (typeof signatureTypes)[keyof typeof signatureTypes]

/** A verifier key in its parts. */
export interface Vkey {
  readonly name: string
  readonly type: SignatureType
  readonly publicKey: KeyObject
}

export function formatVkey({ name, type, publicKey }: Vkey): string {
  const id = keyIdOf({ name, type, publicKey }).toString(16).padStart(8, '0')
  return `${name}+${id}+${encodeBase64(concat(Uint8Array.of(type), rawKey(publicKey)))}`
}

/** Throws `NoteRefusal('malformed')`, also where the key id is not that of the key. */
export function parseVkey(vkey: string): Vkey {
  const match = /^([^+\s\u0085]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/u.exec(vkey)
  if (match === null) throw malformed('the verifier key')
  const [, name = '', id = '', key = ''] = match
  const [typeByte, ...raw] = readBase64(key)
  const type = Object.values(signatureTypes).find((each) => each === typeByte)
  if (type === undefined) throw malformed('the verifier key')
  const parsed = { name, type, publicKey: importRaw(type, Uint8Array.from(raw)) }
  if (keyIdOf(parsed) !== Number.parseInt(id, 16)) throw malformed('the verifier key')
  return parsed
}

/** SHA-256(name || "\n" || type || public key), first four bytes: so one key can serve two types apart. */
export function keyIdOf({ name, type, publicKey }: Vkey): number {
  return readUint32(sha256(concat(encodeUtf8(`${name}\n`), Uint8Array.of(type), rawKey(publicKey))))
}

/** Plain Ed25519 over the text. */
export function ed25519Verifier(name: string, publicKey: KeyObject): NoteVerifier {
  const keyId = keyIdOf({ name, type: signatureTypes.ed25519, publicKey })
  return { name, keyId, verify: (text, signature) => verifySignature('EdDSA', publicKey, text, signature) }
}

export function ed25519Signer(name: string, publicKey: KeyObject, privateKey: KeyObject): NoteSigner {
  const keyId = keyIdOf({ name, type: signatureTypes.ed25519, publicKey })
  return { name, keyId, sign: (text) => signNow('EdDSA', privateKey, text) }
}

function parseLine(line: string): SignatureLine {
  const match = /^— ([^+\s\u0085]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line)
  if (match === null) throw malformed()
  const [, name = '', encoded = ''] = match
  const bytes = readBase64(encoded)
  if (bytes.length < 5) throw malformed()
  return { name, keyId: readUint32(bytes), signature: bytes.subarray(4) }
}

/** RFC 4648, section 4, in the one form that an encoder writes. Throws `NoteRefusal('malformed')`. */
export function readBase64(text: string): Uint8Array {
  const match = /^([A-Za-z0-9+/]*)={0,2}$/.exec(text)
  const bytes = decodeBase64url((match?.[1] ?? '!').replaceAll('+', '-').replaceAll('/', '_'))
  if (bytes === undefined || encodeBase64(bytes) !== text) throw malformed()
  return bytes
}

export function encodeBase64(bytes: Uint8Array): string {
  const text = encode(bytes).replaceAll('-', '+').replaceAll('_', '/')
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=')
}

function readUtf8(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes)
  if (text === undefined) throw malformed()
  return text
}

function rawKey(publicKey: KeyObject): Uint8Array {
  const { x, pub } = publicKey.export({ format: 'jwk' }) as { x?: string; pub?: string }
  return decode(x ?? pub ?? '')
}

function importRaw(type: SignatureType, raw: Uint8Array): KeyObject {
  const text = encode(raw)
  const jwk =
    type === signatureTypes.cosignatureMlDsa44
      ? { kty: 'AKP', alg: 'ML-DSA-44', pub: text }
      : { kty: 'OKP', crv: 'Ed25519', x: text }
  try {
    return importPublicJwk(jwk).key
  } catch {
    throw malformed('the verifier key')
  }
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

function malformed(what = 'the note'): NoteRefusal {
  return new NoteRefusal('malformed', `${what} is malformed`)
}
