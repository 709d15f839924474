/**
 * Which keystores each realm of a data folder has: usually one, two while a realm moves. Kept, since a start has to find the
 * keys where the last move left them.
 *
 *     DATA/keystores.json   {"consumer": [{"keystore", "passphrase_file", "folder"?, "environment"?}, …], "enterprise": […],
 *                            "leaving"?: [{"realm", "keystore", …}, …]}
 *
 * @module
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readJson, writePrivate } from './files.ts'
import type { Realm } from './world.ts'

/** A keystore as the broker's configuration has it. */
export interface KeptKeystore {
  /** A file, or a `pkcs11:` URI. */
  readonly keystore: string
  readonly passphrase_file: string
  /** What the signer of a token keeps; a file has its own. */
  readonly folder?: string
  readonly environment?: Readonly<Record<string, string>>
}

export interface Keystores extends Readonly<Record<Realm, readonly KeptKeystore[]>> {
  /** No signer runs on them any more, and their keys are still to be destroyed. */
  readonly leaving?: readonly (KeptKeystore & { readonly realm: Realm })[]
}

/** Those of the first start, unless something else was kept. The keystore that makes new keys comes last. */
export function readKeystores(data: string): Keystores {
  const file = keystoresFile(data)
  return existsSync(file) ? readJson<Keystores>(file) : firstKeystores(data)
}

export function keepKeystores(data: string, keystores: Keystores): void {
  writePrivate(keystoresFile(data), keystores)
}

/** Where the signer of this keystore keeps everything. */
export function folderOf({ keystore, folder }: KeptKeystore): string {
  return folder ?? dirname(keystore)
}

function firstKeystores(data: string): Keystores {
  return {
    consumer: [firstKeystore(data, 'consumer')],
    enterprise: [firstKeystore(data, 'enterprise')],
  }
}

/** Where the ceremony has a realm's signer make its keys. */
export function firstKeystore(data: string, realm: string): KeptKeystore {
  const folder = join(data, 'signers', realm)
  return { keystore: join(folder, 'keystore.age'), passphrase_file: join(folder, 'passphrase') }
}

function keystoresFile(data: string): string {
  return join(data, 'keystores.json')
}
