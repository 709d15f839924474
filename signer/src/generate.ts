/**
 * Makes a signing key where it will be used, and attests what it may sign. The private half never leaves; without the
 * attestation no validator takes the public half from the authority.
 * @module
 */

import { LineError } from '@countersign/lines'
import {
  type AttestedKey,
  isSubset,
  readScope,
  verifyAttestation,
  writeScope,
} from '@countersign/validator/attestation'
import { encode } from '@countersign/validator/base64url'
import type { Charter, CharterRealm } from '@countersign/validator/charter'
import { DocumentRefusal, encodePayload, importOnce } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import { Members } from '@countersign/validator/members'
import type { HeldKey, Keystore, UsableKey } from './keystore.ts'

export interface KeyMaking {
  readonly realm: string
  readonly keystore: Keystore
  readonly charter: Charter | undefined
  readonly now: number
  /** Whatever else has to be in place before the key counts as made. Throws, and the key is destroyed. */
  readonly prepare: (key: UsableKey) => Promise<void>
}

/**
 * A new key for what `request` asks: `{alg, iss, tenants, token_types, max_ttl, audiences?, realm?, signer?}`. Throws
 * `LineError`: `malformed`, `wrong_realm`, `wrong_signer`, or `out_of_charter` once a charter is known.
 */
export async function makeKey(request: unknown, making: KeyMaking): Promise<HeldKey> {
  const { realm, keystore, charter, now, prepare } = making
  const { realm: asked = realm, signer, ...scope } = refuseMalformed(() => readObject(request))
  // A broker that takes one realm's wish to another realm's signer is a deputy confused.
  if (asked !== realm) throw new LineError('wrong_realm', `this signer serves ${realm} alone`)
  if (signer !== undefined && signer !== keystore.identity.kid)
    throw new LineError('wrong_signer', 'another signer of this realm was meant')
  const wanted = refuseMalformed(() => readWholeScope({ ...scope, kid: NO_KEY, realm }))
  if (charter !== undefined) checkCharter(wanted, charter.realms.get(realm), keystore.identity.kid)
  return keystore.make(wanted.algorithm, async (key) => {
    await prepare(key)
    const attested = { ...wanted, kid: key.kid, issuedAt: now }
    return { attested, attestation: await attest(attested, keystore.identity) }
  })
}

/** A key's name comes with the key; until then it has one that no key has. */
const NO_KEY = 'A'.repeat(43)

/** As `attestKey` of the validator, by a key that may be in hardware. */
async function attest(key: AttestedKey, { algorithm, kid, jwk, sign }: UsableKey): Promise<string> {
  const header = encodePayload({ alg: algorithm, typ: 'key-attestation+jwt', kid })
  const input = `${header}.${encodePayload({ ...writeScope(key), iat: key.issuedAt })}`
  const attestation = `${input}.${encode(await sign(input))}`
  // A fault in the arithmetic can give a private key away, and a wrong attestation spoils a manifest.
  verifyAttestation(attestation, [jwk])
  return attestation
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

function checkCharter(
  key: Omit<AttestedKey, 'issuedAt'>,
  realm: CharterRealm | undefined,
  identity: string,
): void {
  if (
    realm === undefined ||
    !realm.signers.some((jwk) => importOnce(jwk).kid === identity) ||
    !realm.issuers.includes(key.issuer) ||
    !isSubset(key.tenants, realm.tenants) ||
    !isSubset(key.tokenTypes, realm.tokenTypes) ||
    !realm.algorithms.includes(key.algorithm) ||
    key.lifetimeSecondsMax > realm.lifetimeSecondsMax
  ) {
    throw new LineError('out_of_charter', 'the charter does not allow this realm such a key')
  }
}
