/**
 * What a person at a terminal sees of `countersign up`: each step as it is done, and at the end where everything is.
 * @module
 */

import { styleText } from 'node:util'
import type { System } from './ready.ts'

/** Runs a step and prints one line when it is done, with how long it took. */
export async function showProgress<Result>(label: string, step: () => Promise<Result>): Promise<Result> {
  const startedAt = performance.now()
  const result = await step()
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  print(`  ${styleText('green', '✓')} ${label.padEnd(18)} ${styleText('dim', `${seconds} s`)}`)
  return result
}

/** The table under a finished start. Passwords stay in the file that it names. */
export function showSystem(system: System, readyFile: string, milliseconds: number): void {
  const { consumer, enterprise } = system.realms
  const rows: [string, string][] = [
    ['consumer', consumer.issuer],
    ...enterprise.issuers.map(({ issuer }): [string, string] => ['enterprise', issuer]),
    ...Object.entries(system.elsewhere).flatMap(
      ([realm, { issuer, broker_socket: socket }]): [string, string][] => [
        [realm, issuer],
        ['', `asks for tokens at ${socket}`],
      ],
    ),
    ['web mail', system.webmail.url],
    ['gateway', `${system.gateway.url}/auth`],
    ['', `asks for tokens for ${system.gateway.audience}`],
    ['manifest', system.authority.manifest],
    ['log', `${system.witness.url}/checkpoint`],
    ['alerts', system.sentinel.alerts],
    ['all of it', readyFile],
  ]
  print('')
  for (const [label, value] of rows) print(`  ${label.padEnd(18)} ${styleText('cyan', value)}`)
  print(
    `  ${''.padEnd(18)} ${styleText('dim', 'with the people and clients who may sign in, and their secrets')}`,
  )
  print('')
  print(
    `  Everything answers after ${(milliseconds / 1000).toFixed(1)} s. Ctrl-C stops it; the same command continues.`,
  )
  print('')
  print('  Try in another terminal:')
  print(
    `    npm run drill               ${styleText('dim', 'the 2023 attack, replayed against a system of its own')}`,
  )
  print(`    npx countersign key list    ${styleText('dim', 'the keys, and who has acknowledged them')}`)
  print(`    npx countersign log fsck    ${styleText('dim', 'prove the whole log')}`)
  print('')
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
