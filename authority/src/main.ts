/**
 * Runs the authority: `main.ts --config FILE`, or once before `main.ts init --data DIR`, which prints the public half
 * of the manifest key that it makes.
 * @module
 */

import { parseArgs } from 'node:util'
import { runService } from '@countersign/service'
import { startAuthority } from './authority.ts'
import { configSchema } from './config.ts'
import { initAuthority } from './init.ts'

if (process.argv[2] === 'init') {
  const { values } = parseArgs({ args: process.argv.slice(3), options: { data: { type: 'string' } } })
  if (values.data === undefined) throw new Error('init needs --data DIR')
  process.stdout.write(`${JSON.stringify(initAuthority(values.data))}\n`)
} else {
  await runService('authority', configSchema, startAuthority)
}
