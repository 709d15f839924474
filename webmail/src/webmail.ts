/**
 * A protected application with sample mail, behind a validator of its own.
 * @module
 */

import { join } from 'node:path'
import type { Logger, Running } from '@countersign/service'
import { startProtected } from '@countersign/service/protected'
import { openAccessRecord } from './access.ts'
import type { WebmailConfig } from './config.ts'
import { serveMail } from './mail.ts'
import { readMailboxes } from './mailbox.ts'

export async function startWebmail(config: WebmailConfig, log: Logger): Promise<Running> {
  return startProtected(config, log, (http, validator) => {
    const accesses = openAccessRecord(join(config.state, 'accesses.jsonl'))
    serveMail(http, { validator, openMailbox: readMailboxes(config.mailboxes), accesses })
    return () => accesses.close()
  })
}
