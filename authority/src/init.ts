/**
 * The authority's manifest key, made once: what `init` does. The charter then names its public half.
 * @module
 */

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicHalf } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'

/** Makes the manifest key (ES256) in the folder and returns its public half. Never overwrites one. */
export function initAuthority(data: string): { readonly jwk: PublicJwk } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  mkdirSync(data, { recursive: true, mode: 0o700 })
  const text = `${JSON.stringify(privateKey.export({ format: 'jwk' }))}\n`
  writeFileSync(keyFile(data), text, { mode: 0o600, flag: 'wx' })
  return { jwk: publicHalf(privateKey).jwk }
}

/** Reads the manifest key. Throws when there is none, or when others may read it. */
export function readManifestKey(data: string): KeyObject {
  return createPrivateKey({ key: JSON.parse(readSecret(keyFile(data))), format: 'jwk' })
}

/** Reads a file that holds a secret. Throws when others may read it. */
export function readSecret(file: string): string {
  if ((statSync(file).mode & 0o077) !== 0)
    throw new Error(`${file} can be read by others: its mode must be 0600`)
  const secret = readFileSync(file, 'utf8').trim()
  if (secret === '') throw new Error(`${file} is empty`)
  return secret
}

function keyFile(data: string): string {
  return join(data, 'manifest-key.json')
}
