/**
 * The key that a validator is known by: it signs acknowledgements and reports with it, so that neither can be forged
 * by somebody who merely reaches the authority or the sentinel. Ed25519, a private JWK in a file of mode 0600.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { readPrivateKey } from './private-file.ts'

export interface Enrolment {
  readonly name: string
  readonly privateKey: KeyObject
}

/** Reads the key of an enrolled validator. Throws for a file that others may read, and for another kind of key. */
export function readEnrolment(name: string, file: string): Enrolment {
  const privateKey = readPrivateKey(file)
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error(`${file} does not hold an Ed25519 key`)
  return { name, privateKey }
}
