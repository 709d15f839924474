/**
 * How little a signer's process may do: no network, no child processes, no addons, no workers, no inspector, no SQLite
 * (which opens files past the permission model), no code from strings, no core dump, an empty environment; it reads the
 * sources that it runs, its trust anchor, its passphrase and the folder of its keystore, and writes to that folder.
 * @module
 */

import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What a program is started with. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

export interface Allowance {
  /** Files and folders that may be read; a folder ends in a slash. */
  readonly read: readonly string[]
  readonly write: readonly string[]
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/** The code that a signer runs: its own, what it imports, and the packages behind age. */
const sources: readonly string[] = [
  'package.json',
  'signer/',
  'validator/',
  'lines/',
  'node_modules/@countersign/',
  'node_modules/age-encryption/',
  'node_modules/@noble/',
  'node_modules/@scure/',
].map((path) => `${root}${path}`)

/** A confined run of this Node on `main`, which gets `args`. */
export function confine(main: string, args: readonly string[], { read, write }: Allowance): Command {
  const flags = [
    '--permission',
    ...read.map((path) => `--allow-fs-read=${path}`),
    ...write.map((path) => `--allow-fs-write=${path}`),
    '--no-addons',
    '--no-experimental-sqlite',
    '--disallow-code-generation-from-strings',
    '--disable-proto=delete',
    // The signal that starts an inspector, and with it hands out memory.
    '--disable-sigusr1',
    '--no-global-search-paths',
  ]
  // A shell, since Node cannot set limits; what it runs is given as arguments and never parsed.
  const shell = ['-c', 'ulimit -c 0; exec "$@"', 'sh']
  return { file: '/bin/sh', args: [...shell, process.execPath, ...flags, main, ...args], env: {} }
}

/** What a signer may touch besides the sources. */
export function allowanceOf(
  keystoreFile: string,
  passphraseFile: string,
  trustAnchorFile: string,
): Allowance {
  const folder = `${dirname(keystoreFile)}/`
  return { read: [...sources, folder, passphraseFile, trustAnchorFile], write: [folder] }
}
