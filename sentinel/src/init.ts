/**
 * The sentinel's block key, made once: what `init` does. The charter then names its public half, and whoever has it
 * can block keys and do nothing else.
 * @module
 */

import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicHalf } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'

/** Makes `block-key.json` (Ed25519) in the folder and returns its public half. Never overwrites one. */
export function initSentinel(data: string): { readonly jwk: PublicJwk } {
  const { privateKey } = generateKeyPairSync('ed25519')
  mkdirSync(data, { recursive: true, mode: 0o700 })
  const text = `${JSON.stringify(privateKey.export({ format: 'jwk' }))}\n`
  writeFileSync(join(data, 'block-key.json'), text, { mode: 0o600, flag: 'wx' })
  return { jwk: publicHalf(privateKey).jwk }
}
