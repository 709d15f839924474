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
  log: async () => (await import('./log.ts')).log,
}

/** Nothing was done or decided. */
const FAILED_EXIT = 2

const [name = 'help', ...given] = process.argv.slice(2)
const args = joinKeyNames(given)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command !== undefined && !args.includes('--help')) {
  try {
    await (await command())(args)
  } catch (error) {
    fail(`countersign ${name}: ${(error as Error).message}`)
  }
} else if (command !== undefined || name === 'help' || name === '--help') {
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
