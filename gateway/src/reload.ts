/**
 * Reading the configuration again: another one takes the place of the one before, or nothing changes and the log says why.
 * @module
 */

import type { Logger } from '@countersign/service'
import type { Metrics } from './metrics.ts'

/** `take` throws, or rejects, where what was read is not to be taken. */
export async function reload(
  take: () => void | Promise<void>,
  metrics: Pick<Metrics, 'countReload'>,
  log: Logger,
): Promise<void> {
  try {
    await take()
    metrics.countReload('taken')
    log.info('the configuration was read again')
  } catch (error) {
    metrics.countReload('refused')
    log.error({ error: (error as Error).message }, 'the configuration stays as it was')
  }
}
