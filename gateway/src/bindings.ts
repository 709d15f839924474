/**
 * How the gateway learns to whom a token was given, as its configuration says.
 * @module
 */

import { dpop } from '@countersign/validator/dpop'
import type { Binding } from '@countersign/validator/guard'
import { mtls } from '@countersign/validator/mtls'
import { createNonces, type Nonces } from '@countersign/validator/nonces'
import type { ReplayCache } from '@countersign/validator/replay'
import { z } from 'zod'
import type { GatewayConfig } from './config.ts'
import { readPrivateConfig } from './private-config.ts'

const secretsFile = z.strictObject({ secrets: z.array(z.base64url().length(43)).min(1) })

/** What proofs are held against, and shared by all who serve the same URLs. */
export interface Shared {
  readonly replay?: ReplayCache | undefined
  /** Of nonces, as `readSecrets` gives them. Left out: none are asked for. */
  readonly secrets?: readonly string[] | undefined
}

export function bindingsOf(
  { dpop: wanted, client_certificate }: Pick<GatewayConfig, 'dpop' | 'client_certificate'>,
  { replay, secrets }: Shared,
): readonly Binding[] {
  const bindings: Binding[] = []
  if (wanted !== undefined)
    bindings.push(dpop({ base: wanted.base, replay, ...(secrets && { nonces: noncesOf(secrets) }) }))
  if (client_certificate !== undefined) bindings.push(mtls({ from: client_certificate }))
  return bindings
}

/** Throws when others than this user may read the file. */
export function readSecrets(file: string): readonly string[] {
  return readPrivateConfig(file, secretsFile).secrets
}

function noncesOf(secrets: readonly string[]): Nonces {
  return createNonces({ secrets: secrets.map((secret) => Buffer.from(secret, 'base64url')) })
}
