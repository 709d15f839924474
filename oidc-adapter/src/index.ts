/**
 * An application on oidc-provider that keeps its pages, its clients and its people, and has its tokens made by a realm's
 * signer instead: `await signWithCountersign(provider, {…})` before it answers anything, and `placeholderKeys` in the place
 * of its keys. docs/bring-your-own-issuer.md shows the whole change.
 * @module
 */

import { readFileSync } from 'node:fs'
import { parseTrustAnchor, type TrustAnchor } from '@countersign/validator/charter'
import { readEnrolment } from '@countersign/validator/enrolment'
import { followManifest } from '@countersign/validator/follow'
import { createHintValidator } from '@countersign/validator/hint'
import { keySetOf } from '@countersign/validator/key-set'
import type { Provider } from 'oidc-provider'
import { type BrokerAddress, connectBroker } from './broker.ts'
import { findPlace } from './place.ts'
import { issueThroughBroker, serveKeySet } from './provider.ts'

export type { BrokerAddress, RemoteBroker } from './broker.ts'
export { placeholderKeys } from './placeholder.ts'

export interface CountersignOptions {
  /** Where tokens are made. */
  readonly broker: BrokerAddress
  /** URL of the authority, which is believed only as far as the trust anchor reaches. */
  readonly authority: string
  /** The operators of the first charter and their threshold, or the file that has them. */
  readonly trustAnchor: TrustAnchor | string
  /** Which tenant of the realm this provider is, where its issuer and the charter leave that open. */
  readonly tenant?: string
  /** File that remembers the newest manifest seen, so that an older one is refused after a restart too. */
  readonly stateFile?: string
  /** Acknowledges manifests: a new key then waits until this provider publishes it. */
  readonly enrolment?: { readonly name: string; readonly keyFile: string }
  /** Something was refused or did not arrive, and will be tried again. */
  readonly onProblem?: (problem: Error) => void
}

export interface Countersigned {
  /** What the charter calls the population that this provider issues to. */
  readonly realm: string
  readonly tenant: string
  /** Ends what follows the authority and what speaks to the broker. */
  stop(): Promise<void>
}

const FIRST_MANIFEST_MILLISECONDS = 10_000

/**
 * Settles once the charter is known and names this provider's issuer, and rejects when it does not. From then on nothing that
 * the provider's own keys sign leaves it.
 */
export async function signWithCountersign(
  provider: Provider,
  options: CountersignOptions,
): Promise<Countersigned> {
  const { authority, stateFile, enrolment, onProblem } = options
  const trust = followManifest({
    authority,
    trustAnchor: readTrustAnchor(options.trustAnchor),
    stateFile,
    enrolment: enrolment && readEnrolment(enrolment.name, enrolment.keyFile),
    onProblem,
    onMisbehavior: onProblem,
  })
  const broker = connectBroker(options.broker)
  const stop = async (): Promise<void> => {
    broker.close()
    await trust.stop()
  }
  try {
    await trust.waitForVersion(1, FIRST_MANIFEST_MILLISECONDS)
    const { realm, tenant, template } = findPlace(provider.issuer, trust.state?.charter, options.tenant)
    issueThroughBroker(provider, {
      tenant,
      issue: broker.issue,
      validateHint: createHintValidator(realm, provider.issuer, trust),
    })
    serveKeySet(provider, () =>
      keySetOf(
        trust.state?.manifest,
        realm,
        ({ issuer, tenants }) => issuer === template && tenants.includes(tenant),
      ),
    )
    return { realm, tenant, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function readTrustAnchor(anchor: TrustAnchor | string): TrustAnchor {
  return typeof anchor === 'string' ? parseTrustAnchor(JSON.parse(readFileSync(anchor, 'utf8'))) : anchor
}
