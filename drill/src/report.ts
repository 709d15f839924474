/**
 * What the drill shows: a line per step as it ends, a summary, and the same as JSON.
 * @module
 */

import { styleText } from 'node:util'

/** How one step went. `held` says whether everything was as stated. */
export interface Outcome {
  readonly step: number
  readonly title: string
  readonly flaws: readonly string[]
  /** What the validator of 2023 does with the same attack. */
  readonly naive: string
  readonly expectation: string
  readonly outcome: string
  readonly reason: string | undefined
  readonly milliseconds: number
  readonly held: boolean
  readonly figures: Readonly<Record<string, number>>
}

export interface Report {
  readonly held: boolean
  readonly outcomes: readonly Outcome[]
}

export function showHeading(): void {
  print(styleText('bold', '  step  attack'))
}

/** Each step takes two lines, so that all of it fits 80 columns. */
export function showOutcome(outcome: Outcome): void {
  const { step, title, naive, reason, milliseconds, held, flaws } = outcome
  const mark = held ? styleText('green', '✓') : styleText('red', '✗')
  const flaw = flaws.length > 0 ? styleText('dim', `  ${flaws.join(' ')}`) : ''
  print(`${mark} ${String(step).padStart(4)}  ${title}${flaw}`)
  const result = `${outcome.outcome}${reason === undefined ? '' : ` ${styleText('yellow', reason)}`}`
  print(
    `        2023: ${styleText('red', naive)}   now: ${result}   ${styleText('dim', `${milliseconds} ms`)}`,
  )
  if (!held) print(`        ${styleText('red', `expected: ${outcome.expectation}`)}`)
  for (const [name, value] of Object.entries(outcome.figures))
    print(`        ${styleText('cyan', `${name}: ${value}`)}`)
}

export function showSummary({ held, outcomes }: Report, seconds: number): void {
  const failed = outcomes.filter((outcome) => !outcome.held).length
  print('')
  if (held) print(`  ${outcomes.length} of ${outcomes.length} steps as stated, ${seconds.toFixed(1)} s`)
  else print(`  ${styleText('red', `${failed} of ${outcomes.length} steps were not as stated`)}`)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
