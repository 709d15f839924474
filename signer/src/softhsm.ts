/**
 * SoftHSM2, a token in software: for tests, benches and whoever wants to try a hardware keystore without hardware. It keeps
 * its keys in files, so it protects them no better than a file does.
 * @module
 */

import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface SoftToken {
  readonly label: string
  readonly modulePath: string
  /** Names the token; more attributes may follow its `?`. */
  readonly uri: string
  readonly pinFile: string
  /** What the module has to find in its environment. */
  readonly environment: Readonly<Record<string, string>>
  /** Holds everything of it: what it would be to pull the token out is to move this away. */
  readonly tokenFolder: string
}

const modulePaths = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
]

/** Why there is none here, or undefined. */
export function missingSoftHsm(): string | undefined {
  if (modulePaths.some((path) => existsSync(path))) return undefined
  return 'SoftHSM2 is not installed: tools/debian.sh installs it where it may'
}

/** Makes a token in `folder`, beside those that it has; of one label, where `label` is given twice. */
export async function createSoftToken(folder: string, label = 'countersign'): Promise<SoftToken> {
  const modulePath = modulePaths.find((path) => existsSync(path))
  if (modulePath === undefined) throw new Error(missingSoftHsm())
  const tokenFolder = join(folder, 'tokens')
  mkdirSync(tokenFolder, { recursive: true, mode: 0o700 })
  const configuration = join(folder, 'softhsm2.conf')
  writeFileSync(
    configuration,
    `directories.tokendir = ${tokenFolder}\nlog.level = ERROR\nslots.removable = true\n`,
  )
  const environment = { SOFTHSM2_CONF: configuration }
  const [pin, officerPin] = [newPin(), newPin()]
  // Others can read these arguments, for a moment. It is the PIN of a token that protects nothing.
  const pins = ['--pin', pin, '--so-pin', officerPin]
  await promisify(execFile)('softhsm2-util', ['--init-token', '--free', '--label', label, ...pins], {
    env: { ...environment, PATH: '/usr/bin:/usr/local/bin:/opt/homebrew/bin' },
  })
  const pinFile = join(folder, `${label}.pin`)
  writeFileSync(pinFile, pin, { mode: 0o600 })
  const uri = `pkcs11:token=${encodeURIComponent(label)}?module-path=${modulePath}`
  return { label, modulePath, uri, pinFile, environment, tokenFolder }
}

function newPin(): string {
  return String(randomInt(10_000_000, 100_000_000))
}
