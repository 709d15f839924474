/**
 * The passphrase of a keystore, from a file that only its user can read or from a descriptor that whoever started the
 * signer left open. Never from an argument or the environment, which others on the machine can read.
 * @module
 */

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { SignerFault } from './fault.ts'

/** The work factor of the keystore slows guessing by a little only; the passphrase itself has to carry the weight. */
const CHARACTERS_MIN = 20

/** Where a passphrase comes from: the name of a file or the number of a descriptor. */
export type PassphraseSource = string | number

/** Throws `SignerFault` for a file that others can read, or for what is too short to be one. */
export function readPassphrase(source: PassphraseSource): string {
  const passphrase = typeof source === 'number' ? readDescriptor(source) : readPrivateFile(source)
  if (passphrase.length < CHARACTERS_MIN)
    throw new SignerFault(`the passphrase is shorter than ${CHARACTERS_MIN} characters`)
  return passphrase
}

function readDescriptor(descriptor: number): string {
  try {
    return readFileSync(descriptor, 'utf8').trimEnd()
  } catch {
    throw new SignerFault(`descriptor ${descriptor} gives no passphrase`)
  }
}

function readPrivateFile(file: string): string {
  const descriptor = openFile(file)
  try {
    const { mode, uid } = fstatSync(descriptor)
    if ((mode & 0o077) !== 0) throw new SignerFault(`${file} can be read by others: its mode must be 0600`)
    if (uid !== process.getuid?.()) throw new SignerFault(`${file} belongs to another user`)
    return readFileSync(descriptor, 'utf8').trimEnd()
  } finally {
    closeSync(descriptor)
  }
}

function openFile(file: string): number {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    throw new SignerFault(`${file} cannot be opened (${(error as NodeJS.ErrnoException).code})`)
  }
}
