/**
 * The second phase: no receipt, no signature. What was prepared is signed only when the witness has countersigned that
 * very entry, and the signature is verified with the manifest's public key before it leaves: a fault in the arithmetic
 * can give a private key away. Rules: spec/signing.md, section 3.
 * @module
 */

import { decode, encode } from '@countersign/validator/base64url'
import { encodePayload } from '@countersign/validator/document'
import { headerTypes } from '@countersign/validator/entry'
import { verifySignature } from '@countersign/validator/jws'
import { checkLive } from '@countersign/validator/key-state'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { decodeReceipt, type VerifiedRoots, verifyReceipt } from '@countersign/validator/receipt'
import { Refusal } from '@countersign/validator/refusal'
import { SignerFault } from './fault.ts'
import type { Sign } from './keystore.ts'
import type { Draft } from './prepare.ts'

/** A draft that has a serial, and so an entry that the log can hold. */
export interface Prepared extends Draft {
  readonly serial: number
  readonly entry: Uint8Array
  readonly leafHash: Uint8Array
}

/** The token, or throws `Refusal('receipt_invalid')`. A signature that does not verify is a `SignerFault`,
 * a token that has gone a `TokenFault`. */
export async function signPrepared(
  { type, key, payloadSegment, ...prepared }: Prepared,
  rcpt: string,
  sign: Sign,
  { logs }: Manifest,
  verifiedRoots: VerifiedRoots,
): Promise<string> {
  const receipt = decodeReceipt(decode(rcpt))
  const log = logs.get(receipt.keyId)
  // A validator makes the entry from the receipt's serial, so a receipt that names another would be worth nothing.
  if (log === undefined || receipt.serial !== prepared.serial)
    throw new Refusal('receipt_invalid', { kid: key.kid })
  verifyReceipt(receipt, prepared.leafHash, log, verifiedRoots)
  const header = { alg: key.algorithm, typ: headerTypes[type], kid: key.kid, rcpt }
  const input = `${encodePayload(header)}.${payloadSegment}`
  const signature = await sign(input)
  if (!verifySignature(key.algorithm, key.publicKey, input, signature))
    throw new SignerFault('a signature does not verify and was not released')
  return `${input}.${encode(signature)}`
}

/** Throws `Refusal` unless what was prepared may still be signed: a manifest may have come in between. */
export function checkStillSigning(key: ManifestKey | undefined, now: number): void {
  if (key === undefined) throw new Refusal('unknown_key')
  checkLive(key)
  // What was logged while the key was active may still leave while it retires.
  if (now > key.signUntil) throw new Refusal('key_retired', { kid: key.kid })
}
