import { runService } from '@countersign/service'
import { gatewayConfig } from './config.ts'
import { startGateway } from './gateway.ts'

await runService('gateway', gatewayConfig, startGateway)
