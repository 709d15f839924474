/**
 * A passkey's signature over a document: an assertion of Web Authentication Level 3, verified as its section 7.2 says,
 * where the challenge is the hash of what would have been signed with a key file. So who approves has had the very
 * document put before them, on a page of an origin that the charter names, and has proved to their device who they are.
 *
 *     signature over   authenticator data || SHA-256(client data)
 *     client data      {"type":"webauthn.get","challenge":"…","origin":"https://…","crossOrigin":false}
 *     authenticator    rpIdHash[32] flags[1] signCount[4] [extensions]
 *
 * Only assertions: how a passkey came into a charter is for its operators to see. Rule: spec/charter.md, section 1.
 * @module
 */

import { sameBytes, sha256 } from '#platform'
import { decode, encode } from './base64url.ts'
import { concat } from './bytes.ts'
import { type JsonObject, parseObject } from './json.ts'
import { type ImportedKey, verifySignature } from './jws.ts'

/** Where a passkey lives: the domain that it was made for, and the origins whose pages may ask it. */
export interface Passkey {
  readonly rpId: string
  readonly origins: readonly string[]
}

/** What a passkey's signature line carries beside the signature, base64url. */
export interface PasskeyHeader {
  readonly authenticator_data: string
  readonly client_data: string
}

/** An assertion counts for nothing. The message says which check it failed. */
export class InvalidAssertion extends Error {
  constructor(problem: string) {
    super(`the assertion ${problem}`)
    this.name = 'InvalidAssertion'
  }
}

/** The challenge under which a passkey signs what a key file would sign as `signingInput`. */
export function challengeOf(signingInput: string): Uint8Array {
  return sha256(signingInput)
}

/** Throws `InvalidAssertion` unless the passkey with this key signed `signingInput`, its holder verified. */
export function verifyAssertion(
  header: PasskeyHeader,
  signature: string,
  key: ImportedKey,
  passkey: Passkey,
  signingInput: string,
): void {
  const clientData = decodeMember(header.client_data, 'client data')
  const authenticatorData = decodeMember(header.authenticator_data, 'authenticator data')
  checkClientData(parseClientData(clientData), passkey, encode(challengeOf(signingInput)))
  checkAuthenticatorData(authenticatorData, passkey)
  const signed = concat(authenticatorData, sha256(clientData))
  if (!isSignature(key, signed, decodeMember(signature, 'signature'))) {
    throw new InvalidAssertion('is not signed by the key of its operator')
  }
}

/** Steps 10 to 14. Members that we do not know are left alone: the standard lets a client add some. */
function checkClientData(clientData: JsonObject, { origins }: Passkey, challenge: string): void {
  const { type, challenge: answered, origin, crossOrigin = false, topOrigin } = clientData
  if (type !== 'webauthn.get') throw new InvalidAssertion('is not one, but something else')
  if (answered !== challenge) throw new InvalidAssertion('answers another challenge')
  if (!origins.some((allowed) => allowed === origin)) throw new InvalidAssertion('comes from another origin')
  if (crossOrigin !== false || topOrigin !== undefined) {
    throw new InvalidAssertion('was asked for inside a page of somebody else')
  }
}

/**
 * Steps 15 to 19. The count of signatures is not looked at: whoever verifies here remembers none, and passkeys that are
 * in step across devices count nothing.
 */
function checkAuthenticatorData(data: Uint8Array, { rpId }: Passkey): void {
  const flags = data[RP_ID_HASH_BYTES]
  if (flags === undefined || data.length < FIXED_BYTES) {
    throw new InvalidAssertion('has authenticator data that is cut short')
  }
  if (!sameBytes(data.subarray(0, RP_ID_HASH_BYTES), sha256(rpId))) {
    throw new InvalidAssertion('is for another relying party')
  }
  if ((flags & USER_PRESENT) === 0) throw new InvalidAssertion('was made with nobody present')
  if ((flags & USER_VERIFIED) === 0) throw new InvalidAssertion('was made by somebody unverified')
  if ((flags & BACKED_UP) !== 0 && (flags & BACKUP_ELIGIBLE) === 0) {
    throw new InvalidAssertion('has flags that contradict each other')
  }
  const hasExtensions = (flags & EXTENSIONS) !== 0
  // Attested key data belongs to registration; what no flag announces is nothing that we could name.
  if ((flags & ATTESTED_KEY) !== 0 || hasExtensions !== data.length > FIXED_BYTES) {
    throw new InvalidAssertion('has authenticator data with more or less than it announces')
  }
}

/** WebAuthn writes ECDSA signatures in DER, where JOSE writes r || s (section 6.5.5). */
function isSignature({ algorithm, key }: ImportedKey, signed: Uint8Array, signature: Uint8Array): boolean {
  const raw = algorithm === 'ES256' ? fromDer(signature) : signature
  return raw !== undefined && verifySignature(algorithm, key, signed, raw)
}

/**
 * r || s of an ECDSA signature in DER (RFC 3279, section 2.2.3), undefined for what has another form: two integers, each in its
 * shortest form, at most as long as the curve's, and nothing more.
 *
 *     0x30 length 0x02 length r 0x02 length s
 */
function fromDer(der: Uint8Array): Uint8Array | undefined {
  const raw = new Uint8Array(64)
  let at = 2
  for (const end of [32, 64]) {
    const [tag, length = 0, first = 0, second = 0] = der.subarray(at, at + 4)
    const integer = der.subarray(at + 2, at + 2 + length)
    const isShortest = first < 0x80 && (first > 0 || second >= 0x80 || length === 1)
    const digits = integer.subarray(length > 1 && first === 0 ? 1 : 0)
    if (tag !== 0x02 || length === 0 || !isShortest || digits.length > 32) return undefined
    raw.set(digits, end - digits.length)
    at += 2 + length
  }
  return der[0] === 0x30 && der[1] === der.length - 2 && at === der.length ? raw : undefined
}

function parseClientData(bytes: Uint8Array): JsonObject {
  try {
    return parseObject(bytes)
  } catch {
    throw new InvalidAssertion('has client data that is no JSON object')
  }
}

function decodeMember(text: string, name: string): Uint8Array {
  try {
    return decode(text)
  } catch {
    throw new InvalidAssertion(`has ${name} that is not base64url`)
  }
}

const RP_ID_HASH_BYTES = 32
/** Hash, flags and count. */
const FIXED_BYTES = 37
const USER_PRESENT = 1 << 0
const USER_VERIFIED = 1 << 2
const BACKUP_ELIGIBLE = 1 << 3
const BACKED_UP = 1 << 4
const ATTESTED_KEY = 1 << 6
const EXTENSIONS = 1 << 7
