/**
 * Runs the authority: `main.ts --config FILE`, or once before `main.ts init --data DIR`, which prints the public half
 * of the manifest key that it makes. `init --data DIR --next` makes one more, for a later charter to name.
 * @module
 */

import { parseArgs } from 'node:util'
import { runService } from '@countersign/service'
import { startAuthority } from './authority.ts'
import { configSchema } from './config.ts'
import { initAuthority } from './init.ts'

if (process.argv[2] === 'init') {
  const options = { data: { type: 'string' }, next: { type: 'boolean', default: false } } as const
  const { values } = parseArgs({ args: process.argv.slice(3), options })
  if (values.data === undefined) throw new Error('init needs --data DIR')
  process.stdout.write(`${JSON.stringify(initAuthority(values.data, { isNext: values.next }))}\n`)
} else {
  await runService('authority', configSchema, (config, log) => startAuthority(config, log))
}
