/**
 * `npm run simulate -- --seed N --steps M [--seeds COUNT] [--jobs J]`: runs COUNT worlds from seed N on, each M steps long, on
 * as many cores as there are. Exit code 1 when an invariant broke: which one, in which seed, and what led there. Without
 * `--seed`, one is drawn and named. `--trace` prints the whole trace of a single seed.
 * @module
 */

import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { installMachine } from './machine.ts'
import { type SeedResult, showFailure, showProgress, showSummary } from './report.ts'

const number = { type: 'string' } as const
const { values } = parseArgs({
  options: {
    seed: number,
    steps: number,
    seeds: number,
    jobs: number,
    trace: { type: 'boolean' },
    worker: { type: 'boolean' },
  },
})
const first = readNumber('seed', Math.floor(Math.random() * 2 ** 31))
const steps = readNumber('steps', 200)
const count = readNumber('seeds', 1)
const jobs = Math.min(count, readNumber('jobs', availableParallelism()))

if (values.worker) await work()
else if (count === 1) await runHere()
else await runBeside()

/** One of several processes: runs every `jobs`-th seed and tells of each. */
async function work(): Promise<void> {
  installMachine()
  const { runSeed } = await import('./run.ts')
  for (let seed = first; seed < first + count * jobs; seed += jobs) tell(await runSeed(seed, steps))
  process.disconnect?.()
}

function tell(result: SeedResult): void {
  process.send?.(result)
}

async function runHere(): Promise<void> {
  installMachine()
  const { runSeed } = await import('./run.ts')
  const result = await runSeed(first, steps, {
    traceLinesMax: values.trace ? Number.POSITIVE_INFINITY : undefined,
  })
  if (values.trace) process.stdout.write(`${result.tail.join('\n')}\n`)
  if (result.broken !== undefined) showFailure(result, steps)
  showSummary([result], 1)
  process.exitCode = result.broken === undefined ? 0 : 1
}

async function runBeside(): Promise<void> {
  const startedAt = performance.now()
  const results: SeedResult[] = []
  process.stdout.write(`simulating ${count} seeds from ${first}, ${steps} steps each, on ${jobs} processes\n`)
  const workers = Array.from({ length: jobs }, (_, at) => {
    const share = Math.ceil((count - at) / jobs)
    const args = ['--worker', '--seed', first + at, '--steps', steps, '--seeds', share, '--jobs', jobs].map(
      String,
    )
    const child = fork(import.meta.filename, args, {
      // Most of what a world makes is gone with it.
      execArgv: ['--max-semi-space-size=32', '--stack-trace-limit=4'],
      serialization: 'advanced',
    })
    child.on('message', (result: SeedResult) => {
      results.push(result)
      if (result.broken !== undefined) showFailure(result, steps)
      showProgress(results.length, count, performance.now() - startedAt)
    })
    return new Promise<number | null>((settle) => child.once('exit', settle))
  })
  const codes = await Promise.all(workers)
  showSummary(results, (performance.now() - startedAt) / 1000)
  const isWhole = codes.every((code) => code === 0) && results.length === count
  if (!isWhole) process.stderr.write('a process of the simulation ended early\n')
  process.exitCode = isWhole && results.every(({ broken }) => broken === undefined) ? 0 : 1
}

function readNumber(name: 'seed' | 'steps' | 'seeds' | 'jobs', otherwise: number): number {
  const text = values[name]
  const value = text === undefined ? otherwise : Number(text)
  if (Number.isSafeInteger(value) && value >= (name === 'seed' ? 0 : 1)) return value
  throw new Error(`--${name} is not a number that counts anything`)
}
