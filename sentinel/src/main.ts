/**
 * Runs the sentinel: `main.ts --config FILE`, or once before `main.ts init --data DIR`, which prints the public half of
 * the block key that it makes.
 * @module
 */

import { parseArgs } from 'node:util'
import { runService } from '@countersign/service'
import { sentinelConfig } from './config.ts'
import { initSentinel } from './init.ts'
import { startSentinel } from './sentinel.ts'

if (process.argv[2] === 'init') {
  const { values } = parseArgs({ args: process.argv.slice(3), options: { data: { type: 'string' } } })
  if (values.data === undefined) throw new Error('init needs --data DIR')
  process.stdout.write(`${JSON.stringify(initSentinel(values.data))}\n`)
} else {
  await runService('sentinel', sentinelConfig, (config, log) => startSentinel(config, log))
}
