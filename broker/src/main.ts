/**
 * The broker as a process: `main.ts --config FILE`.
 * @module
 */

import { runService } from '@countersign/service'
import { startBroker } from './broker.ts'
import { configSchema } from './config.ts'

await runService('broker', configSchema, startBroker)
