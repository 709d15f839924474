/**
 * The file that holds a realm's private keys: JSON, encrypted with age (scrypt) under a passphrase.
 *
 *     {"realm": "…", "identity": private JWK, "keys": [{"jwk": private JWK, "attestation": "…"}, …]}
 *
 * The identity key, Ed25519, signs attestations and nothing else; each further key carries the attestation of what it
 * may sign. A changed keystore is written beside the old one and moved into its place. A back end for development and
 * small deployments: whoever reads this file and its passphrase has the keys.
 * @module
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type AttestedKey, verifyAttestation } from '@countersign/validator/attestation'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import { Decrypter, Encrypter } from 'age-encryption'
import { SignerFault } from './fault.ts'

/**
 * 2^14 rounds, 16 MiB: about 50 ms, so that a start and a new key stay unnoticed. Against guessing it stands on a
 * passphrase that nobody chose; `countersign up` draws 256 bits.
 */
const SCRYPT_WORK_FACTOR = 14

/** A signing key, ready for use. */
export interface HeldKey {
  readonly kid: string
  readonly privateKey: KeyObject
  /** What the key was attested for, and when. */
  readonly attested: AttestedKey
  readonly attestation: string
}

export interface Keystore {
  readonly realm: string
  readonly identityKey: KeyObject
  readonly identityJwk: PublicJwk
  /** In the order in which they were made. */
  readonly keys: readonly HeldKey[]
}

interface KeystoreFile {
  readonly realm: string
  readonly identity: JsonWebKey
  readonly keys: readonly { readonly jwk: JsonWebKey; readonly attestation: string }[]
}
type JsonWebKey = ReturnType<KeyObject['export']> & PublicJwk

/** Makes a keystore with an identity key and no other. Throws `SignerFault` where there is one already. */
export async function createKeystore(file: string, passphrase: string, realm: string): Promise<Keystore> {
  const { privateKey } = generateKeyPairSync('ed25519')
  const keystore = { realm, identityKey: privateKey, identityJwk: publicJwkOf(privateKey), keys: [] }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await write(file, await seal(keystore, passphrase)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw new SignerFault(`${file} exists; a keystore is never overwritten`)
    throw error
  })
  return keystore
}

/** Opens a keystore and checks that its keys are what they are said to be. Throws `SignerFault`. */
export async function openKeystore(file: string, passphrase: string, realm: string): Promise<Keystore> {
  const { identity, keys, ...content } = await unseal(file, passphrase)
  if (content.realm !== realm) throw new SignerFault(`${file} is the keystore of another realm`)
  const identityKey = createPrivateKey({ key: identity, format: 'jwk' })
  const identityJwk = publicJwkOf(identityKey)
  return { realm, identityKey, identityJwk, keys: keys.map((key) => readKey(file, key, realm, identityJwk)) }
}

/** Puts a keystore in the place of the one before, which stays whole until then. */
export async function replaceKeystore(file: string, passphrase: string, keystore: Keystore): Promise<void> {
  const next = `${file}.next`
  // What a crash left there was never in use.
  await write(next, await seal(keystore, passphrase), constants.O_TRUNC)
  await rename(next, file)
}

/** The public half of a private key, as a JWK that names its algorithm. */
export function publicJwkOf(privateKey: KeyObject, algorithm?: string): PublicJwk {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  return importPublicJwk({ ...jwk, ...(algorithm !== undefined && { alg: algorithm }) }).jwk
}

async function seal({ realm, identityKey, keys }: Keystore, passphrase: string): Promise<Uint8Array> {
  const content = {
    realm,
    identity: identityKey.export({ format: 'jwk' }),
    keys: keys.map(({ privateKey, kid, attested, attestation }) => ({
      jwk: { ...privateKey.export({ format: 'jwk' }), kid, alg: attested.algorithm },
      attestation,
    })),
  }
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(SCRYPT_WORK_FACTOR)
  return encrypter.encrypt(JSON.stringify(content))
}

async function unseal(file: string, passphrase: string): Promise<KeystoreFile> {
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new SignerFault(`${file} cannot be read (${error.code}); a first keystore is made by init alone`)
  })
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  try {
    return JSON.parse(await decrypter.decrypt(bytes, 'text')) as KeystoreFile
  } catch {
    // The cause may quote what it could not read.
    throw new SignerFault(`the passphrase does not open ${file}, or the file is damaged`)
  }
}

function readKey(
  file: string,
  { jwk, attestation }: KeystoreFile['keys'][number],
  realm: string,
  identityJwk: PublicJwk,
): HeldKey {
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
  const { kid } = importPublicJwk(publicJwkOf(privateKey, jwk.alg))
  const attested = verifyAttestation(attestation, [identityJwk])
  if (attested.kid !== kid || attested.algorithm !== jwk.alg || attested.realm !== realm)
    throw new SignerFault(`${file} holds a key that its attestation does not describe`)
  return { kid, privateKey, attested, attestation }
}

/** Writes a file of ours; O_SYNC, because the permission model withholds `fsync`. */
async function write(file: string, bytes: Uint8Array, replace: number = constants.O_EXCL): Promise<void> {
  const { O_WRONLY, O_CREAT, O_SYNC } = constants
  const handle = await open(file, O_WRONLY | O_CREAT | O_SYNC | replace, 0o600)
  try {
    await handle.writeFile(bytes)
  } finally {
    await handle.close()
  }
}
