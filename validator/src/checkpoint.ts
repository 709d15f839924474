/**
 * A checkpoint (C2SP tlog-checkpoint): how large a log is and what its root is, as a signed note; and the timed
 * cosignatures that may stand beside the log's own signature (C2SP tlog-cosignature).
 *
 *     origin
 *     size
 *     base64(root)
 *
 *     — origin …                 Ed25519 over the text, by the log
 *     — witness …                Ed25519 or ML-DSA-44, with the time at which it was the newest
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { encodeUtf8, signNow } from '#platform'
import { concat } from './bytes.ts'
import type { CharterWitness } from './charter.ts'
import { type Algorithm, importPublicJwk, verifySignature } from './jws.ts'
import {
  ed25519Verifier,
  encodeBase64,
  keyIdOf,
  NoteRefusal,
  type NoteSigner,
  type NoteVerifier,
  openNote,
  parseVkey,
  readBase64,
  signatureTypes,
} from './note.ts'
import { countersignedMessage } from './receipt.ts'
import { emptyRoot, HASH_BYTES, sameHash } from './tree.ts'

export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
}

export interface OpenedCheckpoint extends Checkpoint {
  /** Names of the keys whose signatures verified; `signedAt` where a signature carries its time. */
  readonly signatures: readonly {
    readonly name: string
    readonly keyId: number
    readonly signedAt: number | undefined
  }[]
}

/** A cosigner's clock may be ahead of ours by this. */
const CLOCK_SECONDS_OFF_MAX = 60

/**
 * The checkpoint of the log `origin`, signed by the log itself: a cosigner's word alone does not make one. Extension
 * lines say nothing here, since nobody audits them. Throws `NoteRefusal`.
 */
export function openCheckpoint(
  note: string | Uint8Array,
  origin: string,
  verifiers: readonly NoteVerifier[],
  nowSeconds: number,
): OpenedCheckpoint {
  const { text, verified } = openNote(note, verifiers)
  const checkpoint = parseCheckpoint(text)
  if (checkpoint.origin !== origin)
    throw new NoteRefusal('origin_mismatch', 'the checkpoint is of another log')
  const signatures = verified.map(({ name, keyId, signature }) => {
    return { name, keyId, signedAt: isTimed(signature) ? readTime(signature) : undefined }
  })
  if (!signatures.some(({ name }) => name === origin)) {
    throw new NoteRefusal('unsigned', 'the log did not sign the checkpoint')
  }
  for (const { signedAt } of signatures) {
    if (signedAt === 0 || (signedAt ?? 0) > nowSeconds + CLOCK_SECONDS_OFF_MAX) {
      throw new NoteRefusal('time_off', 'a cosignature has no time, or one that is still to come')
    }
  }
  return { ...checkpoint, signatures }
}

/** The text of a note as a checkpoint. Throws `NoteRefusal('malformed')`. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n')
  const [origin = '', size = '', root = ''] = lines
  if (lines.length < 4 || lines.pop() !== '' || lines.includes('')) throw malformed()
  if (!/^(0|[1-9][0-9]{0,15})$/.test(size)) throw malformed()
  const checkpoint = { origin, size: Number(size), root: readBase64(root) }
  if (!Number.isSafeInteger(checkpoint.size) || checkpoint.root.length !== HASH_BYTES) throw malformed()
  if (checkpoint.size === 0 && !sameHash(checkpoint.root, emptyRoot)) throw malformed()
  return checkpoint
}

export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${encodeBase64(root)}\n`
}

/** The verifier for a verifier key of any of the three types. Throws `NoteRefusal('malformed')`. */
export function verifierOf(vkey: string): NoteVerifier {
  const { name, type, publicKey } = parseVkey(vkey)
  if (type === signatureTypes.ed25519) return ed25519Verifier(name, publicKey)
  return cosignatureVerifier(name, publicKey)
}

/** What a witness's keys in the charter may sign the checkpoints of one of its logs with. */
export function checkpointVerifiers(
  { name, checkpointKeys }: Pick<CharterWitness, 'name' | 'checkpointKeys'>,
  origin: string,
): readonly NoteVerifier[] {
  return checkpointKeys.flatMap((jwk) => {
    const { algorithm, key } = importPublicJwk(jwk)
    // The key id holds the type, so that a key of the log cannot pass as a cosigner's, nor the reverse.
    const cosigner = cosignatureVerifier(name, key)
    return algorithm === 'EdDSA' ? [ed25519Verifier(origin, key), cosigner] : [cosigner]
  })
}

/** Cosignatures by this key: Ed25519 over text and time, ML-DSA-44 over the whole tree as a subtree, with the time. */
export function cosignatureVerifier(name: string, publicKey: KeyObject): NoteVerifier {
  const verifyTimed = (text: string, signature: Uint8Array): boolean => {
    if (!isTimed(signature)) return false
    const message = cosignedMessage(publicKey, name, text, readTime(signature))
    return verifySignature(algorithmOf(publicKey), publicKey, message, signature.subarray(TIME_BYTES))
  }
  return { name, keyId: cosignatureKeyId(name, publicKey), verify: verifyTimed }
}

export function cosignatureSigner(
  name: string,
  publicKey: KeyObject,
  privateKey: KeyObject,
  nowSeconds: number,
): NoteSigner {
  const signTimed = (text: string): Uint8Array => {
    const time = new Uint8Array(TIME_BYTES)
    new DataView(time.buffer).setBigUint64(0, BigInt(nowSeconds))
    const message = cosignedMessage(publicKey, name, text, nowSeconds)
    return concat(time, signNow(algorithmOf(publicKey), privateKey, message))
  }
  return { name, keyId: cosignatureKeyId(name, publicKey), sign: signTimed }
}

const TIME_BYTES = 8
const ED25519_BYTES = 64

function cosignatureKeyId(name: string, publicKey: KeyObject): number {
  const { cosignatureEd25519, cosignatureMlDsa44 } = signatureTypes
  return keyIdOf({ name, publicKey, type: isEd25519(publicKey) ? cosignatureEd25519 : cosignatureMlDsa44 })
}

function cosignedMessage(publicKey: KeyObject, name: string, text: string, time: number): Uint8Array {
  if (isEd25519(publicKey)) return encodeUtf8(`cosignature/v1\ntime ${time}\n${text}`)
  const { origin, size, root } = parseCheckpoint(text)
  return countersignedMessage(name, origin, { start: 0, end: size }, root, time)
}

function algorithmOf(key: KeyObject): Algorithm {
  return isEd25519(key) ? 'EdDSA' : 'ML-DSA-44'
}

function isEd25519(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ed25519'
}

/** The log's own signature is exactly 64 bytes and has no time before it. */
function isTimed(signature: Uint8Array): boolean {
  return signature.length > ED25519_BYTES
}

/** Times beyond what a number holds exactly are not times; zero is refused by whoever asks for one. */
function readTime(signature: Uint8Array): number {
  const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0)
  return time <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(time) : 0
}

function malformed(): NoteRefusal {
  return new NoteRefusal('malformed', 'the checkpoint is malformed')
}
