/**
 * Puts the validator in front of anything: a proxy asks `/auth` for each request, a service asks `/introspect`.
 * @module
 */

import type { Logger, Running } from '@countersign/service'
import { startProtected } from '@countersign/service/protected'
import { serveAuth } from './auth.ts'
import type { GatewayConfig } from './config.ts'
import { readClients, serveIntrospection } from './introspect.ts'

export async function startGateway(config: GatewayConfig, log: Logger): Promise<Running> {
  return startProtected(config, log, async (http, validator) => {
    serveAuth(http, validator, config)
    if (config.introspection_clients !== undefined) {
      await serveIntrospection(http, validator, readClients(config.introspection_clients))
    }
    return () => {}
  })
}
