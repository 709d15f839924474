/**
 * What a configuration says, with what stands in the files that it names: all that decisions are made by, so that another one
 * can take its place at once and whole, in this process or in several.
 * @module
 */

import { isDeepStrictEqual } from 'node:util'
import type { Logger } from '@countersign/service'
import { bearerAllowed } from '@countersign/validator/connect'
import type { ConnectedOptions } from '@countersign/validator/connected'
import { acceptWithoutReceipt } from '@countersign/validator/validator'
import { readSecrets } from './bindings.ts'
import type { GatewayConfig } from './config.ts'
import { type IntrospectionClient, readClients } from './introspect.ts'
import { readIssuer } from './issuers.ts'

export interface Settings {
  readonly config: GatewayConfig
  readonly clients: readonly IntrospectionClient[]
  /** Of nonces for DPoP, base64url. Left out: none are asked for. */
  readonly secrets?: readonly string[] | undefined
}

/** Throws where the files that the configuration names are of no use. */
export function readSettings(config: GatewayConfig): Settings {
  const { introspection_clients: clients, dpop } = config
  return {
    config,
    clients: clients === undefined ? [] : readClients(clients),
    secrets: dpop?.nonce_secrets === undefined ? undefined : readSecrets(dpop.nonce_secrets),
  }
}

/** What a configuration may not change under a gateway that runs: whom it believes, who it is, where it listens. */
const fixed = [
  'listen',
  'workers',
  'realms',
  'issuers',
  'accept_without_receipt',
  'token_type',
  'audience',
  'authority',
  'trust_anchor',
  'state',
  'enrolment',
  'sentinel',
  'pushed_roots',
  'envoy',
  'bound_realms',
  'bearer_allowed',
] as const satisfies readonly (keyof GatewayConfig)[]

/** Reads settings that may take the place of those. Throws where they may not, or are of no use. */
export function readNextSettings(next: GatewayConfig, { config }: Settings): Settings {
  const changed = fixed.filter((name) => !isDeepStrictEqual(next[name], config[name]))
  if (changed.length > 0) throw new Error(`needs a new start: ${changed.join(', ')}`)
  return readSettings(next)
}

/** What the configuration says of whose tokens count. Throws `TypeError` where an issuer is none. */
export function validatorOptions(config: GatewayConfig, log: Logger): ConnectedOptions {
  const { realms, issuers, accept_without_receipt: reason = '' } = config
  const usual = {
    audience: config.audience,
    tokenType: config.token_type,
    boundRealms: config.bound_realms,
    pushedRoots: config.pushed_roots,
    [bearerAllowed]: config.bearer_allowed,
    onProblem: tellProblems(log),
  }
  if (issuers === undefined) return { ...usual, realm: realms }
  return {
    ...usual,
    ...(realms.length > 0 && { realm: realms }),
    issuers: issuers.map(readIssuer),
    [acceptWithoutReceipt]: reason,
  }
}

/** Something of trust was refused or did not arrive. */
export function tellProblems(log: Logger): (problem: Error) => void {
  return (problem) => log.warn({ problem: problem.message }, 'trust is not up to date')
}
