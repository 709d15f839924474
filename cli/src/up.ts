/**
 * `countersign up`: the whole system on one machine, from an empty folder to a ready file, and back down on SIGTERM.
 * @module
 */

import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { enrol } from '@countersign/authority/client'
import { firstCharter, holdCeremony } from './ceremony.ts'
import { readWishes, type Wishes } from './config.ts'
import { formatEvent, isShown, type Phase } from './events.ts'
import { keepPrivate, readJson, writePrivate } from './files.ts'
import {
  authorityConfig,
  checkDepth,
  keepSeed,
  type Layout,
  layOut,
  probesOf,
  validators,
  writeConfigs,
} from './layout.ts'
import { acquireLock } from './lock.ts'
import { findPorts } from './ports.ts'
import { type ServiceName, Services } from './process.ts'
import { describeSystem, type System } from './ready.ts'
import { showProgress, showSystem } from './screen.ts'
import { DATA_DEFAULT, isReadyFile, readyFileIn } from './system.ts'
import { chooseWishes, fetchNewestCharter, keepWishes, keptWishes } from './wishes.ts'
import { planWorld, realms } from './world.ts'

/** Less than the 5 s that the whole may take, more than the 4 s after which a service ends itself. */
const STOP_MILLISECONDS_MAX = 4500

const exits = { stopped: 0, failed: 1, notStarted: 2 } as const

export async function up(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      data: { type: 'string', default: DATA_DEFAULT },
      port: { type: 'string' },
      'ready-file': { type: 'string' },
      config: { type: 'string' },
    },
  })
  const startedAt = performance.now()
  const data = resolve(values.data)
  if (values['ready-file'] !== undefined) checkReadyFile(values['ready-file'])
  mkdirSync(join(data, 'run'), { recursive: true, mode: 0o700 })
  const release = acquireLock(data)

  const readyFiles = [
    readyFileIn(data),
    ...(values['ready-file'] === undefined ? [] : [values['ready-file']]),
  ]
  const removeReadyFiles = (): void => {
    for (const file of readyFiles) rmSync(file, { force: true })
  }
  // One that a kill left behind says that everything answers, and nothing does.
  removeReadyFiles()

  // Whoever asks for more than warnings wants all of it.
  const isVerbose = ['info', 'debug', 'trace'].includes(process.env['COUNTERSIGN_LOG_LEVEL'] ?? '')
  let phase: Phase = 'starting'
  const services = new Services({
    cache: join(data, 'cache'),
    onLine: (label, line) => {
      if (isVerbose || isShown(line, phase)) complain(process.stderr.isTTY ? formatEvent(label, line) : line)
    },
    onEnd: (label, how) => {
      complain(`${label} ended by itself (${how}); stopping the others`)
      void stop(exits.failed)
    },
  })
  let stopping: Promise<void> | undefined
  const stop = (code: number): Promise<void> => {
    phase = 'stopping'
    stopping ??= (async () => {
      removeReadyFiles()
      await services.stop(STOP_MILLISECONDS_MAX)
      release()
      process.exit(code)
    })()
    return stopping
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.on(signal, () => void stop(exits.stopped))
  process.on('disconnect', () => void stop(exits.stopped))

  try {
    const system = await startAll(data, services, values)
    if (stopping !== undefined) return
    phase = 'running'
    for (const file of readyFiles) writePrivate(file, system)
    process.send?.({ ready: system })
    showSystem(system, readyFiles.at(-1) ?? '', performance.now() - startedAt)
  } catch (error) {
    if (stopping === undefined) complain(`countersign up: ${(error as Error).message}`)
    await stop(exits.notStarted)
  }
}

/** It is removed and written anew: whoever typed it for --config would lose what they wrote. */
function checkReadyFile(file: string): void {
  if (!existsSync(file) || isReadyFile(file)) return
  throw new Error(`--ready-file names a file that is written, and ${file} holds something else`)
}

async function startAll(
  data: string,
  services: Services,
  { port, config }: { readonly port?: string | undefined; readonly config?: string | undefined },
): Promise<System> {
  const layout = layOut(data, await findPorts(data, port))
  checkDepth(layout)
  const start = (name: ServiceName, label: string = name): Promise<void> =>
    showProgress(label, () => services.start(name, label, layout.configFile(label)))
  let authority: Promise<void> | undefined
  const startAuthority = (): Promise<void> => (authority ??= start('authority'))

  const wishes = existsSync(layout.trustAnchor)
    ? await chooseWishes(layout, config, {
        first: firstCharter(data),
        newest: async () => {
          writePrivate(layout.configFile('authority'), authorityConfig(layout))
          await startAuthority()
          return fetchNewestCharter(layout.urls.authority, layout.trustAnchor)
        },
        say: (line) => process.stdout.write(`  ${line}\n`),
      })
    : config === undefined
      ? keptWishes(data)
      : readWishes(resolve(config))
  const world = planWorld(wishes)
  await showProgress('keys and charter', () => holdCeremony(layout, world))
  const seeds = {
    consumer: keepSeed(layout, 'consumer', wishes),
    enterprise: keepSeed(layout, 'enterprise', wishes),
  }
  for (const name of validators) keepPrivate(layout.enrolmentKey(name), makeEnrolmentKey)
  writeConfigs(layout, world, seeds, wishes)
  keepWishes(data, wishes)

  await Promise.all([start('witness'), start('broker'), startAuthority()])
  await enrolAll(layout, wishes)
  await Promise.all([
    start('sentinel'),
    start('gateway'),
    start('webmail'),
    ...realms.map((realm) => start('issuer', realm)),
  ])
  return describeSystem(layout, world, seeds, wishes)
}

async function enrolAll(layout: Layout, wishes: Wishes): Promise<void> {
  const probes = probesOf(layout, wishes)
  const token = readFileSync(layout.enrolmentToken, 'utf8').trim()
  await Promise.all(
    validators.map(async (name) => {
      const { kty, crv, x } = readJson<{ kty: string; crv: string; x: string }>(layout.enrolmentKey(name))
      await enrol(layout.urls.authority, token, name, { kty, crv, x }, probes.get(name))
    }),
  )
}

function makeEnrolmentKey(): object {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`)
}
