import { runService } from '@countersign/service'
import { configSchema } from './config.ts'
import { startIssuer } from './issuer.ts'

await runService('issuer', configSchema, startIssuer)
