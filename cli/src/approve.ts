/**
 * `countersign approve`: the second person, who sees what is signed before signing it.
 * @module
 */

import { parseArgs } from 'node:util'
import { approve as add, readInForce } from './proposal.ts'
import { readSystem } from './system.ts'

export async function approve(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ready: { type: 'string' },
      operator: { type: 'string' },
      yes: { type: 'boolean', default: false },
    },
  })
  const [id, ...more] = positionals
  if (id === undefined || more.length > 0) throw new Error('one proposal, by its id')
  const { ready, operator, yes } = values
  await add(readSystem(ready).authority, id, await readInForce(ready), { operator, isSure: yes })
}
