/**
 * Runs the witness: `main.ts --config FILE`, or once before `main.ts init --data DIR --name NAME [--epoch EPOCH]`, which
 * makes its keys and an empty log and prints the public halves.
 * @module
 */

import { parseArgs } from 'node:util'
import { runService } from '@countersign/service'
import { configSchema } from './config.ts'
import { initWitness } from './init.ts'
import { startWitness } from './witness.ts'

if (process.argv[2] === 'init') {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: { data: { type: 'string' }, name: { type: 'string' }, epoch: { type: 'string', default: '1' } },
  })
  const { data, name, epoch } = values
  if (data === undefined || name === undefined) throw new Error('init needs --data DIR and --name NAME')
  process.stdout.write(`${JSON.stringify(await initWitness(data, name, epoch))}\n`)
} else {
  await runService('witness', configSchema, startWitness)
}
