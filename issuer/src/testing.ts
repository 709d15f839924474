/**
 * A realm's issuer in memory, for tests: the real HTTP server and providers, between a broker that behaves and a
 * manifest that the test world signs. Nothing here is for production.
 * @module
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { createLog } from '@countersign/service'
import type { NewsSource } from '@countersign/validator/hold'
import type { Sighting } from '@countersign/validator/sighting'
import {
  createTestKey,
  createTestWorld,
  issuers,
  mailAudience,
  realmTenants,
  type TestKey,
  type TestRealm,
  type TestWorld,
} from '@countersign/validator/testing'
import { createValidator, type Validator } from '@countersign/validator/validator'
import type { z } from 'zod'
import { configSchema, type SeedClient, seedSchema, tokenExchange } from './config.ts'
import { openRealm } from './realm.ts'
import type { Database } from './schema.ts'
import { createTransmitter, type Transmitter } from './signals/transmitter.ts'
import { transmitterAudience } from './tenant.ts'

export const calendarAudience = 'https://calendar.countersign.example'
export const callback = 'https://app.example/callback'
export const password = 'correct horse battery staple'
export const totpSecret = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP'

/** Stops the clock of this process, and sets it forward. Where time matters, it passes only like this. */
export function passSeconds(seconds: number): void {
  const milliseconds = Date.now() + seconds * 1000
  if (isStopped) mock.timers.setTime(milliseconds)
  else mock.timers.enable({ apis: ['Date'], now: milliseconds })
  isStopped = true
}

let isStopped = false

export interface TestIssuer {
  readonly world: TestWorld
  /** Of the realm's tenants, in order. */
  readonly issuers: readonly string[]
  /** Like the global one, for addresses at the public URL, which lead to the server here. Follows no redirect. */
  readonly fetch: typeof fetch
  /** The one inside the issuer. */
  readonly validator: Validator
  /** What it reported. */
  readonly sightings: readonly Sighting[]
  /** Where the issuer keeps its state. */
  readonly folder: string
  /** Where it listens, for a process that takes it for whatever stands at its public URL. */
  readonly url: string
  /** Where it listens for clients with certificates, if it does. */
  readonly mutualTlsPort: number | undefined
  /** Tells it that the world has published a manifest. It decides by the newest in any case. */
  hearNews(): void
  /** While set, the broker answers with it. */
  fault: Error | undefined
  /** The key that the broker signs with; left alone, the realm's first. */
  key: TestKey | undefined
  readonly secrets: Readonly<Record<string, string>>
  stop(): Promise<void>
}

export const clientIds = {
  web: 'web',
  otherWeb: 'other-web',
  thirdParty: 'third-party',
  service: 'service',
  mailService: 'mail-service',
  secondMailService: 'second-mail-service',
  calendarService: 'calendar-service',
  receiver: 'receiver',
  otherReceiver: 'other-receiver',
} as const

function sampleClients(
  secretOf: (id: string) => string,
  transmitter: string,
): readonly (Partial<SeedClient> & { client_id: string })[] {
  const web = {
    redirect_uris: [callback],
    post_logout_redirect_uris: ['https://app.example/'],
    grant_types: ['authorization_code', 'refresh_token'] as const,
  }
  const exchange = ['client_credentials', tokenExchange] as const
  const clients = [
    { client_id: clientIds.web, ...web },
    { client_id: clientIds.otherWeb, ...web, redirect_uris: ['https://other.example/callback'] },
    { client_id: clientIds.thirdParty, client_name: 'Paper <& Pen>', ...web, third_party: true },
    { client_id: clientIds.service, grant_types: ['client_credentials'] as const },
    { client_id: clientIds.mailService, grant_types: exchange, audiences: [mailAudience] },
    { client_id: clientIds.secondMailService, grant_types: exchange, audiences: [mailAudience] },
    { client_id: clientIds.calendarService, grant_types: exchange, audiences: [calendarAudience] },
    ...[clientIds.receiver, clientIds.otherReceiver].map((client_id) => ({
      client_id,
      grant_types: ['client_credentials'] as const,
      audiences: [transmitter],
    })),
  ]
  return clients.map((client) => ({
    ...client,
    grant_types: [...client.grant_types],
    client_secret: secretOf(client.client_id),
  }))
}

