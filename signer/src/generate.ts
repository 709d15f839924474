/**
 * Makes a signing key where it will be used, and attests what it may sign. The private half never leaves; without the
 * attestation no validator takes the public half from the authority.
 * @module
 */

import { generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { LineError } from '@countersign/lines'
import { type AttestedKey, attestKey, isSubset, readScope } from '@countersign/validator/attestation'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import { type Algorithm, algorithms, importPublicJwk } from '@countersign/validator/jws'
import { Members } from '@countersign/validator/members'
import { type HeldKey, type Keystore, publicJwkOf } from './keystore.ts'

/**
 * A new key for what `request` asks: `{alg, iss, tenants, token_types, max_ttl, audiences?, realm?}`. Throws
 * `LineError`: `malformed`, `wrong_realm`, or `out_of_charter` once a charter is known.
 */
export async function makeKey(
  request: unknown,
  { realm, identityKey, identityJwk }: Pick<Keystore, 'realm' | 'identityKey' | 'identityJwk'>,
  charter: Charter | undefined,
  now: number,
): Promise<HeldKey> {
  const { realm: asked = realm, ...scope } = refuseMalformed(() => readObject(request))
  // A broker that takes one realm's wish to another realm's signer is a deputy confused.
  if (asked !== realm) throw new LineError('wrong_realm', `this signer serves ${realm} alone`)
  const algorithm = refuseMalformed(() => new Members(scope, 'request').oneOf('alg', algorithms))
  const privateKey = await generatePrivateKey(algorithm)
  const { kid } = importPublicJwk(publicJwkOf(privateKey, algorithm))
  const attested = { ...refuseMalformed(() => readWholeScope({ ...scope, kid, realm })), issuedAt: now }
  if (charter !== undefined) checkCharter(attested, charter.realms.get(realm), identityJwk.x)
  return { kid, privateKey, attested, attestation: attestKey(attested, identityKey) }
}

function readObject(request: unknown): JsonObject {
  new Members(request as JsonObject, 'request')
  return request as JsonObject
}

function readWholeScope(scope: JsonObject): Omit<AttestedKey, 'issuedAt'> {
  const members = new Members(scope, 'request')
  const read = readScope(members)
  members.end()
  return read
}

function refuseMalformed<Result>(read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    if (error instanceof DocumentRefusal) throw new LineError('malformed', error.message)
    throw error
  }
}

function checkCharter(key: AttestedKey, realm: CharterRealm | undefined, identity: string | undefined): void {
  if (
    realm === undefined ||
    !realm.signers.some(({ x }) => x === identity) ||
    !realm.issuers.includes(key.issuer) ||
    !isSubset(key.tenants, realm.tenants) ||
    !isSubset(key.tokenTypes, realm.tokenTypes) ||
    !realm.algorithms.includes(key.algorithm) ||
    key.lifetimeSecondsMax > realm.lifetimeSecondsMax
  ) {
    throw new LineError('out_of_charter', 'the charter does not allow this realm such a key')
  }
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
    case 'RS256':
      return generate('rsa', { modulusLength: 3072 })
    case 'ML-DSA-44':
      return generate('ml-dsa-44')
    default:
      return algorithm satisfies never
  }
}
