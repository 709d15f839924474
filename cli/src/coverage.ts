/**
 * `countersign coverage`: what share of the tokens that each realm issues comes by a validator of ours.
 * @module
 */

import { parseArgs } from 'node:util'
import { fetchCoverage, type KeyCoverage } from '@countersign/sentinel/client'
import { printAll } from './proposal.ts'
import { readSystem } from './system.ts'
import { formatTable } from './table.ts'

export async function coverage(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { ready: { type: 'string' }, json: { type: 'boolean', default: false } },
  })
  const { sentinel } = readSystem(values.ready)
  const keys = await fetchCoverage(sentinel.url).catch(() => {
    throw new Error(`the sentinel at ${sentinel.url} does not answer`)
  })
  printAll([values.json ? JSON.stringify(keys, undefined, 2) : describeCoverage(keys)])
}

/** A line for each realm, over its keys that verify. */
function describeCoverage(keys: readonly KeyCoverage[]): string {
  const realms = [...Map.groupBy(keys, ({ realm }) => realm)].sort(([one], [other]) => (one < other ? -1 : 1))
  const rows = realms.map(([realm, ofRealm]) => {
    const issued = ofRealm.reduce((sum, key) => sum + key.issued, 0)
    const accepted = ofRealm.reduce((sum, key) => sum + key.accepted, 0)
    return [realm, String(issued), String(accepted), shareOf(accepted, issued)]
  })
  return formatTable(['realm', 'issued', 'accepted by a validator', 'share'], rows)
}

/** Rounded down: all is said of all alone. */
function shareOf(part: number, whole: number): string {
  return whole === 0 ? '-' : `${(Math.floor((part / whole) * 1000) / 10).toFixed(1)} %`
}
