/**
 * What a person at a terminal sees: each step while it runs, and at the end where everything is.
 * @module
 */

import { styleText } from 'node:util'
import type { System } from './up.ts'

/** Runs a step and prints one line when it is done, with how long it took. */
export async function showProgress<Result>(label: string, step: () => Promise<Result>): Promise<Result> {
  const startedAt = performance.now()
  const result = await step()
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  print(`  ${styleText('green', '✓')} ${label.padEnd(18)} ${styleText('dim', `${seconds} s`)}`)
  return result
}

/** The table under a finished start. Passwords stay in the files that it names. */
export function showSystem(system: System, milliseconds: number): void {
  const [first] = system.realms.enterprise.issuers
  const rows: [string, string][] = [
    ['consumer issuer', system.realms.consumer.issuer],
    ['enterprise issuer', first?.issuer ?? ''],
    ['web mail', system.webmail.url],
    ['gateway', `${system.gateway.url}/auth`],
    ['manifest', system.authority.manifest],
    ['log', `${system.witness.url}/checkpoint`],
    ['alerts', system.sentinel.alerts],
  ]
  print('')
  for (const [label, value] of rows) print(`  ${label.padEnd(18)} ${styleText('cyan', value)}`)
  print('')
  print(
    `  Everything answers after ${(milliseconds / 1000).toFixed(1)} s. Ctrl-C stops it; the same command continues.`,
  )
  print(`  Try: npm run drill    the 2023 attack, replayed against a system of its own`)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
