/**
 * A realm's signer by hand: its keystore made, looked at and destroyed.
 * @module
 */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isTokenUri } from '@countersign/signer/client'
import { folderOf, type KeptKeystore } from './keystores.ts'
import { runMain } from './process.ts'

/** Runs it once; gives what it printed. */
export async function runSigner(
  operation: 'init' | 'show' | 'destroy',
  { keystore, folder, passphrase_file, environment }: KeptKeystore,
  realm: string,
): Promise<unknown> {
  const place = folder === undefined ? [] : ['--folder', folder]
  const where = ['--realm', realm, '--keystore', keystore, ...place, '--passphrase-file', passphrase_file]
  return runMain('signer', [operation, ...where], environment)
}

/** Whether the keystore is whole: its record is written last. */
export function isMade(kept: KeptKeystore): boolean {
  const { keystore } = kept
  return existsSync(isTokenUri(keystore) ? join(folderOf(kept), 'token.json') : keystore)
}
