import { runService } from '@countersign/service'
import { webmailConfig } from './config.ts'
import { startWebmail } from './webmail.ts'

await runService('webmail', webmailConfig, startWebmail)
