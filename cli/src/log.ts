/**
 * `countersign log fsck`: proves a whole log from its public files alone, where they are served or in a copy of them.
 * @module
 */

import { parseArgs } from 'node:util'
import { anyEpochOf, type FsckOptions, fsck, LogMisbehavior } from '@countersign/witness/client'
import { readSystem } from './system.ts'

const MISBEHAVIOR_EXIT = 1

/** Prints a report as JSON; sets exit code 1 when the log does not hold. Throws where that could not be found out. */
export async function log(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  if (operation !== 'fsck') throw new Error(`log takes fsck, not ${operation ?? 'nothing'}`)
  const { values } = parseArgs({
    args: rest,
    options: {
      ready: { type: 'string' },
      url: { type: 'string' },
      folder: { type: 'string' },
      vkey: { type: 'string', multiple: true },
    },
  })
  const where = locateLog(values)
  if (where.vkey === undefined) {
    process.stderr.write('without --vkey the log is proven whole, but not whose it is\n')
  }
  try {
    print({ holds: true, ...(await fsck(where)) })
  } catch (error) {
    if (!(error instanceof LogMisbehavior)) throw error
    // The notes are what the log signed: they prove it to others.
    print({ holds: false, code: error.code, message: error.message, notes: error.notes })
    process.exitCode = MISBEHAVIOR_EXIT
  }
}

/** A log that is named is proven with the keys that are named; without any name it is that of the system. */
function locateLog({
  ready,
  url,
  folder,
  vkey,
}: {
  readonly ready?: string
  readonly url?: string
  readonly folder?: string
  readonly vkey?: readonly string[]
}): FsckOptions {
  if ([ready, url, folder].filter((name) => name !== undefined).length > 1) {
    throw new Error('--url URL, --folder DIR or --ready FILE, one of them')
  }
  if (url !== undefined) return { url: readUrl(url), vkey }
  if (folder !== undefined) return { folder, vkey }
  const { witness } = readSystem(ready)
  // The ready file names the first epoch's log, and another may be open by now.
  return { url: witness.url, vkey: vkey ?? anyEpochOf(witness.vkey) }
}

function readUrl(text: string): string {
  if (!URL.canParse(text)) throw new Error(`--url takes a URL, not ${text}`)
  return text
}

function print(report: object): void {
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
}
