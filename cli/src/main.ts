#!/usr/bin/env node
/**
 * `countersign`: the operator's tool. Each command is a module; this file only finds it.
 * @module
 */

import { usage } from './usage.ts'

const commands: Readonly<Record<string, () => Promise<(args: readonly string[]) => Promise<void>>>> = {
  up: async () => (await import('./up.ts')).up,
  verify: async () => (await import('./verify.ts')).verify,
  key: async () => (await import('./key.ts')).key,
  cutoff: async () => (await import('./key.ts')).cutoff,
  charter: async () => (await import('./charter.ts')).charter,
  approve: async () => (await import('./approve.ts')).approve,
  validator: async () => (await import('./widen.ts')).validator,
  'break-glass': async () => (await import('./widen.ts')).breakGlass,
  acts: async () => (await import('./acts.ts')).acts,
  coverage: async () => (await import('./coverage.ts')).coverage,
  log: async () => (await import('./log.ts')).log,
}

/** Nothing was done or decided. */
const FAILED_EXIT = 2

/** Whoever reads only the first lines, as `head` does, ends what is shown and not what is done. */
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

const [name = 'help', ...given] = process.argv.slice(2)
const args = joinKeyNames(given)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
const isHelpWanted = args.includes('--help') || args.includes('-h')
if (command !== undefined && !isHelpWanted) {
  try {
    await (await command())(args)
  } catch (error) {
    fail(`countersign ${name}: ${(error as Error).message}`)
  }
} else if (command !== undefined || ['help', '--help', '-h'].includes(name)) {
  process.stdout.write(usage)
} else {
  fail(`countersign: there is no command ${name}; countersign help lists them`)
}

/** The name of a key may begin with a dash, and whoever kills that key must not be told that this is ambiguous. */
function joinKeyNames(words: readonly string[]): string[] {
  const joined: string[] = []
  for (const word of words) {
    if (joined.at(-1) === '--kid' && /^-[\w-]{42}$/.test(word)) joined.push(`${joined.pop()}=${word}`)
    else joined.push(word)
  }
  return joined
}

function fail(complaint: string): void {
  process.stderr.write(`${complaint}\n`)
  process.exitCode = FAILED_EXIT
}
