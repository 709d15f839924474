/**
 * `countersign acts`: what people did, when, and who they were.
 * @module
 */

import { parseArgs } from 'node:util'
import { type ActRecord, fetchActs } from '@countersign/authority/client'
import { printAll } from './proposal.ts'
import { readSystem } from './system.ts'
import { formatTable } from './table.ts'

export async function acts(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ready: { type: 'string' },
      before: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const { ready, json } = values
  const before = values.before === undefined ? undefined : Number(values.before)
  if (before !== undefined && !(Number.isSafeInteger(before) && before > 0)) {
    throw new Error(`--before takes the number of a manifest, not ${values.before}`)
  }
  const done = await fetchActs(readSystem(ready).authority.url, before)
  if (json) return printAll([JSON.stringify(done, undefined, 2)])
  const rows = done.map((act) => [
    new Date(act.at * 1000).toISOString().replace('.000Z', 'Z'),
    String(act.version),
    act.op,
    act.by.join(', '),
    whatOf(act),
    act.reason,
  ])
  printAll([formatTable(['at', 'manifest', 'what', 'by', 'of', 'reason'], rows)])
}

function whatOf({ realm, kid, kids, tenant, sub, name, charter_version: charter }: ActRecord): string {
  const parts = [
    charter === undefined ? undefined : `charter ${charter}`,
    realm,
    kid,
    ...(kids ?? []),
    name,
    tenant,
    sub,
  ]
  return parts.filter((part) => part !== undefined).join(' ')
}
