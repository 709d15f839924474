/**
 * `npm run drill`: replays the attack of 2023 and its variants, each first against the validator of then, then against
 * Countersign. Exit code 0 only if each outcome is as stated.
 * @module
 */

import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Arena } from './arena.ts'
import { type Outcome, showHeading, showOutcome, showSummary } from './report.ts'
import { steps } from './steps/index.ts'
import type { Step } from './steps/step.ts'
import { findSystem } from './system.ts'

const { values } = parseArgs({ options: { 'ready-file': { type: 'string' }, json: { type: 'string' } } })
const NOT_STARTED_EXIT = 2
const startedAt = performance.now()
if (values['ready-file'] === undefined) process.stdout.write('  starting a system to attack …\n')
const system = await findSystem(values['ready-file']).catch((error: Error) => {
  process.stderr.write(`drill: ${error.message}\n`)
  process.exit(NOT_STARTED_EXIT)
})
process.once('SIGINT', () => void system.stop().then(() => process.exit(130)))
try {
  const arena = await Arena.open(system)
  const outcomes: Outcome[] = []
  showHeading()
  for (const [index, step] of steps.entries()) {
    const outcome = await playStep(arena, step, index + 1)
    showOutcome(outcome)
    outcomes.push(outcome)
  }
  await arena.close()
  const report = { held: outcomes.every(({ held }) => held), outcomes }
  showSummary(report, (performance.now() - startedAt) / 1000)
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
  process.exitCode = report.held ? 0 : 1
} finally {
  await system.stop()
}

async function playStep(arena: Arena, step: Step, number: number): Promise<Outcome> {
  const { title, flaws, expectation } = step
  const begunAt = performance.now()
  const played = await step.play(arena).catch((error: Error) => ({
    naiveAccepted: false,
    held: false,
    outcome: `failed: ${error.message}`,
  }))
  const { naiveAccepted, held, outcome, reason, figures = {} } = { reason: undefined, figures: {}, ...played }
  return {
    step: number,
    title,
    flaws,
    naive: naiveAccepted ? 'accepted' : 'refused',
    expectation: `2023 accepts; now ${expectation}`,
    outcome,
    reason,
    milliseconds: Math.round(performance.now() - begunAt),
    held: held && naiveAccepted,
    figures,
  }
}
