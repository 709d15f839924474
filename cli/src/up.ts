/**
 * `countersign up`: the whole system on one machine, from an empty folder to a ready file, and back down on SIGTERM.
 * @module
 */

import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { enrol } from '@countersign/authority/client'
import { holdCeremony, operatorKeyFiles } from './ceremony.ts'
import { keepPrivate, readJson, writePrivate, writePublic } from './files.ts'
import { keepSeed, type Layout, layOut, realms, validators, writeConfigs } from './layout.ts'
import { acquireLock } from './lock.ts'
import { choosePorts, listeners, type Ports, takenPorts } from './ports.ts'
import { type Service, type ServiceName, startService, stopServices } from './process.ts'
import { showProgress, showSystem } from './screen.ts'
import { audiences, tenants } from './world.ts'

const PORT_DEFAULT = 8400
/** Less than the 5 s that the whole may take, more than the 4 s after which a service ends itself. */
const STOP_MILLISECONDS_MAX = 4500

export async function up(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      data: { type: 'string', default: '.countersign' },
      port: { type: 'string', default: String(PORT_DEFAULT) },
      'ready-file': { type: 'string' },
    },
  })
  const startedAt = performance.now()
  const data = resolve(values.data)
  const readyFile = values['ready-file']
  if (readyFile !== undefined) rmSync(readyFile, { force: true })
  mkdirSync(join(data, 'run'), { recursive: true, mode: 0o700 })
  const release = acquireLock(data)

  const services: Service[] = []
  let stopping: Promise<void> | undefined
  const stop = (code: number): Promise<void> => {
    stopping ??= (async () => {
      if (readyFile !== undefined) rmSync(readyFile, { force: true })
      await stopServices(services, STOP_MILLISECONDS_MAX)
      release()
      process.exit(code)
    })()
    return stopping
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(0))
  process.on('disconnect', () => void stop(0))

  try {
    const layout = layOut(data, await keepPorts(data, values.port))
    await showProgress('keys and charter', () => holdCeremony(data, layout.issuers))
    const seeds = { consumer: keepSeed(layout, 'consumer'), enterprise: keepSeed(layout, 'enterprise') }
    for (const name of validators) keepPrivate(layout.enrolmentKey(name), makeEnrolmentKey)
    writeConfigs(layout)

    const start = async (name: ServiceName, label: string = name): Promise<void> => {
      const service = await showProgress(label, () => startService(name, label, layout.configFile(label)))
      services.push(service)
      service.process.once('exit', (code, signal) => {
        if (stopping !== undefined) return
        process.stderr.write(`${label} ended by itself (${signal ?? `exit ${code}`}); stopping the others\n`)
        void stop(1)
      })
    }
    await Promise.all([start('witness'), start('broker'), start('authority')])
    await enrolAll(layout)
    await Promise.all([
      start('sentinel'),
      start('gateway'),
      start('webmail'),
      ...realms.map((realm) => start('issuer', realm)),
    ])
    if (stopping !== undefined) return
    const system = describe(layout, seeds)
    if (readyFile !== undefined) writePrivate(readyFile, system)
    process.send?.({ ready: system })
    showSystem(system, performance.now() - startedAt)
  } catch (error) {
    if (stopping === undefined) process.stderr.write(`countersign up: ${(error as Error).message}\n`)
    await stop(1)
  }
}

/** What the ready file holds: where everything is, and who may sign in. */
function describe(
  layout: Layout,
  seeds: { readonly [Name in (typeof realms)[number]]: ReturnType<typeof keepSeed> },
) {
  const { data, urls, issuers, keystores } = layout
  const witness = readJson<{ name: string; vkey: string }>(join(data, 'witness.json'))
  const realmOf = (realm: (typeof realms)[number]) => ({
    clients: seeds[realm].clients,
    people: seeds[realm].people,
  })
  return {
    realms: {
      consumer: { issuer: issuers.consumer, jwks_uri: `${issuers.consumer}/jwks`, ...realmOf('consumer') },
      enterprise: {
        issuers: (tenants['enterprise'] ?? []).map(({ id }) => {
          const issuer = issuers.enterprise.replace('{tenantid}', id)
          return { tenant: id, issuer, jwks_uri: `${issuer}/jwks` }
        }),
        ...realmOf('enterprise'),
      },
    },
    authority: {
      url: urls.authority,
      manifest: `${urls.authority}/manifest`,
      charter: `${urls.authority}/charter`,
      stream: `${urls.authority}/stream`,
      operators: operatorKeyFiles(data),
      trust_anchor: layout.trustAnchor,
      enrolment_token: layout.enrolmentToken,
    },
    witness: { url: urls.witness, origin: `${witness.name}/1`, vkey: witness.vkey },
    gateway: { url: urls.gateway, audience: audiences.mail },
    webmail: { url: urls.webmail, audience: audiences.mail },
    sentinel: { url: urls.sentinel, alerts: `${urls.sentinel}/alerts` },
    keystores,
  }
}

export type System = ReturnType<typeof describe>

async function enrolAll(layout: Layout): Promise<void> {
  const token = readFileSync(layout.enrolmentToken, 'utf8').trim()
  await Promise.all(
    validators.map(async (name) => {
      const { kty, crv, x } = readJson<{ kty: string; crv: string; x: string }>(layout.enrolmentKey(name))
      await enrol(layout.urls.authority, token, name, { kty, crv, x })
    }),
  )
}

/**
 * The ports of an earlier start, or those asked for now. Throws when a port is no port, when another was asked for
 * than the folder was made with, and when somebody else holds one.
 */
async function keepPorts(data: string, asked: string): Promise<Ports> {
  const first = Number(asked)
  if (!/^\d{1,5}$/.test(asked) || first > 65_535 - listeners.length) {
    throw new Error(`--port takes 0 or the first of ${listeners.length} free ports, not ${asked}`)
  }
  const file = join(data, 'ports.json')
  const known = existsSync(file) ? readJson<Ports>(file) : undefined
  if (known !== undefined && first !== 0 && first !== PORT_DEFAULT && first !== known.consumer) {
    throw new Error(`${data} was made with port ${known.consumer}, which its tokens and charter name`)
  }
  const ports = known ?? (await choosePorts(first))
  const taken = await takenPorts(ports)
  if (taken.length > 0) throw new Error(`in use already: port ${taken.join(', ')}; --port 0 picks free ones`)
  writePublic(file, ports)
  return ports
}

function makeEnrolmentKey(): object {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
}
