/**
 * Does what is due: asks the signers for keys that slots wait for, and publishes what time has made of the manifest.
 * @module
 */

import type { BrokerAdmin } from '@countersign/broker/client'
import { isWithin, verifyAttestation } from '@countersign/validator/attestation'
import type { Charter } from '@countersign/validator/charter'
import { DocumentRefusal } from '@countersign/validator/document'
import { importPublicJwk } from '@countersign/validator/jws'
import type { ManifestKey } from '@countersign/validator/manifest'
import { noTrust, type Trust, withKeys } from './command.ts'
import { Denial } from './denial.ts'
import {
  type Circumstances,
  lastSigner,
  type Purpose,
  type Slot,
  scopeOf,
  slotsOf,
  windowOf,
} from './lifecycle.ts'
import type { Publisher } from './publisher.ts'
import { isHalfOver, keepUp, slotsInNeed } from './upkeep.ts'

export interface Keeper {
  /** Does what is due now, if anything. Throws when this process does not lead, and when broker or witness could not help; the next call tries again. */
  keep(): Promise<void>
}

export interface KeeperOptions {
  /** The newest. */
  readonly charter: () => Charter
  readonly publisher: Publisher
  readonly broker: Pick<BrokerAdmin, 'generate'>
  readonly circumstances: Circumstances
  readonly now: () => number
}

/** Keys that a charter's signers made, and that no manifest names yet. */
interface Made {
  readonly charter: Charter
  readonly keys: readonly MadeKey[]
}

/** The times of a key follow from when it is first published: caches have not heard of it before. */
interface MadeKey {
  readonly scope: Omit<ManifestKey, keyof KeyWindow>
  readonly purpose: Purpose
  /** When the signer made it, by its own clock. */
  readonly madeAt: number
}
type KeyWindow = ReturnType<typeof windowOf>

export function createKeeper({ charter, publisher, broker, circumstances, now }: KeeperOptions): Keeper {
  /** A signer is not asked again because the witness was away. What was made under an earlier charter may not fit. */
  let made: Made = { charter: charter(), keys: [] }
  let last: Promise<void> = Promise.resolve()

  /** Outside the publisher's turn, so that a broker that hangs holds up no kill. Gives the first thing that failed. */
  async function makeKeys(): Promise<Error | undefined> {
    const known = publisher.newest?.manifest ?? noTrust
    if (made.charter !== charter()) made = { charter: charter(), keys: [] }
    made = { ...made, keys: made.keys.filter((key) => isOfUse(key, known, made.charter, now())) }
    const trust = withKeys(known, named(made.keys, known, made.charter, now()))
    let failure: Error | undefined
    for (const slot of slotsInNeed(trust, made.charter, now())) {
      try {
        const key = await makeKey(slot, broker, now())
        made = { ...made, keys: [...made.keys, key] }
      } catch (error) {
        // The signer of one realm that is away holds up no other realm.
        failure ??= error as Error
      }
    }
    return failure
  }

  async function keep(): Promise<void> {
    // Keys that another authority would have made already.
    if (!publisher.leads) throw new Denial('not_leader')
    await publisher.compareWithLog()
    const failure = await makeKeys()
    // Without keys there is nothing to begin with; later, what else is due waits for no signer.
    if (failure !== undefined && publisher.newest === undefined) throw failure
    const hasOtherLogs = await publisher.hasOtherLogs()
    await publisher.change((newest, time) => {
      const { manifest } = publisher.newest ?? {}
      // Nobody decides by the first manifest before it is there, so nobody has to be waited for. Asked in this turn: a first
      // one whose answer was lost may have come to be published just before it.
      const asked: Circumstances =
        manifest === undefined ? { ...circumstances, isHeard: () => true } : circumstances
      const usable = made.charter === charter() ? made.keys : []
      const fresh = usable.filter((key) => isOfUse(key, newest, made.charter, time))
      const kept = keepUp(newest, charter(), named(fresh, newest, made.charter, time), asked, time)
      const isDue = manifest === undefined || hasOtherLogs || isHalfOver(manifest, time)
      return kept === newest && isDue ? { ...newest } : kept
    })
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

/** Not published yet, by a manifest whose receipt was lost, say; and not so old that it would have no time to sign. */
function isOfUse(key: MadeKey, trust: Trust, charter: Charter, now: number): boolean {
  return !trust.keys.has(key.scope.kid) && named([key], trust, charter, now).length === 1
}

/** The keys as a manifest of now names them; without those that would be too old before they may sign. */
function named(made: readonly MadeKey[], trust: Trust, charter: Charter, now: number): ManifestKey[] {
  const slots = slotsOf(charter, trust.keys.values())
  return made.flatMap(({ scope, purpose, madeAt }) => {
    const slot = slots.find(
      ({ realm, issuer, ...other }) =>
        realm === scope.realm && issuer === scope.issuer && other.purpose === purpose,
    )
    if (slot === undefined) return []
    const window = windowOf(slot, Math.floor(now), madeAt)
    return window.notBefore < window.signUntil ? [{ ...scope, ...window }] : []
  })
}

/** Validators refuse a key whose age they would have to believe the authority instead of its signer. */
const SIGNER_CLOCK_SECONDS_MAX = 300

/** Throws unless the signer attested exactly what the slot needs: such a key would spoil every manifest it is in. */
async function makeKey(slot: Slot, broker: KeeperOptions['broker'], now: number): Promise<MadeKey> {
  const { realm, issuer, charter } = slot
  const { algorithm, tokenTypes } = scopeOf(slot)
  const { tenants, lifetimeSecondsMax } = charter
  const { jwk, attestation } = await broker.generate({
    realm,
    signer: lastSigner(charter),
    alg: algorithm,
    iss: issuer,
    tenants,
    token_types: tokenTypes,
    max_ttl: lifetimeSecondsMax,
  })
  const imported = importPublicJwk(jwk)
  const attested = verifyAttestation(attestation, charter.signers.slice(-1))
  if (Math.abs(attested.issuedAt - now) > SIGNER_CLOCK_SECONDS_MAX) {
    throw new DocumentRefusal('attestation_invalid', `the clock of the signer of ${realm} is off`)
  }
  const scope: MadeKey['scope'] = {
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
    revoked: undefined,
    blocked: undefined,
    lifted: undefined,
    early: undefined,
    attestation,
  }
  if (imported.algorithm === algorithm && isWithin(scope, attested)) {
    return { scope, purpose: slot.purpose, madeAt: attested.issuedAt }
  }
  throw new DocumentRefusal(
    'attestation_invalid',
    `the signer of ${realm} made another key than it was asked for`,
  )
}
