/**
 * Which kind of keystore a configuration names: `pkcs11:` is a token, anything else a file.
 * @module
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAgeKeystore, openAgeKeystore } from './age-keystore.ts'
import { type Cryptoki, loadModule } from './cryptoki.ts'
import type { Keystore } from './keystore.ts'
import type { Secret } from './passphrase.ts'
import type { Pin } from './token.ts'
import { createTokenKeystore, openTokenKeystore, type TokenPlace } from './token-keystore.ts'
import { isTokenUri, parseTokenUri } from './token-uri.ts'

export interface KeystorePlace {
  readonly realm: string
  /** A file, or a `pkcs11:` URI. */
  readonly keystore: string
  /** What else the signer keeps; that of the file, if the keystore is one. */
  readonly folder: string
  /** The passphrase of the file, or the PIN of the token. */
  readonly secret: Secret
  /** Loads the module of a token. */
  readonly load?: (modulePath: string) => Promise<Cryptoki>
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic?: () => number
}

/** Throws `SignerFault` where there is one already, or the token cannot be used. */
export async function createKeystore(place: KeystorePlace): Promise<Keystore> {
  return isTokenUri(place.keystore)
    ? createTokenKeystore(await placeOnToken(place))
    : createAgeKeystore(placeOfFile(place))
}

/** Throws `SignerFault`. */
export async function openKeystore(place: KeystorePlace): Promise<Keystore> {
  return isTokenUri(place.keystore)
    ? openTokenKeystore(await placeOnToken(place))
    : openAgeKeystore(placeOfFile(place))
}

function placeOfFile({ realm, keystore, secret }: KeystorePlace) {
  return { realm, file: keystore, passphrase: secret.value }
}

async function placeOnToken({
  realm,
  keystore,
  folder,
  secret,
  load = loadModule,
  monotonic = () => performance.now(),
}: KeystorePlace): Promise<TokenPlace> {
  const address = parseTokenUri(keystore)
  const cryptoki = await load(address.modulePath)
  return { realm, folder, address, cryptoki, monotonic, pin: pinIn(folder, secret) }
}

/**
 * A PIN that remembers, in the signer's folder, that the token refused it: by when its file was written and not by what it
 * is, which could be guessed. Whoever starts the signer again and again must not lock the token.
 */
function pinIn(folder: string, { value, stamp }: Secret): Pin {
  const file = join(folder, 'pin-refused')
  let isRefused = false
  return {
    value,
    wasRefused: () => isRefused || (stamp !== undefined && readIfThere(file) === stamp),
    rememberRefusal: () => {
      isRefused = true
      if (stamp !== undefined) writeFileSync(file, stamp, { mode: 0o600, flush: false })
    },
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
