/**
 * How little a signer's process may do: no network, no child processes, no addons, no workers, no inspector, no SQLite
 * (which opens files past the permission model), no code from strings, no core dump, an empty environment; it reads the
 * sources that it runs, its trust anchor, its passphrase and the folder of its keystore, and writes to that folder.
 *
 * A signer whose keys are in a hardware token has to load that token's module, and native code is bound by none of this:
 * the permission model then keeps our JavaScript in, and trusts the module. docs/hardware.md says what to do about it.
 * @module
 */

import { fileURLToPath } from 'node:url'
import { SESSION_COUNT_MAX } from './token.ts'
import { isTokenUri } from './token-uri.ts'

/** What a signer is started on. Paths are whole. */
export interface SignerFiles {
  readonly realm: string
  /** A file, or a `pkcs11:` URI. */
  readonly keystore: string
  /** What else the signer keeps; that of the file, if the keystore is one. */
  readonly folder: string
  /** Of the file; or the PIN of the token. */
  readonly passphraseFile: string
  readonly trustAnchor: string
  /** What the module of a token reads: where its own configuration is. */
  readonly environment?: Readonly<Record<string, string>> | undefined
  readonly signaturesPerSecondMax?: number | undefined
}

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
  /** Given to a token's module, with what it reads from its environment; left out, nothing native is loaded. */
  readonly module?: { readonly environment: Readonly<Record<string, string>> }
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
export function confine(main: string, args: readonly string[], { read, write, module }: Allowance): Command {
  const flags = [
    '--permission',
    ...read.map((path) => `--allow-fs-read=${path}`),
    ...write.map((path) => `--allow-fs-write=${path}`),
    ...(module === undefined ? ['--no-addons'] : ['--allow-addons', '--disable-warning=PERM0001']),
    '--no-experimental-sqlite',
    '--disallow-code-generation-from-strings',
    '--disable-proto=delete',
    // The signal that starts an inspector, and with it hands out memory.
    '--disable-sigusr1',
    '--no-global-search-paths',
  ]
  // A shell, since Node cannot set limits; what it runs is given as arguments and never parsed.
  const shell = ['-c', 'ulimit -c 0; exec "$@"', 'sh']
  const env =
    module === undefined ? {} : { ...module.environment, UV_THREADPOOL_SIZE: String(SESSION_COUNT_MAX) }
  return { file: '/bin/sh', args: [...shell, process.execPath, ...flags, main, ...args], env }
}

/** What a signer may touch besides the sources. */
export function allowanceOf({
  keystore,
  folder,
  passphraseFile,
  trustAnchor,
  environment = {},
}: Pick<SignerFiles, 'keystore' | 'folder' | 'passphraseFile' | 'trustAnchor' | 'environment'>): Allowance {
  const own = `${folder}/`
  const read = [...sources, own, passphraseFile, trustAnchor]
  if (!isTokenUri(keystore)) return { read, write: [own] }
  return { read: [...read, `${root}node_modules/pkcs11js/`], write: [own], module: { environment } }
}
