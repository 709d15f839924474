/**
 * What a run of the simulation says on the terminal.
 * @module
 */

import type { Outcome } from './run.ts'

/** An outcome as it comes from another process. */
export type SeedResult = Outcome

const PROGRESS_SEEDS = 500

export function showProgress(done: number, count: number, milliseconds: number): void {
  if (done % PROGRESS_SEEDS !== 0 || done === count) return
  process.stdout.write(`${done} of ${count} seeds, ${(milliseconds / 1000).toFixed(0)} s\n`)
}

/** Everything that is needed to see the failure again. */
export function showFailure({ seed, broken, tail, plan, reasons }: SeedResult, steps: number): void {
  const lines = [
    '',
    `seed ${seed} breaks ${broken?.invariant}: ${broken?.message}`,
    `hazards: ${[...plan.hazards].join(', ')}; ${plan.validatorCount} validators; ${plan.realms.join(', ')}`,
    'the last of its trace:',
    ...tail.map((line) => `  ${line}`),
    'what was answered, and how often:',
    ...[...reasons].map(([reason, times]) => `  ${times} ${reason}`),
    `again: npm run simulate -- --seed ${seed} --steps ${steps} --trace`,
    '',
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

export function showSummary(results: readonly SeedResult[], seconds: number): void {
  const sum = (of: (result: SeedResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0)
  const broken = results.filter((result) => result.broken !== undefined)
  const [one] = results
  const lines = [
    `${results.length} seeds in ${seconds.toFixed(1)} s: ${broken.length} with a broken invariant`,
    `tokens issued ${sum(({ counts }) => counts.issued)}, accepted ${sum(({ counts }) => counts.accepted)}, refused ${sum(({ counts }) => counts.refused)}; ` +
      `commands ${sum(({ counts }) => counts.commands)}; manifests ${sum(({ versions }) => versions)}; ` +
      `crashes ${sum(({ counts }) => counts.crashes)}; simulated ${(sum(({ simulatedSeconds }) => simulatedSeconds) / 3600).toFixed(1)} hours`,
    ...(broken.length === 0 ? [] : [`broken: ${broken.map(({ seed }) => seed).join(', ')}`]),
    ...(results.length === 1 ? [`seed ${one?.seed}, trace ${one?.traceHash}`] : []),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
