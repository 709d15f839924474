/**
 * The passphrase of a keystore file or the PIN of a token, from a file that only its user can read or from a descriptor
 * that whoever started the signer left open. Never from an argument or the environment, which others on the machine can
 * read.
 * @module
 */

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { SignerFault } from './fault.ts'

/** The work factor of the keystore slows guessing by a little only; the passphrase itself has to carry the weight. */
const CHARACTERS_MIN = 20

/** A PIN is short, and the token itself counts wrong ones. */
const PIN_CHARACTERS_MIN = 4

/** A passphrase or PIN. */
export interface Secret {
  readonly value: string
  /** Changes whenever its file is written; undefined where it came from a descriptor. */
  readonly stamp: string | undefined
}

/** Where a passphrase comes from: the name of a file or the number of a descriptor. */
export type PassphraseSource = string | number

/** Throws `SignerFault` for a file that others can read, or for what is too short to be a passphrase. */
export function readPassphrase(source: PassphraseSource): Secret {
  return read(source, 'the passphrase', CHARACTERS_MIN)
}

/** Throws `SignerFault` for a file that others can read, or for what is too short to be a PIN. */
export function readPin(source: PassphraseSource): Secret {
  return read(source, 'the PIN', PIN_CHARACTERS_MIN)
}

function read(source: PassphraseSource, what: string, charactersMin: number): Secret {
  const secret =
    typeof source === 'number' ? { value: readDescriptor(source), stamp: undefined } : readPrivateFile(source)
  if (secret.value.length < charactersMin)
    throw new SignerFault(`${what} is shorter than ${charactersMin} characters`)
  return secret
}

function readDescriptor(descriptor: number): string {
  try {
    return readFileSync(descriptor, 'utf8').trimEnd()
  } catch {
    throw new SignerFault(`descriptor ${descriptor} gives no passphrase`)
  }
}

function readPrivateFile(file: string): Secret {
  const descriptor = openFile(file)
  try {
    const { mode, uid, ino, mtimeMs, size } = fstatSync(descriptor)
    if ((mode & 0o077) !== 0) throw new SignerFault(`${file} can be read by others: its mode must be 0600`)
    if (uid !== process.getuid?.()) throw new SignerFault(`${file} belongs to another user`)
    return { value: readFileSync(descriptor, 'utf8').trimEnd(), stamp: `${ino} ${mtimeMs} ${size}` }
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
