/**
 * What `npm test` runs: sets the machine up as far as it may, checks the source three ways at once, then runs every
 * test. Ends with the test runner's own count, and non-zero when anything failed.
 *
 *     npm test                              everything
 *     npm test -- validator/src/jws.test.ts only these test files, without set-up and checks
 * @module
 */

import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const TEST_FILES = ['*/src/**/*.test.ts', 'test/**/*.test.ts', 'spec/**/*.test.ts', 'tools/**/*.test.ts']

/** A test file that takes longer hangs; the slowest takes a tenth of it on two slow cores. */
const FILE_MILLISECONDS_MAX = 180_000

const checks: readonly (readonly [command: string, ...args: string[]])[] = [
  ['tsc', '--noEmit'],
  ['tsc', '--noEmit', '--project', 'authority/browser'],
  ['biome', 'check', '.'],
  ['knip', '--no-progress'],
]

const only = process.argv.slice(2)
const passed = only.length === 0 ? await runAll() : await runTests(only)
process.exit(passed ? 0 : 1)

async function runAll(): Promise<boolean> {
  await run('bash', [join(root, 'tools/debian.sh')], 'inherit')
  // Beside each other, and before the tests: what they find often explains what fails below.
  const outcomes = await Promise.all(checks.map(([command, ...args]) => check(command, args)))
  // The tests run even so: whoever broke the format wants to know what else is broken.
  const tested = await runTests(TEST_FILES)
  if (outcomes.includes(false))
    console.error('npm test: a check of the source failed, see the top of this output')
  return tested && !outcomes.includes(false)
}

/** Runs one check of the source, and shows its output only where it fails. */
async function check(command: string, args: readonly string[]): Promise<boolean> {
  const started = performance.now()
  const { code, output } = await run(join(root, 'node_modules/.bin', command), args, 'pipe')
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${code === 0 ? 'passed' : 'FAILED'}: ${[command, ...args].join(' ')} (${seconds} s)`)
  if (code !== 0) console.log(output)
  return code === 0
}

async function runTests(patterns: readonly string[]): Promise<boolean> {
  const files = globSync([...patterns], { cwd: root }).sort()
  if (files.length === 0) {
    console.error(`npm test: no test file matches ${patterns.join(' ')}`)
    return false
  }
  console.log(`testing: ${files.length} files`)
  const { code } = await run(
    process.execPath,
    [
      '--test',
      '--test-reporter=spec',
      // Node leaves one core out, which on two cores halves the speed: most of our tests wait for other processes.
      `--test-concurrency=${availableParallelism()}`,
      `--test-timeout=${FILE_MILLISECONDS_MAX}`,
      `--import=${join(root, 'tools/left-open.ts')}`,
      ...files,
    ],
    'inherit',
    // Each file is a process of its own, and most read the same modules: they are compiled once.
    { NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/compiled') },
  )
  return code === 0
}

function run(
  command: string,
  args: readonly string[],
  stdio: 'inherit' | 'pipe',
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((settle, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', stdio, stdio],
      env: { ...process.env, ...env },
    })
    let output = ''
    child.stdout?.on('data', (chunk) => (output += chunk))
    child.stderr?.on('data', (chunk) => (output += chunk))
    child.once('error', reject)
    child.once('close', (code) => settle({ code, output }))
  })
}