export async function startTestIssuer(
  realm: TestRealm,
  options: {
    readonly world?: TestWorld
    readonly backchannelLogoutUri?: string
    /** With a key that signs SETs. */
    readonly signals?: boolean
    /** Laid over its configuration. */
    readonly settings?: Partial<z.input<typeof configSchema>>
    /** Laid over what its seed has of a client. */
    readonly clients?: Readonly<Record<string, Partial<SeedClient>>>
    /** One that another issuer has left, to go on from. */
    readonly folder?: string
    /** Where it listens. */
    readonly port?: number
  } = {},
): Promise<TestIssuer> {
  const world = options.world ?? createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'issuer-'))
  const publicUrl = new URL(issuers[realm]).origin
  const transmitter = transmitterAudience({ public_url: publicUrl })
  const setKey = options.signals ? addSetKey(world, realm) : undefined
  const write = (name: string, content: object): string => {
    writeFileSync(join(folder, name), JSON.stringify(content), { mode: 0o600 })
    return join(folder, name)
  }
  const secrets = Object.fromEntries(
    Object.values(clientIds).map((id) => [id, `${id} ${'s'.repeat(22)} :+%`]),
  )
  const tenants = realmTenants[realm]
  const people = tenants.map((tenant, index) => ({
    tenant,
    username: 'Ada@Home.Example',
    password,
    sub: `00000000-0000-4000-8000-00000000000${index}`,
    ...(realm === 'enterprise' && { totp_secret: totpSecret }),
  }))
  const seed = seedSchema.parse({
    clients: sampleClients((id) => secrets[id] ?? '', transmitter).map((client) => ({
      ...client,
      ...(client.client_id === clientIds.web && { backchannel_logout_uri: options.backchannelLogoutUri }),
      ...options.clients?.[client.client_id],
    })),
    people: [...people, { tenant: tenants[0], username: 'ben', password }],
  })
  const config = configSchema.parse({
    realm,
    listen: { port: options.port ?? 0 },
    public_url: publicUrl,
    tenants: tenants.map((id, index) => ({ id, name: ['Fabrikam', 'Northwind'][index] })),
    second_factor_required: realm === 'enterprise',
    database: join(folder, 'issuer.sqlite'),
    broker_socket: 'none',
    authority: 'http://127.0.0.1:1',
    trust_anchor: 'none',
    enrolment: { name: realm, key: 'none' },
    secrets: write('secrets.json', {
      cookie_keys: ['k'.repeat(22)],
      totp_key: Buffer.alloc(32, 7).toString('base64url'),
    }),
    seed: write('seed.json', seed),
    state: folder,
    resources: [
      { audience: mailAudience, scopes: ['mail.read', 'mail.send'] },
      { audience: calendarAudience, scopes: ['calendar.read'] },
    ],
    signals: { loopback_receivers: true },
    ...options.settings,
  })
  const sightings: Sighting[] = []
  const tick = (): number => {
    world.now = Math.floor(Date.now() / 1000)
    return world.now
  }
  const validator = createValidator({
    realm,
    audience: [...config.resources.map(({ audience }) => audience), transmitter],
    trust: world.trust,
    onSighting: (sighting) => sightings.push(sighting),
    now: tick,
  })
  const listeners = new Set<() => void>()
  const trust: NewsSource = {
    get state() {
      return world.trust.state
    },
    ageSeconds: () => 0,
    onNews: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  const running = await openRealm(config, {
    log: createLog('issuer'),
    trust,
    validator,
    issue: async (type, claims) => {
      tick()
      if (issuer.fault !== undefined) throw issuer.fault
      // As the wire would: what is undefined does not arrive.
      const sent = JSON.parse(JSON.stringify(claims)) as Record<string, unknown>
      if (type === 'set') return world.issue({ realm, type, claims: sent, ...(setKey && { key: setKey }) })
      const { key } = issuer
      return world.issue({
        realm,
        type,
        claims: { scope: undefined, client_id: undefined, ...sent },
        ...(key && { key }),
      })
    },
  })
  const issuer: TestIssuer = {
    world,
    issuers: running.ready['issuers'] as readonly string[],
    fetch: async (input, init) => {
      const request = new Request(input, init)
      const url = request.url.replace(publicUrl, `http://127.0.0.1:${running.ready['port']}`)
      const body = request.body === null ? null : await request.text()
      return fetch(url, { method: request.method, headers: request.headers, body, redirect: 'manual' })
    },
    validator,
    sightings,
    folder,
    fault: undefined,
    key: undefined,
    url: `http://127.0.0.1:${running.ready['port']}`,
    mutualTlsPort: running.ready['mutual_tls_port'] as number | undefined,
    hearNews: () => {
      for (const listener of listeners) listener()
    },
    secrets,
    stop: async () => {
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return issuer
}

/** A transmitter over nothing but a database, for whoever tells something and needs nobody to hear it. */
export function quietTransmitter(database: Database, tenant: string, now: () => number): Transmitter {
  return createTransmitter({
    database,
    realm: 'consumer',
    tenant,
    issuer: issuers.consumer,
    audience: transmitterAudience({ public_url: issuers.consumer }),
    issue: () => Promise.reject(new Error('nothing is signed here')),
    trust: { state: undefined, ageSeconds: () => 0 },
    reach: { loopback: false },
    key: Buffer.alloc(32),
    log: createLog('issuer'),
    now,
  })
}

/** The key that signs SETs, and nothing else, in this realm from now on. */
function addSetKey(world: TestWorld, realm: TestRealm): TestKey {
  const key = createTestKey('RS256')
  world.publish((draft) => ({ keys: [...draft.keys, world.draftKey(key, realm, { tokenTypes: ['set'] })] }))
  return key
}
