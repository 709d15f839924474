/**
 * How the gateway learns to whom a token was given, as its configuration says.
 * @module
 */

import { dpop } from '@countersign/validator/dpop'
import type { Binding } from '@countersign/validator/guard'
import { mtls } from '@countersign/validator/mtls'
import { createNonces, type Nonces } from '@countersign/validator/nonces'
import { readPrivateFile } from '@countersign/validator/private-file'
import type { ReplayCache } from '@countersign/validator/replay'
import { z } from 'zod'
import type { GatewayConfig } from './config.ts'

const secretsFile = z.strictObject({ secrets: z.array(z.base64url().length(43)).min(1) })

/** Throws when others than this user may read the secrets of nonces. */
export function bindingsOf(
  { dpop: wanted, client_certificate }: Pick<GatewayConfig, 'dpop' | 'client_certificate'>,
  replay?: ReplayCache | undefined,
): readonly Binding[] {
  const bindings: Binding[] = []
  if (wanted !== undefined) {
    const { base, nonce_secrets: file } = wanted
    bindings.push(dpop({ base, replay, ...(file !== undefined && { nonces: readNonces(file) }) }))
  }
  if (client_certificate !== undefined) bindings.push(mtls({ from: client_certificate }))
  return bindings
}

function readNonces(file: string): Nonces {
  const { secrets } = secretsFile.parse(JSON.parse(readPrivateFile(file)))
  return createNonces({ secrets: secrets.map((secret) => Buffer.from(secret, 'base64url')) })
}
