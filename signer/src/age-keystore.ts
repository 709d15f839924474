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

import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { verifyAttestation } from '@countersign/validator/attestation'
import { type Algorithm, importPublicJwk, type PublicJwk, signInput } from '@countersign/validator/jws'
import { Decrypter, Encrypter } from 'age-encryption'
import { SignerFault } from './fault.ts'
import { replaceFile, writeNewFile } from './files.ts'
import { type HeldKey, type Keystore, type UsableKey, usable, type Vouching } from './keystore.ts'

/**
 * 2^14 rounds, 16 MiB: about 50 ms, so that a start and a new key stay unnoticed. Against guessing it stands on a
 * passphrase that nobody chose; `countersign up` draws 256 bits.
 */
const SCRYPT_WORK_FACTOR = 14

export interface AgePlace {
  readonly realm: string
  readonly file: string
  readonly passphrase: string
}

interface KeystoreFile {
  readonly realm: string
  readonly identity: JsonWebKey
  readonly keys: readonly { readonly jwk: JsonWebKey; readonly attestation: string }[]
}
type JsonWebKey = ReturnType<KeyObject['export']> & PublicJwk

interface FileKey extends HeldKey {
  readonly privateKey: KeyObject
}

/** Makes a keystore with an identity key and no other. Throws `SignerFault` where there is one already. */
export async function createAgeKeystore(place: AgePlace): Promise<Keystore> {
  const { realm, file } = place
  const identityKey = await generatePrivateKey('EdDSA')
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  try {
    writeNewFile(
      file,
      await seal({ realm, identity: identityKey.export({ format: 'jwk' }), keys: [] }, place),
    )
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new SignerFault(`${file} exists; a keystore is never overwritten`)
  }
  return new AgeKeystore(place, identityKey, [])
}

/** Opens a keystore and checks that its keys are what they are said to be. Throws `SignerFault`. */
export async function openAgeKeystore(place: AgePlace): Promise<Keystore> {
  const { identity, keys, realm } = await unseal(place)
  if (realm !== place.realm) throw new SignerFault(`${place.file} is the keystore of another realm`)
  const identityKey = createPrivateKey({ key: identity, format: 'jwk' })
  const { jwk } = usableKey(identityKey, 'EdDSA')
  return new AgeKeystore(
    place,
    identityKey,
    keys.map((key) => readKey(place, key, jwk)),
  )
}

class AgeKeystore implements Keystore {
  readonly protection = 'low'
  readonly problem = undefined
  readonly identity: UsableKey
  readonly #place: AgePlace
  readonly #identityKey: KeyObject
  #keys: readonly FileKey[]

  constructor(place: AgePlace, identityKey: KeyObject, keys: readonly FileKey[]) {
    this.#place = place
    this.#identityKey = identityKey
    this.identity = usableKey(identityKey, 'EdDSA')
    this.#keys = keys
  }

  get keys(): readonly HeldKey[] {
    return this.#keys
  }

  async make(algorithm: Algorithm, vouch: (key: UsableKey) => Promise<Vouching>): Promise<HeldKey> {
    const privateKey = await generatePrivateKey(algorithm)
    const key = usableKey(privateKey, algorithm)
    const made = { ...key, ...(await vouch(key)), privateKey }
    await this.#replace([...this.#keys, made])
    return made
  }

  async destroy(kids: ReadonlySet<string>): Promise<void> {
    const kept = this.#keys.filter(({ kid }) => !kids.has(kid))
    if (kept.length < this.#keys.length) await this.#replace(kept)
  }

  /** The file's blocks may stay on the disk; without the passphrase they say nothing. */
  async destroyAll(): Promise<number> {
    const { file } = this.#place
    for (const name of [file, `${file}.next`]) await rm(name, { force: true })
    this.#keys = []
    return 0
  }

  async close(): Promise<void> {}

  async #replace(keys: readonly FileKey[]): Promise<void> {
    const content = {
      realm: this.#place.realm,
      identity: this.#identityKey.export({ format: 'jwk' }),
      keys: keys.map(({ privateKey, kid, algorithm, attestation }) => ({
        jwk: { ...privateKey.export({ format: 'jwk' }), kid, alg: algorithm },
        attestation,
      })),
    }
    replaceFile(this.#place.file, await seal(content, this.#place))
    this.#keys = keys
  }
}

async function seal(content: object, { passphrase }: AgePlace): Promise<Uint8Array> {
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(SCRYPT_WORK_FACTOR)
  return encrypter.encrypt(JSON.stringify(content))
}

async function unseal({ file, passphrase }: AgePlace): Promise<KeystoreFile> {
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
  { file, realm }: AgePlace,
  { jwk, attestation }: KeystoreFile['keys'][number],
  identityJwk: PublicJwk,
): FileKey {
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
  const key = usableKey(privateKey, jwk.alg)
  const attested = verifyAttestation(attestation, [identityJwk])
  if (attested.kid !== key.kid || attested.algorithm !== jwk.alg || attested.realm !== realm)
    throw new SignerFault(`${file} holds a key that its attestation does not describe`)
  return { ...key, privateKey, attested, attestation }
}

function usableKey(privateKey: KeyObject, alg: string | undefined): UsableKey {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  const imported = importPublicJwk({ ...jwk, ...(alg !== undefined && { alg }) })
  return usable(imported, (input) => signInput(imported.algorithm, privateKey, input))
}

async function generatePrivateKey(algorithm: Algorithm): Promise<KeyObject> {
  const { privateKey } = await generatePair(algorithm)
  return privateKey
}

const generate = promisify(generateKeyPair)

function generatePair(algorithm: Algorithm): Promise<{ privateKey: KeyObject }> {
  switch (algorithm) {
    case 'ES256':
      return generate('ec', { namedCurve: 'P-256' })
    case 'EdDSA':
      return generate('ed25519')
    case 'PS256':
      return generate('rsa', { modulusLength: 3072 })
    case 'RS256':
      // What the receivers of signals have to take; it signs nothing else.
      return generate('rsa', { modulusLength: 2048 })
    case 'ML-DSA-44':
      return generate('ml-dsa-44')
    default:
      return algorithm satisfies never
  }
}
