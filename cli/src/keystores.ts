/**
 * Which keystores each realm of a data folder has: usually one, two while a realm moves. Kept, since a start has to find the
 * keys where the last move left them.
 *
 *     DATA/keystores.json   {"consumer": [{"keystore", "passphrase_file", "folder"?, "environment"?}, …], …,
 *                            "leaving"?: [{"realm", "keystore", …}, …]}
 *
 * A realm that does not stand there has the one that was made for it first.
 * @module
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readJson, writePrivate } from './files.ts'

/** A keystore as the broker's configuration has it. */
export interface KeptKeystore {
  /** A file, or a `pkcs11:` URI. */
  readonly keystore: string
  readonly passphrase_file: string
  /** What the signer of a token keeps; a file has its own. */
  readonly folder?: string
  readonly environment?: Readonly<Record<string, string>>
}

type Leaving = KeptKeystore & { readonly realm: string }

interface Kept extends Readonly<Record<string, readonly KeptKeystore[] | undefined>> {
  readonly leaving?: readonly Leaving[]
}

/** What no realm may be called. */
export const LEAVING = 'leaving'

/** Those of the realm's first start, unless something else was kept. The keystore that makes new keys comes last. */
export function keystoresOf(data: string, realm: string): readonly KeptKeystore[] {
  const kept = readKept(data)
  return (Object.hasOwn(kept, realm) ? kept[realm] : undefined) ?? [firstKeystore(data, realm)]
}

/** No signer runs on them any more, and their keys are still to be destroyed. */
export function leavingOf(data: string, realm: string): readonly KeptKeystore[] {
  const { leaving = [] } = readKept(data)
  return leaving.flatMap(({ realm: of, ...keystore }) => (of === realm ? [keystore] : []))
}

/** What a realm has from now on, and what of it is still to be destroyed. */
export function keepKeystores(
  data: string,
  realm: string,
  keystores: readonly KeptKeystore[],
  leaving: readonly KeptKeystore[],
): void {
  const { leaving: before = [], ...kept } = readKept(data)
  const all = [
    ...before.filter((each) => each.realm !== realm),
    ...leaving.map((each) => ({ ...each, realm })),
  ]
  writePrivate(join(data, KEPT), { ...kept, [realm]: keystores, [LEAVING]: all })
}

/** Where the signer of this keystore keeps everything. */
export function folderOf({ keystore, folder }: KeptKeystore): string {
  return folder ?? dirname(keystore)
}

/** Where a realm's signer makes its first keys. */
function firstKeystore(data: string, realm: string): KeptKeystore {
  const folder = join(data, 'signers', realm)
  return { keystore: join(folder, 'keystore.age'), passphrase_file: join(folder, 'passphrase') }
}

const KEPT = 'keystores.json'

function readKept(data: string): Kept {
  const file = join(data, KEPT)
  return existsSync(file) ? readJson<Kept>(file) : {}
}
