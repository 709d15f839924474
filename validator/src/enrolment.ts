/**
 * The key that a validator is known by: it signs acknowledgements and reports with it, so that neither can be forged
 * by somebody who merely reaches the authority or the sentinel. Ed25519, a private JWK in a file of mode 0600.
 * @module
 */

import { createPrivateKey, type KeyObject } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'

export interface Enrolment {
  readonly name: string
  readonly privateKey: KeyObject
}

/** Reads the key of an enrolled validator. A file that others may read, or that holds another kind of key, is refused. */
export function readEnrolment(name: string, file: string): Enrolment {
  if ((statSync(file).mode & 0o077) !== 0)
    throw new Error(`${file} can be read by others: its mode must be 0600`)
  const privateKey = createPrivateKey({ key: JSON.parse(readFileSync(file, 'utf8')), format: 'jwk' })
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error(`${file} does not hold an Ed25519 key`)
  return { name, privateKey }
}
