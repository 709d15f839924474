/**
 * A day of hourly turns in a minute or two, under load that never pauses, with keys in files and then in a token. What
 * counts is two zeros: grants that failed, and valid tokens that were refused.
 * @module
 */

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Load, startLoad, startSystem } from '@countersign/cli/client'
import { createSoftToken, missingSoftHsm } from '@countersign/signer/client'
import { showSection } from './table.ts'

const TURNS = 24
const charter = { rotation_seconds: '3s', cache_seconds: '1s', key_age_max: '60s', acknowledge_seconds: '5s' }
const realms = ['consumer', 'enterprise'] as const

const main = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))

/** Lives through the day with keys in files and then in a token, and prints both. Gives how much went wrong. */
export async function liveADay(): Promise<number> {
  const failed = await live('keys in files', async () => {})
  const missing = missingSoftHsm()
  if (missing === undefined) return failed + (await live('keys in SoftHSM2', moveIntoToken))
  process.stdout.write(`\n${missing}\n`)
  return failed
}

/** Lets the realms of a new system live through the turns, after `prepare`. Gives how much went wrong. */
async function live(
  title: string,
  prepare: (folder: string, ready: string) => Promise<void>,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-day-'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ charter }))
  const system = await startSystem(join(folder, 'data'), { args: ['--config', join(folder, 'config.json')] })
  try {
    await prepare(folder, join(system.data, 'ready.json'))
    const startedAt = performance.now()
    const load = startLoad(system.ready)
    await load.until(({ kids }) => realms.every((realm) => kids[realm].size > TURNS))
    await load.stop()
    show(title, load, (performance.now() - startedAt) / 1000)
    return load.failures.length
  } finally {
    await system.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** By the command that people use, two people, before the load begins. */
async function moveIntoToken(folder: string, ready: string): Promise<void> {
  mkdirSync(join(folder, 'token'))
  const { uri, pinFile, environment } = await createSoftToken(join(folder, 'token'))
  const configuration = `SOFTHSM2_CONF=${environment['SOFTHSM2_CONF']}`
  const people = ['--operator', 'olga', '--operator', 'omar', '--early', '--revoke']
  for (const realm of realms) {
    const where = ['--realm', realm, '--to', uri, '--pin-file', pinFile, '--environment', configuration]
    await promisify(execFile)(process.execPath, [
      main,
      'key',
      'migrate',
      '--ready',
      ready,
      ...where,
      ...people,
    ])
  }
}

function show(title: string, { grants, shown, failures, kids }: Load, seconds: number): void {
  const isGrant = (failure: string): boolean => !failure.startsWith('refused')
  const grantsFailed = failures.filter(isGrant)
  showSection(`a day of ${TURNS} turns, ${title}`, [
    { label: 'lasted', value: `${Math.round(seconds)} s` },
    { label: 'keys that signed', value: `${kids.consumer.size} + ${kids.enterprise.size}` },
    { label: 'grants', value: String(grants) },
    { label: 'of these failed', value: String(grantsFailed.length) },
    { label: 'tokens shown', value: String(shown) },
    { label: 'of these refused', value: String(failures.length - grantsFailed.length) },
    ...[...new Set(failures)].slice(0, 10).map((failure) => ({ label: failure, value: '' })),
  ])
}
