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
  log: async () => (await import('./log.ts')).log,
}

const [name = '', ...args] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command === undefined) {
  const asked = name === '' || name === 'help' || name === '--help'
  process[asked ? 'stdout' : 'stderr'].write(
    asked ? usage : `countersign: there is no command ${name}\n${usage}`,
  )
  process.exit(asked ? 0 : 2)
}
try {
  await (await command())(args)
} catch (error) {
  process.stderr.write(`countersign ${name}: ${(error as Error).message}\n`)
  process.exit(2)
}
