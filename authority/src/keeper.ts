/**
 * Does what is due: asks the signers for keys that slots wait for, and publishes what time has made of the manifest.
 * @module
 */

import type { BrokerAdmin } from '@countersign/broker/client'
import { isWithin, verifyAttestation } from '@countersign/validator/attestation'
import type { Charter } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import { type Algorithm, importPublicJwk } from '@countersign/validator/jws'
import type { ManifestKey } from '@countersign/validator/manifest'
import { noTrust, withKeys } from './command.ts'
import { type Slot, windowOf } from './lifecycle.ts'
import type { Publisher } from './publisher.ts'
import { isHalfOver, keepUp, slotsInNeed } from './upkeep.ts'

export interface Keeper {
  /** Does what is due now, if anything. Throws when broker or witness could not help; the next call tries again. */
  keep(): Promise<void>
}

export interface KeeperOptions {
  readonly charter: Charter
  readonly publisher: Publisher
  readonly broker: Pick<BrokerAdmin, 'generate'>
  /** Whether every validator that listens has acknowledged the newest manifest. */
  readonly allHaveHeard: () => boolean
  readonly now: () => number
}

export function createKeeper({ charter, publisher, broker, allHaveHeard, now }: KeeperOptions): Keeper {
  /** Keys that wait for a manifest to be named in: a signer is not asked again because the witness was away. */
  let made: readonly ManifestKey[] = []
  let last: Promise<void> = Promise.resolve()

  /** Outside the publisher's turn, so that a broker that hangs holds up no kill. */
  async function makeKeys(): Promise<void> {
    const trust = withKeys(publisher.newest?.manifest ?? noTrust, made)
    for (const slot of slotsInNeed(trust, charter, now())) {
      made = [...made, await makeKey(slot, broker, Math.floor(now()))]
    }
  }

  async function keep(): Promise<void> {
    await publisher.compareWithLog()
    const failure: Error | undefined = await makeKeys().then(
      () => undefined,
      (error) => error,
    )
    // Without keys there is nothing to begin with; later, what else is due waits for no signer.
    if (failure !== undefined && publisher.newest === undefined) throw failure
    const time = Math.floor(now())
    await publisher.change((newest) => {
      const kept = keepUp(newest, charter, made, allHaveHeard(), time)
      const isDue = publisher.newest === undefined || isHalfOver(publisher.newest.manifest, time)
      return kept === newest && isDue ? { ...newest } : kept
    })
    made = []
    if (failure !== undefined) throw failure
  }

  return {
    keep: () => {
      const kept = last.then(keep)
      last = kept.catch(() => {})
      return kept
    },
  }
}

/** Throws unless the signer attested exactly what the slot needs: such a key would spoil every manifest it is in. */
async function makeKey(
  { realm, issuer, charter }: Slot,
  broker: KeeperOptions['broker'],
  now: number,
): Promise<ManifestKey> {
  const algorithm =
    charter.algorithms.find((name) => name === 'ES256') ?? (charter.algorithms[0] as Algorithm)
  const { tenants, tokenTypes, lifetimeSecondsMax } = charter
  const { jwk, attestation } = await broker.generate({
    realm,
    alg: algorithm,
    iss: issuer,
    tenants,
    token_types: tokenTypes,
    max_ttl: lifetimeSecondsMax,
  })
  const imported = importPublicJwk(jwk)
  const key: ManifestKey = {
    kid: imported.kid,
    algorithm,
    realm,
    issuer,
    tenants,
    tokenTypes,
    audiences: undefined,
    lifetimeSecondsMax,
    jwk: imported.jwk,
    publicKey: imported.key,
    state: 'published',
    ...windowOf(charter, now),
    revoked: undefined,
    blocked: undefined,
    attestation,
  }
  if (
    imported.algorithm === algorithm &&
    isWithin(key, verifyAttestation(attestation, charter.signers.slice(-1)))
  )
    return key
  throw new DocumentRefusal(
    'attestation_invalid',
    `the signer of ${realm} made another key than it was asked for`,
  )
}
