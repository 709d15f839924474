/**
 * One table for the whole bench: what was measured, how much, and against what.
 * @module
 */

import { styleText } from 'node:util'
import { type Result, ratioBetween } from './rounds.ts'

export interface Row {
  readonly label: string
  readonly value: string
  /** Against the base of its section. */
  readonly ratio?: number
  /** What stands behind it. */
  readonly note?: string
}

export function showSection(title: string, rows: readonly Row[]): void {
  print('')
  print(styleText('bold', title))
  for (const { label, value, ratio, note = '' } of rows) {
    const beside = ratio === undefined ? '' : `${ratio.toFixed(2)} ×`.padStart(10)
    print(`  ${label.padEnd(34)}${value.padStart(18)}${beside}${note && `   ${note}`}`)
  }
}

/** Each against the base, and against one `other` besides. */
export function rowsOf(results: readonly Result[], other?: string): Row[] {
  const beside = results.find(({ name }) => name === other)
  return results.map((result) => ({
    label: result.name,
    value: `${thousands(result.perSecond)}/s`,
    ratio: result.ratio,
    ...(beside && { note: `${ratioBetween(result, beside).toFixed(2)} × ${beside.name}` }),
  }))
}

export function thousands(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
