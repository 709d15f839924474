import cluster from 'node:cluster'
import { runService } from '@countersign/service'
import { gatewayConfig } from './config.ts'
import { startGateway } from './gateway.ts'
import { runWorker } from './worker.ts'

if (cluster.isWorker) runWorker()
else await runService('gateway', gatewayConfig, startGateway)
