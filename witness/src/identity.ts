/**
 * Who a witness is: its name and its four private keys, made once and kept in one file that only its user may read.
 * @module
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  type webcrypto,
} from 'node:crypto'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkpointVerifiers, cosignatureSigner } from '@countersign/validator/checkpoint'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import {
  ed25519Signer,
  formatVkey,
  type NoteSigner,
  type NoteVerifier,
  signatureTypes,
} from '@countersign/validator/note'
import { readPrivateJson } from '@countersign/validator/private-file'

interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

export interface Identity {
  readonly name: string
  /** ES256: countersigns subtrees. */
  readonly receipt: KeyPair
  /** Ed25519: signs checkpoints as the log. */
  readonly log: KeyPair
  /** ML-DSA-44 and Ed25519: cosign checkpoints with their time. The note format wants a key for each kind of signature. */
  readonly cosigners: readonly [KeyPair, KeyPair]
}

/** What of an identity everybody may know, as a charter has it. */
export interface PublicIdentity {
  readonly name: string
  readonly receipt_key: PublicJwk
  readonly checkpoint_keys: readonly PublicJwk[]
  /** The key that the log of the first epoch signs with. */
  readonly vkey: string
}

const FILE = 'identity.json'

/** Makes keys for a new witness. Refuses a folder that holds anything: keys that signed once are never replaced. */
export function createIdentity(folder: string, name: string): Identity {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (readdirSync(folder).length > 0)
    throw new Error(`${folder} is not empty; a witness is made in a new folder`)
  const keys = {
    receipt: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    log: generateKeyPairSync('ed25519'),
    ml_dsa_cosigner: generateKeyPairSync('ml-dsa-44'),
    ed25519_cosigner: generateKeyPairSync('ed25519'),
  }
  const jwks = Object.entries(keys).map(([use, { privateKey }]) => [
    use,
    privateKey.export({ format: 'jwk' }),
  ])
  const content = JSON.stringify({ name, ...Object.fromEntries(jwks) }, undefined, 2)
  writeFileSync(join(folder, FILE), `${content}\n`, { mode: 0o600, flag: 'wx', flush: true })
  return {
    name,
    receipt: keys.receipt,
    log: keys.log,
    cosigners: [keys.ml_dsa_cosigner, keys.ed25519_cosigner],
  }
}

/** Reads the keys. Throws when others may read them too. */
export function loadIdentity(folder: string): Identity {
  const file = readPrivateJson(join(folder, FILE)) as Record<string, webcrypto.JsonWebKey> & {
    name: string
  }
  const pair = (use: string): KeyPair => {
    const privateKey = createPrivateKey({ key: file[use] ?? {}, format: 'jwk' })
    return { privateKey, publicKey: createPublicKey(privateKey) }
  }
  return {
    name: file.name,
    receipt: pair('receipt'),
    log: pair('log'),
    cosigners: [pair('ml_dsa_cosigner'), pair('ed25519_cosigner')],
  }
}

export function publicIdentity(identity: Identity, firstEpoch: string): PublicIdentity {
  const jwkOf = ({ publicKey }: KeyPair): PublicJwk =>
    importPublicJwk(publicKey.export({ format: 'jwk' })).jwk
  return {
    name: identity.name,
    receipt_key: jwkOf(identity.receipt),
    checkpoint_keys: [identity.log, ...identity.cosigners].map(jwkOf),
    vkey: logVkey(identity, originOf(identity, firstEpoch)),
  }
}

/** Each epoch is a log of its own, with an origin of its own. */
export function originOf({ name }: Pick<Identity, 'name'>, epoch: string): string {
  return `${name}/${epoch}`
}

export function logVkey({ log }: Identity, origin: string): string {
  return formatVkey({ name: origin, type: signatureTypes.ed25519, publicKey: log.publicKey })
}

/** Signs checkpoints of a log: as the log itself, then as its cosigners, who add the time. */
export function checkpointSigners(
  { name, log, cosigners }: Identity,
  origin: string,
  nowSeconds: number,
): readonly NoteSigner[] {
  return [
    ed25519Signer(origin, log.publicKey, log.privateKey),
    ...cosigners.map(({ publicKey, privateKey }) =>
      cosignatureSigner(name, publicKey, privateKey, nowSeconds),
    ),
  ]
}

export function ownVerifiers(identity: Identity, origin: string): readonly NoteVerifier[] {
  const { name, checkpoint_keys: checkpointKeys } = publicIdentity(identity, '')
  return checkpointVerifiers({ name, checkpointKeys }, origin)
}
