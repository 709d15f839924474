/**
 * Files that hold a secret. One that others may read is not used: whoever could read it may have.
 * @module
 */

import { createPrivateKey, type KeyObject, type webcrypto } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'

/** The text of a file of mode 0600, without the white space around it. */
export function readPrivateFile(file: string): string {
  if ((statSync(file).mode & 0o077) !== 0)
    throw new Error(`${file} can be read by others: its mode must be 0600`)
  const text = readFileSync(file, 'utf8').trim()
  if (text === '') throw new Error(`${file} is empty`)
  return text
}

/** What such a file holds as JSON. */
export function readPrivateJson(file: string): unknown {
  const text = readPrivateFile(file)
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message quotes what it could not read.
    throw new Error(`${file} is not JSON`)
  }
}

/** The private key that such a file holds as a JWK. */
export function readPrivateKey(file: string): KeyObject {
  const key = readPrivateJson(file)
  try {
    return createPrivateKey({ key: key as webcrypto.JsonWebKey, format: 'jwk' })
  } catch {
    throw new Error(`${file} holds no private key as a JWK`)
  }
}
