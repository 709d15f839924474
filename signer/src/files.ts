/**
 * Files of a signer's folder, written whole: a crash leaves the one before or the new one. The permission model withholds
 * `fsync`, so they are open with O_SYNC instead.
 * @module
 */

import { closeSync, constants, openSync, renameSync, writeSync } from 'node:fs'

const { O_WRONLY, O_CREAT, O_SYNC, O_EXCL, O_TRUNC } = constants

/** Makes a file that only its user may read. Throws where there is one already. */
export function writeNewFile(file: string, content: Uint8Array | string): void {
  write(file, content, O_EXCL)
}

/** Puts a file in the place of the one before, which stays whole until then. */
export function replaceFile(file: string, content: Uint8Array | string): void {
  const next = `${file}.next`
  // What a crash left there was never in use.
  write(next, content, O_TRUNC)
  renameSync(next, file)
}

function write(file: string, content: Uint8Array | string, how: number): void {
  const descriptor = openSync(file, O_WRONLY | O_CREAT | O_SYNC | how, 0o600)
  try {
    const bytes = Buffer.from(content)
    for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written)
  } finally {
    closeSync(descriptor)
  }
}
