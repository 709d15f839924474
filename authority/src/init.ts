/**
 * The authority's manifest key, made once: what `init` does. The charter then names its public half.
 * @module
 */

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicHalf } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { readPrivateKey } from '@countersign/validator/private-file'

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
  return readPrivateKey(keyFile(data))
}

function keyFile(data: string): string {
  return join(data, 'manifest-key.json')
}
