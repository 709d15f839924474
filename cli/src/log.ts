/**
 * `countersign log fsck`: proves a whole log from its public files alone.
 * @module
 */

import { parseArgs } from 'node:util'
import { fsck } from '@countersign/witness/client'

export async function log(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  if (operation !== 'fsck') throw new Error(`fsck; not ${operation ?? 'nothing'}`)
  const { values } = parseArgs({ args: rest, options: { url: { type: 'string' }, vkey: { type: 'string' } } })
  if (values.url === undefined) throw new Error('--url URL: where is the log?')
  const report = await fsck({ url: values.url, vkey: values.vkey })
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
}
